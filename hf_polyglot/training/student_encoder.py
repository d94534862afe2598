"""A new small encoder: BERT's layers, and the pieces of a larger one that the text at hand needs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import BertConfig, ElectraConfig, PreTrainedTokenizerFast

from hf_polyglot.data.trimmed_vocabulary import TrimmedVocabulary, trim_vocabulary
from hf_polyglot.models.piece_encoder import new_encoder

MAX_PIECES = 512


@dataclass
class StudentEncoderArguments:
    """How a new student encoder is made; the defaults are the MiniBERT of Tsai et al. (2019)."""

    student_layers: int = field(default=3, metadata={"help": "Layers of a new student encoder."})
    student_hidden_size: int = field(default=256, metadata={"help": "Its width; of a byte-CRF, that of its LSTMs."})
    student_heads: int | None = field(
        default=None, metadata={"help": "Its attention heads. Default: one for every 64 of its width."}
    )
    student_intermediate_size: int | None = field(
        default=None, metadata={"help": "Width inside its feed-forward layers. Default: 4 times its width."}
    )
    student_embedding_size: int | None = field(
        default=None,
        metadata={
            "help": "Width of its piece embeddings, if that is to be smaller: an ELECTRA then, which is a BERT with "
            "a projection behind them. Default: its width."
        },
    )
    trim_vocabulary: bool = field(
        default=True,
        metadata={
            "help": "Keep only those of the teacher's pieces that occur in the texts; nothing is cut otherwise."
        },
    )
    keep_characters: bool = field(
        default=True,
        metadata={"help": "Keep all pieces of a single character too, so that other text can be read. Needs room."},
    )
    embeddings_from_teacher: bool = field(
        default=False,
        metadata={
            "help": "Begin with the teacher's piece embeddings, reduced to the student's width by their principal "
            "components. Default: at random, as in the paper."
        },
    )


def build_student_encoder(
    folder: str | Path,
    arguments: StudentEncoderArguments,
    tokenizer: PreTrainedTokenizerFast,
    texts: Iterable[str | Sequence[str]],
    *,
    teacher_embeddings: Tensor | None = None,
    seed: int = 0,
) -> None:
    """
    Write an untrained encoder and its tokenizer, which `AutoModel`, `AutoTokenizer` and `--encoder` load.

    Args:
        folder (`str` or `Path`):
            Where to; made if it is not there.
        arguments ([`StudentEncoderArguments`]):
            Its sizes.
        tokenizer (`PreTrainedTokenizerFast`):
            Of the teacher.
        texts (`Iterable`):
            Running text or the words of sentences, whose pieces are kept.
        teacher_embeddings (`Tensor` of shape `(pieces, hidden)`, *optional*):
            Of the teacher's pieces, for a student that is to begin with them.
        seed (`int`, *optional*, defaults to 0):
            Of the initial weights. The global random number generators are left as they are.

    Raises:
        ValueError: if the width is no multiple of the number of heads.
    """
    if arguments.trim_vocabulary:
        vocabulary = trim_vocabulary(tokenizer, texts, keep_characters=arguments.keep_characters)
    else:
        vocabulary = TrimmedVocabulary(tokenizer, list(range(len(tokenizer))))
    width = arguments.student_hidden_size
    heads = arguments.student_heads or max(1, width // 64)
    if width % heads:
        raise ValueError(
            f"`student_hidden_size` is {width} and `student_heads` is {heads}; expected a width that is a multiple of "
            "the heads. Correct one of them."
        )
    sizes: dict[str, Any] = {
        "vocab_size": len(vocabulary.kept_ids),
        "hidden_size": width,
        "num_hidden_layers": arguments.student_layers,
        "num_attention_heads": heads,
        "intermediate_size": arguments.student_intermediate_size or 4 * width,
        "max_position_embeddings": MAX_PIECES,
        "type_vocab_size": 1,
        "pad_token_id": vocabulary.tokenizer.pad_token_id,
    }
    narrow = arguments.student_embedding_size
    config = BertConfig(**sizes) if narrow is None else ElectraConfig(**sizes, embedding_size=narrow)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = new_encoder(config)
    if teacher_embeddings is not None:
        rows = encoder.get_input_embeddings().weight
        with torch.no_grad():
            rows.copy_(principal_components(teacher_embeddings[vocabulary.kept_ids], rows.shape[1], rows.std()))
    encoder.save_pretrained(folder)
    vocabulary.tokenizer.save_pretrained(folder)


def principal_components(vectors: Tensor, width: int, deviation: Tensor | float) -> Tensor:
    """
    The vectors in the directions in which they differ most, `(rows, width)`, with a given standard deviation.

    Args:
        vectors (`Tensor` of shape `(rows, hidden)`):
            Such as embeddings.
        width (`int`):
            How many directions.
        deviation (`Tensor` or `float`):
            Standard deviation of the numbers that come out.

    Raises:
        ValueError: if the vectors have fewer directions.
    """
    if width > min(vectors.shape):
        raise ValueError(
            f"The student's embeddings are {width} wide, and {tuple(vectors.shape)} is the shape of those of the "
            f"teacher; expected no more than {min(vectors.shape)}. Leave --embeddings_from_teacher out, or make them "
            "narrower."
        )
    centred = vectors.double() - vectors.double().mean(0)
    _, directions = torch.linalg.eigh(centred.mT @ centred)  # in the order of rising variance
    reduced = centred @ directions[:, -width:].flip(1)
    return (reduced / reduced.std() * deviation).float()
