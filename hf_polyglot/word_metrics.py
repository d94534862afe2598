"""Accuracy of the classes of words, such as parts of speech, in percent. For tasks whose labels are no spans.

Reference:
    Tsai et al. (2019), section 3, who tag parts of speech and morphology. https://aclanthology.org/D19-1374
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hf_polyglot.span_metrics import check_lengths


@dataclass(frozen=True)
class WordScores:
    """
    Agreement of predicted classes with gold classes.

    Args:
        accuracy (`float`):
            Share of the words whose class is right, in percent; 0 if there is no word.
        words (`int`):
            Number of words.
        correct (`int`):
            Number of those whose class is right.
    """

    AVERAGED: ClassVar[tuple[str, ...]] = ("accuracy",)

    accuracy: float
    words: int
    correct: int

    def plain(self) -> dict[str, float]:
        """What `results["scores"]` keeps of them, in percent."""
        return {"accuracy": self.accuracy}


def word_scores(counts: np.ndarray) -> WordScores:
    """
    Accuracy of sentences, from the counts of each.

    Args:
        counts (`np.ndarray` of shape `(sentences, 3)`):
            As `sentence_word_counts` gives them.

    Example:
        >>> word_scores(sentence_word_counts([["NOUN", "VERB"], ["NUM", "X"]], [["NOUN", "NOUN"], ["NUM", "X"]]))
        WordScores(accuracy=75.0, words=4, correct=3)
    """
    correct, words, _ = counts.sum(0).tolist()
    return WordScores(100 * correct / words if words else 0.0, words, correct)


def sentence_word_counts(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> np.ndarray:
    """
    Numbers of correct words, and twice of all words, of each sentence, which tests of significance resample.

    They stand for correct, predicted and gold spans: every word is predicted and gold, so that F1 is accuracy.

    Args:
        gold (`Sequence[Sequence[str]]`):
            Class of each word of each sentence.
        predicted (`Sequence[Sequence[str]]`):
            Classes of the same words.

    Returns:
        Integers of shape `(sentences, 3)`.

    Example:
        >>> sentence_word_counts([["NOUN", "VERB"], ["X"]], [["NOUN", "NOUN"], ["X"]]).tolist()
        [[1, 2, 2], [1, 1, 1]]
    """
    check_lengths(gold, predicted)
    return np.array([
        (sum(right == guess for right, guess in zip(*sentence, strict=True)), len(sentence[0]), len(sentence[0]))
        for sentence in zip(gold, predicted, strict=True)
    ])


def word_scores_by_language(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], languages: Sequence[str]
) -> Mapping[str, WordScores]:
    """
    Accuracy of each language, in alphabetical order.

    Args:
        gold (`Sequence[Sequence[str]]`):
            Class of each word of each sentence.
        predicted (`Sequence[Sequence[str]]`):
            Classes of the same words.
        languages (`Sequence[str]`):
            Language of each sentence.

    Raises:
        ValueError: if there is not one language for each sentence.
    """
    counts = sentence_word_counts(gold, predicted)
    if len(languages) != len(counts):
        raise ValueError(
            f"{len(counts)} sentences but {len(languages)} languages. Expected the language of each sentence, in "
            "order."
        )
    return {language: word_scores(counts[np.array(languages) == language]) for language in sorted(set(languages))}
