"""What spans are written with, what may follow what, and how the spans of segments become those of a text."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_polyglot.models.span_symbols import (
    GO,
    STOP,
    ScoredSpan,
    SpanGrammar,
    SpanSymbols,
    character_boundaries,
    merge_spans,
    segment_starts,
)

SYMBOLS = SpanSymbols(60, ("LOC", "PER"))


@st.composite
def spans_inside(draw, size=60, types=("LOC", "PER")):
    """Sorted spans of a segment, none in another."""
    borders = sorted(draw(st.sets(st.integers(0, size), max_size=12)))
    return [
        (start, end, draw(st.sampled_from(types))) for start, end in zip(borders[::2], borders[1::2], strict=False)
    ]


def test_the_example_of_the_paper_is_written_as_in_the_paper():
    text = "Óscar Romero was born in El Salvador."
    first, second = (text.encode().index(name.encode()) for name in ("Óscar Romero", "El Salvador"))

    ids = SYMBOLS.encode([(first, first + 13, "PER"), (second, second + 11, "LOC")])

    assert SYMBOLS.names(ids) == ["S:0", "L:13", "PER", "S:26", "L:11", "LOC", "STOP"]


@given(spans=spans_inside())
def test_spans_come_back_from_their_symbols(spans):
    assert SYMBOLS.decode(SYMBOLS.encode(spans)) == spans


@given(spans=spans_inside(), cut=st.integers(0, 40), seed=st.integers(0, 100))
def test_only_whole_spans_are_read_out_of_a_broken_sequence(spans, cut, seed):
    ids = SYMBOLS.encode(spans)[:cut]

    assert SYMBOLS.decode(ids) == spans[: len(ids) // 3]
    assert SYMBOLS.decode([*ids, STOP, *SYMBOLS.encode(spans)]) == spans[: len(ids) // 3]


@pytest.mark.parametrize("spans", [[(3, 3, "PER")], [(50, 61, "PER")], [(0, 5, "PER"), (4, 6, "LOC")]])
def test_spans_that_cannot_be_written_are_refused(spans):
    with pytest.raises(ValueError, match="is empty, reaches over byte 60, or begins before byte"):
        SYMBOLS.encode(spans)


@given(spans=spans_inside(size=8), length=st.integers(1, 8), data=st.data())
@settings(max_examples=200)
def test_exactly_what_can_be_completed_to_a_sequence_of_spans_may_follow(spans, length, data):
    symbols = SpanSymbols(8, ("LOC", "PER"))
    spans = [span for span in spans if span[1] <= length]
    ids = symbols.encode(spans)
    written = ids[: data.draw(st.integers(0, len(ids) - 1))]

    allowed = SpanGrammar(symbols, torch.tensor([length])).allowed(torch.tensor([[GO, *written]]))[0]

    whole, begun = spans[: len(written) // 3], written[len(written) // 3 * 3 :]
    last_end = whole[-1][1] if whole else 0
    possible = [[STOP]] if not begun else []
    for start in range(last_end, length):
        for end in range(start + 1, length + 1):
            possible += [symbols.encode([(start, end, name)])[:3] for name in symbols.types]
    following = {sequence[len(begun)] for sequence in possible if sequence[: len(begun)] == begun}
    assert set(allowed.nonzero().flatten().tolist()) == following


@given(num_bytes=st.integers(1, 300), size=st.integers(2, 60), data=st.data())
def test_segments_cover_a_text_and_overlap(num_bytes, size, data):
    overlap = data.draw(st.integers(0, size - 1))

    starts = list(segment_starts(num_bytes, size, overlap))

    assert starts[0] == 0
    assert starts[-1] < num_bytes <= starts[-1] + size
    assert all(following - start == size - overlap for start, following in itertools.pairwise(starts))


def test_of_spans_that_overlap_the_one_that_starts_earliest_in_its_segment_stays():
    early, late, apart = ScoredSpan(2, 9, "PER", 0.1), ScoredSpan(32, 35, "LOC", 0.9), ScoredSpan(40, 44, "LOC", 0.5)

    merged = merge_spans([(0, [late, apart]), (30, [early])])

    assert merged == [ScoredSpan(32, 39, "PER", 0.1), ScoredSpan(40, 44, "LOC", 0.5)]


@given(text=st.text(max_size=20))
def test_boundaries_are_where_characters_begin_and_end(text):
    content = text.encode()

    boundaries = list(character_boundaries(content))

    assert [content[start:end].decode() for start, end in itertools.pairwise(boundaries)] == list(text)
