"""Rules that select a model from the epochs of one run, side by side, for languages that it was not trained on.

Which epoch is best for a language without training data cannot be seen without labelled sentences of that language.
What is chosen by the development sets of the languages trained on may be far from it.

Reference:
    Keung et al. (2020), on choosing by the source language. https://aclanthology.org/2020.emnlp-main.40
    Schmidt, Vulić and Glavaš (2023), on averaging instead. https://aclanthology.org/2023.acl-long.314
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hf_polyglot.results import aggregate_scores, mean_scores
from hf_polyglot.training.trainer import PolyglotTrainer

Score = Callable[[PolyglotTrainer, Mapping[str, Any], Sequence[str]], tuple[dict[str, Any], Any]]


def compare_selection(
    trainer: PolyglotTrainer,
    evaluation: Mapping[str, Mapping[str, Any]],
    zero_shot_languages: Sequence[str],
    score: Score,
) -> dict[str, dict[str, Any]]:
    """
    Test scores of what each rule selects from a run. The trainer's model is afterwards as it was before.

    `source_dev` is the epoch with the best average dev score of the languages trained on; `target_dev` is for each
    zero-shot language the epoch with its own best dev score; `last` is the last epoch; `average` has the mean of the
    weights of all epochs. Of epochs that are alike, the first counts.

    Args:
        trainer ([`PolyglotTrainer`]):
            That has trained with `compare_selection`.
        evaluation (`Mapping[str, Mapping[str, Dataset]]`):
            `{split: {language: data set}}` of `"validation"` and `"test"`.
        zero_shot_languages (`Sequence[str]`):
            Languages that were not trained on. Those without a dev set are left out of `target_dev`.
        score (`Callable`):
            [`score_corpora`].

    Returns:
        `dict`: `{rule: {"scores": {"test": scores}, "epochs": epochs}}`. The epochs are the one that was selected, or
        one for each language, or, of `average`, how many were averaged.
    """
    trainer.accelerator.wait_for_everyone()  # the first of them has written the last epoch
    kept = trainer.epoch_weights
    epochs, test = kept.epochs, evaluation["test"]
    targets = [language for language in zero_shot_languages if language in evaluation["validation"]]
    if without := [language for language in zero_shot_languages if language not in targets]:
        trainer.args.print(f"No dev set of {', '.join(without)}: target_dev has no score there.")
    own = {name: tensor.detach().clone() for name, tensor in trainer.trained_weights().items()}
    try:
        dev = {epoch: _dev_scores(trainer, epoch, evaluation["validation"], score) for epoch in epochs}
        sources = [language for language in evaluation["validation"] if language not in zero_shot_languages]
        # Summed as the trainer does, so that what is a tie for one is a tie for the other.
        source_best = _best({
            epoch: sum(scores[language] for language in sources) / len(sources) for epoch, scores in dev.items()
        })
        target_best = {
            language: _best({epoch: scores[language] for epoch, scores in dev.items()}) for language in targets
        }
        scores = {}
        for epoch in sorted({source_best, epochs[-1], *target_best.values()}):
            is_for_all = epoch in (source_best, epochs[-1])
            wanted = [language for language in test if is_for_all or target_best.get(language) == epoch]
            trainer.load_weights(kept.read(epoch))
            scores[epoch], _ = score(trainer, {language: test[language] for language in wanted}, zero_shot_languages)
        trainer.load_weights(trainer.average_of_epochs())
        of_average, _ = score(trainer, test, zero_shot_languages)
    finally:
        trainer.load_weights(own)
    of_targets = {language: scores[epoch][language] for language, epoch in target_best.items()}
    if len(targets) == len(zero_shot_languages) > 0:
        of_targets["average_zero_shot"] = mean_scores(of_targets)
    selected = {
        "source_dev": (scores[source_best], source_best),
        "target_dev": (of_targets, target_best),
        "last": (scores[epochs[-1]], epochs[-1]),
        "average": (of_average, len(epochs)),
    }
    return {
        rule: {"scores": {"test": of_rule}, "epochs": of_epochs}
        for rule, (of_rule, of_epochs) in selected.items()
        if of_rule
    }


def selection_over_seeds(seeds: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """
    What `results.json` says of a comparison of rules: means over the seeds, and the epochs of each seed.

    Args:
        seeds (`Sequence[Mapping]`):
            What [`compare_selection`] gave for each.
    """
    return {
        rule: {
            "scores": aggregate_scores([of_seed[rule]["scores"] for of_seed in seeds]),
            "epochs": _listed([of_seed[rule]["epochs"] for of_seed in seeds]),
        }
        for rule in seeds[0]
    }


def _dev_scores(trainer: PolyglotTrainer, epoch: int, datasets: Mapping[str, Any], score: Score) -> dict[str, float]:
    """F1 or accuracy of each dev set at the end of an epoch, from the log where training has measured it."""
    step, metric = trainer.epoch_weights.step(epoch), trainer.task.metric
    logged: dict[str, float] = {}
    for log in trainer.state.log_history:
        if log["step"] == step:
            names = {language: f"eval_{language}_{metric}" for language in datasets}
            logged |= {language: log[name] for language, name in names.items() if name in log}
    unknown = {language: dataset for language, dataset in datasets.items() if language not in logged}
    if not unknown:
        return logged
    trainer.load_weights(trainer.epoch_weights.read(epoch))
    scores, _ = score(trainer, unknown, ())
    return logged | {language: scores[language][metric] for language in unknown}


def _best(scores: Mapping[int, float]) -> int:
    return max(scores, key=scores.__getitem__)  # the first of the best


def _listed(epochs: Sequence[Any]) -> Any:
    """A list over seeds of one number each, or such a list for each language."""
    if isinstance(epochs[0], Mapping):
        return {language: [of_seed[language] for of_seed in epochs] for language in epochs[0]}
    return list(epochs)
