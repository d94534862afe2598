"""
Which rows of a table of word vectors the words of a sentence have, in plain lists, so that no torch is needed.

Axes:
    batch     sentences
    words     words of the longest sentence in the batch
    unknown   distinct words of the batch that are known by their n-grams only
"""

from collections.abc import Mapping, Sequence
from typing import Any

from .input_rows import Rows, padded

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


class KnownWords:
    """
    Words and character n-grams with a row each, in two tables.

    Args:
        words (`Sequence[str]`):
            In the order of their rows, the first of which is 1; row 0 is that of unknown words.
        lowercase (`bool`, *optional*, defaults to `False`):
            Whether words are looked up in lower case, as `words` then are.
        subwords (`Sequence[Mapping]`, *optional*):
            For each fastText file `min_characters`, `max_characters` and `num_buckets`, see [`subword_buckets`], and
            `buckets`, those that have a row, in the order of their rows, which go on from file to file.

    Example:
        >>> KnownWords(["a"]).rows([["no", "a"], ["a"]])
        {'word_ids': [[0, 1], [1, -1]]}
    """

    def __init__(self, words: Sequence[str], lowercase: bool = False, subwords: Sequence[Mapping[str, Any]] = ()):
        self.num_rows = len(words) + 1
        self.lowercase = lowercase
        self._row_of_word = {word: row for row, word in enumerate(words, start=1)}
        self._files: list[tuple[dict[str, int], dict[int, int]]] = []
        first = 0
        for of_file in subwords:
            sizes = {name: of_file[name] for name in ("min_characters", "max_characters", "num_buckets")}
            self._files.append((sizes, {bucket: row for row, bucket in enumerate(of_file["buckets"], start=first)}))
            first += len(of_file["buckets"])

    def word_row(self, word: str) -> int:
        """
        The row of a word, 0 if it has none.

        Args:
            word (`str`):
                As it stands in a sentence.
        """
        return self._row_of_word.get(self._as_known(word), UNKNOWN_WORD)

    def subword_rows(self, word: str) -> list[int]:
        """
        The rows of those character n-grams of a word that have one, of all files.

        Args:
            word (`str`):
                As it stands in a sentence.
        """
        return [
            row_of[bucket]
            for sizes, row_of in self._files
            for bucket in subword_buckets(self._as_known(word), **sizes)
            if bucket in row_of
        ]

    def rows(self, sentences: Sequence[Sequence[str]]) -> dict[str, Rows]:
        """
        The rows of the words of a batch.

        Args:
            sentences (`Sequence[Sequence[str]]`):
                The words of each sentence.

        Returns:
            `word_ids (batch, words)`, the row of each word, -1 on padding. Where n-grams are known, also `subword_ids
            (unknown, n-grams)`: the n-grams of the distinct unknown words that have any, -1 on padding; such a word's
            id is that of its row there behind all rows of words.
        """
        rows: dict[str, int] = {}
        unknown: list[list[int]] = []
        for word in dict.fromkeys(word for sentence in sentences for word in sentence):
            rows[word] = self.word_row(word)
            if rows[word] == UNKNOWN_WORD and (subwords := self.subword_rows(word)):
                rows[word] = self.num_rows + len(unknown)
                unknown.append(subwords)
        found = {"word_ids": padded([[rows[word] for word in words] for words in sentences], NO_ROW, least=1)}
        if any(row_of for _, row_of in self._files):
            found["subword_ids"] = padded(unknown or [[]], NO_ROW, least=1)
        return found

    def _as_known(self, word: str) -> str:
        return word.lower() if self.lowercase else word
