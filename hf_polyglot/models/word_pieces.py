"""Words for encoders that read sub-word pieces: rows of pieces, and where each word's first piece stands in them.

Axes:
    batch     sentences
    words     positions of the longest sentence in the batch
    windows   rows of pieces; a sentence has one, or several if it is longer than the encoder reads
    pieces    positions of the longest window in the batch
"""

from collections.abc import Sequence
from typing import Any

import torch
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor
from transformers import AutoTokenizer, BatchEncoding, PreTrainedTokenizerFast

from .input_rows import check_words, piece_rows


def encode_pieces(
    tokenizer, sentences: Sequence[Sequence[str]], max_pieces: int, *, every_piece: bool = False
) -> dict[str, Tensor]:
    """
    Pieces of the sentences, with the position of the first piece of every word.

    No word is lost, and long sentences are read in windows, see `piece_rows`.

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
    for words in sentences:
        check_words(words)
    padding = tokenizer.pad_token_id
    if padding is None:
        raise ValueError(
            "The tokenizer has no padding piece. Set `tokenizer.pad_token`, for example to its end piece."
        )
    before, after = special_pieces(tokenizer)
    encoded = _input_ids(tokenizer, [list(words) for words in sentences])
    input_ids, attention_mask, word_positions = piece_rows(
        encoded["input_ids"],
        [encoded.word_ids(sentence) for sentence in range(len(sentences))],
        [len(words) for words in sentences],
        max_pieces=max_pieces,
        before=before,
        after=after,
        padding=padding,
        unknown=tokenizer.unk_token_id,
        every_piece=every_piece,
    )
    return {
        "input_ids": torch.tensor(input_ids),
        "attention_mask": torch.tensor(attention_mask),
        "word_positions": torch.tensor(word_positions, dtype=torch.long),
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
        # The classes of RoBERTa and GPT-2 make it anew from this when they load, and look at no tokenizer.json.
        tokenizer.add_prefix_space = True
    return tokenizer


def load_tokenizer_of(model: Any, name: str) -> Any:
    """
    The tokenizer of a tagger, set up for words if it reads pieces, whoever saved it.

    Args:
        model (`PreTrainedModel`):
            The tagger.
        name (`str`):
            Its folder or Hub id.
    """
    reads_pieces = getattr(model, "input_form", "pieces") == "pieces"  # one of transformers' own does not say so
    load = load_piece_tokenizer if reads_pieces else AutoTokenizer.from_pretrained
    return load(name)


def _input_ids(tokenizer, sentences: list[list[str]]) -> BatchEncoding:
    return tokenizer(
        sentences, is_split_into_words=True, add_special_tokens=False, truncation=False, padding=False,
        return_attention_mask=False, return_token_type_ids=False, verbose=False,
    )  # fmt: skip


def special_pieces(tokenizer) -> tuple[list[int], list[int]]:
    """
    The special pieces that a tokenizer puts before and after a text.

    Args:
        tokenizer (`PreTrainedTokenizerFast`):
            Tokenizer of an encoder.
    """
    whole = tokenizer("a", return_special_tokens_mask=True)
    ordinary = [position for position, special in enumerate(whole["special_tokens_mask"]) if not special]
    return whole["input_ids"][: ordinary[0]], whole["input_ids"][ordinary[-1] + 1 :]
