"""
Taggers of this package as ONNX graphs that decode too, written only if they tag as the model does.

Every model whose labels are those of words is a row of `GRAPHS`, by its `model_type`: a function from the model to a
graph with the inputs that `hf_polyglot.inference.onnx_runtime` makes and the outputs `labels` and `probabilities`.

Axes:
    distinct  the distinct words of a batch
    batch     sentences
    words     positions of the longest sentence in the batch
    units     bytes or characters of the longest word or sentence
    windows   rows of pieces that an encoder reads
    pieces    positions of the longest window in the batch
    labels    label ids
    types     entity types, `O` first
"""

import contextlib
import copy
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hf_polyglot.data.collators import COLLATORS
from hf_polyglot.inference.onnx_graph import (
    BOOL,
    CHAIN,
    FLOAT,
    INT32,
    INT64,
    ChainScores,
    OnnxGraph,
    best_path,
    bilstm,
    linear,
    marginals,
    take_rows,
)
from hf_polyglot.inference.onnx_runtime import MODEL_FILE, TOKENIZER_FILE, ExportedTagger
from hf_polyglot.models.crf import LinearChainCRF
from hf_polyglot.models.input_rows import NO_WORD, SPACE
from hf_polyglot.models.label_scheme import PADDING_LABEL, labels_by_scheme
from hf_polyglot.models.recurrent import BiLSTM
from hf_polyglot.models.unit_agreement import UnitAgreement
from hf_polyglot.models.word_pieces import special_pieces

if TYPE_CHECKING:
    import onnx

# A file in the format of ONNX, which is protobuf's, holds no more.
MOST_BYTES = 2**31


def byte_crf_graph(model: Any) -> OnnxGraph:
    """
    A byte-CRF or char-CRF: words are spelled, sentences read, labels decoded.

    Args:
        model ([`ByteCRFForTokenClassification`]):
            In float32.
    """
    graph = OnnxGraph()
    input_ids = graph.input("input_ids", INT64, ["distinct", "units"])
    word_indices = graph.input("word_indices", INT64, ["batch", "words"])
    body = model.byte_crf
    _, vectors = _read_units(graph, input_ids, body.embedding, body.spelling, model.config.pad_token_id)
    mask = graph.op("GreaterOrEqual", word_indices, np.int64(0))
    words = graph.op("Gather", vectors, graph.op("Max", word_indices, np.int64(0)), axis=0)
    states, _ = bilstm(graph, words, _lengths(graph, mask), _layers(body.reading))
    return _with_task_outputs(graph, model, states, mask)


def encoder_crf_graph(model: Any) -> OnnxGraph:
    """
    An encoder-CRF, with its BiLSTM and its CRF or without.

    Args:
        model ([`EncoderCRFForTokenClassification`]):
            In float32.
    """
    graph, words, mask = _encoded_words(model, model.config.num_concatenated_layers)
    if model.config.num_hidden_layers > 0:
        words, _ = bilstm(graph, words, _lengths(graph, mask), _layers(model.reading))
    return _with_task_outputs(graph, model, words, mask)


def slicer_graph(model: Any) -> OnnxGraph:
    """
    A SLICER model, whose classifier is whole in prediction.

    Args:
        model ([`SlicerForTokenClassification`]):
            In float32.
    """
    graph, words, mask = _encoded_words(model, 1)
    return _with_task_outputs(graph, model, words, mask)


def charner_graph(model: Any) -> OnnxGraph:
    """
    CharNER: units are typed, and their words make them agree.

    Args:
        model ([`CharNERForTokenClassification`]):
            In float32.
    """
    graph = OnnxGraph()
    input_ids = graph.input("input_ids", INT64, ["batch", "units"])
    unit_words = graph.input("unit_words", INT64, ["batch", "units"])
    mask = graph.input("word_mask", BOOL, ["batch", "words"])
    body = model.charner
    states, _ = _read_units(graph, input_ids, body.embedding, body.reading, model.config.pad_token_id)
    logits = _classified(graph, states, model.classifier)
    log_probabilities = graph.op("LogSoftmax", logits, axis=2)  # (batch, units, types)

    num_types = len(model.agreement.types)
    is_space = graph.op("Equal", unit_words, np.int64(SPACE))
    none = np.int64(NO_WORD)
    words = _sums_by_word(graph, log_probabilities, graph.op("Where", is_space, none, unit_words), mask, num_types)
    if not isinstance(model.agreement, UnitAgreement):
        scores = graph.op("Slice", words, [1], [num_types], [2])  # a word has no type `O`
        return _with_word_outputs(graph, scores, mask)
    # The space before a word belongs to the unit behind it.
    behind = graph.op("Pad", graph.op("Slice", unit_words, [1], [np.iinfo(np.int64).max], [1]), [0, 0, 0, 1], none)
    spaces = _sums_by_word(graph, log_probabilities, graph.op("Where", is_space, behind, none), mask, num_types)
    return _with_agreement_outputs(graph, model.agreement, words, spaces, mask)


def meta_lstm_graph(model: Any) -> OnnxGraph:
    """
    A Meta-LSTM: characters and words are read, and what the joint part makes of both decides.

    Args:
        model ([`MetaLSTMForTokenClassification`]):
            In float32.
    """
    graph = OnnxGraph()
    input_ids = graph.input("input_ids", INT64, ["batch", "units"])
    unit_words = graph.input("unit_words", INT64, ["batch", "units"])
    word_ids = graph.input("word_ids", INT64, ["batch", "words"])
    read = model.meta_lstm
    mask = graph.op("GreaterOrEqual", word_ids, np.int64(0))
    spelling = read.characters
    states, _ = _read_units(graph, input_ids, spelling.embedding, spelling.reading, model.config.pad_token_id)
    characters = _projected(graph, _states_at_ends(graph, states, unit_words, mask), spelling.projection)
    lengths = _lengths(graph, mask)
    states, _ = bilstm(graph, _word_vectors(graph, read.words, word_ids), lengths, _layers(read.words.reading))
    words = _projected(graph, states, read.words.projection)
    states, _ = bilstm(graph, graph.op("Concat", characters, words, axis=2), lengths, _layers(read.reading))
    joint = _projected(graph, states, read.projection)
    return _with_task_outputs(graph, model, joint, mask)


# By the `model_type` of a configuration.
GRAPHS: dict[str, Callable[[Any], OnnxGraph]] = {
    "byte_crf": byte_crf_graph,
    "charner": charner_graph,
    "encoder_crf": encoder_crf_graph,
    "meta_lstm": meta_lstm_graph,
    "slicer": slicer_graph,
}


def onnx_model(model: PreTrainedModel) -> "onnx.ModelProto":
    """
    A tagger as a graph, decoding included.

    Args:
        model (`PreTrainedModel`):
            A tagger of words of this package.

    Returns:
        `onnx.ModelProto` with the outputs `labels`, int64 of shape `(batch, words)`, -100 on padding, and
        `probabilities` of shape `(batch, words, labels)`, zero on padding. Batch and lengths are dynamic. Those of
        further tasks are called `labels_upos` and so on, by their scheme.

    Raises:
        ValueError: if it is another model, or if it is too large for one file.
    """
    model_type = getattr(model.config, "model_type", None)
    # Adapters of several languages have the configuration of their base.
    if model_type not in GRAPHS or hasattr(model, "taggers"):
        raise ValueError(
            f"`{model.name_or_path}` is a {type(model).__name__}; expected one model that labels words, of the types "
            f"{', '.join(sorted(GRAPHS))}. Merge an adapter with its base first (recipes/merge_adapter.py); models "
            "that write spans have no graph."
        )
    size = sum(4 * weight.numel() for weight in model.parameters())
    if size >= MOST_BYTES:
        raise ValueError(
            f"The weights of `{model.name_or_path}` take {size / 2**30:.1f} GiB in float32; expected less than 2, "
            "which is what an ONNX file holds. Distil it, or keep fewer layers."
        )
    with torch.no_grad():
        return GRAPHS[model_type](copy.deepcopy(model).float().eval()).model()


def settings_of(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, int8: bool = False) -> ExportedTagger:
    """
    What a program must know of an exported model besides its graph.

    Args:
        model (`PreTrainedModel`):
            The tagger.
        tokenizer (`PreTrainedTokenizerBase`):
            Its tokenizer.
        int8 (`bool`, *optional*, defaults to `False`):
            Whether the graph is one of 8-bit integers.
    """
    before, after = special_pieces(tokenizer) if model.input_form == "pieces" else ([], [])
    _, limit = COLLATORS[model.input_form]
    return ExportedTagger(
        model_type=model.config.model_type,
        input_form=model.input_form,
        labels=labels_by_scheme(model.config),
        limit=getattr(model.config, limit),
        padding=tokenizer.pad_token_id,
        unknown=tokenizer.unk_token_id,
        before=before,
        after=after,
        split_special_tokens=tokenizer.split_special_tokens,
        languages=getattr(model.config, "languages", None),
        words=getattr(tokenizer, "word_settings", None),
        int8=int8,
    )


def write_exported(
    folder: str | Path, graph: "onnx.ModelProto", tokenizer: PreTrainedTokenizerBase, tagger: ExportedTagger
) -> None:
    """
    Write a folder that [`OnnxTagger`] reads.

    Args:
        folder (`str` or `Path`):
            The folder.
        graph (`onnx.ModelProto`):
            Of [`onnx_model`] or of [`int8_model`].
        tokenizer (`PreTrainedTokenizerBase`):
            Tokenizer of the model.
        tagger ([`ExportedTagger`]):
            Of [`settings_of`].
    """
    import onnx

    Path(folder).mkdir(parents=True, exist_ok=True)
    # Just this: what else transformers would write is for torch.
    tokenizer.backend_tokenizer.save(str(Path(folder, TOKENIZER_FILE)))
    onnx.save(graph, Path(folder, MODEL_FILE))
    tagger.save(folder)


def _array(weight: Tensor) -> np.ndarray:
    return weight.detach().cpu().numpy()


def _layers(lstm: BiLSTM) -> list[list[dict[str, np.ndarray]]]:
    return [
        [{name: _array(weight) for name, weight in direction.named_parameters()} for direction in layer]
        for layer in zip(lstm.rightward, lstm.leftward, strict=True)
    ]


def _classified(graph: OnnxGraph, vectors: str, classifier: nn.Linear) -> str:
    return linear(graph, vectors, _array(classifier.weight), _array(classifier.bias))


def _read_units(
    graph: OnnxGraph, input_ids: str, embedding: nn.Embedding, reading: BiLSTM, padding: int
) -> tuple[str, str]:
    """States and last states, see [`bilstm`], of the units of words or of sentences."""
    embedded = graph.op("Gather", _array(embedding.weight), input_ids, axis=0)
    is_unit = graph.op("Not", graph.op("Equal", input_ids, np.int64(padding)))
    return bilstm(graph, embedded, _lengths(graph, is_unit), _layers(reading))


def _lengths(graph: OnnxGraph, mask: str) -> str:
    """Real steps of each sequence, int32 of shape `(batch,)`."""
    return graph.op("ReduceSum", graph.op("Cast", mask, to=INT32), [1], keepdims=0)


class _LastLayers(nn.Module):
    """The vectors of an encoder's last layers side by side, as a function of what the exporter hands in."""

    def __init__(self, encoder: PreTrainedModel, num_layers: int):
        super().__init__()
        self.encoder = encoder
        self.num_layers = num_layers

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        outputs = self.encoder(
            input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=self.num_layers > 1
        )
        earlier = outputs.hidden_states[-self.num_layers : -1] if self.num_layers > 1 else ()
        return torch.cat([*earlier, outputs[0]], 2)  # (windows, pieces, layers * hidden)


@contextlib.contextmanager
def _silenced(name: str) -> Iterator[None]:
    """Without the warnings of a logger and those below it."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _encoded_words(model: Any, num_layers: int) -> tuple[OnnxGraph, str, str]:
    """A graph with a pretrained encoder, the vectors of the first pieces of words, and which words there are."""
    # The example's sizes are all different and none is 1, for such are taken for constants.
    input_ids = torch.full((2, 7), model.config.encoder_config.pad_token_id or 0)
    attention_mask = torch.ones_like(input_ids)
    attention_mask[1, 5:] = 0
    dynamic = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    # Plain attention: that of torch comes out with three times the operators, of shapes and of checks.
    model.encoder.set_attn_implementation("eager")
    with warnings.catch_warnings(), _silenced("torch.onnx"):
        # What the exporter does inside is deprecated here and there, and it misses torchvision.
        warnings.simplefilter("ignore")
        exported: Any = torch.onnx.export(
            _LastLayers(model.encoder, num_layers).eval(),
            (input_ids, attention_mask),
            dynamo=True,
            verbose=False,
            dynamic_shapes=(dynamic, dynamic),
            input_names=["input_ids", "attention_mask"],
            output_names=["vectors"],
        )
    proto = exported.model_proto
    (vectors,) = (value.name for value in proto.graph.output)
    del proto.graph.output[:]
    graph = OnnxGraph(proto)
    word_positions = graph.input("word_positions", INT64, ["batch", "words"])
    words = take_rows(graph, vectors, graph.op("Max", word_positions, np.int64(0)))
    return graph, words, graph.op("GreaterOrEqual", word_positions, np.int64(0))


def _projected(graph: OnnxGraph, vectors: str, projection: Any) -> str:
    """What a part of a Meta-LSTM hands on of its states."""
    _, layer, _ = projection
    return graph.op("Elu", _classified(graph, vectors, layer))


def _states_at_ends(graph: OnnxGraph, states: str, unit_words: str, mask: str) -> str:
    """
    The states at the first and at the last unit of each word, `(batch, words, 2 * features)`.

    `states` are those of units, `(batch, units, features)`; `unit_words (batch, units)` is negative on units of no
    word, and `mask (batch, words)` True on words.
    """
    shape = graph.op("Shape", unit_words)
    num_units = graph.op("Gather", shape, np.int64(1), axis=0)
    positions = graph.op("Expand", graph.op("Range", np.int64(0), num_units, np.int64(1)), shape)
    # Units of no word go to a column behind the words, which is cut off.
    num_words = graph.op("Gather", graph.op("Shape", mask), [1], axis=0)
    owners = graph.op("Where", graph.op("GreaterOrEqual", unit_words, np.int64(0)), unit_words, num_words)
    columns = graph.op("Add", graph.op("Shape", mask), np.array([0, 1]))
    ends = []
    for reduction, start in (("min", num_units), ("max", np.int64(0))):
        ends_of = graph.op("ScatterElements", graph.op("Expand", start, columns), owners, positions, axis=1,
                           reduction=reduction)  # fmt: skip
        index = graph.op("Where", mask, graph.op("Slice", ends_of, [0], num_words, [1]), np.int64(0))
        ends.append(graph.op("GatherND", states, graph.op("Unsqueeze", index, [2]), batch_dims=1))
    return graph.op("Concat", *ends, axis=2)


def _word_vectors(graph: OnnxGraph, words: Any, word_ids: str) -> str:
    """The sum of trained and pretrained vectors that the words of a Meta-LSTM begin with, `(batch, words, vector)`."""
    none = np.int64(0)
    rows = graph.op("Max", word_ids, none)
    is_trained = graph.op("Less", rows, np.int64(words.embedding.num_embeddings))
    vectors = graph.op("Gather", _array(words.embedding.weight), graph.op("Where", is_trained, rows, none), axis=0)
    if words.pretrained is None:
        return vectors
    num_rows = words.pretrained.num_embeddings
    pretrained = graph.op(
        "Gather", _array(words.pretrained.weight), graph.op("Min", rows, np.int64(num_rows - 1)), axis=0
    )
    if words.subwords is not None:
        subword_ids = graph.input("subword_ids", INT64, ["unknown", "subwords"])
        kept = graph.op("Cast", graph.op("GreaterOrEqual", subword_ids, none), to=FLOAT)
        of_subwords = graph.op("Gather", _array(words.subwords.weight), graph.op("Max", subword_ids, none), axis=0)
        summed = graph.op("ReduceSum", graph.op("Mul", of_subwords, graph.op("Unsqueeze", kept, [2])), [1], keepdims=0)
        counts = graph.op("Max", graph.op("ReduceSum", kept, [1], keepdims=1), np.float32(1))
        row = graph.op("Sub", rows, np.int64(num_rows))
        means = graph.op("Gather", graph.op("Div", summed, counts), graph.op("Max", row, none), axis=0)
        is_unknown = graph.op("Unsqueeze", graph.op("GreaterOrEqual", row, none), [2])
        pretrained = graph.op("Where", is_unknown, means, pretrained)
    return graph.op("Add", vectors, pretrained)


def _with_task_outputs(graph: OnnxGraph, model: Any, words: str, mask: str) -> OnnxGraph:
    """The graph with labels and probabilities of each task by its CRF, or word by word if the model has none."""
    language_ids = None
    if model.crf_of_task(None) is not None and model.config.languages is not None:
        language_ids = graph.input("language_ids", INT64, ["batch"])
    for scheme in labels_by_scheme(model.config):
        head = model.head_of_task(scheme)
        of_task = "" if head is model else f"_{scheme}"
        emissions = _classified(graph, words, head.classifier)
        crf = model.crf_of_task(scheme)
        if crf is None:
            _with_word_outputs(graph, emissions, mask, of_task)
            continue
        scores = ChainScores(graph, _chain_tables(crf), language_ids)
        labels = best_path(graph, emissions, mask, scores)
        _with_outputs(graph, labels, marginals(graph, emissions, mask, scores), mask, of_task)
    return graph


def _chain_tables(crf: LinearChainCRF) -> list[np.ndarray]:
    """Constrained start, transition and end scores of each language, and last those of all others."""
    tables = crf._tables(crf.start_scores.new_zeros(1, 1, crf.num_labels), None)
    return [_array(table) for table in (tables.start, tables.transition, tables.end)]


def _with_word_outputs(graph: OnnxGraph, scores: str, mask: str, of_task: str = "") -> OnnxGraph:
    """The graph with the most probable label of each word by itself."""
    labels = graph.op("ArgMax", scores, axis=2, keepdims=0)
    return _with_outputs(graph, labels, graph.op("Softmax", scores), mask, of_task)


def _with_agreement_outputs(
    graph: OnnxGraph, agreement: UnitAgreement, words: str, spaces: str, mask: str
) -> OnnxGraph:
    """
    The graph with the labels of the most probable typing of units, see [`UnitAgreement`].

    `words` and `spaces` are the summed log-probabilities of the types of a word's units and of the space before it,
    `(batch, words, types)`.
    """
    outside = graph.op("Slice", spaces, [0], [1], [2])  # (batch, words, 1)
    types = np.array(agreement.state_types)
    of_words = graph.op("Gather", words, types, axis=2)  # (batch, words, states)

    def emissions(inside: str) -> str:
        joined = graph.op("Gather", inside, types, axis=2)
        return graph.op("Add", of_words, graph.op("Where", np.array(agreement.state_is_joined), joined, outside))

    tables = [np.where(allowed, np.float32(0), np.float32(-np.inf))[None] for allowed in agreement.legal]
    scores = ChainScores(graph, tables)
    best, total = spaces, spaces
    if not agreement.boundaries:  # either type of the space joins the words
        best = graph.op("Max", spaces, outside)
        difference = graph.op("Neg", graph.op("Abs", graph.op("Sub", spaces, outside)))
        total = graph.op("Add", best, graph.op("Log", graph.op("Add", graph.op("Exp", difference), np.float32(1))))
    state_labels = np.array(agreement.state_labels)
    labels = graph.op("Gather", state_labels, best_path(graph, emissions(best), mask, scores), axis=0)
    of_labels = np.eye(agreement.num_labels, dtype=np.float32)[state_labels]  # (states, labels)
    by_state = marginals(graph, emissions(total), mask, scores)
    probabilities = graph.op("MatMul", by_state, graph.constant(of_labels, CHAIN))
    return _with_outputs(graph, labels, probabilities, mask)


def _sums_by_word(graph: OnnxGraph, values: str, owners: str, mask: str, num_types: int) -> str:
    """Sum of the values of each word's units, `(batch, words, types)`; units of no word, -1, are left out."""
    owned = graph.op("Unsqueeze", graph.op("GreaterOrEqual", owners, np.int64(0)), [2])
    kept = graph.op("Where", owned, values, np.float32(0))  # (batch, units, types)
    index = graph.op(
        "Expand", graph.op("Unsqueeze", graph.op("Max", owners, np.int64(0)), [2]), graph.op("Shape", kept)
    )
    shape = graph.op("Concat", graph.op("Shape", mask), [num_types], axis=0)
    zeros = graph.op("Expand", np.float32(0), shape)  # (batch, words, types)
    return graph.op("ScatterElements", zeros, index, kept, axis=1, reduction="add")


def _with_outputs(graph: OnnxGraph, labels: str, probabilities: str, mask: str, of_task: str = "") -> OnnxGraph:
    padded = graph.op("Where", mask, labels, np.int64(PADDING_LABEL))
    graph.output(f"labels{of_task}", padded, INT64, ["batch", "words"])
    is_word = graph.op("Unsqueeze", mask, [2])
    shown = graph.op("Where", is_word, probabilities, np.float32(0))
    graph.output(f"probabilities{of_task}", shown, FLOAT, ["batch", "words", f"labels{of_task}"])
    return graph
