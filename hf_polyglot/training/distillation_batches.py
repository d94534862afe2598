"""
Batches of sentences for a student, and what its teacher says of them, asked once and kept.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor, nn

from hf_polyglot.data.collators import collator_for, word_counts
from hf_polyglot.training.teacher import labels_of_mask, mask_of_lengths, teacher_digest, teacher_targets
from hf_polyglot.training.teacher_outputs import (
    SentenceRows,
    batches_of_like_length,
    outputs_folder,
    read_outputs,
    write_outputs,
)

POSITIONS = ("words", "pieces")
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


class DistillationCollator:
    """
    Batches of sentences for a student, with what its teacher says of them or reads of them.

    Args:
        student ([`PieceCollator`] or [`SpellingCollator`]):
            Of the student.
        teacher (`Callable`):
            Of the teacher.
        settings ([`DistillationSettings`]):
            What is compared where.
        kept (`Mapping[str, SentenceRows]`, *optional*):
            What the teacher said. By default, the batch has what the teacher must read.
        with_labels (`bool`, *optional*, defaults to `False`):
            Whether sentences have labels, and the batch has them too, and a `mask` that is True on real words.

    Sentences without a `row`, which is their number in what is kept, are labelled ones, and make the student's own
    batch.
    """

    def __init__(
        self,
        student: Any,
        teacher: Any,
        settings: DistillationSettings,
        kept: Mapping[str, SentenceRows] | None = None,
        with_labels: bool = False,
    ):
        self.labelled = student
        self.student, self.teacher = (at_positions(collator, settings) for collator in (student, teacher))
        self.lengths = getattr(student, "lengths", word_counts)
        self.settings = settings
        self.kept = kept
        self.with_labels = with_labels

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """
        The batch of these examples.

        Raises:
            ValueError: if teacher and student cut a word into different numbers of pieces.
        """
        if ROW not in examples[0]:
            return self.labelled(examples)
        sentences = [{"tokens": row["tokens"], "language": row.get("language")} for row in examples]
        batch = self.student(examples if self.with_labels else sentences)
        counts = counts_of_positions(batch, sentences, self.settings)
        mask = mask_of_lengths(counts)
        batch |= {"mask": mask} if self.with_labels else {"labels": labels_of_mask(mask)}
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
    schemes: Sequence[str],
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
        schemes (`Sequence[str]`):
            Of which of the teacher's tasks.
        digest (`str`, *optional*):
            Of [`teacher_digest`](hf_polyglot.training.teacher.teacher_digest), which takes a while, if it is known.

    Returns:
        `target_ids` and `target_probabilities` of each task, as `target_ids.upos`.
    """
    config: Any = teacher.config
    of_sentences = {
        "schemes": list(schemes),
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
                for scheme, of_task in targets_of_tasks(teacher, outputs, mask, settings, schemes).items()
                for kind, targets in of_task.items()
            },
        )


def targets_of_tasks(
    teacher: nn.Module, outputs: Any, mask: Tensor, settings: DistillationSettings, schemes: Iterable[str]
) -> dict[str, dict[str, Tensor]]:
    """
    What a student is to say of each of these tasks, see
    [`teacher_targets`](hf_polyglot.training.teacher.teacher_targets).

    Args:
        teacher (`nn.Module`):
            Any tagger.
        outputs (`TokenClassifierOutput`):
            Its output.
        mask (`BoolTensor` of shape `(batch, positions)`):
            True on real positions.
        settings ([`DistillationSettings`]):
            What is asked.
        schemes (`Iterable[str]`):
            Of the tasks.
    """
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
