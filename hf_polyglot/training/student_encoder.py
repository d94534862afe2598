"""A new small encoder: BERT's layers, and the pieces of a larger one that the text at hand needs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import BertConfig, ElectraConfig, PreTrainedModel, PreTrainedTokenizerFast

from hf_polyglot.data.trimmed_vocabulary import TrimmedVocabulary, trim_vocabulary
from hf_polyglot.models.piece_encoder import encoder_layers, max_pieces_of, new_encoder, unread_positions

MAX_PIECES = 512
# Rows of random pieces by which a projection is fitted.
ROWS_TO_FIT = 500


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
    keep_ideographs: bool = field(
        default=True, metadata={"help": "False leaves Han, Hangul and Yi out of these: thousands of characters."}
    )
    min_piece_count: int = field(
        default=1,
        metadata={
            "help": "Keep pieces only that occur so often; rarer ones are cut further, or unknown if nothing "
            "shorter is kept."
        },
    )
    num_probable_pieces: int = field(
        default=0,
        metadata={
            "help": "Keep so many of the teacher's most probable pieces too, whether they occur or not. For other "
            "text; of SentencePiece's Unigram only."
        },
    )
    embeddings_from_teacher: bool = field(
        default=False,
        metadata={
            "help": "Begin with the teacher's piece embeddings, reduced to the student's width by their principal "
            "components. Default: at random, as in the paper."
        },
    )
    layers_from_teacher: bool = field(
        default=False,
        metadata={
            "help": "Begin with the teacher's lowest layers and all of its embeddings, reduced if "
            "--student_embedding_size says so; of a BERT of the same widths. Default: at random, as in the paper."
        },
    )


def build_student_encoder(
    folder: str | Path,
    arguments: StudentEncoderArguments,
    tokenizer: PreTrainedTokenizerFast,
    texts: Iterable[str | Sequence[str]],
    *,
    teacher: Any = None,
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
        teacher (`nn.Module`, *optional*):
            An encoder, or a tagger with one, whose weights it is to begin with.
        seed (`int`, *optional*, defaults to 0):
            Of the initial weights. The global random number generators are left as they are.

    Raises:
        ValueError: if the width is no multiple of the number of heads, if the teacher has no such weights, or if it is
            said which pieces to keep where all are kept.
    """
    if arguments.trim_vocabulary:
        vocabulary = trim_vocabulary(
            tokenizer,
            texts,
            keep_characters=arguments.keep_characters,
            keep_ideographs=arguments.keep_ideographs,
            min_count=arguments.min_piece_count,
            num_probable=arguments.num_probable_pieces,
        )
    else:
        defaults = StudentEncoderArguments()
        of_trimming = ("keep_characters", "keep_ideographs", "min_piece_count", "num_probable_pieces")
        given = [name for name in of_trimming if getattr(arguments, name) != getattr(defaults, name)]
        if given:
            raise ValueError(
                f"`{given[0]}` is {getattr(arguments, given[0])}, and `trim_vocabulary` is False, which keeps all "
                "pieces; expected one of the two. Leave one out."
            )
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
        "max_position_embeddings": _num_positions(tokenizer, vocabulary.tokenizer.pad_token_id, teacher),
        "type_vocab_size": 1,
        "pad_token_id": vocabulary.tokenizer.pad_token_id,
    }
    narrow = arguments.student_embedding_size
    if arguments.layers_from_teacher:
        # What copied weights were trained with.
        theirs: Any = teacher_encoder(teacher).config
        sizes |= {name: getattr(theirs, name) for name in ("hidden_act", "layer_norm_eps") if hasattr(theirs, name)}
    config = BertConfig(**sizes) if narrow is None else ElectraConfig(**sizes, embedding_size=narrow)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = new_encoder(config)
    if arguments.layers_from_teacher:
        begin_as_teacher(encoder, teacher_encoder(teacher), vocabulary.kept_ids)
    elif arguments.embeddings_from_teacher:
        rows = encoder.get_input_embeddings().weight
        theirs = teacher.get_input_embeddings().weight[vocabulary.kept_ids]
        with torch.no_grad():
            rows.copy_(principal_components(theirs, rows.shape[1], rows.std()))
    encoder.save_pretrained(folder)
    vocabulary.tokenizer.save_pretrained(folder)


def _num_positions(tokenizer: PreTrainedTokenizerFast, pad_token_id: int | None, teacher: Any) -> int:
    # The usual number, or more if that would not do for as many pieces as the teacher reads.
    if teacher is None:
        return MAX_PIECES
    their_pieces = max_pieces_of(teacher_encoder(teacher).config, tokenizer)
    return max(MAX_PIECES, min(MAX_PIECES, their_pieces) + unread_positions(pad_token_id))


def teacher_encoder(teacher: Any) -> PreTrainedModel:
    """
    The encoder of a tagger, or the encoder that was given.

    Args:
        teacher (`nn.Module`):
            One of them.
    """
    encoder = getattr(teacher, "encoder", None)  # of BERT itself, its layers are called so
    return encoder if isinstance(encoder, PreTrainedModel) else teacher


@torch.no_grad()
def begin_as_teacher(student: PreTrainedModel, teacher: PreTrainedModel, kept_ids: Sequence[int]) -> None:
    """
    Write the lowest layers of a teacher into a student, and its embeddings.

    Embeddings that are to be narrower are the principal components of the teacher's, of pieces and of positions; the
    projection behind them is the one by which what the layers read comes nearest to what those of the teacher read, in
    the mean square over rows of random pieces.

    Args:
        student (`PreTrainedModel`):
            A new encoder of [`build_student_encoder`].
        teacher (`PreTrainedModel`):
            With BERT's embeddings and layers, such as BERT and XLM-R.
        kept_ids (`Sequence[int]`):
            Row among the teacher's embeddings of each of the student's pieces.

    Raises:
        ValueError: if the teacher has others, or if widths or numbers of layers do not go together.
    """
    theirs: Any = getattr(teacher, "embeddings", None)
    tables = ("word_embeddings", "position_embeddings", "token_type_embeddings")
    width: Any = teacher.config.hidden_size
    if not all(getattr(getattr(theirs, name, None), "embedding_dim", None) == width for name in tables):
        raise ValueError(
            f"The teacher is a {type(teacher).__name__}; expected an encoder with BERT's embeddings, as wide as its "
            "layers. Leave --layers_from_teacher out."
        )
    own_layers, their_layers = encoder_layers(student), encoder_layers(teacher)
    sizes = {
        name: (getattr(student.config, name), getattr(teacher.config, name))
        for name in ("hidden_size", "num_attention_heads", "intermediate_size")
    }
    differing = [f"{name} {own} (teacher: {its})" for name, (own, its) in sizes.items() if own != its]
    if differing or len(own_layers) > len(their_layers):
        differing = differing or [f"{len(own_layers)} layers (teacher: {len(their_layers)})"]
        raise ValueError(
            f"The student has {', '.join(differing)}; expected the teacher's sizes, and no more layers than it has. "
            "Use --student_hidden_size, --student_heads, --student_intermediate_size and --student_layers, or leave "
            "--layers_from_teacher out."
        )
    for layer, its_layer in zip(own_layers, their_layers, strict=False):
        layer.load_state_dict(its_layer.state_dict())
    own: Any = student.embeddings
    words = theirs.word_embeddings.weight[torch.tensor(kept_ids)]
    # RoBERTa counts positions from behind its padding piece.
    first = 0 if theirs.position_embeddings.padding_idx is None else theirs.position_embeddings.padding_idx + 1
    positions = theirs.position_embeddings.weight[first : first + MAX_PIECES]
    own.token_type_embeddings.weight.zero_()
    num_positions = len(positions)
    if own.word_embeddings.embedding_dim == student.config.hidden_size:
        own.word_embeddings.weight.copy_(words)
        own.position_embeddings.weight[:num_positions] = positions
        own.token_type_embeddings.weight[0] = theirs.token_type_embeddings.weight[0]
        own.LayerNorm.load_state_dict(theirs.LayerNorm.state_dict())
        return
    directions = principal_directions(words, own.word_embeddings.embedding_dim)  # (hidden, embedding)
    centre = words.mean(0)
    own.word_embeddings.weight.copy_((words - centre) @ directions)
    own.position_embeddings.weight[:num_positions] = (positions - positions.mean(0)) @ directions
    # What the first layer reads, of rows of pieces that were drawn at random.
    generator = torch.Generator().manual_seed(0)
    pieces = torch.randint(len(kept_ids), (ROWS_TO_FIT, min(num_positions, 64)), generator=generator)
    own.eval(), theirs.eval()
    read = own(input_ids=pieces).flatten(0, 1).double()
    expected = theirs(input_ids=torch.tensor(kept_ids)[pieces]).flatten(0, 1).double()
    read = torch.cat([read, read.new_ones(len(read), 1)], 1)
    fitted = torch.linalg.lstsq(read, expected).solution.float()  # (embedding + 1, hidden)
    projection: Any = student.embeddings_project
    projection.weight.copy_(fitted[:-1].T)
    projection.bias.copy_(fitted[-1])


def principal_directions(vectors: Tensor, width: int) -> Tensor:
    """
    The directions in which vectors differ most, `(hidden, width)`, the first one most of all.

    Args:
        vectors (`Tensor` of shape `(rows, hidden)`):
            Such as embeddings.
        width (`int`):
            How many directions.

    Raises:
        ValueError: if the vectors have fewer.
    """
    if width > min(vectors.shape):
        raise ValueError(
            f"The student's embeddings are {width} wide, and {tuple(vectors.shape)} is the shape of those of the "
            f"teacher; expected no more than {min(vectors.shape)}. Take random ones, or make them narrower."
        )
    centred = vectors.double() - vectors.double().mean(0)
    _, directions = torch.linalg.eigh(centred.mT @ centred)  # in the order of rising variance
    return directions[:, -width:].flip(1).to(vectors.dtype)


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
    """
    reduced = (vectors.double() - vectors.double().mean(0)) @ principal_directions(vectors.double(), width)
    return (reduced / reduced.std() * deviation).float()
