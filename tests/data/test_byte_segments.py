"""Documents in bytes, their segments, and the way back to words."""

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_polyglot.data.byte_segments import (
    ByteDocument,
    ByteSegments,
    SentenceSegments,
    WordDocument,
    sentence_documents,
)
from hf_polyglot.models.label_scheme import labels_for_types, spans_from_tags
from hf_polyglot.models.span_symbols import ScoredSpan, SpanSymbols, merge_spans

TYPES = ("LOC", "PER")
SYMBOLS = SpanSymbols(60, TYPES)
LABELS = labels_for_types(TYPES, "IOB2")
WORDS = st.text(st.characters(exclude_categories=["Cs", "Z", "C"]), min_size=1, max_size=6)


@st.composite
def documents(draw, longest_span=60):
    text = draw(st.binary(max_size=250))
    borders = sorted(draw(st.sets(st.integers(0, len(text)), max_size=20)))
    spans = [
        (start, min(end, start + longest_span), draw(st.sampled_from(TYPES)))
        for start, end in zip(borders[::2], borders[1::2], strict=False)
    ]
    return ByteDocument(text, tuple(spans))


@st.composite
def tagged_sentences(draw):
    sentences = draw(st.lists(st.lists(WORDS, max_size=5), min_size=1, max_size=6))
    ids = [
        draw(st.lists(st.integers(0, len(LABELS) - 1), min_size=len(words), max_size=len(words)))
        for words in sentences
    ]
    return {"tokens": sentences, "ner_tags": ids}


@given(documents=st.lists(documents(longest_span=30), max_size=3))
@settings(max_examples=200, deadline=None)
def test_every_span_of_at_most_thirty_bytes_comes_back_from_its_segments(documents):
    segments = ByteSegments.for_reading(documents, SYMBOLS, overlap=30)

    found = [[] for _ in documents]
    for index in range(len(segments)):
        document, first = segments.place(index)
        spans = SYMBOLS.decode(segments[index]["labels"])
        found[document].append((first, [ScoredSpan(*span, 1.0) for span in spans]))

    for document, of_document in zip(documents, found, strict=True):
        assert tuple(span[:3] for span in merge_spans(of_document)) == document.spans


def cut_by_hand(documents, size, stride):
    """Bytes, target spans and number of cut spans of every training segment."""
    for document in documents:
        for first in range(0, len(document.text), stride):
            last = min(first + size, len(document.text))
            touching = [span for span in document.spans if span[0] < last and span[1] > first]
            whole = [span for span in touching if span[0] >= first and span[1] <= last]
            inside = [(start - first, end - first, entity_type) for start, end, entity_type in whole]
            yield document.text[first:last], inside, len(touching) - len(whole)


@given(documents=st.lists(documents(longest_span=80), max_size=3), size=st.integers(1, 60), stride=st.integers(1, 9))
@settings(max_examples=100, deadline=None)
def test_training_segments_begin_at_every_byte_and_hold_the_spans_that_lie_wholly_inside(documents, size, stride):
    symbols = SpanSymbols(size, TYPES)
    expected = list(cut_by_hand(documents, size, stride))

    segments = ByteSegments.for_training(documents, symbols, stride)

    assert len(segments) == len(expected)
    assert segments.lengths.tolist() == [len(content) for content, _, _ in expected]
    for index, (content, spans, _) in enumerate(expected):
        assert bytes((segments[index]["input_ids"] - 2).tolist()) == content
        assert symbols.decode(segments[index]["labels"]) == spans
    report = segments.report
    assert report.whole == sum(len(spans) for _, spans, _ in expected)
    assert report.cut == sum(cut for _, _, cut in expected)
    assert report.too_long == sum(end - start > size for document in documents for start, end, _ in document.spans)
    assert f"{report.cut:,} times cut by the edge of a segment" in str(report)


def test_a_million_segments_take_the_memory_of_their_text():
    document = ByteDocument(b"in Kano " * 125_000, tuple((8 * word + 3, 8 * word + 7, "LOC") for word in range(1000)))
    tracemalloc.start()

    segments = ByteSegments.for_training([document], SYMBOLS)
    last = segments[999_999]

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(segments) == 1_000_000
    assert len(last["input_ids"]) == 1
    assert peak < 3_000_000


def test_there_is_no_segment_behind_the_last():
    segments = ByteSegments.for_training([ByteDocument(b"abc")], SYMBOLS)

    assert len(list(segments)) == 3
    with pytest.raises(IndexError, match="Segment 3 of 3"):
        segments[3]


def test_segments_that_would_not_move_on_are_refused():
    with pytest.raises(ValueError, match="`stride` is 0; expected 1"):
        ByteSegments.for_training([], SYMBOLS, stride=0)
    with pytest.raises(ValueError, match="`overlap` is 60; expected 0 to 59"):
        ByteSegments.for_reading([], SYMBOLS, overlap=60)


def test_a_tokenizer_of_bytes_gives_the_same_ids():
    from hf_polyglot import SpellingTokenizer

    text = "Ọmọ ní Ìbàdàn 我"

    segment = ByteSegments.for_training([ByteDocument.of_text(text)], SYMBOLS)[0]

    assert segment["input_ids"].tolist() == SpellingTokenizer.of_bytes()(text)["input_ids"]


def test_spans_of_a_raw_text_are_counted_in_bytes():
    document = ByteDocument.of_text("他在北京 với Huế.", [(9, 12, "PER"), (2, 4, "LOC")])

    assert [(document.text[start:end].decode(), name) for start, end, name in document.spans] == [
        ("北京", "LOC"),
        ("Huế", "PER"),
    ]


@given(rows=tagged_sentences(), context=st.sampled_from(["document", "sentence"]))
@settings(deadline=None)
def test_tags_come_back_from_the_targets_of_segments(rows, context):
    sentences = SentenceSegments(rows, LABELS, SYMBOLS, context=context)
    segments = sentences.for_reading()

    tags, stray = sentences.predicted_tags(segments, [segments[index]["labels"] for index in range(len(segments))])

    assert stray == [[]] * len(rows["tokens"])
    for before, after, words in zip(sentences.tags, tags, rows["tokens"], strict=True):
        spans = [span for span in spans_from_tags(before) if len(" ".join(words[span[0] : span[1]]).encode()) <= 30]
        assert set(spans) <= set(spans_from_tags(after)) <= set(spans_from_tags(before))


@given(rows=tagged_sentences(), data=st.data())
@settings(deadline=None)
def test_a_byte_span_is_a_word_span_if_both_its_ends_are_those_of_words_of_one_sentence(rows, data):
    document = WordDocument(rows["tokens"])
    if not any(rows["tokens"]):
        return
    # Half of the ends are those of words, of one sentence or of two.
    last = len(document.text)
    start = data.draw(st.sampled_from(document.word_starts.tolist()) | st.integers(0, last - 1))
    ends = [end for end in document.word_ends.tolist() if end > start]
    end = data.draw((st.sampled_from(ends) if ends else st.nothing()) | st.integers(start + 1, last))

    found, stray = document.find_words([(start, end, "PER")])

    offset, expected = 0, {}
    for row, words in enumerate(rows["tokens"]):
        places = []
        for word in words:
            places.append((offset, offset + len(word.encode())))
            offset = places[-1][1] + 1
        for first, (begin, _) in enumerate(places):
            for last, (_, stop) in enumerate(places[first:], first):
                expected[begin, stop] = (row, (first, last + 1, "PER"))
    spans = [(row, span) for row, spans in enumerate(found) for span in spans]
    assert spans == ([expected[start, end]] if (start, end) in expected else [])
    assert sum(map(len, stray)) == ((start, end) not in expected)


def test_sentences_make_documents_by_their_column_or_all_one():
    rows = {"tokens": [["a"], ["b", "c"], ["d"]]}

    whole, marked, single = (
        [document.text for document in sentence_documents(columns, context)[0]]
        for columns, context in (
            (rows, "document"),
            (rows | {"document": ["x", "x", "y"]}, "document"),
            (rows, "sentence"),
        )
    )

    assert whole == [b"a b c d"]
    assert marked == [b"a b c", b"d"]
    assert single == [b"a", b"b c", b"d"]


def test_documents_whose_sentences_are_scattered_are_refused():
    with pytest.raises(ValueError, match=r"The document 'x' goes on in row 2 after others from row 1 on"):
        sentence_documents({"tokens": [["a"]] * 3, "document": ["x", "y", "x"]})
