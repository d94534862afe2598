"""Checkpoints that are whole or not there, and the signals on which one is written.

A checkpoint is whole when `checkpoint_files.json` lies in it, written last, and every file that it lists still has the
digest that it lists. A folder without it is what a run left that was killed while it wrote.
"""

import json
import re
import shutil
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from transformers import TrainerCallback, TrainerState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from hf_polyglot.model_files import file_digest
from hf_polyglot.results import differing_keys

CHECKPOINT_FILES = "checkpoint_files.json"


def seal_checkpoint(folder: str | Path, course: Mapping[str, str], seconds: float) -> None:
    """
    List the files of a checkpoint with their digests, so that damage to them is seen, and say of which run it is.

    Args:
        folder (`str` or `Path`):
            The checkpoint, all its files written.
        course (`Mapping[str, str]`):
            What decides the course of the run, see [`check_course`].
        seconds (`float`):
            How long the run has trained for, the time before it was last resumed included.
    """
    folder = Path(folder)
    digests = {path.relative_to(folder).as_posix(): file_digest(path) for path in sorted(_files(folder))}
    seal = {"written_ns": time.time_ns(), "seconds": round(seconds, 1), "course": dict(course), "files": digests}
    unfinished = folder / f"{CHECKPOINT_FILES}.unfinished"
    unfinished.write_text(json.dumps(seal, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(folder / CHECKPOINT_FILES)


def damage_of_checkpoint(folder: str | Path) -> str | None:
    """
    What is wrong with a checkpoint; None if it is whole.

    Args:
        folder (`str` or `Path`):
            The checkpoint.
    """
    folder = Path(folder)
    try:
        seal = _seal(folder)
    except FileNotFoundError:
        return "it was not finished"
    except ValueError:
        return f"{CHECKPOINT_FILES} is damaged"
    for name, digest in seal["files"].items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        if file_digest(folder / name) != digest:
            return f"{name} is damaged"
    return None


def check_course(checkpoint: str | Path, course: Mapping[str, str]) -> None:
    """
    Refuse to go on from a checkpoint of another run.

    Args:
        checkpoint (`str` or `Path`):
            One that is whole.
        course (`Mapping[str, str]`):
            Name and value of what decides the course of this run.

    Raises:
        ValueError: if the checkpoint's run had another course.
    """
    found = _seal(checkpoint)["course"]
    different = [f"{name} {found.get(name)}, not {course.get(name)}" for name in differing_keys(found, course)]
    if different:
        raise ValueError(
            f"{checkpoint} is of another run: {'; '.join(different)}. Expected one of the same settings and data. "
            "Train without --resume_from_checkpoint, or into another folder."
        )


def seconds_of_checkpoint(checkpoint: str | Path) -> float:
    """
    How long its run had trained for, in seconds.

    Args:
        checkpoint (`str` or `Path`):
            One that is whole.
    """
    return _seal(checkpoint).get("seconds", 0.0)  # which the first versions did not write


def last_whole_checkpoint(folder: str | Path) -> tuple[Path | None, list[str]]:
    """
    The checkpoint to go on from, and what was wrong with later ones.

    Args:
        folder (`str` or `Path`):
            Of a run. It need not exist.

    Returns:
        `tuple` of the checkpoint that was written last and is whole, None if there is none, and one line for each
        later one that is not.
    """
    skipped: list[str] = []
    for checkpoint in _newest_first(folder):
        damage = damage_of_checkpoint(checkpoint)
        if damage is None:
            return checkpoint, skipped
        skipped.append(f"{checkpoint} is skipped: {damage}.")
    return None, skipped


def remove_old_checkpoints(folder: str | Path, limit: int | None, best: str | Path | None) -> None:
    """
    Keep the checkpoints that were written last, whatever run of this folder wrote them.

    Args:
        folder (`str` or `Path`):
            Of a run, whose last checkpoint is sealed.
        limit (`int`, *optional*):
            How many to keep, the best one among them, which is always kept, as is the last. By default, all.
        best (`str` or `Path`, *optional*):
            The best one.
    """
    checkpoints = _newest_first(folder)
    kept = checkpoints[:1] + [path for path in checkpoints[1:] if best is not None and path.name == Path(best).name]
    others = [path for path in checkpoints if path not in kept]
    for checkpoint in others[max(0, limit - len(kept)) :] if limit else []:
        # Without the seal, what is left when this is interrupted is not taken for a checkpoint.
        (checkpoint / CHECKPOINT_FILES).unlink(missing_ok=True)
        shutil.rmtree(checkpoint)


def retire_checkpoints(folder: str | Path) -> None:
    """
    Take the seals from the checkpoints of an earlier run, so that no stage of a new one goes on from them.

    Args:
        folder (`str` or `Path`):
            Of the new run, below which its stages have theirs.
    """
    for seal in list(Path(folder).rglob(f"{PREFIX_CHECKPOINT_DIR}-*/{CHECKPOINT_FILES}")):
        seal.unlink(missing_ok=True)


def _newest_first(folder: str | Path) -> list[Path]:
    """Checkpoints in the order in which they were written, those without a seal where their folder was changed."""
    paths = Path(folder).glob(f"{PREFIX_CHECKPOINT_DIR}-*")
    return sorted((path for path in paths if re.fullmatch(r".*-\d+", path.name)), key=_written_ns, reverse=True)


def _written_ns(checkpoint: Path) -> int:
    try:
        return json.loads((checkpoint / CHECKPOINT_FILES).read_text(encoding="utf-8"))["written_ns"]
    except (OSError, ValueError):
        return checkpoint.stat().st_mtime_ns


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(CHECKPOINT_FILES)]


def _seal(checkpoint: str | Path) -> dict[str, Any]:
    return json.loads((Path(checkpoint) / CHECKPOINT_FILES).read_text(encoding="utf-8"))


class StopOnSignal(TrainerCallback):
    """
    Ends training behind the step at which Ctrl-C is pressed or SIGTERM arrives, with a checkpoint of that step.

    A second Ctrl-C ends it at once.

    Args:
        accelerator (`Accelerator`):
            Of the trainer. All processes end behind the same step, whichever of them the signal reached.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)
    # Between GPUs, to agree takes a message and a wait for it.
    STEPS_BETWEEN_AGREEMENTS = 10

    def __init__(self, accelerator: Accelerator):
        self.accelerator = accelerator
        self.arrived = False
        self.stopped = False
        self.previous_handlers: dict[signal.Signals, object] = {}

    def on_train_begin(self, args, state, control, **kwargs):
        """Listen, where that is possible: only the main thread hears signals."""
        self.arrived = self.stopped = False
        if threading.current_thread() is threading.main_thread():
            self.previous_handlers = {number: signal.signal(number, self._note) for number in self.SIGNALS}

    def on_step_end(self, args, state, control, **kwargs):
        """Stop, if a signal has arrived, with a checkpoint; at the end of an epoch, behind its evaluation."""
        if self._agreed(state.global_step):
            self.stopped = control.should_training_stop = True
            control.should_save = control.should_save or not _ends_epoch(state)

    def on_epoch_end(self, args, state, control, **kwargs):
        """Leave out what an epoch ends with, if this one did not."""
        if self.stopped and _ends_epoch(state):
            control.should_save = True
        elif self.stopped:
            control.should_evaluate = control.should_save = control.should_log = False

    def on_train_end(self, args, state, control, **kwargs):
        """Heed a signal that came behind the last step, such as in its evaluation."""
        self.stopped = self.stopped or self._agreed(step=0)

    def restore_handlers(self) -> None:
        """Let signals do again what they did before training."""
        while self.previous_handlers:
            signal.signal(*self.previous_handlers.popitem())  # type: ignore[arg-type]

    def _note(self, number: int, frame: object) -> None:
        if self.arrived and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.arrived:
            self.accelerator.print("\nTraining stops behind this step, with a checkpoint. Ctrl-C again ends it now.")
        self.arrived = True

    def _agreed(self, step: int) -> bool:
        if self.accelerator.num_processes == 1:
            return self.arrived
        if self.accelerator.device.type != "cpu" and step % self.STEPS_BETWEEN_AGREEMENTS:
            return False
        if self.arrived:
            self.accelerator.set_trigger()
        return self.accelerator.check_trigger()


def _ends_epoch(state: TrainerState) -> bool:
    return float(state.epoch or 0).is_integer()
