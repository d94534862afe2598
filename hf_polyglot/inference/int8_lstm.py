"""LSTMs with 8-bit weights and states, for prediction on a CPU.

A state of an LSTM lies between -1 and 1, so 8 bits hold it with an error of at most 1/254, and no scale has to be
looked for. The products of weights with inputs and states are those of integers, which processors with 8-bit
instructions (VNNI) compute four times as fast; all else of a step is one pass over its numbers, by a loop that numba
compiles where it is installed.

Axes:
    batch     sequences
    steps     positions of the longest sequence in the batch
    gates     input, forget, candidate and output gate, `hidden` of each, as in `nn.LSTM`
"""

import copy
import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import logging

from hf_polyglot.models.crf_kernels import compiled, has_numba
from hf_polyglot.models.recurrent import BiLSTM, last_of_states

logger = logging.get_logger(__name__)

Model = TypeVar("Model", bound=PreTrainedModel)

# The greatest number of a scale; -128 is left out, so that scales are symmetrical.
GREATEST = 127

# Where tanh is 1 to 1e-4, and the fraction that `lstm_step` computes is still 1 to 1e-5.
SATURATED = 5.0


def with_int8_lstms(model: Model) -> Model:
    """
    A copy of a model whose LSTMs have 8-bit weights and states; it can predict on a CPU, and nothing else.

    Args:
        model (`PreTrainedModel`):
            A byte-CRF, CharNER or Meta-LSTM, or an encoder-CRF with an LSTM.

    Raises:
        ValueError: if no part of the model is one of this package's LSTMs of both directions.

    Example:
        >>> tag = pipeline("polyglot-token-classification", model=with_int8_lstms(model), tokenizer=tokenizer)
        ... # doctest: +SKIP
    """
    names = [name for name, module in model.named_modules() if type(module) is BiLSTM]
    if not names and not any(isinstance(module, Int8BiLSTM) for module in model.modules()):
        raise ValueError(
            f"`model` is a {type(model).__name__}, no part of which is an LSTM of both directions; expected a "
            "byte-CRF, CharNER or Meta-LSTM. Of other taggers, `recipes/export.py --int8 true` makes 8-bit ones for "
            "onnxruntime."
        )
    if not has_exact_int8():
        logger.warning(
            "This processor has no 8-bit instructions that torch would use (VNNI), so the products of 8-bit LSTMs are "
            "computed in float32, which is no faster than a model without them."
        )
    model = copy.deepcopy(model)
    for name in names:
        model.set_submodule(name, Int8BiLSTM(cast(BiLSTM, model.get_submodule(name))))
    return model.eval()


class Int8LSTM(nn.Module):
    """
    Weights of one direction of one layer.

    Args:
        lstm (`nn.Module`):
            An `nn.LSTM` of one layer and one direction.
    """

    has_constant_weights = True  # so that a byte-CRF keeps the vectors of words
    input_weights: Tensor
    input_scales: Tensor
    state_weights: Tensor
    state_scales: Tensor
    bias: Tensor

    def __init__(self, lstm: nn.Module):
        super().__init__()
        input_weights, input_scales = quantised_rows(lstm.get_parameter("weight_ih_l0").detach())
        state_weights, state_scales = quantised_rows(lstm.get_parameter("weight_hh_l0").detach())
        bias = lstm.get_parameter("bias_ih_l0") + lstm.get_parameter("bias_hh_l0")
        self.hidden_size = state_weights.shape[1]
        self.register_buffer("input_weights", input_weights)  # (gates, inputs)
        self.register_buffer("input_scales", input_scales)  # (gates,)
        self.register_buffer("state_weights", state_weights)  # (gates, hidden)
        self.register_buffer("state_scales", state_scales / GREATEST)  # (gates,), those of the states included
        self.register_buffer("bias", bias.detach().float())  # (gates,)

    def _apply(self, fn, recurse=True):
        # Scales stay as exact as they are, whatever dtype the model gets.
        return super()._apply(lambda tensor: tensor.to(fn(tensor).device), recurse)

    def _save_to_state_dict(self, *_):
        raise ValueError(
            "A model with 8-bit LSTMs is for prediction and has no form in files; expected the one it was made from. "
            "Save that, and call `with_int8_lstms` when it has been loaded."
        )

    def read(
        self,
        inputs: Tensor,
        scales: Tensor,
        rows: Tensor,
        mask: Tensor,
        codes: Tensor,
        states: Tensor,
        first: int,
        is_left: bool,
    ) -> None:
        """
        Read all sequences to the right, or to the left, and write the states of every step.

        Args:
            inputs (`CharTensor` of shape `(rows, inputs)`):
                Inputs over their scales.
            scales (`Tensor` of shape `(rows,)`):
                Those of the inputs.
            rows (`LongTensor` of shape `(steps, batch)`):
                Which of the inputs is read.
            mask (`BoolTensor` of shape `(steps, batch)`):
                True on real steps. Where it is not, the state is zero, in which a sequence also begins.
            codes (`CharTensor` of shape `(steps, batch, 2 * hidden)`):
                Filled with the states in 8 bits, from `first` on.
            states (`Tensor` of shape `(steps, batch, 2 * hidden)`):
                Filled with the states, from `first` on.
            first (`int`):
                Where in both the states of this direction begin.
            is_left (`bool`):
                Whether it reads from the last step to the first.
        """
        num_steps, batch = rows.shape
        of_inputs = product_of_codes(inputs, self.input_weights)  # (rows, gates)
        code = inputs.new_zeros((batch, self.hidden_size))
        cell = self.bias.new_zeros((batch, self.hidden_size))
        steps = reversed(range(num_steps)) if is_left else range(num_steps)
        of_step: list[Any] = [rows, mask, codes, states]
        of_all: list[Any] = [of_inputs, scales, self.input_scales, self.state_scales, self.bias, cell, code]
        compute: Callable[..., None] = _lstm_step_of_torch
        if is_compiled := has_numba():
            # Arrays share the memory of their tensors.
            of_step, of_all = [tensor.numpy() for tensor in of_step], [tensor.numpy() for tensor in of_all]
            compute = compiled(lstm_step)
        for step in steps:
            of_code = product_of_codes(code, self.state_weights)
            given = [array[step] for array in of_step]
            compute(of_code.numpy() if is_compiled else of_code, *given, *of_all, first)


class Int8BiLSTM(BiLSTM):
    """
    [`BiLSTM`] with 8-bit weights and states, without gradients.

    Args:
        lstms ([`BiLSTM`]):
            Whose weights it has; of any dtype.
    """

    has_constant_weights = True

    def __init__(self, lstms: BiLSTM):
        nn.Module.__init__(self)
        self.rightward = nn.ModuleList(map(Int8LSTM, lstms.rightward))
        self.leftward = nn.ModuleList(map(Int8LSTM, lstms.leftward))

    def forward(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """
        States of both directions of the last layer.

        Args:
            inputs (`Tensor` of shape `(batch, steps, features)`):
                Sequences, padded on the right, on the CPU.
            mask (`BoolTensor` of shape `(batch, steps)`):
                True on real steps.

        Returns:
            `Tensor` of shape `(batch, steps, 2 * hidden)`, zero on padding.
        """
        rows = torch.arange(mask.numel(), device=mask.device).view(mask.shape)
        return self.states_of_rows(inputs.flatten(0, 1), rows, mask)

    @torch.no_grad()
    def states_of_rows(self, table: Tensor, rows: Tensor, mask: Tensor) -> Tensor:
        """
        The same of sequences whose inputs are rows of a table, such as that of embeddings: its products are made once.

        Args:
            table (`Tensor` of shape `(rows, features)`):
                Inputs, on the CPU.
            rows (`LongTensor` of shape `(batch, steps)`):
                Which of them stands at each step.
            mask (`BoolTensor` of shape `(batch, steps)`):
                True on real steps; padding is on the right.

        Returns:
            `Tensor` of shape `(batch, steps, 2 * hidden)`, zero on padding.

        Raises:
            ValueError: in training, and on other devices.
        """
        if self.training or not table.is_cpu:
            raise ValueError(
                f"An LSTM with 8-bit weights is {'in training' if self.training else f'on {table.device}'}; expected "
                "prediction on the CPU. Use the model that it was made from."
            )
        mask, rows = mask.T.contiguous(), rows.T.contiguous()  # (steps, batch)
        codes, scales = quantised_rows(table)
        states = codes
        for right_and_left in zip(self.rightward, self.leftward, strict=True):
            layer = cast("tuple[Int8LSTM, Int8LSTM]", right_and_left)
            given, width = codes, 2 * layer[0].hidden_size
            codes, states = given.new_empty((*mask.shape, width)), scales.new_empty((*mask.shape, width))
            for is_left, direction in enumerate(layer):
                direction.read(given, scales, rows, mask, codes, states, is_left * width // 2, bool(is_left))
            codes = codes.flatten(0, 1)
            rows = torch.arange(len(codes)).view(mask.shape)
            scales = scales.new_full((len(codes),), 1 / GREATEST)
        return states.transpose(0, 1).to(table.dtype)

    def last_states_of_rows(self, table: Tensor, rows: Tensor, mask: Tensor) -> Tensor:
        """`last_states` of what `states_of_rows` reads, of shape `(batch, 2 * hidden)`."""
        return last_of_states(self.states_of_rows(table, rows, mask), mask)


def quantised_rows(weights: Tensor) -> tuple[Tensor, Tensor]:
    """
    Rows of a matrix as 8-bit integers, `(rows, columns)`, and what each is to be multiplied with, `(rows,)`.

    Args:
        weights (`Tensor` of shape `(rows, columns)`):
            The matrix.
    """
    weights = weights.float()
    scales = weights.abs().amax(1) / GREATEST
    scales = torch.where(scales > 0, scales, 1.0)
    return (weights / scales[:, None]).round().to(torch.int8), scales


def product_of_codes(codes: Tensor, weights: Tensor) -> Tensor:
    """
    Products of 8-bit rows with 8-bit rows, exact, of shape `(batch, rows)`, 32-bit integers.

    Args:
        codes (`CharTensor` of shape `(batch, columns)`):
            Numbers from -127 to 127.
        weights (`CharTensor` of shape `(rows, columns)`):
            Numbers from -127 to 127.
    """
    columns = codes.shape[1]
    if columns > 1 and has_exact_int8():  # with one column, torch 2.13 computes nonsense
        return torch._int_mm(codes, weights.mT)
    dtype = torch.float32 if columns * GREATEST**2 < 2**24 else torch.float64  # the sums fit into
    return (codes.to(dtype) @ weights.to(dtype).mT).to(torch.int32)


@functools.cache
def has_exact_int8() -> bool:
    """
    Whether torch multiplies 8-bit matrices exactly here.

    Without the instructions for it (VNNI of AVX-512 or AVX2), sums of two products are cut off at 16 bits, without a
    word.
    """
    generator = torch.Generator().manual_seed(0)
    codes, weights = (
        torch.randint(-GREATEST, GREATEST + 1, (size, 512), generator=generator).to(torch.int8) for size in (32, 64)
    )
    try:
        products = torch._int_mm(codes, weights.mT)
    except (AttributeError, RuntimeError):  # a torch without it, or without it for this processor
        return False
    return torch.equal(products, (codes.double() @ weights.double().mT).int())


def lstm_step(
    of_codes,
    rows,
    mask,
    all_codes,
    all_states,
    of_inputs,
    scales,
    input_scales,
    state_scales,
    bias,
    cells,
    codes,
    first,
):
    """
    One step of an LSTM from the products of its weights, for numba.

    Args:
        of_codes (`np.ndarray` of shape `(batch, gates)`):
            Products of weights and states, 32-bit integers.
        rows (`np.ndarray` of shape `(batch,)`):
            Which of the inputs each sequence has.
        mask (`np.ndarray` of shape `(batch,)`):
            True where there is a step.
        all_codes (`np.ndarray` of shape `(batch, 2 * hidden)`):
            Filled as `codes`, from `first` on.
        all_states (`np.ndarray` of shape `(batch, 2 * hidden)`):
            Filled with the new states, from `first` on.
        of_inputs (`np.ndarray` of shape `(rows, gates)`):
            Products of weights and inputs, 32-bit integers.
        scales (`np.ndarray` of shape `(rows,)`):
            Those of the inputs.
        input_scales (`np.ndarray` of shape `(gates,)`):
            Those of the weights of the inputs.
        state_scales (`np.ndarray` of shape `(gates,)`):
            Those of the weights of the states, and of these.
        bias (`np.ndarray` of shape `(gates,)`):
            What is added.
        cells (`np.ndarray` of shape `(batch, hidden)`):
            Read, and filled with the new ones.
        codes (`np.ndarray` of shape `(batch, hidden)`):
            Filled with the new states in 8 bits.
        first (`int`):
            Where the states of this direction begin.

    Reference:
        Lambert (1768), "Mémoire sur quelques propriétés remarquables", the continued fraction of tanh.
    """
    hidden = cells.shape[1]
    one, half, most = np.float32(1), np.float32(0.5), np.float32(SATURATED)
    # Of the seventh approximant of tanh, by falling powers of the square. It has no exponential, so that the loops
    # become vector instructions.
    n1, n2, n3 = np.float32(378), np.float32(17325), np.float32(135135)
    d0, d1, d2, d3 = np.float32(28), np.float32(3150), np.float32(62370), np.float32(135135)
    gates = np.empty((4, hidden), np.float32)
    for sequence in range(len(cells)):
        # Slices, whose indices need no check: with checks there are no vector instructions.
        code, cell, scale = codes[sequence], cells[sequence], scales[rows[sequence]]
        code_of_all = all_codes[sequence, first : first + hidden]
        state = all_states[sequence, first : first + hidden]
        if not mask[sequence]:
            code[:], code_of_all[:] = 0, 0
            cell[:], state[:] = 0.0, 0.0
            continue
        for gate in range(4):
            units = slice(gate * hidden, (gate + 1) * hidden)
            of_input, input_scale = of_inputs[rows[sequence], units], input_scales[units]
            of_code, state_scale = of_codes[sequence, units], state_scales[units]
            added, activation = bias[units], gates[gate]
            # A gate is a sigmoid, which is half of the tanh of half of its score, and a half. The candidate is a tanh.
            share = one if gate == 2 else half
            rest = one - share
            for unit in range(hidden):
                score = np.float32(of_input[unit]) * (scale * input_scale[unit])
                score += np.float32(of_code[unit]) * state_scale[unit] + added[unit]
                x = max(min(share * score, most), -most)
                s = x * x
                tanh = x * (n3 + s * (n2 + s * (n1 + s))) / (d3 + s * (d2 + s * (d1 + s * d0)))
                activation[unit] = share * tanh + rest
        input_gate, forget_gate, candidate, output_gate = gates[0], gates[1], gates[2], gates[3]
        for unit in range(hidden):
            cell[unit] = forget_gate[unit] * cell[unit] + input_gate[unit] * candidate[unit]
            x = max(min(cell[unit], most), -most)
            s = x * x
            tanh = x * (n3 + s * (n2 + s * (n1 + s))) / (d3 + s * (d2 + s * (d1 + s * d0)))
            state[unit] = output_gate[unit] * tanh
            # The conversion cuts fractions off, so numbers are made positive for it.
            rounded = np.int32(state[unit] * np.float32(GREATEST) + np.float32(GREATEST + 0.5)) - np.int32(GREATEST)
            code[unit] = np.int8(rounded)
            code_of_all[unit] = np.int8(rounded)


def _lstm_step_of_torch(
    of_codes,
    rows,
    mask,
    all_codes,
    all_states,
    of_inputs,
    scales,
    input_scales,
    state_scales,
    bias,
    cells,
    codes,
    first,
):
    # `lstm_step` without numba.
    gates = of_inputs[rows] * scales[rows, None] * input_scales + of_codes * state_scales + bias
    input_gate, forget_gate, candidate, output_gate = gates.chunk(4, 1)
    cells.copy_(forget_gate.sigmoid() * cells + input_gate.sigmoid() * candidate.tanh()).mul_(mask[:, None])
    states = output_gate.sigmoid() * cells.tanh()  # zero where the cell is
    codes.copy_((states * GREATEST).round_())
    here = slice(first, first + cells.shape[1])
    all_codes[:, here], all_states[:, here] = codes, states
