"""
Distillation of an encoder without a head: the student's vectors of pieces come to be those of its teacher.

Axes:
    rows       rows of pieces
    pieces     positions of the longest row of a batch, special ones included
    hidden     features of the teacher's vectors

Reference:
    Jiao et al. (2020), section 3.2, of which this is the last layer. https://aclanthology.org/2020.findings-emnlp.372
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast, Trainer, TrainingArguments

from hf_polyglot.models.label_scheme import PADDING_LABEL
from hf_polyglot.models.piece_encoder import max_pieces_of
from hf_polyglot.training.distillation_batches import ROW, UNITS_AT_ONCE
from hf_polyglot.training.distillation_losses import mean_of_update
from hf_polyglot.training.hidden_projections import (
    add_projections,
    apart_from_projections,
    load_projections,
    projections_of,
    remove_projections,
)
from hf_polyglot.training.teacher import labels_of_mask, mask_of_lengths, teacher_digest
from hf_polyglot.training.teacher_outputs import (
    SentenceRows,
    batches_of_like_length,
    outputs_folder,
    read_outputs,
    write_outputs,
)

STATES = "hidden_states"


def rows_of_pieces(sentences: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerFast, max_pieces: int) -> Dataset:
    """
    Rows of at most so many pieces, special ones included, that hold all of the sentences, as `input_ids` and `length`.

    Args:
        sentences (`Sequence[Sequence[str]]`):
            Words of each.
        tokenizer (`PreTrainedTokenizerFast`):
            The student's.
        max_pieces (`int`):
            Pieces of a row at most.
    """

    def encode(batch: dict[str, list[list[str]]]) -> dict[str, list[Any]]:
        ids = tokenizer(
            batch["tokens"], is_split_into_words=True, truncation=True, max_length=max_pieces,
            return_overflowing_tokens=True,
        )["input_ids"]  # fmt: skip
        return {"input_ids": ids, "length": [len(row) for row in ids]}

    words = Dataset.from_dict({"tokens": [list(words) for words in sentences]})
    return words.map(encode, batched=True, remove_columns=["tokens"])


def teacher_ids_of(student: PreTrainedTokenizerFast, teacher: PreTrainedTokenizerFast) -> Tensor:
    """
    Id by the teacher of each piece of the student, of shape `(pieces,)`.

    Args:
        student (`PreTrainedTokenizerFast`):
            Whose pieces are some of the teacher's.
        teacher (`PreTrainedTokenizerFast`):
            The other.

    Raises:
        ValueError: if the teacher lacks one of them.
    """
    known = teacher.get_vocab()
    pieces = student.convert_ids_to_tokens(range(len(student)))
    missing = [piece for piece in pieces if piece not in known]
    if missing:
        raise ValueError(
            f"The teacher lacks {len(missing):,} pieces of the student, such as {missing[0]!r}; expected a student "
            "with a part of the teacher's pieces. Let the recipe make one: leave --student_encoder out."
        )
    return torch.tensor([known[piece] for piece in pieces])


class EncoderDistillationCollator:
    """
    Batches of rows of pieces, with the teacher's vectors of them, or what the teacher must read.

    Args:
        padding (`int`):
            The student's padding piece.
        teacher_ids (`Tensor` of shape `(pieces,)`):
            Of [`teacher_ids_of`].
        kept ([`SentenceRows`], *optional*):
            The teacher's vectors of each row.
    """

    def __init__(self, padding: int, teacher_ids: Tensor, kept: SentenceRows | None = None):
        self.padding, self.teacher_ids, self.kept = padding, teacher_ids, kept

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """The batch of these rows."""
        rows = [torch.tensor(example["input_ids"]) for example in examples]
        input_ids = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=self.padding)
        mask = mask_of_lengths([len(row) for row in rows])
        batch = {"input_ids": input_ids, "attention_mask": mask.long(), "labels": labels_of_mask(mask)}
        if self.kept is None:
            return batch | {"teacher_ids": self.teacher_ids[input_ids]}
        states = [torch.from_numpy(self.kept[example[ROW]].astype(np.float32)) for example in examples]
        return batch | {STATES: nn.utils.rnn.pad_sequence(states, batch_first=True)}


class EncoderDistillationTrainer(Trainer):
    """
    Trainer of a student encoder; the loss is the mean squared difference of its last layer from its teacher's.

    Where widths differ, the student's vectors are mapped linearly before, by weights that are learned with it and not
    saved. A student equal to its teacher has no gradient.

    Args:
        model (`PreTrainedModel`):
            The student.
        args (`TrainingArguments`):
            How to train.
        teacher (`PreTrainedModel`):
            The teacher.
        teacher_tokenizer (`PreTrainedTokenizerFast`):
            Its tokenizer, which has all of the student's pieces.
        processing_class (`PreTrainedTokenizerFast`):
            The student's tokenizer.
        train_dataset (`Dataset`):
            Of [`rows_of_pieces`].
        eval_dataset (`Dataset`, *optional*):
            Likewise; for these the teacher reads along.
        keep_outputs (`bool`, *optional*, defaults to `False`):
            Whether the teacher reads each row once, and its vectors are kept on the disk, in 16 bits.
    """

    data_collator: Any

    def __init__(
        self,
        model: PreTrainedModel,
        args: TrainingArguments,
        *,
        teacher: PreTrainedModel,
        teacher_tokenizer: PreTrainedTokenizerFast,
        processing_class: PreTrainedTokenizerFast,
        train_dataset: Dataset,
        eval_dataset: Dataset | None = None,
        keep_outputs: bool = False,
    ):
        args.remove_unused_columns = False
        args.ddp_find_unused_parameters = False  # the map is used outside of the wrapped model's forward
        args.label_names = ["labels"]
        self.teacher = teacher.to(args.device).eval().requires_grad_(False)
        teacher_ids = teacher_ids_of(processing_class, teacher_tokenizer)
        padding: Any = processing_class.pad_token_id
        self.reads_along = EncoderDistillationCollator(padding, teacher_ids)
        kept = None
        if keep_outputs:
            with args.main_process_first(desc="what the teacher says"):
                kept = self._kept(train_dataset, teacher_tokenizer, args)
        add_projections(model, model.config, teacher.config, 1)
        super().__init__(
            model,
            args,
            data_collator=EncoderDistillationCollator(padding, teacher_ids, kept),
            train_dataset=train_dataset.add_column(ROW, range(len(train_dataset))),
            eval_dataset=eval_dataset,
            processing_class=processing_class,
        )
        self.model_accepts_loss_kwargs = True  # the loss is a sum over the pieces of an update, see `mean_of_update`

    def _kept(self, dataset: Dataset, tokenizer, args: TrainingArguments) -> SentenceRows:
        rows = [self.reads_along.teacher_ids[row].tolist() for row in dataset["input_ids"]]
        folder = outputs_folder(teacher_digest(self.teacher, tokenizer), rows, {"layers": "last"})
        if read_outputs(folder) is None:
            write_outputs(folder, len(dataset), self._states(dataset))
        kept = read_outputs(folder)
        assert kept is not None
        return kept[STATES]

    def _states(self, dataset: Dataset) -> Iterator[tuple[list[int], dict[str, list[np.ndarray]]]]:
        """Numbers of rows and the teacher's vectors of their pieces, batch by batch."""
        for numbers in batches_of_like_length(list(dataset["length"]), UNITS_AT_ONCE):
            batch = self.reads_along([dataset[number] for number in numbers])
            states = self._teacher_states(batch).cpu().numpy().astype(np.float16)  # (rows, pieces, hidden)
            counts = batch["attention_mask"].sum(1).tolist()
            yield numbers, {STATES: [of_row[:count] for of_row, count in zip(states, counts, strict=True)]}

    @torch.no_grad()
    def _teacher_states(self, batch: Mapping[str, Tensor]) -> Tensor:
        device = self.teacher.device
        return self.teacher(
            input_ids=batch["teacher_ids"].to(device), attention_mask=batch["attention_mask"].to(device)
        ).last_hidden_state

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """
        The mean squared difference of the vectors of all pieces of an update, on all processes.

        Args:
            model (`nn.Module`):
                The student, wrapped or not.
            inputs (`dict[str, Tensor]`):
                Of [`EncoderDistillationCollator`].
            return_outputs (`bool`, *optional*, defaults to `False`):
                Whether to return the student's output too.
            num_items_in_batch (`int` or `Tensor` of shape `()`, *optional*):
                These pieces, by default those of this batch.
        """
        mask = inputs["labels"] != PADDING_LABEL
        states = inputs[STATES] if STATES in inputs else self._teacher_states(inputs)
        outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        (projection,) = projections_of(self.accelerator.unwrap_model(model), 1)
        differences = (projection(outputs.last_hidden_state) - states).square().mean(2)  # (rows, pieces)
        loss = mean_of_update(self, (differences * mask).sum(), mask, num_items_in_batch)
        return (loss, outputs) if return_outputs else loss

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """
        The loss of a batch alone.

        Args:
            model (`nn.Module`):
                The student.
            inputs (`dict[str, Tensor]`):
                The batch.
            prediction_loss_only (`bool`):
                Not read.
            ignore_keys (`list[str]`, *optional*):
                Not read.
        """
        with torch.no_grad():
            return self.compute_loss(model, self._prepare_inputs(inputs)), None, None

    def get_eval_dataloader(self, eval_dataset=None):
        """
        Batches for which the teacher reads along.

        Args:
            eval_dataset (`Dataset`, *optional*):
                Defaults to the trainer's own.
        """
        collator, self.data_collator = self.data_collator, self.reads_along
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.data_collator = collator

    def finish(self) -> PreTrainedModel:
        """The student, without what was only needed to compare it."""
        remove_projections(self.model)
        return self.model

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        state = self.model.state_dict() if state_dict is None else state_dict
        super()._save(output_dir, apart_from_projections(state, folder if self.args.should_save else None))
        # A pickle of the arguments, the token for the Hub among them.
        (folder / "training_args.bin").unlink(missing_ok=True)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        load_projections(self.model, resume_from_checkpoint)

    def _load_best_model(self) -> None:
        super()._load_best_model()
        load_projections(self.model, self.state.best_model_checkpoint)


def max_row_pieces(
    student: PreTrainedModel, student_tokenizer, teacher: PreTrainedModel, teacher_tokenizer, most: int
) -> int:
    """
    Pieces that both encoders read at once, and no more than asked for.

    Args:
        student (`PreTrainedModel`):
            The one.
        student_tokenizer (`PreTrainedTokenizerFast`):
            Its tokenizer.
        teacher (`PreTrainedModel`):
            The other.
        teacher_tokenizer (`PreTrainedTokenizerFast`):
            Its tokenizer.
        most (`int`):
            What is asked for.
    """
    return min(
        most, max_pieces_of(student.config, student_tokenizer), max_pieces_of(teacher.config, teacher_tokenizer)
    )
