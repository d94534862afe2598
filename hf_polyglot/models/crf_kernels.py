"""Loops of the linear-chain CRF that numba compiles where it is installed; nothing here needs it to be imported.

Sentences of one language lie side by side in the last axis of the buffers, `lanes`, and the innermost loops run over
it, so that one vector instruction serves several sentences. Each kernel is one plain function, so that numba can keep
its machine code in a file. They run on one thread and add in a fixed order: results are the same bit for bit from run
to run.

Axes:
    batch      sentences
    words      positions of the longest sentence in the batch
    languages  rows of the score tables
    labels     label ids; `from` and `to` are this axis on either side of a transition
    lanes      sentences of one block, which are of one language
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

# Enough for the vector instructions to outweigh the loop around them, few enough for a block to stay in the cache.
MAX_LANES = 32

# What a kernel says of its sentences.
NO_SUCH_LABEL, UNSOUND, SOUND = range(3)

# Scaled probabilities are at most 1. One that underflows to zero is below 1e-300, so while no sum of them that is
# divided by falls below this, what is lost is less than 1e-200 of it.
SMALLEST_SCALE = 1e-100


@functools.cache
def has_numba() -> bool:
    """Whether numba can be imported, which takes half a second and is therefore left until it is needed."""
    try:
        import numba  # noqa: F401
    except ImportError:  # also raised by a numba that is too old for the installed numpy
        return False
    return True


@functools.cache
def compiled(kernel: Callable) -> Callable:
    """
    The kernel as machine code, made at its first call.

    numba keeps the code beside this file or, where that is read-only, in the user's cache folder or in
    `NUMBA_CACHE_DIR`, so only the first process on a machine waits for the compiler.

    Args:
        kernel (`Callable`):
            A function of this module.
    """
    # Contraction lets a multiplication and an addition be one instruction; no other freedom is given to the compiler.
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
    try:
        import numba

        return numba.njit(**options, cache=True)(kernel)
    except RuntimeError:  # no folder can be written to
        return numba.njit(**options)(kernel)


def blocks_of(language_ids: np.ndarray | None, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    Order of the sentences, `(batch,)`, and where in it each block starts and the last one ends, `(blocks + 1,)`.

    Args:
        language_ids (`np.ndarray` of shape `(batch,)`, *optional*):
            Row of the score tables of each sentence; by default, all have the same.
        lengths (`np.ndarray` of shape `(batch,)`):
            Words of each sentence. Where there are several blocks, each has sentences of like length.

    Example:
        >>> blocks_of(np.array([1, 0, 1]), np.array([3, 7, 2]))
        (array([1, 2, 0]), array([0, 1, 3]))
    """
    size = len(lengths)
    if language_ids is None:
        order = np.arange(size) if size <= MAX_LANES else np.argsort(lengths, kind="stable")
        return order, np.array([*range(0, size, MAX_LANES), size])
    order = np.lexsort((lengths, language_ids))
    changes = np.flatnonzero(np.diff(language_ids[order], prepend=-1, append=-1))
    starts = [start for first, stop in itertools.pairwise(changes) for start in range(first, stop, MAX_LANES)]
    return order, np.array([*starts, size])


def forward_backward(
    emissions, labels, lengths, order, starts, languages, start, transition, end, value, gradient, counts
):
    """
    Log-likelihood of each sentence's gold path, or log-partition if there is none, and its gradients.

    The scaled recursions of Rabiner (1989) in float64. `forward` sums to its scale at every word, and `backward` is
    divided by that scale, so that their product is the posterior probability. A sentence with a scale that is too
    small for this, or with scores that are not finite, gets the value NaN and zero gradients.

    Args:
        emissions (`np.ndarray` of shape `(batch, words, labels)`):
            Emission scores.
        labels (`np.ndarray` of shape `(batch, words)` or `(0, 0)`):
            Gold labels, if there are any. Anything may stand on padding.
        lengths (`np.ndarray` of shape `(batch,)`):
            Words of each sentence.
        order (`np.ndarray` of shape `(batch,)`):
            Sentences, block after block.
        starts (`np.ndarray` of shape `(blocks + 1,)`):
            Where in `order` each block starts.
        languages (`np.ndarray` of shape `(batch,)`):
            Row of the score tables of each sentence.
        start (`np.ndarray` of shape `(languages, labels)`):
            Scores of the first label.
        transition (`np.ndarray` of shape `(languages, from, to)`):
            Scores of two successive labels.
        end (`np.ndarray` of shape `(languages, labels)`):
            Scores of the last label.
        value (`np.ndarray` of shape `(batch,)`):
            Filled with the values, in nats.
        gradient (`np.ndarray` of shape `(batch, words, labels)`):
            Filled with the value's gradient by the emission scores, zero on padding.
        counts (`np.ndarray` of shape `(batch * from * to,)`):
            Filled with the value's gradient by the transition scores, for each block `(from, to, lanes)`.

    Returns:
        `int`: `SOUND`, or `UNSOUND` if a value is NaN, or `NO_SUCH_LABEL` if a word's gold label is not a label. Then
        nothing that was filled is of use.

    Reference:
        Rabiner (1989), "A tutorial on hidden Markov models and selected applications in speech recognition".
    """
    num_labels = emissions.shape[2]
    sign = -1.0 if len(labels) > 0 else 1.0  # of the log-partition in the value
    first = np.empty(num_labels)
    moves = np.empty((num_labels, num_labels))
    last = np.empty(num_labels)
    log_first = log_move = log_last = 0.0
    known = -1
    status = SOUND
    for block in range(len(starts) - 1):
        rows = order[starts[block] : starts[block + 1]]
        lanes = len(rows)
        longest = 0
        for lane in range(lanes):
            longest = max(longest, lengths[rows[lane]])
        language = languages[rows[0]]
        if language != known:
            known = language
            log_first = np.float64(start[language].max())
            log_move = np.float64(transition[language].max())
            log_last = np.float64(end[language].max())
            for i in range(num_labels):
                first[i] = np.exp(start[language, i] - log_first)
                last[i] = np.exp(end[language, i] - log_last)
                for j in range(num_labels):
                    moves[i, j] = np.exp(transition[language, i, j] - log_move)

        # Emission scores, less the greatest of their word, and the score of the gold path.
        factor = np.zeros((longest, num_labels, lanes))
        total = np.zeros(lanes)
        for lane in range(lanes):
            row = rows[lane]
            before = 0
            for word in range(lengths[row]):
                greatest = emissions[row, word, 0]
                finite = emissions[row, word, 0]
                for j in range(1, num_labels):
                    emission = emissions[row, word, j]
                    greatest = emission if emission > greatest else greatest
                    finite += emission
                for j in range(num_labels):
                    factor[word, j, lane] = np.float64(emissions[row, word, j]) - greatest
                total[lane] += greatest if np.isfinite(finite) else np.nan
                if len(labels) > 0:
                    label = labels[row, word]
                    if label < 0 or label >= num_labels:
                        return NO_SUCH_LABEL
                    total[lane] -= emissions[row, word, label]
                    total[lane] -= start[language, label] if word == 0 else transition[language, before, label]
                    before = label
            if len(labels) > 0 and lengths[row] > 0:
                total[lane] -= end[language, before]

        # exp(x) = 2 ** n * exp(x - n * log(2)): a Taylor series, and n in the bits of the exponent. The library's own
        # function serves one number at a time.
        exponents = factor.reshape(-1)
        bits = np.empty(len(exponents), np.int64)
        for index in range(len(exponents)):
            exponent = exponents[index] if exponents[index] > -700.0 else -700.0
            n = np.floor(exponent * 1.4426950408889634 + 0.5)
            x = exponent - n * 0.6931471803691238 - n * 1.9082149292705877e-10
            series = 1.0 / 479001600.0
            series = series * x + 1.0 / 39916800.0
            series = series * x + 1.0 / 3628800.0
            series = series * x + 1.0 / 362880.0
            series = series * x + 1.0 / 40320.0
            series = series * x + 1.0 / 5040.0
            series = series * x + 1.0 / 720.0
            series = series * x + 1.0 / 120.0
            series = series * x + 1.0 / 24.0
            series = series * x + 1.0 / 6.0
            series = series * x + 0.5
            series = series * x + 1.0
            exponents[index] = series * x + 1.0
            bits[index] = (np.int64(np.int32(n)) + 1023) << 52
        powers = bits.view(np.float64)
        for index in range(len(exponents)):
            exponents[index] *= powers[index]

        forward = np.zeros((longest, num_labels, lanes))
        inverse = np.zeros((longest, lanes))  # of the scales; zero on padding, so that both messages are zero there
        product = np.ones(lanes)
        for word in range(longest):
            scale = np.zeros(lanes)
            if word == 0:
                for j in range(num_labels):
                    for lane in range(lanes):
                        forward[0, j, lane] = first[j] * factor[0, j, lane]
                        scale[lane] += forward[0, j, lane]
            else:
                for i in range(num_labels):
                    for j in range(num_labels):
                        move = moves[i, j]
                        for lane in range(lanes):
                            forward[word, j, lane] += forward[word - 1, i, lane] * move
                for j in range(num_labels):
                    for lane in range(lanes):
                        forward[word, j, lane] *= factor[word, j, lane] * inverse[word - 1, lane]
                        scale[lane] += forward[word, j, lane]
            for lane in range(lanes):
                if word < lengths[rows[lane]]:
                    inverse[word, lane] = 1.0 / scale[lane]
                    if not scale[lane] > SMALLEST_SCALE:
                        total[lane] = np.nan
                    # One logarithm for many scales: their product is kept where it cannot underflow.
                    product[lane] *= scale[lane]
                    if product[lane] < SMALLEST_SCALE:
                        total[lane] += np.log(product[lane])
                        product[lane] = 1.0

        count = counts[starts[block] * num_labels**2 : starts[block + 1] * num_labels**2].reshape(
            num_labels, num_labels, lanes
        )
        count[:] = 0.0
        backward = np.zeros((num_labels, lanes))
        onward = np.zeros((num_labels, lanes))
        all_backward = np.zeros(lanes)  # the sum of all messages: one beyond any finite number is seen here
        for word in range(longest - 1, -1, -1):
            for lane in range(lanes):
                if word == lengths[rows[lane]] - 1:
                    scale_at_end = 0.0
                    for j in range(num_labels):
                        scale_at_end += forward[word, j, lane] * last[j]
                    if not scale_at_end * inverse[word, lane] > SMALLEST_SCALE:
                        total[lane] = np.nan
                    total[lane] += np.log(product[lane]) + np.log(scale_at_end * inverse[word, lane])
                    total[lane] += log_first + word * log_move + log_last
                    for j in range(num_labels):
                        backward[j, lane] = last[j] / scale_at_end
            for j in range(num_labels):
                for lane in range(lanes):
                    all_backward[lane] += backward[j, lane]
                    onward[j, lane] = forward[word, j, lane] * backward[j, lane]
            for lane in range(lanes):
                for j in range(num_labels):
                    gradient[rows[lane], word, j] = sign * onward[j, lane]
            if word > 0:
                for j in range(num_labels):
                    for lane in range(lanes):
                        onward[j, lane] = backward[j, lane] * factor[word, j, lane] * inverse[word - 1, lane]
                        backward[j, lane] = 0.0
                for i in range(num_labels):
                    for j in range(num_labels):
                        move = moves[i, j]
                        for lane in range(lanes):
                            backward[i, lane] += onward[j, lane] * move
                            count[i, j, lane] += onward[j, lane] * forward[word - 1, i, lane]

        for i in range(num_labels):
            for j in range(num_labels):
                for lane in range(lanes):
                    count[i, j, lane] *= sign * moves[i, j]
        for lane in range(lanes):
            row = rows[lane]
            value[row] = sign * total[lane]
            gradient[row, lengths[row] :] = 0.0
            if not (np.isfinite(total[lane]) and all_backward[lane] < 1.0 / SMALLEST_SCALE):
                value[row] = np.nan
                status = UNSOUND
                count[:, :, lane] = 0.0
                gradient[row, : lengths[row]] = 0.0
            elif len(labels) > 0:
                before = 0
                for word in range(lengths[row]):
                    gradient[row, word, labels[row, word]] += 1.0
                    if word > 0:
                        count[before, labels[row, word], lane] += 1.0
                    before = labels[row, word]
    return status


def weighted_gradients(
    weights,
    lengths,
    order,
    starts,
    languages,
    gradient,
    counts,
    of_emissions,
    of_start,
    of_transition,
    of_end,
):
    """
    Gradients of all scores from those of the sentences.

    Args:
        weights (`np.ndarray` of shape `(batch,)`):
            Gradient of each sentence's value.
        lengths (`np.ndarray` of shape `(batch,)`):
            Words of each sentence.
        order (`np.ndarray` of shape `(batch,)`):
            Sentences, block after block.
        starts (`np.ndarray` of shape `(blocks + 1,)`):
            Where in `order` each block starts.
        languages (`np.ndarray` of shape `(batch,)`):
            Row of the score tables of each sentence.
        gradient (`np.ndarray` of shape `(batch, words, labels)`):
            What `forward_backward` made.
        counts (`np.ndarray` of shape `(batch * from * to,)`):
            What `forward_backward` made.
        of_emissions (`np.ndarray` of shape `(batch, words, labels)`):
            Filled with the gradients of the emission scores.
        of_start (`np.ndarray` of shape `(languages, labels)`):
            Filled with the gradients of the scores of the first label.
        of_transition (`np.ndarray` of shape `(languages, from, to)`):
            Filled with the gradients of the scores of two successive labels.
        of_end (`np.ndarray` of shape `(languages, labels)`):
            Filled with the gradients of the scores of the last label.
    """
    num_labels = gradient.shape[2]
    # In float64, whatever the scores are in: there are hundreds of sentences.
    starting = np.zeros(of_start.shape)
    moving = np.zeros((len(of_start), num_labels**2))
    ending = np.zeros(of_end.shape)
    for block in range(len(starts) - 1):
        rows = order[starts[block] : starts[block + 1]]
        count = counts[starts[block] * num_labels**2 : starts[block + 1] * num_labels**2].reshape(
            num_labels**2, len(rows)
        )
        language = languages[rows[0]]
        for pair in range(num_labels**2):
            total = 0.0
            for lane in range(len(rows)):
                total += weights[rows[lane]] * count[pair, lane]
            moving[language, pair] += total
        for lane in range(len(rows)):
            row = rows[lane]
            if lengths[row] > 0:
                for label in range(num_labels):
                    starting[language, label] += weights[row] * gradient[row, 0, label]
                    ending[language, label] += weights[row] * gradient[row, lengths[row] - 1, label]
    of_start[:] = starting
    of_transition[:] = moving.reshape(of_transition.shape)
    of_end[:] = ending
    for row in range(len(weights)):
        scores, scaled, weight = gradient[row].reshape(-1), of_emissions[row].reshape(-1), weights[row]
        for index in range(len(scores)):
            scaled[index] = weight * scores[index]


def best_paths(emissions, lengths, order, starts, languages, start, transition, end, paths):
    """
    The Viterbi algorithm. Of equally good labels the one with the lowest id is taken.

    Args:
        emissions (`np.ndarray` of shape `(batch, words, labels)`):
            Emission scores.
        lengths (`np.ndarray` of shape `(batch,)`):
            Words of each sentence.
        order (`np.ndarray` of shape `(batch,)`):
            Sentences, block after block.
        starts (`np.ndarray` of shape `(blocks + 1,)`):
            Where in `order` each block starts.
        languages (`np.ndarray` of shape `(batch,)`):
            Row of the score tables of each sentence.
        start (`np.ndarray` of shape `(languages, labels)`):
            Scores of the first label.
        transition (`np.ndarray` of shape `(languages, from, to)`):
            Scores of two successive labels.
        end (`np.ndarray` of shape `(languages, labels)`):
            Scores of the last label.
        paths (`np.ndarray` of shape `(batch, words)`):
            Filled with the labels of the words; padding is left alone.
    """
    labels = emissions.shape[2]
    for block in range(len(starts) - 1):
        rows = order[starts[block] : starts[block + 1]]
        lanes = len(rows)
        language = languages[rows[0]]
        longest = 0
        for lane in range(lanes):
            longest = max(longest, lengths[rows[lane]])
        best = np.empty((longest, labels, lanes), emissions.dtype)
        for word in range(longest):
            for j in range(labels):
                for lane in range(lanes):
                    best[word, j, lane] = start[language, j] if word == 0 else -np.inf
            if word > 0:
                for i in range(labels):
                    for j in range(labels):
                        move = transition[language, i, j]
                        for lane in range(lanes):
                            best[word, j, lane] = max(best[word, j, lane], best[word - 1, i, lane] + move)
            for lane in range(lanes):
                for j in range(labels):
                    best[word, j, lane] += emissions[rows[lane], word, j]
        for lane in range(lanes):
            row = rows[lane]
            following = 0
            for word in range(lengths[row] - 1, -1, -1):
                # The same sums as above, so that the label that gave the maximum is found again.
                chosen, highest = 0, -np.inf
                for i in range(labels):
                    onward = end[language, i] if word == lengths[row] - 1 else transition[language, i, following]
                    score = best[word, i, lane] + onward
                    if score > highest:
                        chosen, highest = i, score
                paths[row, word] = chosen
                following = chosen
