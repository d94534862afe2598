"""
Fine-tuning on labelled data beside a teacher: the labels say what is right, and the teacher what else is likely.

References:
    Hinton, Vinyals and Dean (2015), section 2. https://arxiv.org/abs/1503.02531
"""

from collections.abc import Mapping
from typing import Any

import torch

from hf_polyglot.models.label_scheme import PADDING_LABEL
from hf_polyglot.training.arguments import PolyglotTrainingArguments
from hf_polyglot.training.distillation import DistillationTrainer, with_words
from hf_polyglot.training.distillation_batches import DistillationSettings, targets_of_tasks
from hf_polyglot.training.distillation_losses import mean_of_update
from hf_polyglot.training.trainer import PolyglotTrainer


def check_teacher_share(share: float) -> None:
    """
    Refuse what is no share.

    Args:
        share (`float`):
            Of the teacher in the loss.

    Raises:
        ValueError: if it is not between 0 and 1, both included.
    """
    if not 0 <= share <= 1:
        raise ValueError(
            f"`teacher_share` is {share}; expected a number from 0, the labels alone, to 1, the teacher alone. "
            "Correct it."
        )


class TaughtFineTuningTrainer(DistillationTrainer):
    """
    Trainer of a student on labelled sentences and what its teacher says of them.

    The loss is `(1 - s) L + s T^2 H`: of the labelled words of an update, the mean loss L of the student on their
    labels, which is that of [`PolyglotTrainer`], and the mean soft cross-entropy H of [`DistillationTrainer`] at
    temperature T, whose gradients go with 1 / T^2 (Hinton et al. 2015). A word that lacks a label of one of several
    tasks is not taught in that task either.

    Args:
        model (`PreTrainedModel`):
            The student, a tagger of this package. It knows all labels of the teacher, and maybe others.
        args ([`PolyglotTrainingArguments`]):
            How to train.
        teacher_share (`float`):
            s: 0 are the labels alone, 1 the teacher alone.
        settings ([`DistillationSettings`]):
            Temperature, and how many labels of the teacher are kept; what it says of words.
        options:
            Further arguments of [`DistillationTrainer`] and [`PolyglotTrainer`].

    Raises:
        ValueError: if something else than labels of words is to be compared, or as [`DistillationTrainer`].
    """

    learns_labels = True

    def __init__(
        self,
        model: Any,
        args: PolyglotTrainingArguments,
        *,
        teacher_share: float,
        settings: DistillationSettings,
        **options: Any,
    ):
        check_teacher_share(teacher_share)
        if settings.positions != "words" or settings.sequence_nbest or settings.matches_inside:
            raise ValueError(
                f"`settings` are {settings}; expected `positions` 'words' and none of `sequence_nbest`, "
                "`hidden_weight` and `attention_weight`, for labels are those of words. Leave them out."
            )
        self.teacher_share = teacher_share
        super().__init__(model, args, settings=settings, **options)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """
        The loss of all labels of an update, on all processes.

        Args:
            model (`nn.Module`):
                The student, wrapped or not.
            inputs (`dict[str, Tensor]`):
                Of [`DistillationCollator`]. Without a teacher's answers, as in evaluation, the labels alone count.
            return_outputs (`bool`, *optional*, defaults to `False`):
                Whether to return the student's output too.
            num_items_in_batch (`int` or `Tensor` of shape `()`, *optional*):
                Labels of the update, by default those of this batch.
        """
        inputs = dict(inputs)
        mask = inputs.pop("mask", None)
        of_teacher, targets = inputs.pop("teacher", None), inputs.pop("targets", None)
        loss, outputs = PolyglotTrainer.compute_loss(self, model, inputs, True, num_items_in_batch)
        if mask is not None:
            if of_teacher is not None:
                with torch.no_grad():
                    said = self.teacher(**of_teacher)
                targets = targets_of_tasks(self.teacher, said, mask, self.settings, self.label_ids)
            student = self.accelerator.unwrap_model(model)
            weights = getattr(student.config, "loss_weights", None) or {}
            is_labelled = inputs["labels"] != PADDING_LABEL  # (batch, words), of several tasks (batch, words, tasks)
            of_tasks = is_labelled.unbind(2) if is_labelled.dim() == 3 else [is_labelled]
            total = torch.stack([
                weights.get(scheme, 1.0) * self._label_loss(student, outputs, targets[scheme], mask, scheme, counted)
                for scheme, counted in zip(self.label_ids, of_tasks, strict=True)
            ]).sum()
            taught = self.settings.temperature**2 * mean_of_update(self, total, is_labelled, num_items_in_batch)
            loss = (1 - self.teacher_share) * loss + self.teacher_share * taught
        return (loss, outputs) if return_outputs else loss

    def _read_sentences(self, datasets: Any) -> Any:
        """The same sentences, those without a word left out: nobody says anything of them."""
        if isinstance(datasets, Mapping):
            return {name: self._read_sentences(dataset) for name, dataset in datasets.items()}
        return datasets if datasets is None else with_words(datasets)

    def _course(self) -> dict[str, str]:
        return super()._course() | {"teacher share": str(self.teacher_share)}
