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
from contextlib import contextmanager
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
FLOAT, SINGLE, INTEGER = ir.DoubleType(), ir.FloatType(), ir.IntType(64)
FLOATS, INTEGERS = ir.VectorType(FLOAT, TILE), ir.VectorType(INTEGER, TILE)

# Numbers of a cache line. A tile that lies across two of them takes twice as long to load.
LINE = 8

# Sentences, and labels, whose scores change places at once, between the order of a batch and that of lanes.
GROUP = 8

# How two vectors at a distance become two others, so that rows become columns: numbers change places within the four
# of a register of SSE or NEON first, which is cheap everywhere.
SHUFFLES = (
    (1, (0, 8, 1, 9, 4, 12, 5, 13), (2, 10, 3, 11, 6, 14, 7, 15)),
    (2, (0, 1, 8, 9, 4, 5, 12, 13), (2, 3, 10, 11, 6, 7, 14, 15)),
    (4, (0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15)),
)

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

    def load(self, array, place, kind=FLOATS):
        """The tile, or another kind of vector, that begins at a place."""
        vector = self.builder.load(self._vector(array, place, kind))
        vector.align = self._alignment(kind)
        return vector

    def store(self, vector, array, place):
        """Write a vector to a place."""
        self.builder.store(vector, self._vector(array, place, vector.type)).align = self._alignment(vector.type)

    def _vector(self, array, place, kind):
        return self.builder.bitcast(self.builder.gep(array, [place]), kind.as_pointer())

    @staticmethod
    def _alignment(kind):
        # Arrays begin anywhere, so only their numbers are aligned.
        return 4 if kind.element == SINGLE else 8

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

    @contextmanager
    def groups(self, count):
        """A loop over the labels, `GROUP` at a time, which gives the first of them."""
        size = ir.Constant(INTEGER, GROUP)
        with cgutils.for_range(self.builder, self.builder.sdiv(count, size)) as loop:
            yield self.builder.mul(loop.index, size)

    @contextmanager
    def rest(self, count):
        """A loop over the labels that `groups` leaves."""
        done = self.builder.and_(count, ir.Constant(INTEGER, -GROUP))
        with cgutils.for_range(self.builder, self.builder.sub(count, done)) as loop:
            yield self.builder.add(done, loop.index)

    def starts(self, begin, lane, word, num_labels):
        """Where the scores of one word of each sentence of a group start."""
        offset = self.builder.mul(word, num_labels)
        places = self.load(begin, lane, ir.VectorType(INTEGER, GROUP))
        firsts = (self.builder.extract_element(places, ir.Constant(INTEGER, own)) for own in range(GROUP))
        return [self.builder.add(first, offset) for first in firsts]

    def vector_of(self, numbers):
        """The vector of a list of numbers."""
        vector = ir.Constant(ir.VectorType(numbers[0].type, len(numbers)), ir.Undefined)
        for place, number in enumerate(numbers):
            vector = self.builder.insert_element(vector, number, ir.Constant(INTEGER, place))
        return vector

    def transposed(self, rows):
        """The columns of `GROUP` vectors of as many numbers."""
        vectors, other = list(rows), ir.VectorType(ir.IntType(32), GROUP)
        for distance, low, high in SHUFFLES:
            for place in range(GROUP):
                if not place & distance:
                    pair = vectors[place], vectors[place + distance]
                    vectors[place], vectors[place + distance] = (
                        self.builder.shuffle_vector(*pair, ir.Constant(other, mask)) for mask in (low, high)
                    )
        return [vectors[place] for place in (0, 2, 1, 3, 4, 6, 5, 7)]

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
def spread(typing_context, scores, begin, lengths, lane, word, factors, place, width, num_labels):
    """Write the scores of one word of a group of sentences into their lanes, and zeros where a sentence has ended."""
    is_single = scores.dtype != factors.dtype

    def emit(emitter, scores, begin, lengths, lane, word, factors, place, width, num_labels):
        builder, nothing = emitter.builder, ir.Constant(ir.VectorType(FLOAT, GROUP), [0.0] * GROUP)
        starts = emitter.starts(begin, lane, word, num_labels)
        length = emitter.load(lengths, lane, ir.VectorType(INTEGER, GROUP))
        has_word = builder.icmp_signed(">", length, emitter.vector_of([word] * GROUP))

        def write(label, numbers):
            numbers = builder.fpext(numbers, nothing.type) if is_single else numbers
            emitter.store(builder.select(has_word, numbers, nothing), factors, emitter.place(place, label, width))

        with emitter.groups(num_labels) as label:
            kind = ir.VectorType(SINGLE if is_single else FLOAT, GROUP)
            rows = [emitter.load(scores, builder.add(start, label), kind) for start in starts]
            for own, numbers in enumerate(emitter.transposed(rows)):
                write(builder.add(label, ir.Constant(INTEGER, own)), numbers)
        with emitter.rest(num_labels) as label:
            write(label, emitter.vector_of([emitter.number(scores, builder.add(start, label)) for start in starts]))

    return _code(emit, scores, begin, lengths, lane, word, factors, place, width, num_labels)


@intrinsic
def collect(typing_context, lanes, lane, width, gradient, begin, word, num_labels):
    """Write the lanes of a group of sentences where the numbers of one of their words belong."""
    is_single = gradient.dtype != lanes.dtype

    def emit(emitter, lanes, lane, width, gradient, begin, word, num_labels):
        builder = emitter.builder
        # The last lane first: those that only fill the group up write where its first lane does, before it does.
        starts = emitter.starts(begin, lane, word, num_labels)[::-1]

        def read(label):
            numbers = emitter.load(lanes, emitter.place(lane, label, width), ir.VectorType(FLOAT, GROUP))
            return builder.fptrunc(numbers, ir.VectorType(SINGLE, GROUP)) if is_single else numbers

        with emitter.groups(num_labels) as label:
            columns = [read(builder.add(label, ir.Constant(INTEGER, own))) for own in range(GROUP)]
            for start, numbers in zip(starts, reversed(emitter.transposed(columns)), strict=True):
                emitter.store(numbers, gradient, builder.add(start, label))
        with emitter.rest(num_labels) as label:
            numbers = read(label)
            for own, start in zip(reversed(range(GROUP)), starts, strict=True):
                number = builder.extract_element(numbers, ir.Constant(INTEGER, own))
                builder.store(number, builder.gep(gradient, [builder.add(start, label)]))

    return _code(emit, lanes, lane, width, gradient, begin, word, num_labels)


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


@extending.register_jitable
def aligned(size):
    """An array of so many numbers that begins at a cache line."""
    space = np.empty(size + LINE - 1)
    first = -(space.ctypes.data // 8) % LINE
    return space[first : first + size]


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
    label_limit = np.uint64(num_labels)  # an index without sign is not asked whether it counts from the end
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
        begin = np.empty(width, np.int64)  # of each sentence's scores
        for lane in range(width):
            if lane < lanes:
                length[lane] = lengths[rows[lane]]
                begin[lane] = rows[lane] * words * num_labels
            else:  # of no words, and of the first lane of its group, see `collect`
                begin[lane] = begin[lane - lane % GROUP] if lane % GROUP > 0 else 0
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
                before = np.uint64(0)
                for word in range(length[lane]):
                    label = np.uint64(labels[row, word])
                    if label >= label_limit:  # negative ones are huge
                        return NO_SUCH_LABEL
                    total[lane] -= emissions[row, word, label]
                    total[lane] -= start[language, label] if word == 0 else transition[language, before, label]
                    before = label
                if length[lane] > 0:
                    total[lane] -= end[language, before]

        factors = aligned(longest * word_size)
        greatest = aligned(width)
        sums = aligned(width)
        for word in range(longest):
            for lane in range(0, width, GROUP):
                spread(all_scores, begin, length, lane, word, factors, word * word_size + lane, width, num_labels)
            for tile in range(0, width, TILE):
                exponentiate(factors, word * word_size + tile, width, num_labels, greatest, sums, tile)
            for lane in range(width):
                total[lane] += greatest[lane] if np.isfinite(sums[lane]) else np.nan

        forward = aligned(longest * word_size)
        inverse = aligned(longest * width)  # of the scales
        scale = aligned(width)
        scale[:] = 0.0
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
            # Without branches, so that LLVM makes vectors of it. `inverse` is zero on padding, so both messages are.
            num_small = 0
            for lane in range(width):
                is_word = word < length[lane]
                inverse[word * width + lane] = 1.0 / scale[lane] if is_word else 0.0
                is_lost = is_word and not scale[lane] > SMALLEST_SCALE
                total[lane] = np.nan if is_lost else total[lane]
                # One logarithm for many scales: their product is kept where it cannot underflow.
                product[lane] *= scale[lane] if is_word else 1.0
                num_small += product[lane] < SMALLEST_SCALE
            if num_small > 0:
                for lane in range(lanes):
                    if product[lane] < SMALLEST_SCALE:
                        total[lane] += np.log(product[lane])
                        product[lane] = 1.0

        count = aligned(num_labels * word_size)
        count[:] = 0.0
        backward = aligned(word_size)
        backward[:] = 0.0
        onward = aligned(word_size)
        posterior = aligned(word_size)
        all_backward = aligned(width)
        all_backward[:] = 0.0  # the sum of all messages: one beyond any finite number is seen here
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
            for lane in range(0, lanes, GROUP):
                collect(posterior, lane, width, all_gradients, begin, word, num_labels)
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
                before = np.uint64(0)
                for word in range(length[lane]):
                    label = np.uint64(labels[row, word])
                    gradient[row, word, label] += 1.0
                    if word > 0:
                        kept[(before * label_limit + label) * np.uint64(lanes) + np.uint64(lane)] += 1.0
                    before = label
    return status
