"""Negative log-likelihood of the linear-chain CRF whose gradients are formulas, not a walk back through the recursion.

The gradient of the log-partition by the scores is the probability of what they score: of a label at a word, or of two
at successive words. Both follow from the forward and backward messages, in float64 and scaled to sum to one at each
word (Rabiner 1989). There are two makers of messages: loops that numba compiles, for the CPU, and matrix products, for
any number of labels and any device. Where a sentence's scales are too small for either, its value is NaN. A third, for
GPUs, is `crf_triton`.

Axes:
    batch      sentences
    words      positions of the longest sentence in the batch
    languages  rows of the score tables, one if all sentences share them
    labels     label ids; `from` and `to` are this axis on either side of a transition

Reference:
    Rabiner (1989), "A tutorial on hidden Markov models and selected applications in speech recognition".
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .crf_kernels import (
    MAX_LANES,
    NO_SUCH_LABEL,
    SMALLEST_SCALE,
    SOUND,
    best_paths,
    blocks_of,
    compiled,
    weighted_gradients,
)


class Tables(NamedTuple):
    """
    Constrained scores of all languages, and which of them each sentence has.

    Args:
        start (`Tensor` of shape `(languages, labels)`):
            Scores of the first label.
        transition (`Tensor` of shape `(languages, from, to)`):
            Scores of two successive labels.
        end (`Tensor` of shape `(languages, labels)`):
            Scores of the last label.
        language_ids (`LongTensor` of shape `(batch,)`, *optional*):
            Row of each sentence. Without them there is one row.
    """

    start: Tensor
    transition: Tensor
    end: Tensor
    language_ids: Tensor | None


class ArrayTables(NamedTuple):
    """
    [`Tables`] as numpy's arrays, which is what compiled loops read.

    Args:
        start (`np.ndarray` of shape `(languages, labels)`):
            Scores of the first label.
        transition (`np.ndarray` of shape `(languages, from, to)`):
            Scores of two successive labels.
        end (`np.ndarray` of shape `(languages, labels)`):
            Scores of the last label.
        language_ids (`np.ndarray` of shape `(batch,)`, *optional*):
            Row of each sentence. Without them there is one row.
    """

    start: np.ndarray
    transition: np.ndarray
    end: np.ndarray
    language_ids: np.ndarray | None


def _arrays(mask: Tensor, tables: ArrayTables) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    # What the kernels want to know of the sentences: lengths, order, starts of the blocks, languages.
    # numpy's `sum` is slow along a short axis; a product with a vector is not.
    lengths = (mask.numpy() @ np.ones(mask.shape[1], np.float32)).astype(np.int64)
    if tables.language_ids is None:
        if len(lengths) <= MAX_LANES:
            return lengths, *_one_block(len(lengths))
        return lengths, *blocks_of(None, lengths), np.zeros(lengths.shape, lengths.dtype)
    languages = tables.language_ids
    known = len(tables.start)
    if languages.size and not 0 <= languages.min() <= languages.max() < known:
        # The kernels do not check their indices.
        raise ValueError(
            f"`language_ids` lie in [{languages.min()}, {languages.max()}]; expected ids below {known - 1}, or -1 for "
            "a language without scores of its own. Make them with the model's own list of languages."
        )
    return lengths, *blocks_of(languages, lengths), languages


@functools.cache
def _one_block(batch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # Order, starts and languages of a batch that is one block; read, and never written.
    languages = np.zeros(batch, np.int64)
    return *blocks_of(None, languages), languages


@functools.cache
def _compiled_forward_backward() -> Callable:
    # numba's import takes half a second, and is not always there.
    from .crf_forward_backward import forward_backward

    return compiled(forward_backward)


class Messages(NamedTuple):
    """
    What forward and backward messages say of a batch.

    Args:
        value (`Tensor` of shape `(batch,)`):
            Log-likelihoods, or log-partitions where no labels were given. NaN for a sentence whose scores are too
            extreme; its gradients are zero.
        gradient (`Tensor` of shape `(batch, words, labels)`):
            Gradient of each value by its emission scores; of a log-partition, the marginals.
        gradients (`Callable`):
            Gradients of emissions and of the parameters that made the tables from those of the values, `(batch,)`.
        is_sound (`bool`):
            Whether no value is NaN.
    """

    value: Tensor
    gradient: Tensor
    gradients: Callable[[Tensor], tuple[Tensor, ...]]
    is_sound: bool


def _gradients(ctx, weights: Tensor) -> tuple[Tensor | None, ...]:
    return *ctx.gradients(weights), None


_once_differentiable_gradients = once_differentiable(_gradients)


class ClosedForm(torch.autograd.Function):
    """The values of messages, as a function of the emission scores and of the parameters that made the tables."""

    @staticmethod
    def forward(ctx, emissions, start_scores, transition_scores, end_scores, messages):
        """The values that the messages hold already."""
        # Not the messages: they hold the value, which holds this context.
        ctx.gradients = messages.gradients
        return messages.value

    @staticmethod
    def backward(ctx, weights):
        """Gradients by the formula, of the parameters instead of the tables; they have no derivatives."""
        # torch is asked to refuse them only where somebody may want them: its refusal costs every call 3 microseconds.
        of_weights = _once_differentiable_gradients if torch.is_grad_enabled() else _gradients
        return of_weights(ctx, weights)


def of_parameters(of_table):
    """
    Gradient of the parameters from that of the table that was made of them.

    Args:
        of_table (`Tensor` or `np.ndarray` of shape `(languages, ...)`):
            One row is that of all languages together. Else the last row is the mean of the others.

    Returns:
        `Tensor` or `np.ndarray` of shape `(...)`, or `(languages - 1, ...)`.
    """
    rows = of_table.shape[0]
    return of_table[0] if rows == 1 else of_table[:-1] + of_table[-1:] / (rows - 1)


def compiled_messages(emissions: Tensor, mask: Tensor, tables: ArrayTables, labels: Tensor | None = None) -> Messages:
    """
    Messages by loops that numba compiles, on one thread of the CPU.

    What torch and numpy do around the loops takes longer than the loops of a small batch, so it is little.

    Args:
        emissions (`Tensor` of shape `(batch, words, labels)`):
            Emission scores.
        mask (`BoolTensor` of shape `(batch, words)`):
            True on real words.
        tables ([`ArrayTables`]):
            The other scores, of the same dtype.
        labels (`LongTensor` of shape `(batch, words)`, *optional*):
            Gold labels.

    Raises:
        ValueError: if a word's gold label or a sentence's language does not exist.
    """
    batch, _, num_labels = emissions.shape
    sentences = _arrays(mask, tables)
    scores = emissions.contiguous().numpy()
    gold = np.empty((0, 0), np.int64) if labels is None else labels.contiguous().numpy()
    value, gradient = np.empty(batch, scores.dtype), np.empty_like(scores)
    counts = np.empty(batch * num_labels**2)
    status = _compiled_forward_backward()(scores, gold, *sentences, *tables[:3], value, gradient, counts)
    if status == NO_SUCH_LABEL:
        raise ValueError(
            f"`labels` of words are {np.unique(gold[mask.numpy()]).tolist()}; expected ids in [0, {num_labels}). Only "
            "padding may have others."
        )

    def gradients(weights: Tensor) -> tuple[Tensor, ...]:
        of_emissions = np.empty_like(gradient)
        of_tables = [np.empty_like(table) for table in tables[:3]]
        weighted = of_emissions, *of_tables
        compiled(weighted_gradients)(weights.contiguous().numpy(), *sentences, gradient, counts, *weighted)
        return tuple(map(torch.from_numpy, (of_emissions, *map(of_parameters, of_tables))))

    return Messages(torch.from_numpy(value), torch.from_numpy(gradient), gradients, status == SOUND)


def matrix_messages(emissions: Tensor, mask: Tensor, tables: Tables, labels: Tensor | None = None) -> Messages:
    """
    Messages by matrix products, for any device with float64 and any number of labels.

    Args:
        emissions (`Tensor` of shape `(batch, words, labels)`):
            Emission scores.
        mask (`BoolTensor` of shape `(batch, words)`):
            True on real words.
        tables ([`Tables`]):
            The other scores, of the same dtype.
        labels (`LongTensor` of shape `(batch, words)`, *optional*):
            Gold labels.
    """
    dtype, num_languages = emissions.dtype, len(tables.start)
    start, transition, end = (table.double() for table in tables[:3])
    ids = mask.new_zeros(len(mask), dtype=torch.long) if tables.language_ids is None else tables.language_ids
    emissions = emissions.double().masked_fill(~mask[:, :, None], 0)
    tops = emissions.amax(2, keepdim=True)  # (batch, words, 1)
    factors = (emissions - tops).exp()
    log_first, log_move, log_last = (table.flatten(1).amax(1) for table in (start, transition, end))  # (languages,)
    first = (start - log_first[:, None]).exp()[ids]  # (batch, labels)
    last = (end - log_last[:, None]).exp()[ids]  # (batch, labels)
    moves = (transition - log_move[:, None, None]).exp()  # (languages, from, to)
    # One product for all sentences where they share the table, else one for each.
    moves = moves if num_languages == 1 else moves[ids]
    shape = (1, *first.shape) if num_languages == 1 else (len(mask), 1, first.shape[1])

    forwards: list[Tensor] = []
    scales: list[Tensor] = []
    for word, factor in enumerate(factors.unbind(1)):
        forward = (forwards[-1].view(shape) @ moves).view_as(first) * factor if word else first * factor
        scales.append(forward.sum(1))  # (batch,)
        forwards.append(torch.where(mask[:, word, None], forward / scales[-1][:, None], 0.0))
    forward = torch.stack(forwards, 1)  # (batch, words, labels)
    scale = torch.stack(scales, 1).masked_fill(~mask, 1)  # (batch, words)
    is_last = mask & ~torch.nn.functional.pad(mask[:, 1:], (0, 1))  # (batch, words)
    is_empty = ~mask.any(1)  # (batch,)
    last_scale = ((forward * is_last[:, :, None]).sum(1) * last).sum(1).masked_fill(is_empty, 1)  # (batch,)

    factors = torch.where(mask[:, :, None], factors / scale[:, :, None], 0.0)  # (batch, words, labels)
    ends = last / last_scale[:, None]
    backward = torch.zeros_like(ends)
    backwards, onwards = [], []
    for word in reversed(range(mask.shape[1])):
        backwards.append(torch.where(is_last[:, word, None], ends, backward))
        onwards.append(backwards[-1] * factors[:, word])
        backward = (onwards[-1].view(shape) @ moves.mT).view_as(ends)
    backward = torch.stack(backwards[::-1], 1)  # (batch, words, labels)
    onward = torch.stack(onwards[::-1], 1)  # (batch, words, labels)

    value = scale.log().sum(1) + last_scale.log() + (tops[:, :, 0] * mask).sum(1)
    value = value + log_first[ids] + (mask.sum(1) - 1) * log_move[ids] + log_last[ids]
    is_sound = (scale > SMALLEST_SCALE).all(1) & (last_scale > SMALLEST_SCALE)
    is_sound &= (backward < 1 / SMALLEST_SCALE).all(2).all(1)
    value = value.masked_fill(~is_sound, torch.nan).masked_fill(is_empty, 0)
    forward, backward, onward = (
        torch.where(is_sound[:, None, None], message, 0.0) for message in (forward, backward, onward)
    )
    gradient = forward * backward
    if labels is not None:
        gold = labels.masked_fill(~mask, 0)
        moved = ids[:, None].expand_as(gold[:, 1:]), gold[:, :-1], gold[:, 1:]
        score = emissions.gather(2, gold[:, :, None]).squeeze(2)  # (batch, words)
        score = score + end[ids[:, None], gold] * is_last
        score[:, 1:] += transition[moved] * mask[:, 1:]
        score[:, 0] += start[ids, gold[:, 0]] * mask[:, 0]
        value = score.sum(1) - value
        is_gold = mask & is_sound[:, None]
        gradient = (-gradient).scatter_add(2, gold[:, :, None], is_gold[:, :, None].double())

    gradient_of_value = gradient.to(dtype)

    def gradients(weights: Tensor) -> tuple[Tensor, ...]:
        of_emissions = gradient_of_value * weights[:, None, None]
        weights = weights.double()[:, None]
        # `index_put_` adds in a fixed order, on GPUs too.
        of_start, of_transition, of_end = (torch.zeros_like(table) for table in (start, transition, end))
        of_start.index_put_((ids,), weights * gradient[:, 0], accumulate=True)
        of_end.index_put_((ids,), weights * (gradient * is_last[:, :, None]).sum(1), accumulate=True)
        before, after = (weights[:, :, None] * forward)[:, :-1], onward[:, 1:]
        if num_languages == 1:
            of_transition += before.flatten(0, 1).mT @ after.flatten(0, 1) * moves
        else:
            of_transition.index_put_((ids,), before.mT @ after * moves, accumulate=True)
        if labels is not None:
            of_transition.neg_().index_put_(moved, weights * is_gold[:, 1:], accumulate=True)
        of_tables = (of_parameters(table).to(dtype) for table in (of_start, of_transition, of_end))
        return of_emissions, *of_tables

    return Messages(value.to(dtype), gradient_of_value, gradients, bool((is_sound | is_empty).all()))


def compiled_decode(emissions: Tensor, mask: Tensor, tables: ArrayTables, padding: int) -> Tensor:
    """
    Labels of the most probable path of each sentence, `(batch, words)`.

    Args:
        emissions (`Tensor` of shape `(batch, words, labels)`):
            Emission scores on the CPU.
        mask (`BoolTensor` of shape `(batch, words)`):
            True on real words.
        tables ([`ArrayTables`]):
            The other scores, of the same dtype.
        padding (`int`):
            What stands on padding.
    """
    paths = torch.full(mask.shape, padding)
    compiled(best_paths)(emissions.contiguous().numpy(), *_arrays(mask, tables), *tables[:3], paths.numpy())
    return paths
