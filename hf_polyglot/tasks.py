"""
What is learnt of annotated sentences: entities, parts of speech, or morphology. Each with the column that it is in,
and the score by which models are chosen and compared.

    ner      entities, spans of words; F1 of spans
    upos     universal part of speech of each word; accuracy
    feats    bundle of morphological features of each word, such as `Case=Nom|Number=Sing`; accuracy
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_polyglot.models.label_scheme import WORD_CLASSES
from hf_polyglot.span_metrics import label_accuracy, sentence_span_counts, span_f1, span_scores_by_language
from hf_polyglot.word_metrics import sentence_word_counts, word_scores_by_language

if TYPE_CHECKING:
    from transformers import EvalPrediction

Sentences = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Task:
    """
    Entities in sentences, by exact match of spans.

    Args:
        name (`str`):
            As on the command line.
        label_column (`str`):
            Column of the label ids in a data set.
        metric (`str`):
            Name of the score by which models are chosen.
        title (`str`):
            What that is called where people read it.
    """

    name: str
    label_column: str
    metric: str
    title: str

    @property
    def metric_beside_others(self) -> str:
        """What `metric` is called in the scores of a model of several tasks, such as `upos_accuracy`."""
        return f"{self.name}_{self.metric}"

    def compute_metrics(self, labels: Sequence[str], scheme: str) -> "Callable[[EvalPrediction], dict[str, float]]":
        """
        Scores of predicted label ids, in percent, for the Trainer.

        Args:
            labels (`Sequence[str]`):
                Tag of each label id.
            scheme (`str`):
                Scheme of the tags.
        """
        return span_f1(labels, scheme)

    def scores_by_language(
        self, gold: Sentences, predicted: Sentences, languages: Sequence[str], scheme: str, mode: str = "conlleval"
    ) -> Mapping[str, Any]:
        """
        Scores of each language, for `scores_with_average` of `hf_polyglot.span_metrics`.

        Args:
            gold (`Sequence[Sequence[str]]`):
                Tags of each sentence.
            predicted (`Sequence[Sequence[str]]`):
                Tags of the same words.
            languages (`Sequence[str]`):
                Language of each sentence.
            scheme (`str`):
                Scheme of the tags.
            mode (`str`, *optional*, defaults to `"conlleval"`):
                How ill-formed tags are read.
        """
        return span_scores_by_language(gold, predicted, languages, scheme=scheme, mode=mode)

    def sentence_counts(
        self, gold: Sentences, predicted: Sentences, scheme: str, mode: str = "conlleval"
    ) -> np.ndarray:
        """
        What each sentence contributes to the scores: numbers of correct, predicted and gold spans (or words).

        Args:
            gold (`Sequence[Sequence[str]]`):
                Tags of each sentence.
            predicted (`Sequence[Sequence[str]]`):
                Tags of the same words.
            scheme (`str`):
                Scheme of the tags.
            mode (`str`, *optional*, defaults to `"conlleval"`):
                How ill-formed tags are read.

        Returns:
            Integers of shape `(sentences, 3)`.
        """
        return sentence_span_counts(gold, predicted, scheme=scheme, mode=mode)


class WordTask(Task):
    """Classes of single words, by the share of them that is right. No tag is ill-formed, so that no mode matters."""

    def compute_metrics(self, labels: Sequence[str], scheme: str) -> "Callable[[EvalPrediction], dict[str, float]]":
        """As of [`Task`]."""
        return label_accuracy

    def scores_by_language(
        self, gold: Sentences, predicted: Sentences, languages: Sequence[str], scheme: str, mode: str = "conlleval"
    ) -> Mapping[str, Any]:
        """As of [`Task`]."""
        return word_scores_by_language(gold, predicted, languages)

    def sentence_counts(
        self, gold: Sentences, predicted: Sentences, scheme: str, mode: str = "conlleval"
    ) -> np.ndarray:
        """As of [`Task`]."""
        return sentence_word_counts(gold, predicted)


TASKS: dict[str, Task] = {
    "ner": Task("ner", "ner_tags", "f1", "F1"),
    **{name: WordTask(name, name, "accuracy", "accuracy") for name in WORD_CLASSES},
}


def task_of(scheme: str) -> Task:
    """
    The task of a model whose labels follow this scheme.

    Args:
        scheme (`str`):
            `label_scheme` of its configuration.

    Example:
        >>> task_of("IOB2").metric, task_of("upos").metric
        ('f1', 'accuracy')
    """
    return TASKS[scheme if scheme in WORD_CLASSES else "ner"]
