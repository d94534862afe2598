"""What a polyglot trainer does when an epoch begins or ends, and when it stops early."""

import math
from typing import TYPE_CHECKING

from transformers import EarlyStoppingCallback, TrainerCallback, TrainerState

from hf_polyglot.training.arguments import PolyglotTrainingArguments
from hf_polyglot.training.encoder_layers import GradualUnfreezing

if TYPE_CHECKING:
    from hf_polyglot.training.trainer import PolyglotTrainer


class EarlyStoppingByAverage(EarlyStoppingCallback):
    """Waits for the average: every language's own evaluation lacks it, and would be taken for a mistake."""

    def on_train_begin(self, args, state, control, **kwargs):
        """Count the evaluations without gain of a run that is resumed."""
        super().on_train_begin(args, state, control, **kwargs)
        self.early_stopping_patience_counter = evaluations_without_gain(args, state)

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        """Look at the average, once it is there."""
        if _metric_of_best(args) in metrics:
            super().on_evaluate(args, state, control, metrics, **kwargs)


class SamplingByEpoch(TrainerCallback):
    """Tells the sampler what epoch begins, and logs how many examples of each language one that ends has drawn."""

    def __init__(self, trainer: "PolyglotTrainer"):
        self.trainer = trainer

    def on_epoch_begin(self, args, state, control, **kwargs):
        """Tell it; on resuming within an epoch, accelerate tells the samplers of several processes too late."""
        self.trainer.begin_epoch(int(state.epoch or 0))

    def on_epoch_end(self, args, state, control, **kwargs):
        """Log what was drawn."""
        sampler = self.trainer.batch_sampler
        updates = state.global_step - sampler.epoch * sampler.num_updates
        # To log clears the request to log the loss of this epoch.
        should_log = control.should_log
        drawn = sampler.counts(updates if updates < sampler.num_updates else None)
        surgery = self.trainer.surgery
        share = None if surgery is None else surgery.conflicts_percent()
        conflicts = {} if share is None else {"conflicts_percent": share}
        self.trainer.log({"examples_drawn": drawn} | conflicts)
        control.should_log = should_log


class KeepingEpochWeights(TrainerCallback):
    """Keeps the weights of every epoch when it ends."""

    def __init__(self, trainer: "PolyglotTrainer"):
        self.trainer = trainer

    def on_epoch_end(self, args, state, control, **kwargs):
        """Keep them; of an epoch that a signal cuts short too, until the resumed run replaces them."""
        if args.should_save:
            weights = self.trainer.trained_weights()
            self.trainer.epoch_weights.keep(math.ceil(state.epoch), state.global_step, weights)


class UnfreezingByEpoch(TrainerCallback):
    """Lets layers thaw when an epoch begins, which a resumed run is told of too, in the middle of one."""

    def __init__(self, unfreezing: GradualUnfreezing, *, has_replicas: bool):
        self.unfreezing = unfreezing
        self.has_replicas = has_replicas

    def on_epoch_begin(self, args, state, control, **kwargs):
        """Thaw the layers whose turn it is."""
        self.unfreezing.begin_epoch(int(state.epoch or 0), has_replicas=self.has_replicas)

    def on_train_end(self, args, state, control, **kwargs):
        """Let all of them learn again."""
        self.unfreezing.end()


def _metric_of_best(args: PolyglotTrainingArguments) -> str:
    """What the metric that chooses the best checkpoint is called in the log."""
    return f"eval_{str(args.metric_for_best_model).removeprefix('eval_')}"


def evaluations_without_gain(args: PolyglotTrainingArguments, state: TrainerState) -> int:
    """
    How many evaluations the best one lies back, by the log; a resumed run has it from its checkpoint.

    Args:
        args ([`PolyglotTrainingArguments`]):
            What the best is chosen by.
        state (`TrainerState`):
            With the log.
    """
    name = _metric_of_best(args)
    scores = list({log["step"]: log[name] for log in state.log_history if name in log}.values())
    sign = 1 if args.greater_is_better else -1
    best = max(range(len(scores)), key=lambda index: sign * scores[index], default=-1)
    return len(scores) - 1 - best if scores else 0
