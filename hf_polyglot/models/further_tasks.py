"""What configurations of models of several tasks share: which heads there may be, and what is written of them."""

from typing import Any

from .label_scheme import WORD_CLASSES


def check_further_labels(config: Any) -> None:
    """
    Refuse tasks beside the first that no head can be made for, and weights of tasks that are not there.

    Args:
        config (`PreTrainedConfig`):
            With `label_scheme`, `further_labels` and `loss_weights`.

    Raises:
        ValueError: if one is none of `WORD_CLASSES`, is the first task itself or has no label, or if a weight is of no
            task or not positive.
    """
    further = config.further_labels or {}
    possible = [name for name in WORD_CLASSES if name != config.label_scheme]
    if not set(further) <= set(possible) or not all(further.values()):
        raise ValueError(
            f"`further_labels` has {', '.join(f'{name} ({len(labels)} labels)' for name, labels in further.items())} "
            f"beside the scheme {config.label_scheme}; expected some of {', '.join(possible)}, each with its labels. "
            "Entities come first."
        )
    schemes = [config.label_scheme, *further]
    weights = config.loss_weights or {}
    if not set(weights) <= set(schemes) or not all(weight > 0 for weight in weights.values()):
        raise ValueError(
            f"`loss_weights` is {weights}; expected positive numbers for some of {', '.join(schemes)}. Correct it; a "
            "task without one has the weight 1."
        )


def without_absent_tasks(written: dict[str, Any]) -> dict[str, Any]:
    """
    What a configuration writes, without the fields of further tasks where there are none: as before there could be.

    Args:
        written (`dict[str, Any]`):
            All of its fields.
    """
    fields = ("further_labels", "loss_weights")
    return {name: value for name, value in written.items() if name not in fields or value is not None}
