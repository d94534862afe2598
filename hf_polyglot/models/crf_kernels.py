"""Loops of the linear-chain CRF that numba compiles where it is installed; nothing here needs it to be imported.

Sentences of one language lie side by side in the last axis of the buffers, `lanes`, and the innermost loops run over
it, so that one vector instruction serves several sentences. Each kernel is one plain function, so that numba can keep
its machine code in a file. They run on one thread and add in a fixed order: results are the same bit for bit from run
to run. The messages, whose loops want more than LLVM finds by itself, are in `crf_forward_backward`.

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
def has_triton() -> bool:
    """Whether Triton can be imported."""
    try:
        import triton  # noqa: F401
    except ImportError:
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
        weight = np.empty(len(rows))
        for lane in range(len(rows)):
            weight[lane] = weights[rows[lane]]
        fours = len(rows) - len(rows) % 4
        for pair in range(num_labels**2):
            # Four sums, for each addition has to wait for the one before.
            one = two = three = four = 0.0
            for lane in range(0, fours, 4):
                one += weight[lane] * count[pair, lane]
                two += weight[lane + 1] * count[pair, lane + 1]
                three += weight[lane + 2] * count[pair, lane + 2]
                four += weight[lane + 3] * count[pair, lane + 3]
            for lane in range(fours, len(rows)):
                one += weight[lane] * count[pair, lane]
            moving[language, pair] += (one + two) + (three + four)
        for lane in range(len(rows)):
            row = rows[lane]
            if lengths[row] > 0:
                for label in range(num_labels):
                    starting[language, label] += weights[row] * gradient[row, 0, label]
                    ending[language, label] += weights[row] * gradient[row, lengths[row] - 1, label]
    of_start[:] = starting
    of_transition[:] = moving.reshape(of_transition.shape)
    of_end[:] = ending
    # Without arrays of the rows, of which each takes as long as the row itself.
    all_gradients, all_scaled, row_size = gradient.reshape(-1), of_emissions.reshape(-1), gradient[:1].size
    for row in range(len(weights)):
        weight, first = weights[row], row * row_size
        for index in range(row_size):
            all_scaled[first + index] = weight * all_gradients[first + index]


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
