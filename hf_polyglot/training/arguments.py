"""Arguments of the trainer."""

import copy
from dataclasses import dataclass, field
from typing import Any

from transformers import IntervalStrategy, TrainingArguments

# Name of the mean over languages, whichever score it is of.
AVERAGE = "average"
SAMPLINGS = ("alpha", "uniform", "unimax", "dynamic")
SELECTIONS = ("source_dev", "last", "average")


@dataclass
class PolyglotTrainingArguments(TrainingArguments):
    """
    transformers' [`TrainingArguments`] with languages.

    Every epoch is evaluated and kept; the best one by the dev F1 (of tasks without spans, the accuracy) averaged over
    languages is the model in the end.
    """

    sampling: str = field(
        default="alpha",
        metadata={
            "help": "How often each language is drawn. alpha: by a power of its size. uniform: all alike, as with an "
            "alpha of 0. unimax: all alike, but none more often than unimax_max_epochs. dynamic: by alpha, and more "
            "often the further a language's dev F1 lies below its baseline.",
            "choices": SAMPLINGS,
        },
    )
    alpha: float = field(
        default=1.0,
        metadata={
            "help": "Exponent of a corpus's size in the probability of its language. 1: in proportion to size; 0: "
            "every language alike, as Mueller et al. (2020) do when sizes differ much."
        },
    )
    unimax_max_epochs: float = field(
        default=0.0,
        metadata={
            "help": "For unimax, which needs it: most passes over a language's sentences in the whole run. As many as "
            "num_train_epochs draw in proportion to size; fewer cannot be; the more, the more alike."
        },
    )
    dynamic_strength: float = field(
        default=4.0,
        metadata={
            "help": "For dynamic: a language with a dev F1 of 0 is drawn 1 + this times as often as it would be at "
            "its baseline."
        },
    )
    dynamic_baselines: list[str] = field(
        default_factory=list,
        metadata={
            "help": "For dynamic: results.json of earlier runs, such as monolingual ones, or their folders. Their dev "
            "F1 is the baseline of the languages that they were trained on. Default: 100 for all."
        },
    )
    batch_languages: str = field(
        default="mixed",
        metadata={
            "help": "Languages of the sentences of one update: mixed, or a single one in all its batches on all "
            "processes.",
            "choices": ["mixed", "single"],
        },
    )
    gradient_surgery: bool = field(
        default=False,
        metadata={
            "help": "Take the gradient of each language by itself, and where those of two languages conflict, leave "
            "out of each what goes against the other (PCGrad). Needs a gradient in memory for each language."
        },
    )
    head_learning_rate: float | None = field(
        default=None,
        metadata={"help": "Learning rate of all that is not the pretrained encoder. Default: learning_rate."},
    )
    layer_rate_divisor: float = field(
        default=1.0,
        metadata={
            "help": "Discriminative fine-tuning: each layer of the encoder learns at the rate of the one above "
            "divided by this, the embeddings slowest. 2.6 in Howard and Ruder (2018); 1: all alike."
        },
    )
    unfrozen_layers_per_epoch: int | None = field(
        default=None,
        metadata={
            "help": "Gradual unfreezing: in the first epoch only this many of the encoder's uppermost layers learn, "
            "with the head; in each further one as many more, and behind the lowest the embeddings. Default: all "
            "learn from the start."
        },
    )
    slanted_triangular: bool = field(
        default=False,
        metadata={
            "help": "Howard and Ruder's (2018) schedule instead of lr_scheduler_type: rates rise for a tenth of the "
            "steps, or for warmup_steps, from 1/32 of what is given, and fall back to that."
        },
    )
    selection: str | None = field(
        default=None,
        metadata={
            "help": "Which epoch is the model in the end. source_dev: the one with the best average dev F1 of the "
            "languages trained on. last: the last one. average: the mean of the weights of all of them (Schmidt et "
            "al. 2023), which has no Adam state. Default: as load_best_model_at_end says, which this overrides.",
            "choices": SELECTIONS,
        },
    )
    compare_selection: bool = field(
        default=False,
        metadata={
            "help": "Score on test what each rule of selection gives, and target_dev, which takes for each zero-shot "
            "language the epoch that is best on its own dev set. Until the run has ended, the trained weights of "
            "every epoch are kept on the disk."
        },
    )
    early_stopping_patience: int | None = field(
        default=None,
        metadata={"help": "Stop after this many evaluations without a better average dev F1. Default: never."},
    )
    save_adam_state: str = field(
        default="float32",
        metadata={
            "help": "How Adam's state is saved beside every model, to be continued: float32, bfloat16 (half "
            "the size), or no.",
            "choices": ["float32", "bfloat16", "no"],
        },
    )
    remove_unused_columns: bool = field(
        default=False, metadata={"help": "Must stay off: the collators read the columns that models do not."}
    )
    eval_strategy: str = field(default="epoch", metadata={"help": "When to evaluate: no, steps or epoch."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to save: no, steps, epoch or best."})
    logging_strategy: str = field(default="epoch", metadata={"help": "When to log the loss: no, steps or epoch."})
    save_total_limit: int | None = field(
        default=2,
        metadata={
            "help": "Checkpoints kept, the best one among them where load_best_model_at_end is on. With 1, there is "
            "none to go back to when the last one is damaged."
        },
    )
    load_best_model_at_end: bool = field(
        default=True, metadata={"help": "End with the checkpoint of the best metric_for_best_model, not the last one."}
    )
    metric_for_best_model: str | None = field(
        default=AVERAGE,
        metadata={
            "help": "What the best checkpoint is best in. average: the dev F1, or the accuracy of words, averaged "
            "over languages. For one language, eval_swa_f1."
        },
    )
    hub_strategy: str = field(
        default="end", metadata={"help": "Must stay: the best model is pushed, and that is known in the end."}
    )
    greater_is_better: bool | None = field(default=True, metadata={"help": "Whether more of that metric is better."})
    logging_nan_inf_filter: bool = field(
        default=False,
        metadata={
            "help": "Keep losses that are no numbers out of the logs, at the price of a wait for a GPU at every step. "
            "Such a loss stops the training in any case."
        },
    )

    def __post_init__(self):
        if self.hub_strategy != "end":
            # Pushing a checkpoint uploads a pickle of these arguments too, and in it the token.
            raise ValueError(
                f"`hub_strategy` is {self.hub_strategy!r}; expected 'end', when the best model is known. Leave it out."
            )
        if self.save_adam_state not in ("float32", "bfloat16", "no"):
            raise ValueError(f"`save_adam_state` is {self.save_adam_state!r}; expected float32, bfloat16 or no.")
        if self.layer_rate_divisor <= 0:
            raise ValueError(
                f"`layer_rate_divisor` is {self.layer_rate_divisor}; expected a number above 0, such as 2.6. Correct "
                "it, or leave it out."
            )
        if self.selection is not None:
            self.load_best_model_at_end = self.selection == "source_dev"
        super().__post_init__()
        self._check_sampling()
        self._check_selection()
        if self.remove_unused_columns:
            raise ValueError(
                "`remove_unused_columns` is True; the collators need `tokens` and the labels. Leave it out."
            )
        # Without a GPU there is nothing to pin memory for, and torch warns of it at every data set.
        if self.device.type == "cpu":
            self.dataloader_pin_memory = False

    def _check_sampling(self) -> None:
        """
        Refuse a sampling that is not there, or one by dev scores that are not.

        Raises:
            ValueError: if it is so.
        """
        if self.sampling not in SAMPLINGS:
            raise ValueError(f"`sampling` is {self.sampling!r}; expected {' or '.join(SAMPLINGS)}. Correct it.")
        if self.sampling != "dynamic":
            return
        if self.dynamic_strength < 0:
            raise ValueError(
                f"`dynamic_strength` is {self.dynamic_strength}; expected 0, which does nothing, or more. Correct it."
            )
        if self.eval_strategy == "no":
            raise ValueError(
                "`sampling` is 'dynamic', and `eval_strategy` is 'no', so there is no dev F1 to follow; expected "
                "'epoch' or 'steps'. Evaluate, or choose another sampling."
            )
        if (self.eval_strategy, self.save_strategy) == ("epoch", "steps"):
            # At the last step of an epoch, the checkpoint would be written before the epoch is evaluated.
            raise ValueError(
                "`sampling` is 'dynamic', `eval_strategy` is 'epoch' and `save_strategy` is 'steps'; expected them "
                "alike, for a run that is resumed needs the evaluations before it. Make both the same."
            )

    @property
    def keeps_epoch_weights(self) -> bool:
        """Whether the weights of every epoch are needed in the end."""
        return self.compare_selection or self.selection == "average"

    def _check_selection(self) -> None:
        """
        Refuse a selection that is not there, or one by dev scores that are not.

        Raises:
            ValueError: if it is so.
        """
        if self.selection not in (None, *SELECTIONS):
            raise ValueError(f"`selection` is {self.selection!r}; expected {' or '.join(SELECTIONS)}. Correct it.")
        by = str(self.metric_for_best_model).removeprefix("eval_"), IntervalStrategy(self.eval_strategy).value
        is_asked_for = self.selection is not None or self.compare_selection
        if is_asked_for and self.load_best_model_at_end and (by[0].partition("_")[0], by[1]) != (AVERAGE, "epoch"):
            raise ValueError(
                f"`metric_for_best_model` is {by[0]!r} and `eval_strategy` is {by[1]!r}; expected 'average' and "
                "'epoch', for source_dev is the epoch with the best average dev score. Leave both out, or take "
                "another `selection`, such as last."
            )

    def without_dev_set(self) -> "PolyglotTrainingArguments":
        """
        These arguments for a run that has no dev set: it is not evaluated, and its last epoch is the model.

        Raises:
            ValueError: if something was asked for that follows dev scores.
        """
        asked_for = {
            "selection": self.selection == "source_dev",
            "compare_selection": self.compare_selection,
            "early_stopping_patience": self.early_stopping_patience is not None,
            "sampling": self.sampling == "dynamic",
        }
        if wrong := [name for name, is_asked_for in asked_for.items() if is_asked_for]:
            raise ValueError(
                f"`{wrong[0]}` is {getattr(self, wrong[0])!r}, and no language that is trained on has a dev set, "
                "whose scores it follows; expected at least one. Leave it out, or add a dev file."
            )
        changed = copy.copy(self)
        changed.selection = self.selection or "last"
        changed.load_best_model_at_end = False
        changed.eval_strategy = IntervalStrategy.NO
        return changed

    def print(self, *values: Any) -> None:
        """Print on the first of all processes, as `print` does."""
        self.distributed_state.print(*values)


def asks_to_resume(arguments: TrainingArguments) -> bool:
    """
    Whether a run is to go on from its last checkpoint; one that has none begins anew.

    Args:
        arguments (`TrainingArguments`):
            From the command line.

    Raises:
        ValueError: if the flag names a checkpoint: each seed and each phase of a run has its own.
    """
    resume = str(arguments.resume_from_checkpoint or "false").lower()
    if resume not in ("true", "false"):
        raise ValueError(
            f"`resume_from_checkpoint` is {arguments.resume_from_checkpoint!r}; expected true or false. A run goes on "
            f"from the last checkpoint in its own folder, such as {arguments.output_dir}."
        )
    return resume == "true"
