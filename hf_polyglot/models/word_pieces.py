"""Words for encoders that read sub-word pieces: rows of pieces, and where each word's first piece stands in them.

Axes:
    batch     sentences
    words     positions of the longest sentence in the batch
    windows   rows of pieces; a sentence has one, or several if it is longer than the encoder reads
    pieces    positions of the longest window in the batch
"""

from collections.abc import Sequence

import torch
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor
from transformers import AutoTokenizer, BatchEncoding, PreTrainedTokenizerFast

from .tokenization_bytes import check_words


def encode_pieces(
    tokenizer, sentences: Sequence[Sequence[str]], max_pieces: int, *, every_piece: bool = False
) -> dict[str, Tensor]:
    """
    Pieces of the sentences, with the position of the first piece of every word.

    No word is lost: one that the tokenizer maps to nothing gets the unknown piece, and a sentence of more than
    `max_pieces` pieces is read in windows that overlap by half; each of its words counts in the window where it is
    farthest from an edge.

    Args:
        tokenizer (`PreTrainedTokenizerFast`):
            Tokenizer of the encoder.
        sentences (`Sequence[Sequence[str]]`):
            The words of each sentence.
        max_pieces (`int`):
            Pieces that the encoder reads at most, special ones included.
        every_piece (`bool`, *optional*, defaults to `False`):
            True takes each piece for a word, so that `word_positions` has all of them.

    Returns:
        `input_ids` and `attention_mask` of shape `(windows, pieces)`, and `word_positions` of shape `(batch,
        words)`: the index of each word's first piece in the flattened `input_ids`, -1 on padding.

    Raises:
        ValueError: if the tokenizer is not a fast one or has no padding piece, or if `max_pieces` leaves no room for a
            word. Empty words and lone surrogates are refused too.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError(
            f"{type(tokenizer).__name__} is not a fast tokenizer, so it does not say which piece belongs to which "
            "word. Load the model's tokenizer.json with `AutoTokenizer`."
        )
    before, after = _special_pieces(tokenizer)
    room = max_pieces - len(before) - len(after)
    if room < 2:
        raise ValueError(
            f"`max_pieces` is {max_pieces}, of which {len(before) + len(after)} are special pieces; expected room for "
            "two pieces at least. Raise `max_pieces`."
        )
    for words in sentences:
        check_words(words)
    rows: list[list[int]] = []
    places: list[list[tuple[int, int]]] = []  # (window, piece) of each word's first piece, for each sentence
    for pieces, firsts in _pieces_and_first_pieces(tokenizer, sentences):
        firsts = list(range(len(pieces))) if every_piece else firsts
        starts = _window_starts(len(pieces), room)
        windows = [_most_central(first, starts, room, len(pieces)) for first in firsts]
        places.append([
            (len(rows) + window, len(before) + first - starts[window])
            for first, window in zip(firsts, windows, strict=True)
        ])
        rows.extend([*before, *pieces[start : start + room], *after] for start in starts)

    padding = tokenizer.pad_token_id
    if padding is None:
        raise ValueError(
            "The tokenizer has no padding piece. Set `tokenizer.pad_token`, for example to its end piece."
        )
    width = max(map(len, rows))
    return {
        "input_ids": torch.tensor([row + [padding] * (width - len(row)) for row in rows]),
        "attention_mask": torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows]),
        "word_positions": torch.nn.utils.rnn.pad_sequence(
            [torch.tensor([row * width + place for row, place in words], dtype=torch.long) for words in places],
            batch_first=True,
            padding_value=-1,
        ),
    }


def count_pieces(tokenizer: PreTrainedTokenizerFast, sentences: Sequence[Sequence[str]]) -> list[int]:
    """
    Pieces of each sentence, without special ones.

    Args:
        tokenizer (`PreTrainedTokenizerFast`):
            Tokenizer of the encoder.
        sentences (`Sequence[Sequence[str]]`):
            The words of each sentence.
    """
    counts: list[int] = []
    for start in range(0, len(sentences), 1000):  # no more than the pieces of these are held at once
        texts = [list(words) for words in sentences[start : start + 1000]]
        counts += map(len, _input_ids(tokenizer, texts)["input_ids"])
    return counts


def load_piece_tokenizer(name: str, **options) -> PreTrainedTokenizerFast:
    """
    The tokenizer of an encoder, set up for words.

    Args:
        name (`str`):
            Folder or Hub id of the encoder.
        options:
            Further arguments of `AutoTokenizer.from_pretrained`.

    Returns:
        `PreTrainedTokenizerFast`. One of the byte-level kind (RoBERTa, GPT-2, ModernBERT) puts a space before each
        word, as its pieces of running text have it; this is saved with it.
    """
    tokenizer = AutoTokenizer.from_pretrained(name, **options)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None and isinstance(backend.pre_tokenizer, ByteLevel):
        pre_tokenizer = backend.pre_tokenizer
        pre_tokenizer.add_prefix_space = True
        backend.pre_tokenizer = pre_tokenizer
    return tokenizer


def _pieces_and_first_pieces(tokenizer, sentences: Sequence[Sequence[str]]) -> list[tuple[list[int], list[int]]]:
    """For each sentence, its pieces without special ones, and the index of each word's first piece."""
    encoded = _input_ids(tokenizer, [list(words) for words in sentences])
    outcome = []
    for sentence, words in enumerate(sentences):
        pieces: list[int] = []
        firsts: list[int] = []
        for piece, word in zip(encoded["input_ids"][sentence], encoded.word_ids(sentence), strict=True):
            _open_words(pieces, firsts, word, tokenizer.unk_token_id)
            pieces.append(piece)
        _open_words(pieces, firsts, len(words), tokenizer.unk_token_id, only_skipped=True)
        outcome.append((pieces, firsts))
    return outcome


def _input_ids(tokenizer, sentences: list[list[str]]) -> BatchEncoding:
    return tokenizer(
        sentences, is_split_into_words=True, add_special_tokens=False, truncation=False, padding=False,
        return_attention_mask=False, return_token_type_ids=False, verbose=False,
    )  # fmt: skip


def _open_words(pieces: list[int], firsts: list[int], word: int, unknown: int, only_skipped: bool = False) -> None:
    """Note where `word` begins, if here, and give every word skipped before it the unknown piece."""
    while len(firsts) < word:
        firsts.append(len(pieces))
        pieces.append(unknown)
    if not only_skipped and len(firsts) == word:
        firsts.append(len(pieces))


def _special_pieces(tokenizer) -> tuple[list[int], list[int]]:
    """The special pieces that the tokenizer puts before and after a text."""
    whole = tokenizer("a", return_special_tokens_mask=True)
    ordinary = [position for position, special in enumerate(whole["special_tokens_mask"]) if not special]
    return whole["input_ids"][: ordinary[0]], whole["input_ids"][ordinary[-1] + 1 :]


def _window_starts(num_pieces: int, room: int) -> list[int]:
    """First pieces of windows of `room` pieces that overlap by half and cover a sentence."""
    if num_pieces <= room:
        return [0]
    stride = room // 2
    last = num_pieces - room
    return [*range(0, last, stride), last]


def _most_central(first: int, starts: list[int], room: int, num_pieces: int) -> int:
    """Index of the window in which the piece is farthest from a cut; the ends of the sentence are no cuts."""

    def distance_to_cut(start: int) -> int:
        left = first - start if start > 0 else num_pieces
        right = start + room - 1 - first if start + room < num_pieces else num_pieces
        return min(left, right) if start <= first < start + room else -1

    return max(range(len(starts)), key=lambda window: distance_to_cut(starts[window]))
