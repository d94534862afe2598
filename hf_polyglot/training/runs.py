"""A training run over several seeds: train each, score each, keep the best, and say what came out."""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import set_seed

from hf_polyglot.joint_tasks import joint_scores, joint_scores_with_average
from hf_polyglot.models.label_scheme import PADDING_LABEL, labels_by_scheme
from hf_polyglot.results import aggregate_scores, main_metric, mean_scores, peak_memory_bytes, training_average
from hf_polyglot.span_metrics import average_scores, scores_with_average
from hf_polyglot.tasks import task_of
from hf_polyglot.training.arguments import PolyglotTrainingArguments, asks_to_resume
from hf_polyglot.training.checkpoints import retire_checkpoints
from hf_polyglot.training.model_selection import compare_selection, selection_over_seeds
from hf_polyglot.training.trainer import PolyglotTrainer


@dataclass
class SeedRuns:
    """
    What the runs of all seeds gave.

    Args:
        scores (`dict`):
            `{split: {language: {"f1": {"mean", "std"}, ...}, "average": ...}}` over the seeds, in percent.
        seeds (`list[int]`):
            The seeds.
        best_seed (`int`):
            The one with the best average dev F1 (or accuracy), whose model is kept; the first where no language that
            is trained on has a dev set.
        sentence_counts (`dict[str, dict[str, np.ndarray]]`):
            `{split: {language: counts}}`: numbers of correct, predicted and gold spans of each sentence, of shape
            `(runs, sentences, 3)`, the runs in the order of the seeds; of several tasks `(runs, tasks, sentences, 3)`.
        seconds (`float`):
            Wall-clock time of all of it.
        peak_memory_bytes (`int`):
            Largest memory in use: of the GPU, or, on a CPU, of the whole process so far.
        examples_drawn (`dict[str, list[int]]`):
            Training examples of each language that were drawn, of each seed.
        selection (`dict`):
            By rule of model selection, the test scores and the epochs, see [`compare_selection`]; empty if they were
            not to be compared.
        trainer ([`PolyglotTrainer`]):
            That of the best seed.
    """

    scores: dict[str, Any]
    seeds: list[int]
    best_seed: int
    sentence_counts: dict[str, dict[str, np.ndarray]]
    seconds: float
    peak_memory_bytes: int
    examples_drawn: dict[str, list[int]]
    selection: dict[str, dict[str, Any]]
    trainer: PolyglotTrainer


def score_corpora(
    trainer: PolyglotTrainer, datasets: Mapping[str, Any], zero_shot_languages: Sequence[str] = ()
) -> tuple[dict[str, dict[str, Any]], dict[str, np.ndarray]]:
    """
    Scores of each language and their average, in percent, and what each sentence contributes: of exactly matched
    spans, or of words where these have classes.

    Args:
        trainer ([`PolyglotTrainer`]):
            With the model to score.
        datasets (`Mapping[str, Dataset]`):
            Labelled sentences of each language.
        zero_shot_languages (`Sequence[str]`, *optional*):
            Those of them that the model was not trained on.

    Returns:
        `{language: {"f1", "precision", "recall", "macro_f1", "by_type"}, "average": {...}}`, and if only some
        languages were trained on, `"average_source"` and `"average_zero_shot"` too; and `{language: counts}`, numbers
        of correct, predicted and gold spans of shape `(sentences, 3)`. Of several tasks, scores are as
        [`joint_scores`] gives them, and counts of shape `(tasks, sentences, 3)`.
    """
    labels = labels_by_scheme(trainer.model.config)
    gold: dict[str, list[list[str]]] = {scheme: [] for scheme in labels}
    predicted: dict[str, list[list[str]]] = {scheme: [] for scheme in labels}
    languages = []
    for language, dataset in datasets.items():
        prediction = trainer.predict(dataset, metric_key_prefix=f"test_{language}")
        shape = (*prediction.label_ids.shape[:2], len(labels))  # (sentences, words, tasks)
        gold_ids, predicted_ids = prediction.label_ids.reshape(shape), prediction.predictions.reshape(shape)
        for index, (scheme, tags) in enumerate(labels.items()):
            is_word = gold_ids[:, :, index] != PADDING_LABEL
            for ids, of_scheme in ((gold_ids, gold[scheme]), (predicted_ids, predicted[scheme])):
                of_scheme += [
                    [tags[label] for label in sentence[words].tolist()]
                    for sentence, words in zip(ids[:, :, index], is_word, strict=True)
                ]
        languages += [language] * len(dataset)
    scores = _scores(gold, predicted, languages, zero_shot_languages)
    counts = [task_of(scheme).sentence_counts(gold[scheme], predicted[scheme], scheme) for scheme in labels]
    # Of one task (sentences, 3), of several (tasks, sentences, 3).
    stacked = np.stack(counts) if len(counts) > 1 else counts[0]
    return scores, {language: stacked[..., np.array(languages) == language, :] for language in datasets}


def _scores(
    gold: Mapping[str, list[list[str]]],
    predicted: Mapping[str, list[list[str]]],
    languages: Sequence[str],
    zero_shot_languages: Sequence[str],
) -> dict[str, dict[str, Any]]:
    """Scores of each language and their averages, from the tags of sentences by scheme."""
    average: Callable[[Mapping[str, Any]], dict[str, float]]
    by_language: Mapping[str, Any]
    scores: dict[str, dict[str, Any]]
    if len(gold) > 1:
        by_language, average = joint_scores(gold, predicted, languages), mean_scores
        scores = joint_scores_with_average(by_language)
    else:
        ((scheme, tags),) = gold.items()
        by_language = task_of(scheme).scores_by_language(tags, predicted[scheme], languages, scheme)
        scores, average = scores_with_average(by_language), average_scores
    unseen: dict[str, Any] = {name: of for name, of in by_language.items() if name in zero_shot_languages}
    seen: dict[str, Any] = {name: of for name, of in by_language.items() if name not in zero_shot_languages}
    if seen and unseen:
        scores |= {"average_source": average(seen), "average_zero_shot": average(unseen)}
    return scores


def train_over_seeds(
    make_trainer: Callable[[PolyglotTrainingArguments], PolyglotTrainer],
    training: PolyglotTrainingArguments,
    seeds: Sequence[int],
    evaluation: Mapping[str, Mapping[str, Any]],
    zero_shot_languages: Sequence[str] = (),
) -> SeedRuns:
    """
    Train once per seed, score every run, and save the model of the best one in `training.output_dir`.

    Args:
        make_trainer (`Callable`):
            Makes the trainer of one seed, its model included, from the arguments of that run. Called with the seed
            set.
        training ([`PolyglotTrainingArguments`]):
            Arguments that all runs share. The runs lie in `seed-42` and so on, below their `output_dir`.
        seeds (`Sequence[int]`):
            At least one.
        evaluation (`Mapping[str, Mapping[str, Dataset]]`):
            `{split: {language: data set}}` to score in the end. The seeds are compared by `"validation"`, if it has
            languages that are trained on.
        zero_shot_languages (`Sequence[str]`, *optional*):
            Languages of `evaluation` that are not trained on. They have no say in which seed is best.

    Returns:
        [`SeedRuns`].

    Raises:
        ValueError: if there is no seed, or the same one twice.
        SystemExit: if Ctrl-C or SIGTERM ended training; it says how to go on.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"`seeds` is {list(seeds)}; expected one or more, each once. Name every seed once.")
    if training.seed not in (type(training).seed, *seeds):
        raise ValueError(
            f"`seed` is {training.seed} and `seeds` is {list(seeds)}; expected the seeds in one place. Use `--seeds`."
        )
    if not asks_to_resume(training) and training.should_save:
        # All at once: a run that is stopped in an early stage and resumed must not find an older one's later stages.
        for seed in seeds:
            retire_checkpoints(seed_folder(training.output_dir, seed))
    started = time.perf_counter()
    if training.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(training.device)
    scores: dict[str, list[dict[str, Any]]] = {split: [] for split in evaluation}
    counts: dict[str, list[dict[str, np.ndarray]]] = {split: [] for split in evaluation}
    drawn: list[dict[str, int]] = []
    selections: list[dict[str, dict[str, Any]]] = []
    seconds_before = 0.0
    best_score, best_seed = -1.0, seeds[0]
    best_trainer: PolyglotTrainer
    for seed in seeds:
        arguments = copy.copy(training)
        arguments.seed = seed
        arguments.push_to_hub = False  # the best of them is published, in the end
        arguments.output_dir = str(seed_folder(training.output_dir, seed))
        if len(seeds) > 1:
            training.print(f"\nSeed {seed}, {len(drawn) + 1} of {len(seeds)}")
        set_seed(seed)
        trainer = make_trainer(arguments)
        try:
            trainer.train(resume_from_checkpoint=asks_to_resume(arguments))
        except KeyboardInterrupt as interruption:
            raise SystemExit(f"\n{interruption}" if interruption.args else 130) from None
        drawn.append(trainer.examples_drawn())
        seconds_before += trainer.seconds_before + trainer.seconds_of_first_phase
        for split, datasets in evaluation.items():
            scores_of_seed, counts_of_seed = score_corpora(trainer, datasets, zero_shot_languages)
            scores[split].append(scores_of_seed)
            counts[split].append(counts_of_seed)
        dev_score = 0.0  # of all seeds alike
        if set(evaluation.get("validation", ())) - set(zero_shot_languages):
            dev_average = training_average(scores["validation"][-1])
            dev_score = dev_average[main_metric(dev_average)]
        if dev_score > best_score:
            best_score, best_seed, best_trainer = dev_score, seed, trainer
            trainer.save_model(training.output_dir)
        if training.compare_selection:
            training.print("The epochs are scored that each rule of model selection takes.")
            selections.append(compare_selection(trainer, evaluation, zero_shot_languages, score_corpora))
    best_trainer.args.output_dir = training.output_dir
    return SeedRuns(
        scores={split: aggregate_scores(of_seeds) for split, of_seeds in scores.items()},
        seeds=list(seeds),
        best_seed=best_seed,
        sentence_counts={
            split: {language: np.stack([of_seed[language] for of_seed in of_seeds]) for language in of_seeds[0]}
            for split, of_seeds in counts.items()
        },
        seconds=time.perf_counter() - started + seconds_before,
        peak_memory_bytes=peak_memory_bytes(training.device),
        examples_drawn={language: [of_seed[language] for of_seed in drawn] for language in drawn[0]},
        selection=selection_over_seeds(selections) if selections else {},
        trainer=best_trainer,
    )


def seed_folder(output_dir: str | Path, seed: int) -> Path:
    """
    Where the run of a seed lies.

    Args:
        output_dir (`str` or `Path`):
            Of the run over all seeds.
        seed (`int`):
            Of this one.
    """
    return Path(output_dir) / f"seed-{seed}"
