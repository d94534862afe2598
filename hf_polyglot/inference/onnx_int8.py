"""
ONNX graphs with weights of 8-bit integers: a quarter of the size, and faster on a CPU.

Matrix products and LSTMs are quantised dynamically by onnxruntime: weights once, each output channel by its own scale,
activations as they come. Embeddings, most of a small multilingual model, are quantised row by row, each piece by its
own scale, which costs next to nothing in accuracy. Weights of matrix products take 7 bits, for on processors without
VNNI instructions sums of products of 8 bits overflow. Scores of a CRF stay as they are.

All rows of activations share one scale in onnxruntime, and in the feed-forward part of an encoder's layers a few
pieces have values many times those of the others, which would be rounded away. So there each row is divided by its
largest value first.
"""

import tempfile
import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hf_polyglot.inference.onnx_graph import CHAIN, FLOAT

if TYPE_CHECKING:
    import onnx

# Smaller weights stay as they are: the classifier of a few labels, whose rounding would show and whose size does not.
FEWEST_WEIGHTS = 2**14

# GELU gives nothing below minus this, so that the largest value of a row need not be looked for below zero too.
LARGEST_BELOW_ZERO = 0.17


def int8_model(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """
    The same graph with integers for weights.

    Args:
        model (`onnx.ModelProto`):
            Of [`onnx_model`].

    Raises:
        ValueError: if no weight is large enough to be quantised.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    small = onnx.ModelProto()
    small.CopyFrom(model)
    _write_as_plain_products(small)
    num_embeddings = _quantise_embeddings(small)
    large = _large_weights(small)
    chosen = [
        node.name
        for node in small.graph.node
        if (node.op_type == "MatMul" and node.input[1] in large)
        or (node.op_type == "LSTM" and set(node.input[1:3]) <= large)
    ]
    if not chosen and not num_embeddings:
        raise ValueError(
            f"No matrix of this model has {FEWEST_WEIGHTS:,} weights; expected one that is worth quantising. Export "
            "it without `int8`."
        )
    _report_floats(small, chosen, large)
    if not chosen:
        return small
    _even_out_rows(small, set(chosen))
    # onnxruntime asks for its own preprocessing in a warning otherwise; there is nothing left to fold here.
    add_pre_process_metadata(small)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        quantize_dynamic(
            small,
            path,
            op_types_to_quantize=["MatMul", "LSTM"],
            nodes_to_quantize=chosen,
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(path)


def _write_as_plain_products(model: "onnx.ModelProto") -> None:
    """Write matrix products with a bias (GPT-2) or a transposed matrix (ALBERT) as onnxruntime quantises them."""
    from onnx import numpy_helper
    from onnxruntime.quantization.onnx_model import ONNXModel

    ONNXModel(model).replace_gemm_with_matmul()
    graph = model.graph
    readers = _readers(model)
    matrices = {weight.name: weight for weight in graph.initializer if len(weight.dims) == 2}
    transposed = [
        node
        for node in graph.node
        if node.op_type == "Transpose"
        and node.input[0] in matrices
        and all(reader.op_type == "MatMul" and reader.input[1] == node.output[0] for reader in readers[node.output[0]])
    ]
    for node in transposed:
        name = node.input[0]
        turned = np.ascontiguousarray(numpy_helper.to_array(matrices[name]).T)
        graph.initializer.append(numpy_helper.from_array(turned, node.output[0]))
        graph.node.remove(node)
        readers[name].remove(node)
        if not readers[name]:
            graph.initializer.remove(matrices[name])


def _report_floats(model: "onnx.ModelProto", chosen: Sequence[str], large: set[str]) -> None:
    """Warn if more than a tenth of the weights stay as they are."""
    read = {name for node in model.graph.node if node.name in set(chosen) for name in node.input}
    sizes = {weight.name: int(np.prod(weight.dims)) for weight in model.graph.initializer}
    left = {name: sizes[name] for name in large - read}
    if sum(left.values()) > 0.1 * sum(sizes.values()):
        longest = sorted(left, key=lambda name: (-left[name], name))[:3]
        warnings.warn(
            f"{sum(left.values()):,} of {sum(sizes.values()):,} weights stay 32-bit floats, among them "
            f"{', '.join(longest)}: what reads them is neither a matrix product, nor an LSTM, nor an embedding.",
            stacklevel=3,
        )


def _readers(model: "onnx.ModelProto") -> defaultdict[str, list]:
    """The nodes that read each tensor."""
    readers: defaultdict[str, list] = defaultdict(list)
    for node in model.graph.node:
        for name in node.input:
            readers[name].append(node)
    return readers


def _large_weights(model: "onnx.ModelProto") -> set[str]:
    """Names of the float weights that are quantised if an operator allows for it."""
    return {
        weight.name
        for weight in model.graph.initializer
        if weight.data_type == FLOAT
        and np.prod(weight.dims) >= FEWEST_WEIGHTS
        and not weight.name.startswith(f"tagger/{CHAIN}")
    }


def _even_out_rows(model: "onnx.ModelProto", names: set[str]) -> None:
    """Divide each row that feed-forward layers read by its largest value, and multiply the outcome by it."""
    from onnx import helper, numpy_helper

    graph = model.graph
    shapes = {weight.name: weight.dims for weight in graph.initializer}
    # Products of attention are square: to even them out as well gains nothing. Nor does it in the head.
    products = [
        node
        for node in graph.node
        if node.op_type == "MatMul"
        and node.name in names
        and shapes[node.input[1]][0] != shapes[node.input[1]][1]
        and not node.input[1].startswith("tagger/")
    ]
    makers = {output: node.op_type for node in graph.node for output in node.output}
    graph.initializer.append(numpy_helper.from_array(np.array([-1]), "int8/last_axis"))
    graph.initializer.append(numpy_helper.from_array(np.array(1e-9, np.float32), "int8/least"))  # of a row of zeros
    graph.initializer.append(numpy_helper.from_array(np.array(LARGEST_BELOW_ZERO, np.float32), "int8/least_of_gelu"))
    evened: set[str] = set()
    for product in products:
        rows, output = product.input[0], product.output[0]
        place = list(graph.node).index(product)
        sizes, largest, scale, even = (f"{rows}/{part}" for part in ("size", "max", "scale", "even"))
        outcome = f"{output}/of_even"
        product.input[0], product.output[0] = even, outcome
        graph.node.insert(place + 1, helper.make_node("Mul", [outcome, scale], [output]))
        if rows in evened:  # by a product before, as of a feed-forward layer with a gate
            continue
        evened.add(rows)
        is_gelu = makers.get(rows) == "Gelu"
        before = [
            helper.make_node("ReduceMax", [rows if is_gelu else sizes, "int8/last_axis"], [largest]),
            helper.make_node("Max", [largest, "int8/least_of_gelu" if is_gelu else "int8/least"], [scale]),
            helper.make_node("Div", [rows, scale], [even]),
        ]
        if not is_gelu:
            before.insert(0, helper.make_node("Abs", [rows], [sizes]))
        for node in reversed(before):
            graph.node.insert(place, node)


def _quantise_embeddings(model: "onnx.ModelProto") -> int:
    """Put rows of integers and a scale for each in the place of embeddings; returns how many there were."""
    from onnx import helper, numpy_helper

    graph = model.graph
    readers = _readers(model)
    large = _large_weights(model)
    embeddings = [
        weight
        for weight in graph.initializer
        if weight.name in large and len(weight.dims) == 2 and all(map(_reads_rows, readers[weight.name]))
    ]
    for weight in embeddings:
        rows = numpy_helper.to_array(weight)
        scales = np.abs(rows).max(1, keepdims=True) / np.float32(127)
        scales[scales == 0] = 1
        integers, factors = f"{weight.name}/int8", f"{weight.name}/scales"
        graph.initializer.remove(weight)
        graph.initializer.append(numpy_helper.from_array(np.rint(rows / scales).astype(np.int8), integers))
        graph.initializer.append(numpy_helper.from_array(scales, factors))
        for node in readers[weight.name]:
            (output,) = node.output
            place = list(graph.node).index(node)
            graph.node.remove(node)
            named = [f"{output}/{part}" for part in ("int8", "float", "scales")]
            for offset, new in enumerate([
                helper.make_node("Gather", [integers, node.input[1]], [named[0]], axis=0),
                helper.make_node("Cast", [named[0]], [named[1]], to=FLOAT),
                helper.make_node("Gather", [factors, node.input[1]], [named[2]], axis=0),
                helper.make_node("Mul", [named[1], named[2]], [output]),
            ]):
                graph.node.insert(place + offset, new)
    return len(embeddings)


def _reads_rows(node: "onnx.NodeProto") -> bool:
    return node.op_type == "Gather" and all(attribute.i == 0 for attribute in node.attribute)
