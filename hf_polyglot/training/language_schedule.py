"""How often each language is drawn in each epoch of a run."""

from collections.abc import Mapping, Sequence
from typing import Any

from hf_polyglot.data.language_sampling import dynamic_probabilities, language_probabilities, unimax_probabilities
from hf_polyglot.results import languages_by_training, read_results
from hf_polyglot.training.arguments import PolyglotTrainingArguments

# F1 that a language is to reach where no earlier run says better, in percent.
DEFAULT_BASELINE = 100.0


class LanguageSchedule:
    """
    Probability of drawing each language in each epoch, as `sampling` says.

    All that it depends on is kept in checkpoints and the same on every process: with dynamic sampling, the dev scores
    are those of the trainer's log.

    Args:
        args ([`PolyglotTrainingArguments`]):
            `sampling`, and what belongs to it.
        sizes (`Mapping[str, int]`):
            Training examples of each language.
        run_epochs (`float`):
            How often the whole run passes over all examples.
        evaluated (`Sequence[str]`):
            Languages whose dev scores are logged.
        metric (`str`, *optional*, defaults to `"f1"`):
            Name of these scores.

    Raises:
        ValueError: if sampling is dynamic and a training language is not evaluated, or if there is something wrong
            with its baselines.
    """

    def __init__(
        self,
        args: PolyglotTrainingArguments,
        sizes: Mapping[str, int],
        run_epochs: float,
        evaluated: Sequence[str],
        metric: str = "f1",
    ):
        self.metric = metric
        if args.sampling == "unimax":
            self.fixed = unimax_probabilities(sizes, args.unimax_max_epochs, run_epochs)
        else:
            self.fixed = language_probabilities(sizes, 0 if args.sampling == "uniform" else args.alpha)
        self.strength = args.dynamic_strength if args.sampling == "dynamic" else 0
        if self.strength:
            missing = [language for language in sizes if language not in evaluated]
            if missing:
                raise ValueError(
                    f"`sampling` is 'dynamic', and there is no dev F1 of {', '.join(missing)}; expected a data set of "
                    "every training language in `eval_dataset`, by name. Give them, or choose another sampling."
                )
            self.baselines = _baselines(args.dynamic_baselines, list(sizes), metric)

    def probabilities(self, epoch: int, log_history: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """
        Probability of drawing each language in an epoch.

        Args:
            epoch (`int`):
                Counted from 0.
            log_history (`Sequence[Mapping]`):
                `trainer.state.log_history`. Only what was logged before the epoch began is looked at.
        """
        if self.strength:
            names = {language: f"eval_{language}_{self.metric}" for language in self.fixed}
            for entry in reversed(log_history):
                if entry.get("epoch", 0) <= epoch and {f"eval_average_{self.metric}", *names.values()} <= entry.keys():
                    scores = {language: entry[name] for language, name in names.items()}
                    return dynamic_probabilities(self.fixed, scores, self.baselines, self.strength)
        return self.fixed


def _baselines(paths: Sequence[str], languages: Sequence[str], metric: str) -> dict[str, float]:
    """
    Dev F1 (or accuracy) of each language in the results of earlier runs that were trained on it.

    Raises:
        ValueError: if they have none of a language, or two, or one that is not positive.
    """
    if not paths:
        return dict.fromkeys(languages, DEFAULT_BASELINE)
    baselines: dict[str, float] = {}
    for path in paths:
        results = read_results(path)
        trained_on, _ = languages_by_training(results, "validation")
        scores = results["scores"]["validation"]
        for language in trained_on:
            if language not in languages or metric not in scores[language]:
                continue
            score = scores[language][metric]["mean"]
            if language in baselines or score <= 0:
                raise ValueError(
                    f"`dynamic_baselines` says that the dev F1 of {language} is "
                    f"{' and '.join(str(value) for value in (baselines.get(language), score) if value is not None)}; "
                    "expected one positive number for each language. Leave out all runs but one."
                )
            baselines[language] = score
    missing = [language for language in languages if language not in baselines]
    if missing:
        raise ValueError(
            f"`dynamic_baselines` has no run that was trained on {', '.join(missing)} and has a dev F1; expected one "
            "of every training language. Add it, or give none, for a baseline of 100."
        )
    return baselines
