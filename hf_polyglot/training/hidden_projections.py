"""What maps a student's hidden states to the width of its teacher's while it learns, and is not kept."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

PROJECTIONS = "distillation_projections"
PROJECTIONS_FILE = f"{PROJECTIONS}.safetensors"


def add_projections(student: nn.Module, student_config: Any, teacher_config: Any, num_layers: int) -> None:
    """
    Give a student what maps its hidden states to the width of its teacher's, if that is another.

    It is a part of the student while it learns, so that the optimizer and several processes know of it.

    Args:
        student (`nn.Module`):
            The student.
        student_config (`PreTrainedConfig`):
            Of its encoder.
        teacher_config (`PreTrainedConfig`):
            Of the teacher's.
        num_layers (`int`):
            Layers that are compared, each with a map of its own.
    """
    widths = student_config.hidden_size, teacher_config.hidden_size
    if widths[0] != widths[1]:
        projections = nn.ModuleList([nn.Linear(*widths, bias=False) for _ in range(num_layers)])
        setattr(student, PROJECTIONS, projections.to(next(student.parameters()).device))


def projections_of(student: nn.Module, num_layers: int) -> Iterable[nn.Module]:
    """
    The maps of [`add_projections`], or, of a student that needs none, what changes nothing.

    Args:
        student (`nn.Module`):
            The student.
        num_layers (`int`):
            Layers that are compared.
    """
    projections: Any = getattr(student, PROJECTIONS, None)
    return [nn.Identity()] * num_layers if projections is None else projections


def remove_projections(student: nn.Module) -> None:
    """
    Take from a student what was only needed to compare it.

    Args:
        student (`nn.Module`):
            That has learned.
    """
    if hasattr(student, PROJECTIONS):
        delattr(student, PROJECTIONS)


def apart_from_projections(state: Mapping[str, Tensor], folder: Path | None) -> dict[str, Tensor]:
    """
    The student's own weights; the maps of [`add_projections`] are written beside them in a checkpoint alone.

    Args:
        state (`Mapping[str, Tensor]`):
            All weights, by name.
        folder (`Path`, *optional*):
            Where they are saved, if this process saves.
    """
    own = {name: weights for name, weights in state.items() if not name.startswith(f"{PROJECTIONS}.")}
    if len(own) < len(state) and folder is not None and folder.name.startswith(PREFIX_CHECKPOINT_DIR):
        others = {name: weights.contiguous() for name, weights in state.items() if name not in own}
        folder.mkdir(parents=True, exist_ok=True)
        save_file(others, folder / PROJECTIONS_FILE)
    return own


def load_projections(student: nn.Module, checkpoint: str | Path) -> None:
    """
    Go on with the maps of a checkpoint, if it has any.

    Args:
        student (`nn.Module`):
            The student.
        checkpoint (`str` or `Path`):
            Its folder.
    """
    path = Path(checkpoint) / PROJECTIONS_FILE
    if path.is_file():
        student.load_state_dict(load_file(path), strict=False)
