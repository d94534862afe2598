"""
ONNX graphs, built operator by operator: BiLSTMs that padding does not change, decoding and marginals of a CRF.

torch's exporter is left to pretrained encoders. It takes the length of an LSTM's output from its example, and unrolls
a loop over words, while ONNX has both: its LSTM reads both directions of sequences of given lengths, and its Scan runs
a subgraph word by word.

Axes:
    batch     sentences
    words     positions of the longest sentence in the batch
    steps     positions of the longest sequence that an LSTM reads
    states    labels of a CRF, or what else a chain over words runs through
    rows      sets of scores of a chain: one for all sentences, or one for each of them
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

# onnx's numbers of types; written out, so that this module is imported without it.
FLOAT, INT32, INT64, BOOL = 1, 6, 7, 9

# What scores of a chain are called, which must stay exact.
CHAIN = "chain"


class OnnxGraph:
    """
    A graph that grows by operators. Values go by their names, and every operator gives a new one.

    Args:
        model (`onnx.ModelProto`, *optional*):
            What is there already. Defaults to nothing.
        parent ([`OnnxGraph`], *optional*):
            The graph whose operator runs this one as its body, and whose values this one may use.

    Example:
        >>> graph = OnnxGraph()
        >>> x = graph.input("x", FLOAT, ["batch"])
        >>> graph.output("y", graph.op("Mul", x, np.float32(2)), FLOAT, ["batch"])
        >>> [node.op_type for node in graph.model().graph.node]
        ['Mul', 'Identity']
    """

    def __init__(self, model: "onnx.ModelProto | None" = None, parent: "OnnxGraph | None" = None):
        from onnx import GraphProto, helper

        self.helper = helper
        self._model = model
        self.graph: onnx.GraphProto = GraphProto(name="tagger") if model is None else model.graph
        self.names: Iterator[int] = itertools.count() if parent is None else parent.names

    def name(self, kind: str) -> str:
        """
        A name that nothing in the graph has yet.

        Args:
            kind (`str`):
                What it is the name of.
        """
        # The names of an encoder that torch has exported do not begin so.
        return f"tagger/{kind}_{next(self.names)}"

    def input(self, name: str, kind: int, axes: Sequence[str | int] | None = None) -> str:
        """
        A value that is given to the graph.

        Args:
            name (`str`):
                Its name.
            kind (`int`):
                Type of its elements.
            axes (`Sequence`, *optional*):
                Name of each dynamic axis, or size of a fixed one. Only the body of a scan may do without.
        """
        self.graph.input.append(self.helper.make_tensor_value_info(name, kind, axes))
        return name

    def output(self, name: str, value: str, kind: int, axes: Sequence[str | int] | None = None) -> None:
        """
        Give a value back under a name.

        Args:
            name (`str`):
                Its name outside.
            value (`str`):
                The value.
            kind (`int`):
                Type of its elements.
            axes (`Sequence`, *optional*):
                As for an input.
        """
        self.graph.node.append(self.helper.make_node("Identity", [value], [name]))
        self.graph.output.append(self.helper.make_tensor_value_info(name, kind, axes))

    def constant(self, value: Any, kind: str = "constant") -> str:
        """
        A value that is saved with the graph.

        Args:
            value (`np.ndarray`, `np.generic` or `list`):
                An array, or integers.
            kind (`str`, *optional*, defaults to `"constant"`):
                What its name begins with.
        """
        from onnx import numpy_helper

        array = np.asarray(value)
        name = self.name(kind)
        self.graph.initializer.append(numpy_helper.from_array(array.copy(), name))
        return name

    def op(self, kind: str, *inputs: Any, **attributes: Any) -> str:
        """
        The first output of an operator.

        Args:
            kind (`str`):
                Its name in ONNX.
            inputs (`str`, or what `constant` takes):
                Names of values, `""` for one that is left out, or constants.
            attributes:
                Of the operator; `outputs=2` gives the name of the second output, and the others nobody asks for.
        """
        position = attributes.pop("outputs", 1)
        name = self.name(kind.lower())
        outputs = [""] * (position - 1) + [name]
        given = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        self.graph.node.append(self.helper.make_node(kind, given, outputs, name=f"{name}/node", **attributes))
        return name

    def scan(self, body: "OnnxGraph", states: Sequence[str], sequences: Sequence[str], *, backwards: bool) -> str:
        """
        What the body gives at each position of the sequences, stacked on the first axis in their order.

        Args:
            body ([`OnnxGraph`]):
                Takes the states and one position of each sequence, and gives the states and one value.
            states (`Sequence[str]`):
                Initial states.
            sequences (`Sequence[str]`):
                Read along their first axis.
            backwards (`bool`):
                Whether from the last position to the first.
        """
        name = self.name("scan")
        outputs = [f"{name}_state_{index}" for index in range(len(states))] + [name]
        self.graph.node.append(
            self.helper.make_node(
                "Scan",
                [*states, *sequences],
                outputs,
                name=f"{name}/node",
                body=body.graph,
                num_scan_inputs=len(sequences),
                scan_input_directions=[int(backwards)] * len(sequences),
                scan_output_directions=[int(backwards)],
            )
        )
        return name

    def last_state(self, scan: str, index: int = 0) -> str:
        """
        A state behind the last position that a scan has read.

        Args:
            scan (`str`):
                What `scan` gave.
            index (`int`, *optional*, defaults to 0):
                Which state.
        """
        return f"{scan}_state_{index}"

    def model(self) -> "onnx.ModelProto":
        """The whole, checked."""
        from onnx import checker

        model = self._model
        if model is None:
            # onnxruntime reads these since version 1.20.
            model = self.helper.make_model(
                self.graph,
                opset_imports=[self.helper.make_opsetid("", 20)],
                ir_version=10,
                producer_name="hf_polyglot",
            )
        checker.check_model(model)
        return model


def linear(graph: OnnxGraph, vectors: str, weight: np.ndarray, bias: np.ndarray) -> str:
    """
    `vectors @ weight.T + bias`.

    Args:
        graph ([`OnnxGraph`]):
            Where it is computed.
        vectors (`str`):
            Of shape `(..., features)`.
        weight (`np.ndarray` of shape `(outputs, features)`):
            As torch has it.
        bias (`np.ndarray` of shape `(outputs,)`):
            As torch has it.
    """
    return graph.op("Add", graph.op("MatMul", vectors, weight.T), bias)


def bilstm(
    graph: OnnxGraph, vectors: str, lengths: str, layers: Sequence[Sequence[dict[str, np.ndarray]]]
) -> tuple[str, str]:
    """
    States of a bidirectional LSTM, as [`BiLSTM`] of `hf_polyglot.models.recurrent` has them; zero on padding.

    Args:
        graph ([`OnnxGraph`]):
            Where it is computed.
        vectors (`str`):
            Of shape `(batch, steps, features)`.
        lengths (`str`):
            Steps of each sequence, int32 of shape `(batch,)`.
        layers (`Sequence`):
            Of each layer, the parameters of both directions by their names in torch.

    Returns:
        States of shape `(batch, steps, 2 * hidden)`, and those of each direction behind its last step, of shape
        `(batch, 2 * hidden)`.
    """
    states = graph.op("Transpose", vectors, perm=[1, 0, 2])  # (steps, batch, features)
    last = ""
    for directions in layers:
        hidden_size = directions[0]["weight_hh_l0"].shape[1]
        weights = [
            np.stack([_gates_in_order(parameters[name]) for parameters in directions])
            for name in ("weight_ih_l0", "weight_hh_l0")
        ]
        biases = np.stack([
            np.concatenate([_gates_in_order(parameters[name]) for name in ("bias_ih_l0", "bias_hh_l0")])
            for parameters in directions
        ])
        name = graph.name("lstm")
        graph.graph.node.append(
            graph.helper.make_node(
                "LSTM",
                [states, *(graph.constant(array) for array in (*weights, biases)), lengths],
                [name, f"{name}_last"],
                name=f"{name}/node",
                direction="bidirectional",
                hidden_size=hidden_size,
            )
        )
        by_step = graph.op("Transpose", name, perm=[0, 2, 1, 3])  # (steps, batch, directions, hidden)
        states = graph.op("Reshape", by_step, [0, 0, 2 * hidden_size])
        last = graph.op("Transpose", f"{name}_last", perm=[1, 0, 2])  # (batch, directions, hidden)
        last = graph.op("Reshape", last, [0, 2 * hidden_size])
    return graph.op("Transpose", states, perm=[1, 0, 2]), last


def _gates_in_order(parameter: np.ndarray) -> np.ndarray:
    """Rows of a parameter of an LSTM, from torch's order of the gates (input, forget, cell, output) to ONNX's."""
    of_input, of_forget, of_cell, of_output = np.split(parameter, 4)
    return np.concatenate([of_input, of_output, of_forget, of_cell])


class ChainScores:
    """
    Start, transition and end scores of a chain over words, as values of a graph.

    Args:
        graph ([`OnnxGraph`]):
            Where they are.
        tables (`Sequence[np.ndarray]`):
            Start scores `(rows, states)`, transition scores `(rows, from, to)` and end scores `(rows, states)`.
        language_ids (`str`, *optional*):
            Row of each sentence, int64 of shape `(batch,)`, -1 for the last. By default, there is one row for all.
    """

    def __init__(self, graph: OnnxGraph, tables: Sequence[np.ndarray], language_ids: str | None = None):
        # Forbidden transitions may score minus infinity, of which a difference is no number. This is as good.
        values = [graph.constant(np.maximum(table, np.float32(-1e30)).astype(np.float32), CHAIN) for table in tables]
        if language_ids is not None:
            values = [graph.op("Gather", value, language_ids, axis=0) for value in values]
        self.start, self.transition, self.end = values
        self.into = graph.op("Transpose", self.transition, perm=[0, 2, 1])  # (rows, to, from)


def best_path(graph: OnnxGraph, emissions: str, mask: str, scores: ChainScores) -> str:
    """
    State of each word on the most probable path of its sentence (Viterbi), int64 of shape `(batch, words)`.

    Args:
        graph ([`OnnxGraph`]):
            Where it is computed.
        emissions (`str`):
            Of shape `(batch, words, states)`.
        mask (`str`):
            True on real words, of shape `(batch, words)`.
        scores ([`ChainScores`]):
            Of the chain.

    Returns:
        Name of the value; anything may stand on padding.
    """
    by_word, is_next, first = _by_word(graph, emissions, mask)
    num_states = graph.op("Shape", emissions, start=2, end=3)
    stay = graph.op("Unsqueeze", graph.op("Range", np.int64(0), graph.op("Squeeze", num_states), np.int64(1)), [0])

    step = OnnxGraph(parent=graph)
    best = step.input(graph.name("best"), FLOAT)
    emission = step.input(graph.name("emission"), FLOAT)
    is_word = step.input(graph.name("is_word"), BOOL)
    extended = step.op("Add", step.op("Unsqueeze", best, [1]), scores.into)  # (batch, to, from)
    highest = step.op("ReduceMax", extended, [2], keepdims=0)
    origin = step.op("ArgMax", extended, axis=2, keepdims=0)
    new_best = step.op("Where", is_word, step.op("Add", highest, emission), best)
    # Where there is no word every state comes from itself, so that following the pointers back from the end of the
    # batch arrives unchanged at the end of the sentence.
    new_origin = step.op("Where", is_word, origin, stay)
    step.output(graph.name("best"), new_best, FLOAT)
    step.output(graph.name("origin"), new_origin, INT64)
    start = graph.op("Add", first, scores.start)
    origins = graph.scan(step, [start], [by_word, is_next], backwards=False)  # (words, batch, states)
    last = graph.op("ArgMax", graph.op("Add", graph.last_state(origins), scores.end), axis=1)  # (batch, 1)

    back = OnnxGraph(parent=graph)
    state = back.input(graph.name("state"), INT64)
    came_from = back.input(graph.name("came_from"), INT64)
    back.output(graph.name("state"), back.op("GatherElements", came_from, state, axis=1), INT64)
    back.output(graph.name("state"), state, INT64)
    path = graph.scan(back, [last], [origins], backwards=True)  # (words, batch, 1)
    return graph.op("Transpose", graph.op("Squeeze", path, [2]), perm=[1, 0])


def marginals(graph: OnnxGraph, emissions: str, mask: str, scores: ChainScores) -> str:
    """
    Posterior probability of each state at each word, of shape `(batch, words, states)`.

    Args:
        graph ([`OnnxGraph`]):
            Where it is computed.
        emissions (`str`):
            Of shape `(batch, words, states)`.
        mask (`str`):
            True on real words, of shape `(batch, words)`.
        scores ([`ChainScores`]):
            Of the chain.

    Returns:
        Name of the value; anything may stand on padding.
    """
    by_word, is_next, first = _by_word(graph, emissions, mask)

    def step_of(backwards: bool, otherwise: str | None) -> OnnxGraph:
        """Message of one word, and what becomes of it at the next; `otherwise`, if there is none."""
        step = OnnxGraph(parent=graph)
        message = step.input(graph.name("message"), FLOAT)
        emission = step.input(graph.name("emission"), FLOAT)
        is_word = step.input(graph.name("is_word"), BOOL)
        onward = step.op("Add", message, emission) if backwards else message
        paths = step.op("Add", step.op("Unsqueeze", onward, [1]), scores.transition if backwards else scores.into)
        total = step.op("ReduceLogSumExp", paths, [2], keepdims=0)
        total = total if backwards else step.op("Add", total, emission)
        moved = step.op("Where", is_word, total, otherwise or message)
        step.output(graph.name("message"), moved, FLOAT)
        step.output(graph.name("message"), message if backwards else moved, FLOAT)
        return step

    end = graph.op("Expand", scores.end, graph.op("Shape", first))
    start = graph.op("Add", first, scores.start)
    forward = graph.scan(step_of(False, None), [start], [by_word, is_next], backwards=False)  # (words, batch, states)
    backward = graph.scan(step_of(True, end), [end], [by_word, is_next], backwards=True)
    probabilities = graph.op("Softmax", graph.op("Add", forward, backward), axis=2)
    return graph.op("Transpose", probabilities, perm=[1, 0, 2])


def _by_word(graph: OnnxGraph, emissions: str, mask: str) -> tuple[str, str, str]:
    """Emissions and, `(words, batch, 1)`, whether a word stands there that follows another; emissions of the first."""
    by_word = graph.op("Transpose", emissions, perm=[1, 0, 2])  # (words, batch, states)
    following = graph.op("Transpose", mask, perm=[1, 0])  # (words, batch)
    positions = graph.op("CumSum", graph.op("Cast", following, to=INT32), np.int64(0))
    follows = graph.op("And", following, graph.op("Greater", positions, np.int32(1)))
    first = graph.op("Gather", by_word, np.int64(0), axis=0)  # (batch, states)
    return by_word, graph.op("Unsqueeze", follows, [2]), first


# Operators that compute each row of features by itself: of one value, and of several.
_OF_ROWS = {"Identity", "Gelu", "Erf", "Tanh", "Relu", "Sigmoid", "LayerNormalization"}
_OF_ROWS_TOGETHER = {"Add", "Sub", "Mul", "Div"}


def take_rows(graph: OnnxGraph, vectors: str, index: str) -> str:
    """
    Rows of vectors, taken before whatever computes each row by itself, so that no others are computed.

    The last layer of an encoder reads all pieces, but what follows its attention is only needed of the first piece of
    each word.

    Args:
        graph ([`OnnxGraph`]):
            Changed in place.
        vectors (`str`):
            Of shape `(windows, pieces, features)`; used for nothing else.
        index (`str`):
            Of shape `(batch, words)`: which of the `windows * pieces` rows.

    Returns:
        Name of the rows, of shape `(batch, words, features)`.
    """
    readers: dict[str, list[int]] = {}
    for position, node in enumerate(graph.graph.node):
        for value in node.input:
            readers.setdefault(value, []).append(position)
    ranks = {weight.name: len(weight.dims) for weight in graph.graph.initializer}
    constants = set(ranks)
    for value in graph.graph.value_info:
        if value.type.tensor_type.HasField("shape"):
            ranks[value.name] = len(value.type.tensor_type.shape.dim)

    moved: set[int] = set()
    for position in reversed(range(len(graph.graph.node))):
        node = graph.graph.node[position]
        users = readers.get(node.output[0], [])
        is_needed_by_rows = node.output[0] == vectors or (bool(users) and moved.issuperset(users))
        if is_needed_by_rows and _is_of_rows(node, constants, ranks):
            moved.add(position)

    made = {graph.graph.node[position].output[0] for position in moved}
    taken: dict[str, str] = {}
    for position in sorted(moved):
        node = graph.graph.node[position]
        for place, value in enumerate(node.input):
            if value in constants or value in made or not value:
                continue
            if value not in taken:
                taken[value] = _rows(graph, value, index)
            node.input[place] = taken[value]
    if not moved:
        return _rows(graph, vectors, index)
    # What is taken stands at the end of the graph, and what reads it has to follow.
    following = [graph.graph.node[position] for position in sorted(moved)]
    for node in following:
        copied = type(node)()
        copied.CopyFrom(node)
        graph.graph.node.remove(node)
        graph.graph.node.append(copied)
    for value in [value for value in graph.graph.value_info if value.name in made]:
        graph.graph.value_info.remove(value)
    return vectors


def _rows(graph: OnnxGraph, vectors: str, index: str) -> str:
    return graph.op("Gather", graph.op("Flatten", vectors, axis=2), index, axis=0)


def _is_of_rows(node: "onnx.NodeProto", constants: set[str], ranks: dict[str, int]) -> bool:
    """Whether this operator computes each row of `(windows, pieces, features)` by itself, of such rows."""
    values = [value for value in node.input if value and value not in constants]
    if not values or any(ranks.get(value) != 3 for value in values):
        return False
    weights = [ranks[value] for value in node.input if value in constants]
    if node.op_type == "MatMul":
        return node.input[1] in constants and weights == [2]
    if node.op_type == "LayerNormalization":
        return all(attribute.i in (-1, 2) for attribute in node.attribute if attribute.name == "axis")
    return node.op_type in _OF_ROWS | _OF_ROWS_TOGETHER and all(rank <= 1 for rank in weights)
