"""
Several tasks of one model: scores of each of them, and the mean by which the model is chosen.

A language that lacks a task, and a sentence that has no tags for it, do not count in that task.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from transformers import EvalPrediction

from hf_polyglot.models.label_scheme import PADDING_LABEL, labels_by_scheme
from hf_polyglot.results import TASK_MEAN, mean_scores
from hf_polyglot.tasks import Task, task_of

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

# Tags of each sentence, by scheme; of a sentence without the task, none.
TagsByScheme = Mapping[str, Sequence[Sequence[str]]]


@dataclass(frozen=True)
class JointTask:
    """
    What a model of several tasks is trained for.

    Args:
        tasks (`dict[str, Task]`):
            Each task, by the scheme of its labels, in the order of the model's heads.
    """

    tasks: dict[str, Task]

    metric = TASK_MEAN
    title = "mean score of the tasks"

    @property
    def name(self) -> str:
        """As on the command line."""
        return " ".join(task.name for task in self.tasks.values())

    @property
    def label_column(self) -> tuple[str, ...]:
        """Columns of the label ids in a data set."""
        return tuple(task.label_column for task in self.tasks.values())

    def compute_metrics(self, labels: Mapping[str, Sequence[str]]) -> Callable[[EvalPrediction], dict[str, float]]:
        """
        Scores of predicted label ids, in percent, for the Trainer: `upos_accuracy` and so on, and their mean.

        Args:
            labels (`Mapping[str, Sequence[str]]`):
                Tag of each label id, by scheme.

        Returns:
            A function of an `EvalPrediction` whose `predictions` and `label_ids` are label ids of shape `(sentences,
            words, tasks)`, -100 on padding and where a sentence has not the task.
        """
        of_tasks = [task.compute_metrics(labels[scheme], scheme) for scheme, task in self.tasks.items()]

        def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
            gold, predicted = np.asarray(prediction.label_ids), np.asarray(prediction.predictions)
            metrics: dict[str, float] = {}
            main = []
            for index, (task, compute) in enumerate(zip(self.tasks.values(), of_tasks, strict=True)):
                has_task = (gold[:, :, index] != PADDING_LABEL).any(1)
                if has_task.any():
                    scores = compute(EvalPrediction(predicted[has_task, :, index], gold[has_task, :, index]))
                    metrics |= {f"{task.name}_{name}": value for name, value in scores.items()}
                    main.append(scores[task.metric])
            return metrics | {TASK_MEAN: fmean(main)}

        return compute_metrics


def task_of_model(config: "PreTrainedConfig") -> Task | JointTask:
    """
    The task of a model, or its tasks.

    Args:
        config (`PreTrainedConfig`):
            Its configuration.
    """
    tasks = {scheme: task_of(scheme) for scheme in labels_by_scheme(config)}
    return JointTask(tasks) if len(tasks) > 1 else next(iter(tasks.values()))


def joint_scores(
    gold: TagsByScheme, predicted: TagsByScheme, languages: Sequence[str], mode: str = "conlleval"
) -> dict[str, dict[str, Any]]:
    """
    Scores of each language on each task that it has, and their mean, in percent; see `results.json`.

    Args:
        gold (`Mapping[str, Sequence[Sequence[str]]]`):
            Tags of each sentence, by scheme; none where it has not the task.
        predicted (`Mapping[str, Sequence[Sequence[str]]]`):
            Tags of the same words.
        languages (`Sequence[str]`):
            Language of each sentence.
        mode (`str`, *optional*, defaults to `"conlleval"`):
            How ill-formed tags of entities are read.

    Example:
        >>> gold = {"IOB2": [["B-PER", "O"], []], "upos": [["PROPN", "VERB"], ["X"]]}
        >>> predicted = {"IOB2": [["O", "O"], []], "upos": [["PROPN", "VERB"], ["X"]]}
        >>> scores = joint_scores(gold, predicted, ["swa", "tam"])
        >>> scores["swa"]["ner_f1"], scores["swa"]["upos_accuracy"], scores["swa"]["task_mean"], scores["tam"]
        (0.0, 100.0, 50.0, {'upos_accuracy': 100.0, 'task_mean': 100.0})
    """
    scores: dict[str, dict[str, Any]] = {language: {} for language in sorted(set(languages))}
    main: dict[str, list[float]] = {language: [] for language in scores}
    for scheme, tags in gold.items():
        task = task_of(scheme)
        rows = [row for row, of_sentence in enumerate(tags) if of_sentence]
        if not rows:
            continue
        by_language = task.scores_by_language(
            [tags[row] for row in rows],
            [predicted[scheme][row] for row in rows],
            [languages[row] for row in rows],
            scheme,
            mode,
        )
        for language, of_language in by_language.items():
            numbers = of_language.plain()
            scores[language] |= {
                name if name == "by_type" else f"{task.name}_{name}": value for name, value in numbers.items()
            }
            main[language].append(numbers[task.metric])
    return {language: {**of_language, TASK_MEAN: fmean(main[language])} for language, of_language in scores.items()}


def joint_scores_with_average(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """
    What one seed contributes to `results["scores"][split]`, as `scores_with_average` of one task.

    Args:
        scores (`Mapping[str, Mapping]`):
            Of each language, as [`joint_scores`] gives them.
    """
    return {language: dict(of_language) for language, of_language in scores.items()} | {"average": mean_scores(scores)}
