"""Training of masked language models: the same pieces hidden in every evaluation, and scores of hidden pieces only."""

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DataCollatorForLanguageModeling, PreTrainedModel, Trainer

from hf_polyglot.models.label_scheme import PADDING_LABEL


@dataclass
class SameMasks:
    """Hides the same pieces of a batch each time that it is made."""

    collator: DataCollatorForLanguageModeling

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        # The collator's own `seed` goes on from batch to batch, and from one evaluation to the next.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self.collator(rows)


class MaskedLanguageModelTrainer(Trainer):
    """
    Hides the same pieces in every evaluation, so that perplexities can be compared, scores no others, and writes no
    pickle.

    Scores over a vocabulary of 100,000 pieces take most of the time of a small encoder; one piece in seven is hidden.
    """

    data_collator: Any

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The loss of a batch, as of transformers' `Trainer`, from scores of the hidden pieces alone."""
        hidden = inputs["labels"] != PADDING_LABEL
        head = head_of(self.accelerator.unwrap_model(model)) if self.args.n_gpu <= 1 and hidden.any() else None
        if head is None:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        with reading_only(head, hidden):
            labels = inputs["labels"][hidden]
            return super().compute_loss(model, {**inputs, "labels": labels}, return_outputs, num_items_in_batch)

    def get_eval_dataloader(self, eval_dataset=None):
        """Batches of rows with some of their pieces hidden."""
        collator = self.data_collator
        self.data_collator = SameMasks(collator)
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.data_collator = collator

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        super()._save(output_dir, state_dict)
        # A pickle of the arguments, the token for the Hub among them.
        Path(output_dir or self.args.output_dir, "training_args.bin").unlink(missing_ok=True)


def head_of(model: PreTrainedModel) -> nn.Module | None:
    """
    What turns vectors of pieces into scores over the vocabulary, if it is a module of its own, as in BERT and XLM-R.

    Args:
        model (`PreTrainedModel`):
            A masked language model. None of an encoder-decoder, which makes its input from the labels.
    """
    if model.config.is_encoder_decoder:
        return None
    return getattr(model, "cls", None) or getattr(model, "lm_head", None)


@contextmanager
def reading_only(head: nn.Module, hidden: Tensor):
    """
    Let a head read the vectors at these places only, `(places, hidden)`.

    Args:
        head (`nn.Module`):
            Its first argument is `(batch, pieces, hidden)`.
        hidden (`BoolTensor` of shape `(batch, pieces)`):
            True at the places.
    """
    handle = head.register_forward_pre_hook(lambda _, read: (read[0][hidden], *read[1:]))
    try:
        yield
    finally:
        handle.remove()
