"""
The symbols that Byte-to-Span writes, the sequences of them that mean something, and the spans of a whole text.

A span `(5, 10, "PER")` of a segment of bytes is written `S:5 L:5 PER`: its first byte, its length in bytes, and its
type. A segment's spans come in the order of their starts, and `STOP` follows the last.

Axes:
    rows      segments, or the beams of each segment, one behind the other
    steps     symbols written so far, GO included
    symbols   ids of symbols

Reference:
    Gillick et al. (2016). https://aclanthology.org/N16-1155
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import LogitsProcessor

PADDING, GO, STOP = 0, 1, 2
FIRST_START = 3
# As in the tokenizer of bytes: 0 is padding, 1 is unknown.
FIRST_BYTE = 2


class ScoredSpan(NamedTuple):
    """
    A span that was read out of bytes.

    Args:
        start (`int`):
            First byte.
        end (`int`):
            Byte behind the last one.
        type (`str`):
            Entity type.
        score (`float`):
            Probability of its three symbols, given those before them.
    """

    start: int
    end: int
    type: str
    score: float


@dataclass(frozen=True)
class SpanSymbols:
    """
    Ids of the symbols: padding, GO, STOP, the starts, the lengths, the types.

    Args:
        segment_bytes (`int`):
            Bytes of the longest segment.
        types (`tuple[str, ...]`):
            Entity types.

    Example:
        >>> symbols = SpanSymbols(60, ("LOC", "PER"))
        >>> ids = symbols.encode([(5, 10, "PER"), (20, 60, "LOC")])
        >>> symbols.names(ids)
        ['S:5', 'L:5', 'PER', 'S:20', 'L:40', 'LOC', 'STOP']
        >>> symbols.decode(ids)
        [(5, 10, 'PER'), (20, 60, 'LOC')]
    """

    segment_bytes: int
    types: tuple[str, ...]

    def __len__(self) -> int:
        return self.first_type + len(self.types)

    @property
    def first_length(self) -> int:
        """Id of `L:1`."""
        return FIRST_START + self.segment_bytes

    @property
    def first_type(self) -> int:
        """Id of the first type."""
        return self.first_length + self.segment_bytes

    @property
    def most_symbols(self) -> int:
        """Symbols of the longest sequence: a span on every byte, and STOP."""
        return 3 * self.segment_bytes + 1

    def encode(self, spans: Iterable[tuple[int, int, str]]) -> list[int]:
        """
        Symbol ids of the spans of one segment.

        Args:
            spans (`Iterable[tuple[int, int, str]]`):
                Half-open spans `(start, end, type)` in bytes of the segment, sorted, none in another.

        Raises:
            ValueError: if a span is empty, lies outside the longest segment or begins within the one before it.
        """
        ids: list[int] = []
        last_end = 0
        for start, end, entity_type in spans:
            if not last_end <= start < end <= self.segment_bytes:
                raise ValueError(
                    f"The span {(start, end, entity_type)} is empty, reaches over byte {self.segment_bytes}, or "
                    f"begins before byte {last_end}, where the one before it ends. Sort the spans, and cut the text "
                    "into segments that hold them."
                )
            ids += [
                FIRST_START + start,
                self.first_length + end - start - 1,
                self.first_type + self.types.index(entity_type),
            ]
            last_end = end
        return [*ids, STOP]

    def decode(self, ids: Sequence[int]) -> list[tuple[int, int, str]]:
        """
        The spans that a sequence writes, without GO at its head; up to STOP or to the first symbol out of place.

        Args:
            ids (`Sequence[int]`):
                Symbol ids.
        """
        spans = []
        for start, length, entity_type in zip(ids[0::3], ids[1::3], ids[2::3], strict=False):
            is_span = FIRST_START <= start < self.first_length <= length < self.first_type <= entity_type < len(self)
            if not is_span:
                break
            first = start - FIRST_START
            spans.append((first, first + length - self.first_length + 1, self.types[entity_type - self.first_type]))
        return spans

    def names(self, ids: Iterable[int]) -> list[str]:
        """
        The symbols as the paper writes them.

        Args:
            ids (`Iterable[int]`):
                Symbol ids.
        """
        positions = range(self.segment_bytes)
        names = ["PADDING", "GO", "STOP", *(f"S:{i}" for i in positions), *(f"L:{i + 1}" for i in positions)]
        return [[*names, *self.types][index] for index in ids]


class SpanGrammar(LogitsProcessor):
    """
    Lets `generate` write well-formed sequences only: start, length and type by turns, every span inside its segment,
    none before the end of the last one, and STOP in the place of a start. So every sequence ends.

    Unlike the paper, whose model is free to write anything and rarely errs.

    Args:
        symbols ([`SpanSymbols`]):
            The symbols.
        lengths (`LongTensor` of shape `(batch,)`):
            Bytes of each segment.
    """

    def __init__(self, symbols: SpanSymbols, lengths: Tensor):
        self.symbols = symbols
        self.lengths = lengths

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """
        The scores, minus infinity for what must not follow.

        Args:
            input_ids (`LongTensor` of shape `(rows, steps)`):
                GO, and what was written behind it.
            scores (`Tensor` of shape `(rows, symbols)`):
                Scores of the next symbol.
        """
        return scores.masked_fill(~self.allowed(input_ids), -torch.inf)

    def allowed(self, input_ids: Tensor) -> Tensor:
        """
        Whether a symbol may follow, of shape `(rows, symbols)`.

        Args:
            input_ids (`LongTensor` of shape `(rows, steps)`):
                GO, and what was written behind it.
        """
        symbols, device = self.symbols, input_ids.device
        written = input_ids[:, 1:]
        lengths = self.lengths.to(device).repeat_interleave(len(written) // len(self.lengths))[:, None]  # (rows, 1)
        ids = torch.arange(len(symbols), device=device)
        if written.shape[1] % 3 == 0:
            starts = ids - FIRST_START
            last_end = torch.zeros_like(lengths)
            if written.shape[1]:
                last_end = written[:, -3:-2] - FIRST_START + written[:, -2:-1] - symbols.first_length + 1
            is_start = (starts >= 0) & (ids < symbols.first_length)
            allowed = is_start & (starts >= last_end) & (starts < lengths) | (ids == STOP)
        elif written.shape[1] % 3 == 1:
            sizes = ids - symbols.first_length + 1
            start = written[:, -1:] - FIRST_START
            allowed = (sizes > 0) & (ids < symbols.first_type) & (start + sizes <= lengths)
        else:
            allowed = (ids >= symbols.first_type).expand(len(written), -1)
        has_stopped = written.eq(STOP).any(1, keepdim=True)
        return torch.where(has_stopped, ids == PADDING, allowed)


def segment_starts(num_bytes: int, segment_bytes: int, overlap: int) -> range:
    """
    First bytes of the segments that a text is read in: each overlaps the next, and together they cover it.

    Args:
        num_bytes (`int`):
            Bytes of the text.
        segment_bytes (`int`):
            Bytes of a segment; the last may have fewer.
        overlap (`int`):
            Bytes that a segment shares with the next.

    Example:
        >>> list(segment_starts(130, 60, 30)), list(segment_starts(60, 60, 30)), list(segment_starts(0, 60, 30))
        ([0, 30, 60, 90], [0], [])
    """
    return range(0, max(num_bytes - overlap, min(num_bytes, 1)), segment_bytes - overlap)


def merge_spans(segments: Iterable[tuple[int, Iterable[ScoredSpan]]]) -> list[ScoredSpan]:
    """
    The spans of a text from those of its segments. Of spans that overlap, the one that starts earliest within its own
    segment is kept: it has most of the segment behind it.

    Args:
        segments (`Iterable[tuple[int, Iterable[ScoredSpan]]]`):
            First byte of each segment, and its spans, counted from there.

    Returns:
        `list[ScoredSpan]` in bytes of the text, sorted, without overlaps.

    Reference:
        Mueller, Andrews and Dredze (2020). https://aclanthology.org/2020.acl-main.720

    Example:
        >>> early, late = ScoredSpan(3, 8, "PER", 0.5), ScoredSpan(33, 36, "LOC", 0.9)
        >>> merge_spans([(0, [late]), (30, [early])])
        [ScoredSpan(start=33, end=38, type='PER', score=0.5)]
    """
    candidates = sorted(
        (span.start, first, ScoredSpan(first + span.start, first + span.end, span.type, span.score))
        for first, spans in segments
        for span in spans
    )
    kept: list[ScoredSpan] = []
    taken: set[int] = set()
    for _, _, span in candidates:
        covered = range(span.start, span.end)
        if taken.isdisjoint(covered):
            kept.append(span)
            taken.update(covered)
    return sorted(kept)


def character_boundaries(text: bytes) -> Iterator[int]:
    """
    Bytes at which a character of UTF-8 begins, and the end of the text.

    Args:
        text (`bytes`):
            Valid UTF-8.

    Example:
        >>> list(character_boundaries("aé我".encode()))
        [0, 1, 3, 6]
    """
    yield from (index for index, byte in enumerate(text) if byte & 0xC0 != 0x80)
    yield len(text)
