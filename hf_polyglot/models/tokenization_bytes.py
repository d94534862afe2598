"""Tokenizer of the units that words are spelled with: UTF-8 bytes, or characters."""

from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

PADDING, UNKNOWN = "<pad>", "<unk>"

# What stands in `unit_words` for a unit that belongs to no word: padding, and the space between two words.
NO_WORD, SPACE = -1, -2


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
    def of_characters(cls, texts: Iterable[str], *, min_count: int = 1) -> "SpellingTokenizer":
        """
        Tokenizer of the Unicode characters (code points) of a corpus; all others become `<unk>`.

        Args:
            texts (`Iterable[str]`):
                The training texts: words, or, for models of whole sentences, words joined by spaces, so that the
                space is known too.
            min_count (`int`, *optional*, defaults to 1):
                Occurrences below which a character is left out.
        """
        counts = Counter(character for text in texts for character in text)
        kept = sorted(character for character, count in counts.items() if count >= min_count)
        vocabulary = {unit: index for index, unit in enumerate([PADDING, UNKNOWN, *kept])}
        backend = Tokenizer(models.WordLevel(vocab=vocabulary, unk_token=UNKNOWN))
        backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"(?m:.|\n)"), behavior="isolated")
        backend.decoder = decoders.Fuse()
        return cls._around(backend)

    @classmethod
    def _around(cls, backend: Tokenizer, **settings) -> "SpellingTokenizer":
        return cls(
            tokenizer_object=backend,
            pad_token=PADDING,
            unk_token=UNKNOWN,
            split_special_tokens=True,
            clean_up_tokenization_spaces=False,
            **settings,
        )

    def _encode_plus(self, text, text_pair=None, **options):
        for given in (text, text_pair):
            for word in _strings(given):
                check_text(word)
        return super()._encode_plus(text, text_pair, **options)

    def encode_words(
        self, sentences: Sequence[Sequence[str]], max_units_per_word: int | None = None
    ) -> dict[str, Tensor]:
        """
        Batch in which each distinct word is spelled once. An empty word is refused, and one with a lone surrogate.

        Args:
            sentences (`Sequence[Sequence[str]]`):
                The words of each sentence.
            max_units_per_word (`int`, *optional*):
                Bytes or characters kept of a word. Of a longer one, the first and the last halves are kept, since
                prefixes and suffixes tell more than the middle.

        Returns:
            `input_ids` of shape `(distinct, units)`, one row for each distinct word, longest first, padded with 0; and
            `word_indices` of shape `(batch, words)`, the row of each word, -1 on padding.
        """
        spelled = self._spell(sentences, max_units_per_word)
        order = sorted(spelled, key=lambda word: -len(spelled[word]))
        row = {word: position for position, word in enumerate(order)}

        rows = [torch.tensor(spelled[word]) for word in order] or [torch.zeros(1, dtype=torch.long)]
        indices = [torch.tensor([row[word] for word in sentence], dtype=torch.long) for sentence in sentences]
        return {
            "input_ids": torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=self.pad_token_id),
            "word_indices": torch.nn.utils.rnn.pad_sequence(indices, batch_first=True, padding_value=-1),
        }

    def encode_sentences(
        self, sentences: Sequence[Sequence[str]], max_units_per_word: int | None = None
    ) -> dict[str, Tensor]:
        """
        Batch of whole sentences, their words joined by one space. An empty word is refused, and one with a lone
        surrogate.

        Args:
            sentences (`Sequence[Sequence[str]]`):
                The words of each sentence.
            max_units_per_word (`int`, *optional*):
                Bytes or characters kept of a word, as in [`~SpellingTokenizer.encode_words`].

        Returns:
            `input_ids` of shape `(batch, units)`, padded with 0; and `unit_words` of shape `(batch, units)`, the index
            in its sentence of the word that a unit belongs to, -2 on the space between two words, -1 on padding.

        Raises:
            ValueError: if the space is not in the vocabulary.

        Example:
            >>> batch = SpellingTokenizer.of_bytes().encode_sentences([["no", "a"], ["a"]])
            >>> batch["input_ids"].tolist(), batch["unit_words"].tolist()
            ([[112, 113, 34, 99], [99, 0, 0, 0]], [[0, 0, -2, 1], [0, -1, -1, -1]])
        """
        spelled = self._spell(sentences, max_units_per_word)
        (space,) = self(" ", add_special_tokens=False)["input_ids"]
        if space == self.unk_token_id:
            raise ValueError(
                "The space between words is not in the vocabulary of this tokenizer. Make it of sentences, with "
                "`SpellingTokenizer.of_characters(' '.join(words) for words in sentences)`."
            )
        units: list[list[int]] = []
        owners: list[list[int]] = []
        for words in sentences:
            # A space before each word, of which the first is cut off.
            units.append([unit for word in words for unit in (space, *spelled[word])][1:])
            owners.append(
                [owner for index, word in enumerate(words) for owner in (SPACE, *[index] * len(spelled[word]))][1:]
            )
        width = max(1, *map(len, units))
        return {
            "input_ids": torch.tensor([row + [self.pad_token_id] * (width - len(row)) for row in units]),
            "unit_words": torch.tensor([row + [NO_WORD] * (width - len(row)) for row in owners]),
        }

    def _spell(self, sentences: Sequence[Sequence[str]], max_units_per_word: int | None) -> dict[str, list[int]]:
        """Units of each distinct word, in order of appearance."""
        distinct = list(dict.fromkeys(word for sentence in sentences for word in sentence))
        check_words(distinct)
        spelled = self(distinct, add_special_tokens=False)["input_ids"] if distinct else []
        if max_units_per_word is not None:
            spelled = [_shorten(units, max_units_per_word) for units in spelled]
        return dict(zip(distinct, spelled, strict=True))


def _strings(given) -> Iterable[str]:
    """Every string of a text, a list of words, or a batch of either."""
    if isinstance(given, str):
        yield given
    elif isinstance(given, (list, tuple)):
        for part in given:
            yield from _strings(part)


def check_text(text: str) -> None:
    """
    Refuse text that has no UTF-8 bytes.

    Args:
        text (`str`):
            A word or a text.

    Raises:
        ValueError: if it has a lone surrogate.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"Character {error.start} of {text[:40]!r} is the lone surrogate U+{ord(text[error.start]):04X}, which is "
            "not text and has no UTF-8 bytes. Decode the source with its true encoding, or replace it with U+FFFD."
        ) from None


def check_words(words: Iterable[str]) -> None:
    """
    Refuse what is no word.

    Args:
        words (`Iterable[str]`):
            Words of one sentence or of many.

    Raises:
        ValueError: if one is empty or has a lone surrogate.
    """
    for word in words:
        if not word:
            raise ValueError("A word is the empty string; a word must have a character. Leave it out, with its label.")
        check_text(word)


def _shorten(units: list[int], limit: int) -> list[int]:
    if len(units) <= limit:
        return units
    head = (limit + 1) // 2
    return units[:head] + units[len(units) - (limit - head) :]


SpellingTokenizer.register_for_auto_class("AutoTokenizer")
