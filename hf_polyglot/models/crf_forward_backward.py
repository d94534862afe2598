"""Forward and backward messages of the linear-chain CRF, by vector instructions that numba compiles.

Sentences of one language lie side by side in the last axis of the buffers, `lanes`, and `TILE` of them are one vector:
of one word, all labels are computed in registers. LLVM makes of a vector whatever instructions the processor has. It
does not find them by itself: of the same loops written out, it makes code of half the speed.

Axes: those of `crf_kernels`, and
    tiles      vectors that hold the lanes of a block

Reference:
    Rabiner (1989), "A tutorial on hidden Markov models and selected applications in speech recognition".
"""

import math
from typing import Any

import numpy as np

from .crf_kernels import NO_SUCH_LABEL, SMALLEST_SCALE, SOUND, UNSOUND

try:
    # Not simply imported: transformers asks for whatever the code of a model's folder imports outside of `try`.
    from llvmlite import ir
    from numba import extending
    from numba.core import cgutils, types
except ImportError as error:
    raise ImportError("numba cannot be imported. `pip install hf_polyglot[fast]` brings it.") from error

# Its annotations do not say that callers leave the typing context out.
intrinsic: Any = extending.intrinsic

# Sentences of one vector: two registers of AVX-512, four of AVX2, eight of NEON.
TILE = 16
FLOAT, INTEGER = ir.DoubleType(), ir.IntType(64)
FLOATS, INTEGERS = ir.VectorType(FLOAT, TILE), ir.VectorType(INTEGER, TILE)

# Added to a number and taken off again, this leaves the nearest whole one, whose bits are the lowest of the sum.
ROUNDING = 1.5 * 2**52


class _Emitter:
    """Instructions on tiles of the arrays that a function was given."""

    def __init__(self, context, builder, signature, arguments):
        self.builder = builder
        self.context = context
        self.signature = signature
        self.arguments = arguments

    def array(self, index):
        """Pointer to the first number of an argument."""
        array = self.context.make_array(self.signature.args[index])
        return array(self.context, self.builder, self.arguments[index]).data

    def place(self, first, index, stride):
        """`first + index * stride`."""
        return self.builder.add(first, self.builder.mul(index, stride))

    def number(self, array, place):
        """One number."""
        return self.builder.load(self.builder.gep(array, [place]))

    def load(self, array, place):
        """The tile that begins at a place."""
        tile = self.builder.load(self._tile(array, place))
        tile.align = 8
        return tile

    def store(self, tile, array, place):
        """Write a tile to a place."""
        self.builder.store(tile, self._tile(array, place)).align = 8

    def _tile(self, array, place):
        return self.builder.bitcast(self.builder.gep(array, [place]), FLOATS.as_pointer())

    def everywhere(self, number):
        """The tile of one number."""
        if isinstance(number, (int, float)):
            return ir.Constant(FLOATS, [float(number)] * TILE)
        undefined = ir.Constant(FLOATS, ir.Undefined)
        first = self.builder.insert_element(undefined, number, ir.Constant(ir.IntType(32), 0))
        return self.builder.shuffle_vector(
            first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), TILE), [0] * TILE)
        )

    def variable(self, tile):
        """A tile that changes, in a register."""
        return cgutils.alloca_once_value(self.builder, tile)

    def add_to(self, variable, tile):
        """Add a tile to one that changes."""
        self.builder.store(self.builder.fadd(self.builder.load(variable), tile), variable)

    def add_product(self, one, other, tile):
        """`one * other + tile`, by one instruction where there is one."""
        product = self.builder.fmul(one, other, flags=["contract"])
        return self.builder.fadd(product, tile, flags=["contract"])

    def loop(self, count):
        """A loop over the labels."""
        return cgutils.for_range(self.builder, count)

    def exponential(self, tile):
        """
        Of a tile, from -700 on: `exp(x) = 2 ** n * exp(x - n * log(2))`, a Taylor series, and n in the bits of the
        exponent.
        """
        builder, lowest = self.builder, self.everywhere(-700.0)
        tile = builder.select(builder.fcmp_ordered(">", tile, lowest), tile, lowest)
        rounded = self.add_product(tile, self.everywhere(1 / math.log(2)), self.everywhere(ROUNDING))
        whole = builder.fsub(rounded, self.everywhere(ROUNDING))
        # log(2) in two parts, the first of which has a product without rounding.
        tile = self.add_product(whole, self.everywhere(-0.6931471803691238), tile)
        tile = self.add_product(whole, self.everywhere(-1.9082149292705877e-10), tile)
        series = self.everywhere(1 / math.factorial(12))
        for degree in reversed(range(12)):
            series = self.add_product(series, tile, self.everywhere(1 / math.factorial(degree)))
        bits = builder.add(builder.bitcast(rounded, INTEGERS), ir.Constant(INTEGERS, [1023] * TILE))
        power = builder.bitcast(builder.shl(bits, ir.Constant(INTEGERS, [52] * TILE)), FLOATS)
        return builder.fmul(series, power)


def _code(emit, *given):
    """
    What numba wants of an intrinsic that takes `given` types: its signature, and the maker of its code. `emit` gets an
    emitter, and of each argument a pointer to the first number of an array, or the value.
    """

    def generate(context, builder, signature, arguments):
        emitter = _Emitter(context, builder, signature, arguments)
        places = [
            emitter.array(index) if isinstance(kind, types.Array) else argument
            for index, (kind, argument) in enumerate(zip(signature.args, arguments, strict=True))
        ]
        emit(emitter, *places)
        return context.get_dummy_value()

    return types.void(*given), generate


@intrinsic
def spread(typing_context, scores, first, factors, place, width, num_labels):
    """Write the scores of one word of one sentence into its lane."""
    is_single = scores.dtype != factors.dtype

    def emit(emitter, scores, first, factors, place, width, num_labels):
        builder = emitter.builder
        with emitter.loop(num_labels) as loop:
            score = emitter.number(scores, builder.add(first, loop.index))
            score = builder.fpext(score, FLOAT) if is_single else score
            # LLVM would put stores that are not atomic into vectors, and scatter them, which is slower.
            builder.store_atomic(
                score, builder.gep(factors, [emitter.place(place, loop.index, width)]), "monotonic", 8
            )

    return _code(emit, scores, first, factors, place, width, num_labels)


@intrinsic
def collect(typing_context, lanes, lane, width, gradient, first, num_labels):
    """Write the lane of one sentence where the numbers of one of its words belong."""
    is_single = gradient.dtype != lanes.dtype

    def emit(emitter, lanes, lane, width, gradient, first, num_labels):
        builder = emitter.builder
        with emitter.loop(num_labels) as loop:
            number = emitter.number(lanes, emitter.place(lane, loop.index, width))
            number = builder.fptrunc(number, ir.FloatType()) if is_single else number
            target = builder.gep(gradient, [builder.add(first, loop.index)])
            builder.store_atomic(number, target, "monotonic", 4 if is_single else 8)

    return _code(emit, lanes, lane, width, gradient, first, num_labels)


@intrinsic
def exponentiate(typing_context, factors, word, width, num_labels, greatest, sums, tile):
    """Exponentials of the scores of one word, less their greatest; also that, and the sum of the scores."""

    def emit(emitter, factors, word, width, num_labels, greatest, sums, tile):
        builder = emitter.builder
        top, total = emitter.variable(emitter.everywhere(-math.inf)), emitter.variable(emitter.everywhere(0.0))
        with emitter.loop(num_labels) as loop:
            scores, highest = emitter.load(factors, emitter.place(word, loop.index, width)), builder.load(top)
            builder.store(builder.select(builder.fcmp_ordered(">", scores, highest), scores, highest), top)
            emitter.add_to(total, scores)
        highest = builder.load(top)
        emitter.store(highest, greatest, tile)
        emitter.store(builder.load(total), sums, tile)
        with emitter.loop(num_labels) as loop:
            place = emitter.place(word, loop.index, width)
            exponents = builder.fsub(emitter.load(factors, place), highest)
            emitter.store(emitter.exponential(exponents), factors, place)

    return _code(emit, factors, word, width, num_labels, greatest, sums, tile)


@intrinsic
def step_forward(
    typing_context, forward, before, word, factors, inverse, inverse_before, scale, tile, moves, width, num_labels
):
    """
    Messages of one word from those of the word before, and their sums. The factors are divided by the scale of the
    word before, for both messages.
    """

    def emit(emitter, forward, before, word, factors, inverse, inverse_before, scale, tile, moves, width, num_labels):
        builder, nothing = emitter.builder, emitter.everywhere(0.0)
        divisor = emitter.load(inverse, inverse_before)
        message, total = emitter.variable(nothing), emitter.variable(nothing)
        with emitter.loop(num_labels) as to_label:
            builder.store(nothing, message)
            with emitter.loop(num_labels) as from_label:
                move = emitter.number(moves, emitter.place(to_label.index, from_label.index, num_labels))
                one = emitter.load(forward, emitter.place(before, from_label.index, width))
                builder.store(emitter.add_product(one, emitter.everywhere(move), builder.load(message)), message)
            place = emitter.place(word, to_label.index, width)
            factor = builder.fmul(emitter.load(factors, place), divisor)
            emitter.store(factor, factors, place)
            whole = builder.fmul(builder.load(message), factor)
            emitter.store(whole, forward, place)
            emitter.add_to(total, whole)
        emitter.store(builder.load(total), scale, tile)

    return _code(emit, forward, before, word, factors, inverse, inverse_before, scale, tile, moves, width, num_labels)


@intrinsic
def meet(
    typing_context, forward, word, factors, backward, onward, posterior, all_backward, tile, sign, width, num_labels
):
    """
    Where the messages of one word meet: the product of both, with a sign; and that of factors and backward messages,
    which goes on to the word before. The sum of all backward messages grows by those of this word.
    """

    def emit(
        emitter, forward, word, factors, backward, onward, posterior, all_backward, tile, sign, width, num_labels
    ):
        builder, signs = emitter.builder, emitter.everywhere(sign)
        total = emitter.variable(emitter.load(all_backward, tile))
        with emitter.loop(num_labels) as loop:
            place, own = emitter.place(word, loop.index, width), emitter.place(tile, loop.index, width)
            message = emitter.load(backward, own)
            emitter.add_to(total, message)
            both = builder.fmul(emitter.load(forward, place), message)
            emitter.store(builder.fmul(signs, both), posterior, own)
            emitter.store(builder.fmul(message, emitter.load(factors, place)), onward, own)
        emitter.store(builder.load(total), all_backward, tile)

    return _code(
        emit, forward, word, factors, backward, onward, posterior, all_backward, tile, sign, width, num_labels
    )


@intrinsic
def step_backward(typing_context, forward, before, backward, onward, count, tile, moves, width, num_labels):
    """Backward messages of the word before, and what this pair of words adds to the counts of transitions."""

    def emit(emitter, forward, before, backward, onward, count, tile, moves, width, num_labels):
        builder, nothing = emitter.builder, emitter.everywhere(0.0)
        message = emitter.variable(nothing)
        with emitter.loop(num_labels) as from_label:
            builder.store(nothing, message)
            behind = emitter.load(forward, emitter.place(before, from_label.index, width))
            first = builder.mul(from_label.index, num_labels)
            with emitter.loop(num_labels) as to_label:
                pair = builder.add(first, to_label.index)
                ahead = emitter.load(onward, emitter.place(tile, to_label.index, width))
                move = emitter.everywhere(emitter.number(moves, pair))
                builder.store(emitter.add_product(ahead, move, builder.load(message)), message)
                place = emitter.place(tile, pair, width)
                emitter.store(emitter.add_product(ahead, behind, emitter.load(count, place)), count, place)
            emitter.store(builder.load(message), backward, emitter.place(tile, from_label.index, width))

    return _code(emit, forward, before, backward, onward, count, tile, moves, width, num_labels)


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
    words, num_labels = emissions.shape[1:]
    sign = -1.0 if len(labels) > 0 else 1.0  # of the log-partition in the value
    first = np.empty(num_labels)
    moves = np.empty((num_labels, num_labels))
    last = np.empty(num_labels)
    all_scores, all_moves, all_gradients = emissions.reshape(-1), moves.reshape(-1), gradient.reshape(-1)
    log_first = log_move = log_last = 0.0
    known = -1
    status = SOUND
    for block in range(len(starts) - 1):
        rows = order[starts[block] : starts[block + 1]]
        lanes = len(rows)
        # Filled up with lanes of no words.
        width = (lanes + TILE - 1) // TILE * TILE
        word_size = num_labels * width
        length = np.zeros(width, np.int64)
        for lane in range(lanes):
            length[lane] = lengths[rows[lane]]
        longest = length.max()
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

        # The score of the gold path, taken off the log-partition.
        total = np.zeros(width)
        if len(labels) > 0:
            for lane in range(lanes):
                row = rows[lane]
                before = 0
                for word in range(length[lane]):
                    label = labels[row, word]
                    if label < 0 or label >= num_labels:
                        return NO_SUCH_LABEL
                    total[lane] -= emissions[row, word, label]
                    total[lane] -= start[language, label] if word == 0 else transition[language, before, label]
                    before = label
                if length[lane] > 0:
                    total[lane] -= end[language, before]

        factors = np.empty(longest * word_size)
        greatest = np.empty(width)
        sums = np.empty(width)
        for word in range(longest):
            for lane in range(width):
                if word < length[lane]:
                    own = (rows[lane] * words + word) * num_labels
                    spread(all_scores, own, factors, word * word_size + lane, width, num_labels)
                else:  # any finite number
                    for j in range(num_labels):
                        factors[word * word_size + j * width + lane] = 0.0
            for tile in range(0, width, TILE):
                exponentiate(factors, word * word_size + tile, width, num_labels, greatest, sums, tile)
            for lane in range(width):
                total[lane] += greatest[lane] if np.isfinite(sums[lane]) else np.nan

        forward = np.empty(longest * word_size)
        inverse = np.zeros(longest * width)  # of the scales; zero on padding, so that both messages are zero there
        scale = np.zeros(width)
        product = np.ones(width)
        for word in range(longest):
            if word == 0:
                for j in range(num_labels):
                    for lane in range(width):
                        forward[j * width + lane] = first[j] * factors[j * width + lane]
                        scale[lane] += forward[j * width + lane]
            else:
                for tile in range(0, width, TILE):
                    step_forward(
                        forward,
                        (word - 1) * word_size + tile,
                        word * word_size + tile,
                        factors,
                        inverse,
                        (word - 1) * width + tile,
                        scale,
                        tile,
                        all_moves,
                        width,
                        num_labels,
                    )
            for lane in range(lanes):
                if word < length[lane]:
                    inverse[word * width + lane] = 1.0 / scale[lane]
                    if not scale[lane] > SMALLEST_SCALE:
                        total[lane] = np.nan
                    # One logarithm for many scales: their product is kept where it cannot underflow.
                    product[lane] *= scale[lane]
                    if product[lane] < SMALLEST_SCALE:
                        total[lane] += np.log(product[lane])
                        product[lane] = 1.0

        count = np.zeros(num_labels * word_size)
        backward = np.zeros(word_size)
        onward = np.empty(word_size)
        posterior = np.empty(word_size)
        all_backward = np.zeros(width)  # the sum of all messages: one beyond any finite number is seen here
        for word in range(longest - 1, -1, -1):
            for lane in range(lanes):
                if word == length[lane] - 1:
                    scale_at_end = 0.0
                    for j in range(num_labels):
                        scale_at_end += forward[word * word_size + j * width + lane] * last[j]
                    share_at_end = scale_at_end * inverse[word * width + lane]
                    if not share_at_end > SMALLEST_SCALE:
                        total[lane] = np.nan
                    total[lane] += np.log(product[lane]) + np.log(share_at_end)
                    total[lane] += log_first + word * log_move + log_last
                    for j in range(num_labels):
                        backward[j * width + lane] = last[j] / scale_at_end
            for tile in range(0, width, TILE):
                meet(
                    forward,
                    word * word_size + tile,
                    factors,
                    backward,
                    onward,
                    posterior,
                    all_backward,
                    tile,
                    sign,
                    width,
                    num_labels,
                )
            for lane in range(lanes):
                own = (rows[lane] * words + word) * num_labels
                collect(posterior, lane, width, all_gradients, own, num_labels)
            if word > 0:
                for tile in range(0, width, TILE):
                    step_backward(
                        forward,
                        (word - 1) * word_size + tile,
                        backward,
                        onward,
                        count,
                        tile,
                        all_moves,
                        width,
                        num_labels,
                    )

        kept = counts[starts[block] * num_labels**2 : starts[block + 1] * num_labels**2]
        for pair in range(num_labels**2):
            move = sign * all_moves[pair]
            for lane in range(lanes):
                kept[pair * lanes + lane] = move * count[pair * width + lane]
        for lane in range(lanes):
            row = rows[lane]
            value[row] = sign * total[lane]
            gradient[row, length[lane] :] = 0.0
            if not (np.isfinite(total[lane]) and all_backward[lane] < 1.0 / SMALLEST_SCALE):
                value[row] = np.nan
                status = UNSOUND
                kept[lane::lanes] = 0.0
                gradient[row, : length[lane]] = 0.0
            elif len(labels) > 0:
                before = 0
                for word in range(length[lane]):
                    label = labels[row, word]
                    gradient[row, word, label] += 1.0
                    if word > 0:
                        kept[(before * num_labels + label) * lanes + lane] += 1.0
                    before = label
    return status
