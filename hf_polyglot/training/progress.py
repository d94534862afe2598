"""What a training run prints: a bar, and a line for each evaluation."""

from collections.abc import Sequence

from transformers import ProgressCallback
from transformers.trainer_utils import has_length

from hf_polyglot.joint_tasks import JointTask
from hf_polyglot.tasks import TASKS, Task

# Fewer batches are read before a bar could be.
MIN_BATCHES_OF_BAR = 20


class PolyglotProgressCallback(ProgressCallback):
    """
    Progress bar that prints the loss and one score per language, where transformers prints every number it has.

    Args:
        languages (`Sequence[str]`, *optional*):
            Those that are evaluated. The name of a score does not tell where its language ends and its type begins.
        task ([`Task`] or [`JointTask`], *optional*):
            What is learnt; defaults to entities.
    """

    def __init__(self, languages: Sequence[str] = (), task: Task | JointTask = TASKS["ner"]):
        super().__init__()
        self.languages = languages
        self.task = task

    def on_prediction_step(self, args, state, control, eval_dataloader=None, **kwargs):
        """Move the bar of an evaluation, which goes when it is full: each language has one."""
        if has_length(eval_dataloader) and len(eval_dataloader) < MIN_BATCHES_OF_BAR:
            return
        super().on_prediction_step(args, state, control, eval_dataloader=eval_dataloader, **kwargs)
        if self.prediction_bar is not None:
            self.prediction_bar.leave = False

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Print a log in one line."""
        if not state.is_world_process_zero or self.training_bar is None or not logs:
            return
        metric = self.task.metric
        if f"eval_average_{metric}" in logs:
            each = "  ".join(f"{language} {logs[f'eval_{language}_{metric}']:.1f}" for language in self.languages)
            average = f"dev {self.task.title} {logs[f'eval_average_{metric}']:.2f}"
            self.training_bar.write(f"epoch {state.epoch:g}  {average}  ({each})")
        elif "loss" in logs:
            self.training_bar.write(f"epoch {state.epoch:g}  step {state.global_step}  loss {float(logs['loss']):.4f}")
