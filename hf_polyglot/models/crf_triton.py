"""The linear-chain CRF on GPUs: kernels that Triton compiles, and what calls them.

One program computes one sentence, and all programs of a batch run at once, so that a loss takes two launches instead
of some ten for every word. Messages are logarithms in float64: they are exact for whatever scores, so that nothing has
to be looked at before the next step is launched, and the host never waits for the device. Triton's interpreter
(`TRITON_INTERPRET=1`) runs the same code on the CPU.

Axes:
    batch      sentences
    words      positions of the longest sentence in the batch
    languages  rows of the score tables
    labels     label ids; `from` and `to` are this axis on either side of a transition

Reference:
    Lafferty, McCallum and Pereira (2001), section 3.
"""

from typing import Any

import torch
from torch import Tensor

from .crf_closed_form import Messages, Tables, of_parameters

try:
    # Not simply imported: transformers asks for whatever the code of a model's folder imports outside of `try`.
    import triton
    import triton.language as tl
except ImportError as error:
    raise ImportError(
        "Triton cannot be imported. torch for NVIDIA and AMD brings it along on Linux; elsewhere, leave "
        "`LinearChainCRF.implementation` at 'auto'."
    ) from error


@triton.jit
def _log_sum_exp(scores, axis: tl.constexpr):
    # (log-sum, greatest score or 0, exponentials of the scores less that). The greatest is infinite where all paths
    # are impossible, as those of the labels that fill a block up are.
    greatest = tl.max(scores, axis)
    greatest = tl.where(greatest == float("-inf"), 0.0, greatest)
    exponentials = tl.exp(scores - tl.expand_dims(greatest, axis))
    return greatest + tl.log(tl.sum(exponentials, axis)), greatest, exponentials


@triton.jit(do_not_specialize=["words"])
def _forward(
    emissions,
    start,
    transition,
    end,
    languages,
    lengths,
    labels,
    log_partition,
    value,
    messages,
    words,
    num_labels,
    has_labels: tl.constexpr,
    block: tl.constexpr,
):
    """
    Forward messages, `(batch, words, labels)`, log-partitions and log-likelihoods, `(batch,)`, of one sentence.

    Every argument but the last four points to an array in row-major order; `block` is a power of two, at least
    `num_labels`. Without labels, the values are the log-partitions.
    """
    sentence = tl.program_id(0).to(tl.int64)
    length = tl.load(lengths + sentence)
    language = tl.load(languages + sentence)
    label = tl.arange(0, block)
    is_label = label < num_labels
    nothing = float("-inf")
    start += language * num_labels
    transition += language * num_labels * num_labels
    end += language * num_labels
    first = tl.load(start + label, mask=is_label, other=nothing).to(tl.float64)
    last = tl.load(end + label, mask=is_label, other=nothing).to(tl.float64)
    move = tl.load(
        transition + label[:, None] * num_labels + label[None, :],
        mask=is_label[:, None] & is_label[None, :],
        other=nothing,
    ).to(tl.float64)  # (from, to)

    emissions += sentence * words * num_labels + label
    messages += sentence * words * num_labels + label
    labels += sentence * words
    emission = tl.load(emissions, mask=is_label, other=nothing).to(tl.float64)
    message = first + emission
    tl.store(messages, message, mask=is_label)
    score = tl.zeros((), tl.float64)
    before = tl.zeros((), tl.int64)
    if has_labels:
        before = tl.load(labels)
        score += tl.load(start + before).to(tl.float64) + tl.sum(tl.where(label == before, emission, 0.0), 0)
    for word in range(1, length):
        emission = tl.load(emissions + word * num_labels, mask=is_label, other=nothing).to(tl.float64)
        summed, _, _ = _log_sum_exp(message[:, None] + move, 0)
        message = summed + emission
        tl.store(messages + word * num_labels, message, mask=is_label)
        if has_labels:
            gold = tl.load(labels + word)
            score += tl.load(transition + before * num_labels + gold).to(tl.float64)
            score += tl.sum(tl.where(label == gold, emission, 0.0), 0)
            before = gold
    total, _, _ = _log_sum_exp(message + last, 0)
    tl.store(log_partition + sentence, total)
    result = total
    if has_labels:
        result = score + tl.load(end + before).to(tl.float64) - total
    tl.store(value + sentence, tl.where(length > 0, result, 0.0))


@triton.jit(do_not_specialize=["words"])
def _backward(
    emissions,
    transition,
    end,
    languages,
    lengths,
    labels,
    log_partition,
    messages,
    gradient,
    counts,
    words,
    num_labels,
    has_labels: tl.constexpr,
    block: tl.constexpr,
):
    """
    Gradients of one sentence's value by its emission scores, `(batch, words, labels)`, and by the transition scores,
    `(batch, from, to)`, from what `_forward` made. The gradients of padding are left alone.
    """
    sentence = tl.program_id(0).to(tl.int64)
    length = tl.load(lengths + sentence)
    language = tl.load(languages + sentence)
    total = tl.load(log_partition + sentence)
    label = tl.arange(0, block)
    is_label = label < num_labels
    is_pair = is_label[:, None] & is_label[None, :]
    pairs = label[:, None] * num_labels + label[None, :]
    nothing = float("-inf")
    move = tl.load(transition + language * num_labels * num_labels + pairs, mask=is_pair, other=nothing).to(tl.float64)
    message = tl.load(end + language * num_labels + label, mask=is_label, other=nothing).to(tl.float64)

    emissions += sentence * words * num_labels + label
    messages += sentence * words * num_labels + label
    gradient += sentence * words * num_labels + label
    labels += sentence * words
    count = tl.zeros((block, block), tl.float64)
    following = tl.zeros((), tl.int64)
    for behind in range(1, length + 1):
        word = length - behind
        forward = tl.load(messages + word * num_labels, mask=is_label, other=nothing)
        of_emission = tl.exp(forward + message - total)
        if has_labels:
            gold = tl.load(labels + word)
            of_emission = tl.where(label == gold, 1.0, 0.0) - of_emission
            if behind > 1:
                is_gold = (label[:, None] == gold) & (label[None, :] == following)
                count += tl.where(is_gold, 1.0, 0.0)
            following = gold
        tl.store(gradient + word * num_labels, of_emission, mask=is_label)
        if word > 0:
            emission = tl.load(emissions + word * num_labels, mask=is_label, other=nothing).to(tl.float64)
            onward = move + (emission + message)[None, :]  # (from, to)
            message, greatest, exponentials = _log_sum_exp(onward, 1)
            before = tl.load(messages + (word - 1) * num_labels, mask=is_label, other=nothing)
            pair = exponentials * tl.exp(before + greatest - total)[:, None]
            if has_labels:
                pair = -pair
            count += pair
    tl.store(counts + sentence * num_labels * num_labels + pairs, count, mask=is_pair)


@triton.jit(do_not_specialize=["words"])
def _best_scores(
    emissions,
    start,
    transition,
    end,
    languages,
    lengths,
    origins,
    last_labels,
    words,
    num_labels,
    block: tl.constexpr,
):
    """
    Where the best path to each label of each word comes from, `(batch, words, labels)`, and the last label of the best
    path, `(batch,)`, of one sentence. Of equally good labels the one with the lowest id is taken.
    """
    sentence = tl.program_id(0).to(tl.int64)
    length = tl.load(lengths + sentence)
    language = tl.load(languages + sentence)
    label = tl.arange(0, block)
    is_label = label < num_labels
    nothing = float("-inf")
    move = tl.load(
        transition + language * num_labels * num_labels + label[:, None] * num_labels + label[None, :],
        mask=is_label[:, None] & is_label[None, :],
        other=nothing,
    )
    emissions += sentence * words * num_labels + label
    origins += sentence * words * num_labels + label
    best = tl.load(start + language * num_labels + label, mask=is_label, other=nothing)
    best += tl.load(emissions, mask=is_label, other=0.0)
    for word in range(1, length):
        best, origin = tl.max(best[:, None] + move, 0, return_indices=True)
        # Of scores that are no numbers, the place of the greatest may be any, and is an address later.
        tl.store(origins + word * num_labels, tl.minimum(origin, num_labels - 1), mask=is_label)
        best += tl.load(emissions + word * num_labels, mask=is_label, other=0.0)
        best = tl.where(is_label, best, nothing)
    best += tl.load(end + language * num_labels + label, mask=is_label, other=0.0)
    tl.store(last_labels + sentence, tl.minimum(tl.argmax(best, 0), num_labels - 1))


@triton.jit(do_not_specialize=["words"])
def _best_paths(origins, last_labels, lengths, paths, words, num_labels, block: tl.constexpr):
    """The best path of one sentence, `(batch, words)`, from what `_best_scores` made. Padding is left alone."""
    # A kernel of its own: what one program wrote, other threads of it can be sure to read only after it has ended.
    sentence = tl.program_id(0).to(tl.int64)
    length = tl.load(lengths + sentence)
    label = tl.load(last_labels + sentence)
    origins += sentence * words * num_labels
    paths += sentence * words
    for behind in range(1, length + 1):
        word = length - behind
        tl.store(paths + word, label)
        if word > 0:
            label = tl.load(origins + word * num_labels + label)


def _launch(kernel: Any, emissions: Tensor, *arguments: Any, **constants: bool) -> None:
    batch, words, num_labels = emissions.shape
    block = triton.next_power_of_2(num_labels)
    if batch:
        with torch.cuda.device_of(emissions):
            kernel[batch,](
                emissions,
                *arguments,
                words,
                num_labels,
                **constants,
                block=block,
                # A thread holds at most 8 pairs of labels, or its registers would not do.
                num_warps=max(1, block * block // 256),
                # The same roundings everywhere; and Triton 3.9 warns unless it is told.
                enable_fp_fusion=False,
            )


def _rows(mask: Tensor, tables: Tables) -> tuple[Tensor, Tensor]:
    # Row of the score tables and number of words of each sentence.
    lengths = mask.sum(1)
    if tables.language_ids is None:
        return torch.zeros_like(lengths), lengths
    # The kernels do not check their indices; a lookup does, on the device.
    rows = torch.arange(len(tables.start), device=mask.device)
    return rows.gather(0, tables.language_ids), lengths


def triton_messages(emissions: Tensor, mask: Tensor, tables: Tables, labels: Tensor | None = None) -> Messages:
    """
    Messages by kernels of Triton, whose programs hold all transition scores. They are sound for any scores.

    A gold label or a language that does not exist is an index out of range to torch, which fails on the device.

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
    batch, _, num_labels = emissions.shape
    emissions = emissions.contiguous()
    start, transition, end = (table.contiguous() for table in tables[:3])
    ids, lengths = _rows(mask, tables)
    gold = mask.new_zeros(mask.shape, dtype=torch.long)
    if labels is not None:
        known = torch.arange(num_labels, device=mask.device).expand(batch, -1)
        gold = known.gather(1, labels.masked_fill(~mask, 0))  # checked, as the languages are
    log_partition = emissions.new_empty(batch, dtype=torch.double)
    value = torch.empty_like(log_partition)
    messages = torch.empty_like(emissions, dtype=torch.double)
    gradient = torch.zeros_like(emissions, dtype=torch.double)
    counts = emissions.new_empty(batch, num_labels, num_labels, dtype=torch.double)
    has_labels = labels is not None
    _launch(
        _forward,
        emissions,
        start,
        transition,
        end,
        ids,
        lengths,
        gold,
        log_partition,
        value,
        messages,
        has_labels=has_labels,
    )
    _launch(
        _backward,
        emissions,
        transition,
        end,
        ids,
        lengths,
        gold,
        log_partition,
        messages,
        gradient,
        counts,
        has_labels=has_labels,
    )
    gradient_of_value = gradient.to(emissions.dtype)
    last = (lengths - 1).clamp(min=0)[:, None, None].expand(-1, 1, num_labels)

    def gradients(weights: Tensor) -> tuple[Tensor, ...]:
        of_emissions = gradient_of_value * weights[:, None, None]
        of_rows = weights.double() * (
            ids == torch.arange(len(start), device=ids.device)[:, None]
        )  # (languages, batch)
        of_tables = (
            of_rows @ gradient[:, 0],
            (of_rows @ counts.flatten(1)).view(transition.shape),
            of_rows @ gradient.gather(1, last).squeeze(1),
        )
        return of_emissions, *(of_parameters(table).to(emissions.dtype) for table in of_tables)

    return Messages(value.to(emissions.dtype), gradient_of_value, gradients, is_sound=True)


def triton_decode(emissions: Tensor, mask: Tensor, tables: Tables, padding: int) -> Tensor:
    """
    Labels of the most probable path of each sentence, `(batch, words)`.

    Args:
        emissions (`Tensor` of shape `(batch, words, labels)`):
            Emission scores.
        mask (`BoolTensor` of shape `(batch, words)`):
            True on real words.
        tables ([`Tables`]):
            The other scores, of the same dtype.
        padding (`int`):
            What stands on padding.
    """
    emissions = emissions.contiguous()
    ids, lengths = _rows(mask, tables)
    origins = torch.empty(emissions.shape, dtype=torch.int32, device=emissions.device)
    last_labels = torch.empty(len(mask), dtype=torch.int32, device=emissions.device)
    paths = torch.full(mask.shape, padding, device=mask.device)
    scores = (table.contiguous() for table in tables[:3])
    _launch(_best_scores, emissions, *scores, ids, lengths, origins, last_labels)
    _launch(_best_paths, origins, last_labels, lengths, paths)
    return paths
