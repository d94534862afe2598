"""Tokenizer that spells sentences and knows words too: each has a row in a table of word vectors."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .known_words import KnownWords
from .tokenization_bytes import SpellingTokenizer


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

    @property
    def known_words(self) -> KnownWords:
        """The words and n-grams that have rows."""
        if "_known_words" not in self.__dict__:
            self._known_words = KnownWords(**self.word_settings)
        return self._known_words

    @property
    def word_settings(self) -> dict[str, Any]:
        """`words`, `lowercase` and `subwords`, as [`~WordSpellingTokenizer.with_words`] has taken them."""
        return {name: self.init_kwargs[name] for name in ("words", "lowercase", "subwords")}

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
            What [`~SpellingTokenizer.encode_sentences`] returns, and the `word_ids` and `subword_ids` of
            [`KnownWords.rows`].
        """
        spelled = super().encode_sentences(sentences, max_units_per_word)
        return spelled | {name: torch.tensor(rows) for name, rows in self.known_words.rows(sentences).items()}


WordSpellingTokenizer.register_for_auto_class("AutoTokenizer")
