"""What a model of one language gives on others: what a continued one has forgotten, what a monolingual one carries."""

from collections.abc import Mapping
from statistics import fmean
from typing import Any

# Name of the model of a run that has one for all languages.
ALL = "all"


def own_and_others(scores: Mapping[str, Mapping[str, float]]) -> tuple[float, float]:
    """
    Mean score of the models on their own languages, and on the others.

    Each model counts alike. A model of all languages has no others; its mean over all of them stands for both, so that
    it can be compared with models that were made from it.

    Args:
        scores (`Mapping[str, Mapping[str, float]]`):
            Score of each model, named after its language or [`ALL`], on each language.

    Raises:
        ValueError: if a model was not scored on its own language, or on no other.

    Example:
        >>> own_and_others({"swa": {"swa": 90.0, "yor": 40.0}, "yor": {"swa": 50.0, "yor": 80.0}})
        (85.0, 45.0)
    """
    own, others = [], []
    for model, of_model in scores.items():
        if model == ALL:
            own.append(fmean(of_model.values()))
            others.append(fmean(of_model.values()))
            continue
        if model not in of_model or len(of_model) < 2:
            raise ValueError(
                f"The model of {model} has scores on {', '.join(of_model) or 'nothing'}; expected its own language "
                "and others. Give the corpora of all of them."
            )
        own.append(of_model[model])
        others.append(fmean(score for language, score in of_model.items() if language != model))
    return fmean(own), fmean(others)


def transfer_report(matrices: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, Any]:
    """
    Scores of several runs, those of each model on each language side by side.

    Args:
        matrices (`Mapping[str, Mapping[str, Mapping[str, float]]]`):
            Of each run by name, the score of each model on each language.

    Returns:
        `runs`, their names; `own` and `others` as [`own_and_others`] gives them, one number a run; and `scores`, of
        each model on each language, one number a run.

    Raises:
        ValueError: if the runs have models of different languages, or of one only scores on its own.
    """
    first, *others = matrices.values()
    for other in others:
        if other.keys() != first.keys():
            raise ValueError(
                f"One run has models of {', '.join(first)}, another of {', '.join(other)}; expected the same. Score "
                "them apart."
            )
    own, on_others = zip(*map(own_and_others, matrices.values()), strict=True)
    return {
        "runs": list(matrices),
        "own": list(own),
        "others": list(on_others),
        "scores": {
            model: {language: [matrix[model][language] for matrix in matrices.values()] for language in of_model}
            for model, of_model in first.items()
        },
    }
