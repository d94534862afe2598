"""Training of a Meta-LSTM part by part: by characters, by words, then jointly, with the best of the two before it."""

import copy
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from hf_polyglot.models.modeling_meta_lstm import PARTS
from hf_polyglot.training.arguments import PolyglotTrainingArguments
from hf_polyglot.training.optimizer_state import (
    ADAM_STATE_FILE,
    AdamState,
    adam_state_by_name,
    is_adam,
    load_adam_state,
    save_adam_state,
)
from hf_polyglot.training.trainer import PolyglotTrainer


class PartTrainer(PolyglotTrainer):
    """
    Trainer of one part of a Meta-LSTM, which is evaluated and chosen by that part's own labels.

    Takes the arguments of [`PolyglotTrainer`].
    """

    def __init__(self, model, args: PolyglotTrainingArguments, *, part: str, **options):
        super().__init__(model, args, **options)
        self.part = part

    def train(self, resume_from_checkpoint=None, trial=None, ignore_keys_for_eval=None):
        """
        Train the part; the others stay as they are.

        Args:
            resume_from_checkpoint (`str` or `bool`, *optional*):
                A checkpoint of this part, or True for the last one that is whole.
            trial (`optuna.Trial` or `dict`, *optional*):
                As in [`Trainer`].
            ignore_keys_for_eval (`list[str]`, *optional*):
                As in [`Trainer`].
        """
        self.args.print(f"\nThe part that reads {self.part}:" if self.part != "joint" else "\nThe joint part:")
        # What came before may have been trained now or earlier, and must not show in the random numbers.
        set_seed(self.args.seed)
        self.model.train_part(self.part)
        try:
            return super().train(resume_from_checkpoint, trial, ignore_keys_for_eval)
        finally:
            self.model.train_part(None)

    def _course(self) -> dict[str, str]:
        return super()._course() | {"part": self.part}


class MetaLSTMTrainer(PartTrainer):
    """
    Trainer of a Meta-LSTM: first of its characters, then of its words, then of the joint part on what these two say.

    Each part is trained as the arguments say, with its own checkpoints, early stopping and choice of the best one, and
    goes on from its own last checkpoint. Those of the first two lie in folders of their name below `output_dir`.

    Args:
        model ([`MetaLSTMForTokenClassification`]):
            The model.
        args ([`PolyglotTrainingArguments`]):
            How to train each part.
        options:
            Further arguments of [`PolyglotTrainer`].
    """

    def __init__(self, model, args: PolyglotTrainingArguments, **options: Any):
        super().__init__(model, args, part=PARTS[-1], **options)
        self.options = options
        self.state_of_earlier_parts: AdamState = {}

    def train(self, resume_from_checkpoint=None, trial=None, ignore_keys_for_eval=None):
        """
        Train all parts, one after the other.

        Args:
            resume_from_checkpoint (`str` or `bool`, *optional*):
                True to go on from the last whole checkpoint of each part; or one of the joint part.
            trial (`optuna.Trial` or `dict`, *optional*):
                As in [`Trainer`].
            ignore_keys_for_eval (`list[str]`, *optional*):
                As in [`Trainer`].
        """
        seconds = 0.0
        scores = {}
        for part in PARTS[:-1]:
            args = copy.copy(self.args)
            args.output_dir = str(Path(self.args.output_dir) / part)
            args.compare_selection = False  # of the epochs of the whole model
            earlier = PartTrainer(self.model, args, part=part, **self.options)
            earlier.train(bool(resume_from_checkpoint))
            seconds += earlier.seconds_before
            scores[part] = earlier.state.best_metric
            if is_adam(earlier.optimizer):
                self.state_of_earlier_parts |= adam_state_by_name(self.model, earlier.optimizer)
        output = super().train(resume_from_checkpoint, trial, ignore_keys_for_eval)
        self.seconds_before += seconds
        self.described = {"parts": {**scores, PARTS[-1]: self.state.best_metric}}
        return output

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        super()._save(output_dir, state_dict)
        # Who continues the model trains all its parts.
        folder = Path(output_dir or self.args.output_dir)
        if self.args.should_save and (folder / ADAM_STATE_FILE).is_file():
            state = self.state_of_earlier_parts | load_adam_state(folder)
            save_adam_state(folder, state, getattr(torch, self.args.save_adam_state))
