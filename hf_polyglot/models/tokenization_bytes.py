"""Tokenizer of the units that words are spelled with: UTF-8 bytes, or characters."""

from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

PADDING, UNKNOWN = "<pad>", "<unk>"


def byte_symbols() -> list[str]:
    """
    The printable character that stands for each byte in a byte-level vocabulary, in byte order.

    Reference:
        Radford et al. (2019), section 2.2, as published in the code of GPT-2.

    Example:
        >>> byte_symbols()[ord("a")], byte_symbols()[ord(" ")], len(set(byte_symbols()))
        ('a', 'Ġ', 256)
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


class SpellingTokenizer(PreTrainedTokenizerFast):
    """
    Tokenizer whose tokens are single bytes or single characters, with offsets into the text.

    Make one with [`~SpellingTokenizer.of_bytes`] or [`~SpellingTokenizer.of_characters`]. It is an ordinary fast
    tokenizer of transformers (offsets, `word_ids`, `is_split_into_words`, windows by `stride`), which adds no
    special tokens of its own, reads a word such as `<pad>` as the five characters that it is, and refuses text that
    is not valid Unicode.

    Example:
        >>> tokenizer = SpellingTokenizer.of_bytes()
        >>> tokenizer.decode(tokenizer("Ọmọ")["input_ids"])
        'Ọmọ'
        >>> batch = tokenizer.encode_words([["a", "b", "a"], ["abc"]])
        >>> batch["word_indices"].tolist()  # the longest distinct word comes first; -1 is padding
        [[1, 2, 1], [0, -1, -1]]
    """

    model_input_names = ["input_ids"]

    @classmethod
    def of_bytes(cls) -> "SpellingTokenizer":
        """Tokenizer of UTF-8 bytes: the id of a byte is its value plus 2, after `<pad>` and `<unk>`."""
        vocabulary = {PADDING: 0, UNKNOWN: 1} | {symbol: byte + 2 for byte, symbol in enumerate(byte_symbols())}
        backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token=UNKNOWN))
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False, trim_offsets=False)
        backend.decoder = decoders.ByteLevel()
        return cls._around(backend)

    @classmethod
    def of_characters(cls, words: Iterable[str], *, min_count: int = 1) -> "SpellingTokenizer":
        """
        Tokenizer of the Unicode characters (code points) of a corpus; all others become `<unk>`.

        Args:
            words (`Iterable[str]`):
                The words of the training texts.
            min_count (`int`, *optional*, defaults to 1):
                Occurrences below which a character is left out.
        """
        counts = Counter(character for word in words for character in word)
        kept = sorted(character for character, count in counts.items() if count >= min_count)
        vocabulary = {unit: index for index, unit in enumerate([PADDING, UNKNOWN, *kept])}
        backend = Tokenizer(models.WordLevel(vocab=vocabulary, unk_token=UNKNOWN))
        backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"(?m:.|\n)"), behavior="isolated")
        backend.decoder = decoders.Fuse()
        return cls._around(backend)

    @classmethod
    def _around(cls, backend: Tokenizer) -> "SpellingTokenizer":
        return cls(
            tokenizer_object=backend,
            pad_token=PADDING,
            unk_token=UNKNOWN,
            split_special_tokens=True,
            clean_up_tokenization_spaces=False,
        )

    def _encode_plus(self, text, text_pair=None, **options):
        for given in (text, text_pair):
            for word in _strings(given):
                _refuse_surrogates(word)
        return super()._encode_plus(text, text_pair, **options)

    def encode_words(
        self, sentences: Sequence[Sequence[str]], max_units_per_word: int | None = None
    ) -> dict[str, Tensor]:
        """
        Batch in which each distinct word is spelled once.

        Args:
            sentences (`Sequence[Sequence[str]]`):
                The words of each sentence.
            max_units_per_word (`int`, *optional*):
                Bytes or characters kept of a word. Of a longer one, the first and the last halves are kept, since
                prefixes and suffixes tell more than the middle.

        Returns:
            `input_ids` of shape `(distinct, units)`, one row for each distinct word, longest first, padded with 0; and
            `word_indices` of shape `(batch, words)`, the row of each word, -1 on padding.

        Raises:
            ValueError: if a word is empty or has a lone surrogate.
        """
        distinct = list(dict.fromkeys(word for sentence in sentences for word in sentence))
        if "" in distinct:
            raise ValueError("A word is the empty string; a word must have a character. Leave it out, with its label.")
        spelled = self(distinct, add_special_tokens=False)["input_ids"] if distinct else []
        if max_units_per_word is not None:
            spelled = [_shorten(units, max_units_per_word) for units in spelled]
        order = sorted(range(len(distinct)), key=lambda index: -len(spelled[index]))
        row = {distinct[index]: position for position, index in enumerate(order)}

        rows = [torch.tensor(spelled[index]) for index in order] or [torch.zeros(1, dtype=torch.long)]
        indices = [torch.tensor([row[word] for word in sentence], dtype=torch.long) for sentence in sentences]
        return {
            "input_ids": torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=self.pad_token_id),
            "word_indices": torch.nn.utils.rnn.pad_sequence(indices, batch_first=True, padding_value=-1),
        }


def _strings(given) -> Iterable[str]:
    """Every string of a text, a list of words, or a batch of either."""
    if isinstance(given, str):
        yield given
    elif isinstance(given, (list, tuple)):
        for part in given:
            yield from _strings(part)


def _refuse_surrogates(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"Character {error.start} of {text[:40]!r} is the lone surrogate U+{ord(text[error.start]):04X}, which is "
            "not text and has no UTF-8 bytes. Decode the source with its true encoding, or replace it with U+FFFD."
        ) from None


def _shorten(units: list[int], limit: int) -> list[int]:
    if len(units) <= limit:
        return units
    head = (limit + 1) // 2
    return units[:head] + units[len(units) - (limit - head) :]


SpellingTokenizer.register_for_auto_class("AutoTokenizer")
