"""Tokenizer of the units that words are spelled with: UTF-8 bytes, or characters."""

from collections import ChainMap, Counter
from collections.abc import Iterable, MutableMapping, Sequence

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from .input_rows import check_text, distinct_words, sentence_rows, shortened, word_rows

PADDING, UNKNOWN = "<pad>", "<unk>"

# Words whose units a tokenizer keeps, some megabytes.
MOST_WORDS_KEPT = 2**16


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

    # Units of words that were spelled before, and the size of the vocabulary that they were spelled with.
    _kept: dict[str, list[int]]
    _kept_size = -1

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
        units, indices = word_rows(spelled, sentences, self.pad_token_id)
        return {"input_ids": _tensor(units), "word_indices": _tensor(indices)}

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
        units, owners = sentence_rows(spelled, sentences, space, self.pad_token_id)
        return {"input_ids": _tensor(units), "unit_words": _tensor(owners)}

    def _spell(self, sentences: Sequence[Sequence[str]], max_units_per_word: int | None) -> dict[str, list[int]]:
        """Units of each distinct word, in order of appearance."""
        distinct = distinct_words(sentences)
        if len(self) != self._kept_size:  # the first words, or tokens were added
            self._kept, self._kept_size = {}, len(self)
        known: MutableMapping[str, list[int]] = self._kept  # another thread may put another one in its place
        if new := [word for word in distinct if word not in known]:
            units_of_new = dict(zip(new, self(new, add_special_tokens=False)["input_ids"], strict=True))
            if len(known) + len(new) > MOST_WORDS_KEPT:
                self._kept = {}
            self._kept |= units_of_new
            known = ChainMap(units_of_new, known)
        return {word: shortened(known[word], max_units_per_word) for word in distinct}

    # A copy, and what tells one tokenizer from another, know nothing of the words that were read.
    def __getstate__(self):
        return vars(self) | {"_kept": {}, "_kept_size": -1}


def _tensor(rows: list[list[int]]) -> Tensor:
    # Of lists of numbers, numpy makes an array in a quarter of the time that torch takes for a tensor.
    return torch.from_numpy(np.array(rows, np.int64))


def _strings(given) -> Iterable[str]:
    """Every string of a text, a list of words, or a batch of either."""
    if isinstance(given, str):
        yield given
    elif isinstance(given, (list, tuple)):
        for part in given:
            yield from _strings(part)


SpellingTokenizer.register_for_auto_class("AutoTokenizer")
