"""
Distillation: a student learns from what a teacher says of unlabelled text.

What its answers cost is in [`distillation_losses`](hf_polyglot.training.distillation_losses), which names the axes.

References:
    Tsai et al. (2019), section 3. https://aclanthology.org/D19-1374
    Jiao et al. (2020), section 3, on hidden states and attention. https://aclanthology.org/2020.findings-emnlp.372
"""

import copy
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor

from hf_polyglot.data.collators import collator_for, word_counts
from hf_polyglot.models.crf import FORBIDDEN
from hf_polyglot.models.label_scheme import PADDING_LABEL, labels_by_scheme
from hf_polyglot.models.piece_encoder import vectors_at
from hf_polyglot.training.arguments import PolyglotTrainingArguments
from hf_polyglot.training.distillation_batches import (
    ROW,
    DistillationCollator,
    DistillationSettings,
    keep_teacher_outputs,
    targets_of_tasks,
)
from hf_polyglot.training.distillation_losses import (
    mean_of_update,
    path_cross_entropy,
    soft_cross_entropy,
    target_distribution,
)
from hf_polyglot.training.hidden_projections import (
    add_projections,
    apart_from_projections,
    load_projections,
    projections_of,
    remove_projections,
)
from hf_polyglot.training.teacher import check_sequence_nbest
from hf_polyglot.training.trainer import PolyglotTrainer


def uniform_layers(num_student: int, num_teacher: int) -> list[int]:
    """
    The layer of the teacher that each layer of the student is compared to, counted from 1.

    Args:
        num_student (`int`):
            Layers of the student.
        num_teacher (`int`):
            Layers of the teacher.

    Example:
        >>> uniform_layers(3, 12)
        [4, 8, 12]
    """
    return [max(1, round(layer * num_teacher / num_student)) for layer in range(1, num_student + 1)]


class DistillationTrainer(PolyglotTrainer):
    """
    Trainer of a student on unlabelled sentences, by what its teacher says of them.

    The loss is the mean over positions of the soft cross-entropy at temperature T, see [`soft_cross_entropy`]: of a
    linear student, with `softmax(s / T)`; of a CRF, with the posterior marginals of its words, all scores over T, so
    that a student equal to its teacher has no gradient, which the softmax of its emission scores would not give. With
    `sequence_nbest`, see [`path_cross_entropy`]; then the gradient is zero only if all paths are among the best.

    A student of several tasks learns all of them from a teacher that has these, and maybe others: the losses of the
    tasks, each times its weight in `loss_weights` of the student's configuration, are averaged.

    Args:
        model (`PreTrainedModel`):
            The student, a tagger of this package. It knows all labels of the teacher, and maybe others.
        args ([`PolyglotTrainingArguments`]):
            How to train.
        teacher (`nn.Module`):
            Any tagger, see [`load_teacher`](hf_polyglot.training.teacher.load_teacher).
        teacher_tokenizer (`PreTrainedTokenizerFast`):
            Its tokenizer.
        settings ([`DistillationSettings`]):
            What the student learns of it.
        processing_class (`PreTrainedTokenizerFast`):
            The student's tokenizer.
        train_dataset (`Mapping[str, Dataset]` or `Dataset`):
            Sentences with `tokens` and, in a single data set, `language`. Labels are not looked at.
        keep_outputs (`bool`, *optional*, defaults to `True`):
            Whether the teacher is asked once, and what it says kept on the disk, see [`keep_teacher_outputs`]. Without
            effect where hidden states or attentions are compared: then the teacher reads every batch.
        digest (`str`, *optional*):
            Of [`teacher_digest`](hf_polyglot.training.teacher.teacher_digest), if it is known.
        options:
            Further arguments of [`PolyglotTrainer`].

    Raises:
        ValueError: if the student lacks a label of its teacher or has a task of which that knows nothing, or if the
            two cannot be compared as `settings` says.
    """

    train_dataset: Any
    data_collator: Any
    learns_labels = False  # besides what the teacher says

    def __init__(
        self,
        model: Any,
        args: PolyglotTrainingArguments,
        *,
        teacher: Any,
        teacher_tokenizer: Any,
        settings: DistillationSettings,
        processing_class: Any,
        train_dataset: Any = None,
        keep_outputs: bool = True,
        digest: str | None = None,
        **options: Any,
    ):
        _check_pair(model, teacher, settings)
        args = copy.copy(args)
        # The student's CRF and the projections are used outside of the wrapped model's forward, where torch would take
        # them for unused.
        args.ddp_find_unused_parameters = False
        if not self.learns_labels:
            args.save_adam_state = "no"  # what comes afterwards has another loss
        self.teacher, self.settings = teacher, settings
        super().__init__(
            model,
            args,
            processing_class=processing_class,
            train_dataset=self._read_sentences(train_dataset),
            **options,
        )
        of_teacher = labels_by_scheme(teacher.config)
        self.label_ids = {
            scheme: torch.tensor([known.index(label) for label in of_teacher[scheme]], device=args.device)
            for scheme, known in labels_by_scheme(model.config).items()
        }
        kept = None
        if keep_outputs and not settings.matches_inside and self.train_dataset is not None:
            with args.main_process_first(desc="what the teacher says"):
                kept = keep_teacher_outputs(
                    teacher,
                    teacher_tokenizer,
                    self.train_dataset,
                    settings,
                    args.device,
                    list(self.label_ids),
                    digest,
                )
        if self.train_dataset is not None:
            self.train_dataset = self.train_dataset.add_column(ROW, range(len(self.train_dataset)))
        self.data_collator = DistillationCollator(
            self.data_collator, collator_for(teacher, teacher_tokenizer), settings, kept, self.learns_labels
        )
        teacher.to(args.device if kept is None else "cpu")
        if settings.matches_inside:
            self._add_projections()

    def _add_projections(self) -> None:
        """Give the student what maps its hidden states to the width of its teacher's; it is not saved with it."""
        student, teacher = (encoder_config_of(tagger) for tagger in (self.model, self.teacher))
        self.layers = uniform_layers(student.num_hidden_layers, teacher.num_hidden_layers)
        if self.settings.attention_weight > 0:
            for tagger in (self.model, self.teacher):
                tagger.encoder.set_attn_implementation("eager")  # the only one that gives attentions
        if self.settings.hidden_weight > 0:
            add_projections(self.model, student, teacher, len(self.layers))

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """
        The mean loss of the positions of all batches of an update, on all processes.

        Args:
            model (`nn.Module`):
                The student, wrapped or not.
            inputs (`dict[str, Tensor]`):
                Of [`DistillationCollator`].
            return_outputs (`bool`, *optional*, defaults to `False`):
                Whether to return the student's output too.
            num_items_in_batch (`int` or `Tensor` of shape `()`, *optional*):
                These positions, by default those of this batch.
        """
        inputs = dict(inputs)
        mask = inputs.pop("labels") != PADDING_LABEL
        of_teacher, targets = inputs.pop("teacher", None), inputs.pop("targets", None)
        asked = {
            "output_hidden_states": self.settings.hidden_weight > 0,
            "output_attentions": self.settings.attention_weight > 0,
        }
        asked = {name: True for name, is_asked in asked.items() if is_asked}
        outputs = model(**inputs, **asked)
        if of_teacher is not None:
            with torch.no_grad():
                said = self.teacher(**of_teacher, **asked)
            targets = targets_of_tasks(self.teacher, said, mask, self.settings, self.label_ids)
        student = self.accelerator.unwrap_model(model)
        weights = getattr(student.config, "loss_weights", None) or {}
        of_tasks = [
            weights.get(scheme, 1.0) * self._label_loss(student, outputs, targets[scheme], mask, scheme)
            for scheme in self.label_ids
        ]
        total = torch.stack(of_tasks).mean()
        if self.settings.hidden_weight > 0:
            positions = inputs["word_positions"], of_teacher["word_positions"]
            total = total + self.settings.hidden_weight * self._hidden_loss(student, outputs, said, positions, mask)
        if self.settings.attention_weight > 0:
            total = total + self.settings.attention_weight * self._attention_loss(outputs, said, inputs)
        loss = mean_of_update(self, total, mask, num_items_in_batch)
        return (loss, outputs) if return_outputs else loss

    def _label_loss(
        self,
        student,
        outputs,
        targets: Mapping[str, Tensor],
        mask: Tensor,
        scheme: str,
        counted: Tensor | None = None,
    ) -> Tensor:
        """Cross-entropy of one task, summed over paths or over positions, by default all."""
        label_ids = self.label_ids[scheme]
        ids, probabilities = label_ids[targets["target_ids"]], targets["target_probabilities"]
        temperature = self.settings.temperature
        if self.settings.sequence_nbest:
            emissions, crf = student.logits_of_task(outputs, scheme), student.crf_of_task(scheme)
            return path_cross_entropy(
                crf, emissions, ids, probabilities[:, 0], mask, outputs.language_ids, temperature
            )
        log_probabilities = student.label_log_probabilities(outputs, mask, temperature, scheme)
        is_possible = log_probabilities.detach() > FORBIDDEN / 2 / temperature
        is_known = torch.zeros_like(is_possible[0, 0]).index_fill(0, label_ids, True)
        distribution = target_distribution(ids, probabilities, is_possible & is_known)
        return soft_cross_entropy(log_probabilities, distribution, mask if counted is None else counted)

    def _hidden_loss(self, student, outputs, said, positions: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        """Mean squared difference of hidden states, averaged over layers, summed over positions."""
        total = mask.new_zeros((), dtype=torch.float32)
        for number, (layer, projection) in enumerate(
            zip(self.layers, projections_of(student, len(self.layers)), strict=True), 1
        ):
            own = projection(vectors_at(outputs.hidden_states[number], positions[0]))
            other = vectors_at(said.hidden_states[layer], positions[1])
            total = total + ((own - other).square().mean(2) * mask).sum()
        return total / len(self.layers)

    def _attention_loss(self, outputs, said, inputs) -> Tensor:
        """Mean squared difference of attentions, averaged over layers and heads, summed over pieces."""
        is_piece = inputs["attention_mask"].bool()  # (windows, pieces)
        lengths = is_piece.sum(1)[:, None]
        total = is_piece.new_zeros((), dtype=torch.float32)
        for number, layer in enumerate(self.layers):
            own, other = outputs.attentions[number], said.attentions[layer - 1]  # (windows, heads, pieces, pieces)
            if own.shape[1] != other.shape[1]:
                own, other = own.mean(1, keepdim=True), other.mean(1, keepdim=True)
            differences = (own - other).square().mean(1).sum(2) / lengths  # (windows, pieces)
            total = total + (differences * is_piece).sum()
        return total / len(self.layers)

    def train(self, resume_from_checkpoint=None, trial=None, ignore_keys_for_eval=None):
        """
        Train, as [`PolyglotTrainer`] does; what was only needed to compare is taken from the student in the end.

        Args:
            resume_from_checkpoint (`str` or `bool`, *optional*):
                As in [`PolyglotTrainer`].
            trial (`optuna.Trial` or `dict`, *optional*):
                As in [`PolyglotTrainer`].
            ignore_keys_for_eval (`list[str]`, *optional*):
                As in [`PolyglotTrainer`].
        """
        output = super().train(resume_from_checkpoint, trial, ignore_keys_for_eval)
        remove_projections(self.model)
        return output

    def examples_drawn(self) -> dict[str, int]:
        """Labelled sentences of each language that went into the updates so far: none, unless it learns labels."""
        return super().examples_drawn() if self.learns_labels else {}

    def _read_sentences(self, datasets: Any) -> Any:
        """The same sentences with `tokens` and `language` alone, those without a word left out."""
        if isinstance(datasets, Mapping):
            return {name: self._read_sentences(dataset) for name, dataset in datasets.items()}
        if datasets is None:
            return None
        return with_words(
            datasets.select_columns([name for name in ("tokens", "language") if name in datasets.column_names])
        )

    def _course(self) -> dict[str, str]:
        return super()._course() | {"distillation": str(asdict(self.settings))}

    def _save_model(self, output_dir: str | None, state_dict: dict | None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        state = self.model.state_dict() if state_dict is None else state_dict
        super()._save_model(output_dir, apart_from_projections(state, folder if self.args.should_save else None))

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        load_projections(self.model, resume_from_checkpoint)


def encoder_config_of(tagger: Any) -> Any:
    """
    The configuration of a tagger's encoder.

    Args:
        tagger (`nn.Module`):
            One that reads pieces.
    """
    return tagger.encoder.config


def _check_pair(student: Any, teacher: Any, settings: DistillationSettings) -> None:
    """
    Refuse a student that cannot be compared to this teacher so.

    Raises:
        ValueError: if it cannot.
    """
    of_teacher = labels_by_scheme(teacher.config)
    for scheme, labels in labels_by_scheme(student.config).items():
        if scheme not in of_teacher:
            raise ValueError(
                f"The student has the task {scheme}, and its teacher {', '.join(of_teacher)}; expected tasks of the "
                "teacher only, for the others would learn nothing. Leave it out, or take another teacher."
            )
        if missing := [label for label in of_teacher[scheme] if label not in labels]:
            raise ValueError(
                f"The student lacks the labels {', '.join(missing[:10])} of its teacher; expected all of them. Make "
                "it with the teacher's labels, to which others may be added."
            )
    if hasattr(student, "train_part"):
        raise ValueError(
            f"The student is a {type(student).__name__}, whose parts learn from losses of their own; expected a model "
            "that learns as a whole, such as a byte-CRF or an encoder-CRF. It can be a teacher."
        )
    both = (student, teacher)
    if settings.sequence_nbest:
        for model, role in zip(both, ("student", "teacher"), strict=True):
            check_sequence_nbest(model, role)
    if settings.positions == "pieces" and not all(getattr(model, "classifies_pieces", False) for model in both):
        raise ValueError(
            "`positions` is 'pieces', and teacher or student labels words in the context of their sentence; expected "
            "a linear layer on the pieces of an encoder in both. Use 'words'."
        )
    if settings.matches_inside and not all(model.input_form == "pieces" for model in both):
        raise ValueError(
            "`hidden_weight` or `attention_weight` is above 0, and teacher or student has no encoder of pieces; "
            "expected one in both. Leave them out."
        )
    if settings.attention_weight > 0 and (
        settings.positions != "pieces" or student.config.max_pieces != teacher.config.max_pieces
    ):
        raise ValueError(
            f"`attention_weight` is {settings.attention_weight}; expected `positions` 'pieces', and a teacher and a "
            f"student that read as many pieces at once, not {teacher.config.max_pieces} and "
            f"{student.config.max_pieces}: their attentions must be of the same pieces. Leave it out."
        )


def with_words(dataset: Dataset) -> Dataset:
    """
    The same sentences, those without a word left out.

    Args:
        dataset (`Dataset`):
            Sentences with `tokens`.
    """
    counts = word_counts(dataset.with_format("arrow")[:]["tokens"].combine_chunks())
    return dataset if counts.all() else dataset.select(np.flatnonzero(counts))
