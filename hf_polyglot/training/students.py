"""The student of a distillation: which model a command line asks for, and how it is made from its teacher."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, TrainingArguments

from hf_polyglot.model_files import checked_model_name
from hf_polyglot.models import (
    ByteCRFConfig,
    ByteCRFForTokenClassification,
    EncoderCRFForTokenClassification,
    SpellingTokenizer,
)
from hf_polyglot.models.piece_encoder import new_encoder
from hf_polyglot.models.word_pieces import load_piece_tokenizer
from hf_polyglot.training.student_encoder import StudentEncoderArguments, build_student_encoder

STUDENT_TYPES = ("encoder_crf", "byte_crf")


@dataclass
class StudentArguments(StudentEncoderArguments):
    """What the student is."""

    student_type: str = field(
        default="encoder_crf",
        metadata={
            "help": "encoder_crf: a small encoder of pieces, with a linear layer or what is said below. byte_crf: "
            "BiLSTMs over bytes and over words.",
            "choices": STUDENT_TYPES,
        },
    )
    student_encoder: str | None = field(
        default=None,
        metadata={"help": "Folder or Hub id of the student's encoder. Default: a new one, of the sizes below."},
    )
    use_crf: bool = field(default=False, metadata={"help": "Give the student a CRF over words."})
    student_lstm_layers: int = field(
        default=0,
        metadata={"help": "Layers of a BiLSTM over words, between an encoder and the linear layer; 0 for none."},
    )
    student_lstm_size: int = field(default=128, metadata={"help": "Width of one direction of that BiLSTM."})
    student_concatenated_layers: int = field(
        default=1, metadata={"help": "So many of the encoder's last layers give, side by side, a word's vector."}
    )
    word_dropout: float = field(default=0.1, metadata={"help": "Dropout on the student's word vectors."})

    def named_base_model(self, teacher: str) -> str | None:
        """
        What the student began with, None if all of its weights were random.

        Args:
            teacher (`str`):
                Folder or Hub id of the one whose layers or embeddings it may have.
        """
        if self.student_type != "encoder_crf":
            return None
        begins_as_teacher = self.layers_from_teacher or self.embeddings_from_teacher
        return self.student_encoder or (teacher if begins_as_teacher else None)


@dataclass
class Student:
    """
    How a student is made.

    Args:
        arguments ([`StudentArguments`]):
            What it is.
        tokenizer (`PreTrainedTokenizerFast`):
            Its tokenizer.
        encoder (`str`, *optional*):
            Folder or Hub id of its encoder; a byte-CRF has none.
        is_random (`bool`, *optional*, defaults to `False`):
            Whether the layers of that encoder are random, to be drawn anew for each model.
    """

    arguments: StudentArguments
    tokenizer: Any
    encoder: str | None
    is_random: bool = False

    def new_model(self, labels: Sequence[str], task_settings: Mapping[str, Any]) -> PreTrainedModel:
        """
        An untrained student, but for its encoder if that was trained. What is random depends on the global seed.

        Args:
            labels (`Sequence[str]`):
                Tags, in the order of their ids.
            task_settings (`Mapping[str, Any]`):
                Fields of its configuration: their scheme, and the labels of further tasks, if there are any.
        """
        settings: dict[str, Any] = {
            **task_settings,
            "use_crf": self.arguments.use_crf,
            "word_dropout": self.arguments.word_dropout,
        }
        if self.encoder is not None:
            model = EncoderCRFForTokenClassification.from_encoder_pretrained(
                self.encoder,
                labels=labels,
                tokenizer=self.tokenizer,
                num_concatenated_layers=self.arguments.student_concatenated_layers,
                num_hidden_layers=self.arguments.student_lstm_layers,
                hidden_size=self.arguments.student_lstm_size,
                **settings,
            )
            if self.is_random:
                self._draw(model.encoder)
            return model
        width = self.arguments.student_hidden_size
        return ByteCRFForTokenClassification(
            ByteCRFConfig(
                vocab_size=len(self.tokenizer),
                embedding_size=width,
                unit_hidden_size=width,
                hidden_size=width,
                id2label=dict(enumerate(labels)),
                label2id={label: index for index, label in enumerate(labels)},
                **settings,
            )
        )

    def _draw(self, encoder: PreTrainedModel) -> None:
        """Give an encoder other random weights; embeddings that come from the teacher stay."""
        drawn = new_encoder(encoder.config)
        if self.arguments.embeddings_from_teacher:
            drawn.set_input_embeddings(encoder.get_input_embeddings())
        encoder.load_state_dict(drawn.state_dict())


def load_student(
    arguments: StudentArguments,
    training: TrainingArguments,
    teacher: Any,
    teacher_tokenizer: Any,
    texts: Iterable[str | Sequence[str]],
) -> Student:
    """
    The student that a command line asks for.

    Args:
        arguments ([`StudentArguments`]):
            From the command line.
        training (`TrainingArguments`):
            A new encoder is written below its `output_dir`, as `student`, where `--encoder` of other recipes finds it.
        teacher (`nn.Module`):
            Whose embeddings or layers it may begin with.
        teacher_tokenizer (`PreTrainedTokenizerFast`):
            Whose pieces it has.
        texts (`Iterable`):
            Whose pieces are kept.

    Raises:
        ValueError: if it needs pieces, and neither a teacher nor an encoder gives them, or if a byte-CRF is given what
            goes on top of an encoder.
    """
    if arguments.student_type == "byte_crf":
        for name, nothing in (("student_lstm_layers", 0), ("student_concatenated_layers", 1)):
            if getattr(arguments, name) != nothing:
                raise ValueError(
                    f"`{name}` is {getattr(arguments, name)}, and `student_type` is byte_crf; expected a student with "
                    "an encoder, on top of which it is. Leave it out: a byte-CRF has BiLSTMs of its own."
                )
        return Student(arguments, SpellingTokenizer.of_bytes(), None)
    if arguments.student_encoder is not None:
        name = checked_model_name(arguments.student_encoder)
        return Student(arguments, load_piece_tokenizer(name), name)
    if getattr(teacher, "input_form", "pieces") != "pieces":
        raise ValueError(
            "The teacher reads no pieces, so that a student of type encoder_crf has none to begin with; expected an "
            "encoder. Give one with --student_encoder, or take --student_type byte_crf."
        )
    name = str(Path(training.output_dir) / "student")
    with training.main_process_first(local=training.save_on_each_node):
        if training.should_save:
            build_student_encoder(name, arguments, teacher_tokenizer, texts, teacher=teacher)
    return Student(arguments, load_piece_tokenizer(name), name, is_random=not arguments.layers_from_teacher)


def shares_pieces(student: Any, teacher: Any, sentences: Sequence[Sequence[str]]) -> bool:
    """
    Whether two tokenizers cut these sentences into the same pieces.

    Args:
        student (`PreTrainedTokenizerFast`):
            The one.
        teacher (`PreTrainedTokenizerFast`):
            The other.
        sentences (`Sequence[Sequence[str]]`):
            Words of each.
    """
    if any(hasattr(tokenizer, "encode_words") for tokenizer in (student, teacher)):
        return False
    given = [list(words) for words in sentences]
    cut = [
        [tokenizer.convert_ids_to_tokens(ids) for ids in tokenizer(given, is_split_into_words=True)["input_ids"]]
        for tokenizer in (student, teacher)
    ]
    return cut[0] == cut[1]
