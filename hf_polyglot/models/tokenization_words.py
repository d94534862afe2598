"""Tokenizer that spells sentences and knows words too: each has a row in a table of word vectors."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .tokenization_bytes import SpellingTokenizer

# The row of all words that have none of their own; on padding there is no row.
UNKNOWN_WORD, NO_ROW = 0, -1


def subword_buckets(word: str, min_characters: int, max_characters: int, num_buckets: int) -> list[int]:
    """
    The bucket of each character n-gram of a word, as fastText hashes them.

    Args:
        word (`str`):
            Without the marks of its beginning and end, which are part of its n-grams.
        min_characters (`int`):
            Of the shortest n-gram.
        max_characters (`int`):
            Of the longest n-gram; 0 if there are none.
        num_buckets (`int`):
            Buckets that n-grams are hashed into.

    Reference:
        Bojanowski, Grave, Joulin and Mikolov (2017), section 3.2, and fastText's code, `Dictionary.computeSubwords`.

    Example:
        >>> len(subword_buckets("where", 3, 3, 2_000_000))  # <wh, whe, her, ere, re>
        5
    """
    marked = f"<{word}>"
    buckets = []
    for start in range(len(marked)):
        for end in range(start + max(1, min_characters), min(start + max_characters, len(marked)) + 1):
            # The marks alone are no n-grams.
            if end - start == 1 and (start == 0 or end == len(marked)):
                continue
            hashed = 2166136261
            for byte in marked[start:end].encode():
                # fastText reads bytes as signed, so that the upper bits of those above 127 are set.
                signed = byte | 0xFFFFFF00 if byte > 127 else byte
                hashed = ((hashed ^ signed) * 16777619) & 0xFFFFFFFF
            buckets.append(hashed % num_buckets)
    return buckets


class WordSpellingTokenizer(SpellingTokenizer):
    """
    [`SpellingTokenizer`] that gives the words of a sentence their rows in a table of word vectors besides.

    Row 0 is that of unknown words. An unknown word can be known by its character n-grams: those of fastText files,
    each in a table of rows of its own. Words and n-grams lie in `tokenizer_config.json`.

    Make one with [`~WordSpellingTokenizer.with_words`].

    Example:
        >>> spelling = SpellingTokenizer.of_characters(["no a"])
        >>> batch = WordSpellingTokenizer.with_words(spelling, ["a"]).encode_sentences([["no", "a"], ["a"]])
        >>> {name: tensor.tolist() for name, tensor in batch.items()}  # doctest: +NORMALIZE_WHITESPACE
        {'input_ids': [[4, 5, 2, 3], [3, 0, 0, 0]],
         'unit_words': [[0, 0, -2, 1], [0, -1, -1, -1]],
         'word_ids': [[0, 1], [1, -1]]}
    """

    @classmethod
    def with_words(
        cls,
        spelling: SpellingTokenizer,
        words: Sequence[str],
        *,
        lowercase: bool = False,
        subwords: Sequence[Mapping[str, Any]] = (),
    ) -> "WordSpellingTokenizer":
        """
        A tokenizer that spells as another does.

        Args:
            spelling ([`SpellingTokenizer`]):
                Of bytes or characters; the space must be among them.
            words (`Sequence[str]`):
                In the order of their rows, the first of which is 1.
            lowercase (`bool`, *optional*, defaults to `False`):
                Whether words are looked up in lower case, as `words` then are. Spelling is not changed.
            subwords (`Sequence[Mapping]`, *optional*):
                For each fastText file `min_characters`, `max_characters` and `num_buckets`, see [`subword_buckets`],
                and `buckets`, those that have a row, in the order of their rows, which go on from file to file.
        """
        settings = {"words": list(words), "lowercase": lowercase, "subwords": [dict(of_file) for of_file in subwords]}
        return cls._around(spelling.backend_tokenizer, **settings)

    def word_row(self, word: str) -> int:
        """
        The row of a word, 0 if it has none.

        Args:
            word (`str`):
                As it stands in a sentence.
        """
        if "_row_of_word" not in self.__dict__:
            self._row_of_word = {known: row for row, known in enumerate(self.init_kwargs["words"], start=1)}
        return self._row_of_word.get(self._as_known(word), UNKNOWN_WORD)

    def subword_rows(self, word: str) -> list[int]:
        """
        The rows of those character n-grams of a word that have one, of all files.

        Args:
            word (`str`):
                As it stands in a sentence.
        """
        if "_row_of_bucket" not in self.__dict__:
            first, self._row_of_bucket = 0, []
            for of_file in self.init_kwargs["subwords"]:
                self._row_of_bucket.append({bucket: row for row, bucket in enumerate(of_file["buckets"], start=first)})
                first += len(of_file["buckets"])
        sizes = ("min_characters", "max_characters", "num_buckets")
        return [
            row_of[bucket]
            for of_file, row_of in zip(self.init_kwargs["subwords"], self._row_of_bucket, strict=True)
            for bucket in subword_buckets(self._as_known(word), *(of_file[size] for size in sizes))
            if bucket in row_of
        ]

    def encode_sentences(
        self, sentences: Sequence[Sequence[str]], max_units_per_word: int | None = None
    ) -> dict[str, Tensor]:
        """
        Batch of whole sentences, their units and their words. An empty word is refused, and one with a lone surrogate.

        Args:
            sentences (`Sequence[Sequence[str]]`):
                The words of each sentence.
            max_units_per_word (`int`, *optional*):
                Bytes or characters kept of a word.

        Returns:
            What [`~SpellingTokenizer.encode_sentences`] returns, and `word_ids` of shape `(batch, words)`, the row of
            each word, -1 on padding. Where n-grams are known, also `subword_ids` of shape `(unknown, n-grams)`: the
            n-grams of the distinct unknown words that have any, -1 on padding; such a word's id is that of its row
            there behind all rows of words.
        """
        spelled = super().encode_sentences(sentences, max_units_per_word)
        num_rows = len(self.init_kwargs["words"]) + 1
        rows: dict[str, int] = {}
        unknown: list[list[int]] = []
        for word in dict.fromkeys(word for sentence in sentences for word in sentence):
            rows[word] = self.word_row(word)
            if rows[word] == UNKNOWN_WORD and (subwords := self.subword_rows(word)):
                rows[word] = num_rows + len(unknown)
                unknown.append(subwords)
        found = {"word_ids": _padded([[rows[word] for word in words] for words in sentences])}
        if self.init_kwargs["subwords"]:
            found["subword_ids"] = _padded(unknown or [[]])
        return spelled | found

    def _as_known(self, word: str) -> str:
        return word.lower() if self.init_kwargs["lowercase"] else word


def _padded(rows: Sequence[Sequence[int]]) -> Tensor:
    width = max(1, *map(len, rows)) if rows else 1
    return torch.tensor([[*row, *[NO_ROW] * (width - len(row))] for row in rows])


WordSpellingTokenizer.register_for_auto_class("AutoTokenizer")
