"""
Distillation: a student learns from what a teacher says of unlabelled text.

Axes:
    batch      sentences
    positions  words of the longest sentence in the batch, or its pieces
    labels     label ids
    kept       the teacher's most probable labels, or paths

References:
    Hinton, Vinyals and Dean (2015), section 2. https://arxiv.org/abs/1503.02531
    Tsai et al. (2019), section 3. https://aclanthology.org/D19-1374
    Wang et al. (2020), section 3, on CRFs: posteriors of words, and best paths. https://aclanthology.org/2020.acl-main.304
    Jiao et al. (2020), section 3, on hidden states and attention. https://aclanthology.org/2020.findings-emnlp.372
"""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import Trainer
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from hf_polyglot.data.collators import collator_for, word_counts
from hf_polyglot.models.crf import FORBIDDEN
from hf_polyglot.models.label_scheme import PADDING_LABEL, labels_by_scheme
from hf_polyglot.models.piece_encoder import vectors_at
from hf_polyglot.training.arguments import PolyglotTrainingArguments
from hf_polyglot.training.teacher import (
    check_sequence_nbest,
    labels_of_mask,
    log_probabilities_of_task,
    mask_of_lengths,
    scores_and_crf,
    teacher_digest,
    teacher_targets,
)
from hf_polyglot.training.teacher_outputs import (
    SentenceRows,
    batches_of_like_length,
    outputs_folder,
    read_outputs,
    write_outputs,
)
from hf_polyglot.training.trainer import PolyglotTrainer

POSITIONS = ("words", "pieces")
PROJECTIONS = "distillation_projections"
PROJECTIONS_FILE = f"{PROJECTIONS}.safetensors"
ROW = "row"
# What is kept of a teacher's outputs for each task, as `target_ids.upos`: the type on the disk, and that in a batch.
TARGET_TYPES = {"target_ids": (np.uint16, np.int64), "target_probabilities": (np.float16, np.float32)}
# Pieces, words or bytes that the teacher reads at once, with their padding.
UNITS_AT_ONCE = 4096


@dataclass(frozen=True)
class DistillationSettings:
    """
    What a student learns of its teacher.

    Args:
        temperature (`float`, *optional*, defaults to 3.0):
            T: what all scores of teacher and student are divided by.
        positions (`str`, *optional*, defaults to `"words"`):
            Where they are compared: at the words, or at all pieces.
        num_kept (`int`, *optional*):
            Labels of the teacher that are looked at, the most probable ones; what is left is spread evenly over the
            others. Defaults to all.
        sequence_nbest (`int`, *optional*, defaults to 0):
            Compare this many best paths of two CRFs, and not the labels of single words.
        hidden_weight (`float`, *optional*, defaults to 0.0):
            Weight of the mean squared difference of hidden states.
        attention_weight (`float`, *optional*, defaults to 0.0):
            Weight of that of attentions.
    """

    temperature: float = 3.0
    positions: str = "words"
    num_kept: int | None = None
    sequence_nbest: int = 0
    hidden_weight: float = 0.0
    attention_weight: float = 0.0

    def __post_init__(self):
        if self.temperature <= 0:
            raise ValueError(f"`temperature` is {self.temperature}; expected a number above 0, such as 3. Correct it.")
        if self.positions not in POSITIONS:
            raise ValueError(f"`positions` is {self.positions!r}; expected {' or '.join(POSITIONS)}. Correct it.")
        for name, least in (("sequence_nbest", 0), ("hidden_weight", 0), ("attention_weight", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"`{name}` is {getattr(self, name)}; expected {least} or more. Correct it.")
        if self.num_kept is not None and self.num_kept < 1:
            raise ValueError(f"`num_kept` is {self.num_kept}; expected 1 or more. Leave it out for all labels.")

    @property
    def matches_inside(self) -> bool:
        """Whether hidden states or attentions are compared, for which the teacher must read along."""
        return self.hidden_weight > 0 or self.attention_weight > 0


def target_distribution(target_ids: Tensor, target_probabilities: Tensor, is_possible: Tensor) -> Tensor:
    """
    The teacher's distribution over the student's labels, `(batch, positions, labels)`.

    What the kept labels leave of the probability is spread evenly over the others; what stands on labels that the
    student cannot give there, as its label scheme forbids them, is left out; and the rest sums to one again.

    Args:
        target_ids (`LongTensor` of shape `(batch, positions, kept)`):
            Labels, by their ids of the student.
        target_probabilities (`Tensor` of shape `(batch, positions, kept)`):
            Their probabilities.
        is_possible (`BoolTensor` of shape `(batch, positions, labels)`):
            Which labels the student may give, and the teacher knows.
    """
    is_kept = torch.zeros_like(is_possible).scatter(2, target_ids, torch.ones_like(target_ids, dtype=torch.bool))
    others = is_possible & ~is_kept
    left = (1 - target_probabilities.sum(2, keepdim=True)).clamp(min=0)
    spread = left / others.sum(2, keepdim=True).clamp(min=1) * others
    targets = spread.scatter_add(2, target_ids, target_probabilities) * is_possible
    return targets / targets.sum(2, keepdim=True).clamp(min=torch.finfo(targets.dtype).tiny)


def soft_cross_entropy(log_probabilities: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """
    Cross-entropy `H(p, q)` of the student's distributions q under the teacher's p, summed over positions, in nats.

    Both are at temperature T. The sum is not multiplied by T^2: that is to keep its weight beside a loss on gold
    labels (Hinton et al. 2015, section 2), and there is none here; the labelled data come afterwards, and Adam does
    not see the scale. The gradient is zero where q is p.

    Args:
        log_probabilities (`Tensor` of shape `(batch, positions, labels)`):
            Of the student.
        targets (`Tensor` of shape `(batch, positions, labels)`):
            Probabilities of the teacher.
        mask (`BoolTensor` of shape `(batch, positions)`):
            True on real positions.
    """
    products = torch.where(targets > 0, targets * log_probabilities, 0.0)  # (batch, positions, labels)
    return -(products.sum(2) * mask).sum()


def path_cross_entropy(
    crf, emissions: Tensor, paths: Tensor, probabilities: Tensor, mask: Tensor, language_ids: Tensor | None,
    temperature: float,
) -> Tensor:  # fmt: skip
    """
    Cross-entropy of a CRF under a distribution over paths, summed over sentences, in nats.

    Args:
        crf ([`LinearChainCRF`]):
            Of the student.
        emissions (`Tensor` of shape `(batch, words, labels)`):
            Its emission scores.
        paths (`LongTensor` of shape `(batch, words, kept)`):
            Label ids.
        probabilities (`Tensor` of shape `(batch, kept)`):
            Of the paths, by the teacher.
        mask (`BoolTensor` of shape `(batch, words)`):
            True on real words.
        language_ids (`LongTensor` of shape `(batch,)`, *optional*):
            Language of each sentence.
        temperature (`float`):
            What all scores are divided by.
    """
    scores = torch.stack([crf.path_score(emissions, path, mask, language_ids) for path in paths.unbind(2)], 1)
    log_partition = crf.log_partition(emissions, mask, language_ids, temperature)  # (batch,)
    return (log_partition - (probabilities * scores).sum(1) / temperature).sum()


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


class DistillationCollator:
    """
    Batches of unlabelled sentences for a student, with what its teacher says of them or reads of them.

    Args:
        student ([`PieceCollator`] or [`SpellingCollator`]):
            Of the student.
        teacher (`Callable`):
            Of the teacher.
        settings ([`DistillationSettings`]):
            What is compared where.
        kept (`Mapping[str, SentenceRows]`, *optional*):
            What the teacher said. By default, the batch has what the teacher must read.

    Sentences without a `row`, which is their number in what is kept, are labelled ones, and make the student's own
    batch.
    """

    def __init__(
        self,
        student: Any,
        teacher: Any,
        settings: DistillationSettings,
        kept: Mapping[str, SentenceRows] | None = None,
    ):
        self.labelled = student
        self.student, self.teacher = (at_positions(collator, settings) for collator in (student, teacher))
        self.lengths = getattr(student, "lengths", word_counts)
        self.settings = settings
        self.kept = kept

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """
        The batch of these examples.

        Raises:
            ValueError: if teacher and student cut a word into different numbers of pieces.
        """
        if ROW not in examples[0]:
            return self.labelled(examples)
        sentences = [{"tokens": row["tokens"], "language": row.get("language")} for row in examples]
        batch = self.student(sentences)
        counts = counts_of_positions(batch, sentences, self.settings)
        mask = mask_of_lengths(counts)
        batch["labels"] = labels_of_mask(mask)
        if self.kept is None:
            batch["teacher"] = self.teacher(sentences)
            of_teacher = counts_of_positions(batch["teacher"], sentences, self.settings)
        else:
            rows = {name: [array[row[ROW]] for row in examples] for name, array in self.kept.items()}
            batch["targets"] = {}
            for name, arrays in rows.items():
                kind, scheme = name.split(".")
                tensors = [torch.from_numpy(array.astype(TARGET_TYPES[kind][1])) for array in arrays]
                of_task = batch["targets"].setdefault(scheme, {})
                of_task[kind] = nn.utils.rnn.pad_sequence(tensors, batch_first=True)
                if kind == "target_ids":  # every task has as many
                    of_teacher = [len(ids) for ids in arrays]
        for sentence, own, other in zip(sentences, counts, of_teacher, strict=True):
            if own != other:
                raise ValueError(
                    f"The student cuts {' '.join(sentence['tokens'])!r:.80} into {own} pieces, and its teacher into "
                    f"{other}; expected the same pieces. Compare them at words, with --positions words."
                )
        return batch


def at_positions(collator: Any, settings: DistillationSettings) -> Any:
    """
    A collator whose batches have the positions that teacher and student are compared at.

    Args:
        collator (`Callable`):
            Of either.
        settings ([`DistillationSettings`]):
            Which positions.
    """
    if settings.positions == "words":
        return collator
    collator = copy.copy(collator)
    collator.every_piece = True
    return collator


def counts_of_positions(
    batch: Mapping[str, Tensor], sentences: Sequence[Mapping[str, Any]], settings: DistillationSettings
) -> list[int]:
    """
    Positions of each sentence of a batch.

    Args:
        batch (`Mapping[str, Tensor]`):
            As its model reads it.
        sentences (`Sequence[Mapping]`):
            Rows with `tokens`.
        settings ([`DistillationSettings`]):
            Which positions.
    """
    if settings.positions == "words":
        return [len(sentence["tokens"]) for sentence in sentences]
    return (batch["word_positions"] >= 0).sum(1).tolist()


def keep_teacher_outputs(
    teacher: nn.Module,
    tokenizer,
    dataset: Dataset,
    settings: DistillationSettings,
    device: torch.device,
    schemes: Sequence[str] | None = None,
    digest: str | None = None,
) -> dict[str, SentenceRows]:
    """
    What a teacher says of sentences, found where it was kept before, or asked for and kept: 16 bits a number.

    Args:
        teacher (`nn.Module`):
            Any tagger.
        tokenizer (`PreTrainedTokenizerFast`):
            Its tokenizer.
        dataset (`Dataset`):
            Sentences with `tokens` and `language`.
        settings ([`DistillationSettings`]):
            What is asked.
        device (`torch.device`):
            Where the teacher is to compute.
        schemes (`Sequence[str]`, *optional*):
            Of which of the teacher's tasks. Defaults to all.
        digest (`str`, *optional*):
            Of [`teacher_digest`](hf_polyglot.training.teacher.teacher_digest), which takes a while, if it is known.

    Returns:
        `target_ids` and `target_probabilities` of each task, as `target_ids.upos`.
    """
    config: Any = teacher.config
    schemes = list(labels_by_scheme(config)) if schemes is None else list(schemes)
    of_sentences = {
        "schemes": schemes,
        "temperature": settings.temperature,
        "positions": settings.positions,
        "num_kept": settings.num_kept,
        "sequence_nbest": settings.sequence_nbest,
        "max_pieces": getattr(config, "max_pieces", None),
        "languages": list(dataset["language"]) if getattr(config, "languages", None) else None,
    }
    folder = outputs_folder(digest or teacher_digest(teacher, tokenizer), dataset["tokens"], of_sentences)
    if read_outputs(folder) is None:
        asked = _asked(teacher.to(device), collator_for(teacher, tokenizer), dataset, settings, schemes)
        write_outputs(folder, len(dataset), asked)
    kept = read_outputs(folder)
    assert kept is not None
    return kept


def _asked(
    teacher: nn.Module, collator: Any, dataset: Dataset, settings: DistillationSettings, schemes: Sequence[str]
) -> Iterator[tuple[list[int], dict[str, list[np.ndarray]]]]:
    """Numbers of sentences and what the teacher says of them, batch by batch."""
    collate = at_positions(collator, settings)
    device = next(teacher.parameters()).device
    lengths = collator.lengths(dataset.with_format("arrow")[:]["tokens"].combine_chunks())
    for numbers in batches_of_like_length(lengths.tolist(), UNITS_AT_ONCE):
        sentences = [dataset[number] for number in numbers]
        batch = collate([{"tokens": row["tokens"], "language": row["language"]} for row in sentences])
        counts = counts_of_positions(batch, sentences, settings)
        mask = mask_of_lengths(counts).to(device)
        with torch.no_grad():
            outputs = teacher(**{name: tensor.to(device) for name, tensor in batch.items()})
        # The probabilities of paths are one row for a sentence, and cut to no more.
        yield (
            numbers,
            {
                f"{kind}.{scheme}": [
                    rows[:count].cpu().numpy().astype(TARGET_TYPES[kind][0])
                    for rows, count in zip(targets, counts, strict=True)
                ]
                for scheme, of_task in _targets(teacher, outputs, mask, settings, schemes).items()
                for kind, targets in of_task.items()
            },
        )


def _targets(
    teacher: nn.Module, outputs: Any, mask: Tensor, settings: DistillationSettings, schemes: Iterable[str]
) -> dict[str, dict[str, Tensor]]:
    """[`teacher_targets`] of each of these tasks."""
    return {
        scheme: teacher_targets(
            teacher,
            outputs,
            mask,
            scheme=scheme,
            temperature=settings.temperature,
            num_kept=settings.num_kept,
            sequence_nbest=settings.sequence_nbest,
        )
        for scheme in schemes
    }


def mean_of_update(trainer: Trainer, total: Tensor, mask: Tensor, num_items_in_batch: Tensor | int | None) -> Tensor:
    """
    The part of a batch in the mean over all positions of an update, on all processes.

    Args:
        trainer (`Trainer`):
            That trains.
        total (`Tensor` of shape `()`):
            The sum over the positions of this batch.
        mask (`BoolTensor` of shape `(batch, positions)`):
            True on them.
        num_items_in_batch (`int` or `Tensor` of shape `()`, *optional*):
            Positions of the update, by default those of this batch.
    """
    if num_items_in_batch is None:
        return total / mask.sum()
    # Of several processes, the Trainer averages the gradients.
    factor = trainer.accelerator.num_processes if trainer.args.average_tokens_across_devices else 1
    return total * factor / num_items_in_batch


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
        args.save_adam_state = "no"  # what comes afterwards has another loss
        self.teacher, self.settings = teacher, settings
        super().__init__(
            model,
            args,
            processing_class=processing_class,
            train_dataset=_unlabelled(train_dataset),
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
            self.data_collator, collator_for(teacher, teacher_tokenizer), settings, kept
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
        of_teacher = inputs.pop("teacher", None)
        targets = inputs.pop("targets", None)
        asked = {
            "output_hidden_states": self.settings.hidden_weight > 0,
            "output_attentions": self.settings.attention_weight > 0,
        }
        asked = {name: True for name, is_asked in asked.items() if is_asked}
        outputs = model(**inputs, **asked)
        if of_teacher is not None:
            with torch.no_grad():
                said = self.teacher(**of_teacher, **asked)
            targets = _targets(self.teacher, said, mask, self.settings, self.label_ids)
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

    def _label_loss(self, student, outputs, targets: Mapping[str, Tensor], mask: Tensor, scheme: str) -> Tensor:
        """Cross-entropy of one task, summed over positions or paths."""
        label_ids = self.label_ids[scheme]
        ids, probabilities = label_ids[targets["target_ids"]], targets["target_probabilities"]
        temperature = self.settings.temperature
        if self.settings.sequence_nbest:
            emissions, crf = scores_and_crf(student, outputs, scheme)
            return path_cross_entropy(
                crf, emissions, ids, probabilities[:, 0], mask, outputs.language_ids, temperature
            )
        log_probabilities = log_probabilities_of_task(student, outputs, mask, temperature, scheme)
        is_possible = log_probabilities.detach() > FORBIDDEN / 2 / temperature
        is_known = torch.zeros_like(is_possible[0, 0]).index_fill(0, label_ids, True)
        distribution = target_distribution(ids, probabilities, is_possible & is_known)
        return soft_cross_entropy(log_probabilities, distribution, mask)

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
        """No labelled sentence goes into an update."""
        return {}

    def _course(self) -> dict[str, str]:
        return super()._course() | {"distillation": str(asdict(self.settings))}

    def _save_model(self, output_dir: str | None, state_dict: dict | None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        state = self.model.state_dict() if state_dict is None else state_dict
        super()._save_model(output_dir, apart_from_projections(state, folder if self.args.should_save else None))

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        load_projections(self.model, resume_from_checkpoint)


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


def _unlabelled(datasets: Any) -> Any:
    """The same sentences with `tokens` and `language` alone, those without a word left out."""
    if isinstance(datasets, Mapping):
        return {name: _unlabelled(dataset) for name, dataset in datasets.items()}
    if datasets is None:
        return None
    kept = datasets.select_columns([name for name in ("tokens", "language") if name in datasets.column_names])
    counts = word_counts(kept.with_format("arrow")[:]["tokens"].combine_chunks())
    return kept if counts.all() else kept.select(np.flatnonzero(counts))
