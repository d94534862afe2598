import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB1, IOB2, IOBES, Tokens

from hf_polyglot.models.label_scheme import (
    PREFIXES,
    SCHEMES,
    convert_tags,
    first_violation,
    labels_for_types,
    legal_transitions,
    spans_from_tags,
    split_tag,
    tags_from_spans,
    types_of_labels,
)

TYPES = ["LOC", "PER"]
SEQEVAL_SCHEMES = {"IOB1": IOB1, "IOB2": IOB2, "BIOES": IOBES}


def every_span_set(num_words: int, first: int = 0):
    """Every set of spans of two types that do not overlap."""
    yield ()
    for start, end in itertools.combinations(range(first, num_words + 1), 2):
        for rest in every_span_set(num_words, end):
            yield from (((start, end, entity_type), *rest) for entity_type in TYPES)


def touches(spans) -> bool:
    """Whether a span begins where one of its own type ends."""
    return any(before[1:] == (after[0], after[2]) for before, after in itertools.pairwise(spans))


def tag_lists(scheme: str):
    return st.lists(st.sampled_from(labels_for_types(TYPES, scheme)), max_size=8)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_spans_come_back_from_their_tags(scheme):
    span_sets = [spans for spans in every_span_set(4) if scheme != "plain" or not touches(spans)]

    found = [spans_from_tags(tags_from_spans(spans, 4, scheme), scheme) for spans in span_sets]

    assert found == [list(spans) for spans in span_sets]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_well_formed_tags_hold_the_same_spans_strictly_read(scheme):
    tags = [tags_from_spans(spans, 4, scheme) for spans in every_span_set(4)]

    assert [spans_from_tags(t, scheme, strict=True) for t in tags] == [spans_from_tags(t, scheme) for t in tags]


@pytest.mark.parametrize("scheme", ["IOB1", "IOB2", "BIOES"])
@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_any_tags_hold_the_spans_that_seqeval_finds(scheme, data):
    tags = data.draw(tag_lists(scheme))

    expected = [(start, end + 1, entity_type) for entity_type, start, end in get_entities(tags)]

    assert spans_from_tags(tags, scheme) == expected


@pytest.mark.parametrize("scheme", ["IOB1", "IOB2", "BIOES"])
@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_any_tags_strictly_hold_the_spans_that_strict_seqeval_finds(scheme, data):
    tags = data.draw(tag_lists(scheme))

    expected = [(entity.start, entity.end, entity.tag) for entity in Tokens(tags, SEQEVAL_SCHEMES[scheme]).entities]

    assert spans_from_tags(tags, scheme, strict=True) == expected


def test_an_inside_tag_opens_a_span_behind_outside_and_behind_another_type():
    tags = ["O", "I-PER", "I-LOC", "I-LOC"]

    assert spans_from_tags(tags) == [(1, 2, "PER"), (2, 4, "LOC")]
    assert spans_from_tags(tags, strict=True) == []


def test_plain_tags_of_one_type_are_one_span_where_they_touch():
    assert spans_from_tags(["PER", "PER", "O", "LOC"], "plain") == [(0, 2, "PER"), (3, 4, "LOC")]
    assert tags_from_spans([(0, 1, "PER"), (1, 2, "PER")], 2, "plain") == ["PER", "PER"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_legal_paths_are_those_that_some_spans_make(scheme):
    labels = labels_for_types(TYPES, scheme)
    may_start, may_follow, may_end = legal_transitions(labels, scheme)

    legal = {
        tuple(labels[label] for label in path)
        for path in itertools.product(range(len(labels)), repeat=3)
        if may_start[path[0]]
        and may_end[path[-1]]
        and all(may_follow[before][after] for before, after in itertools.pairwise(path))
    }

    assert legal == {tuple(tags_from_spans(spans, 3, scheme)) for spans in every_span_set(3)}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_first_violation_is_where_no_legal_path_goes_on(scheme):
    labels = labels_for_types(TYPES, scheme)
    may_start, may_follow, may_end = legal_transitions(labels, scheme)

    for path in itertools.product(range(len(labels)), repeat=3):
        allowed = [may_start[path[0]], *(may_follow[before][after] for before, after in itertools.pairwise(path))]
        expected = allowed.index(False) if False in allowed else None if may_end[path[-1]] else 2
        assert first_violation([labels[label] for label in path], scheme) == expected


def test_no_tags_hold_no_violation():
    assert [first_violation([], scheme) for scheme in SCHEMES] == [None] * 4


@pytest.mark.parametrize(("source", "target"), list(itertools.product(SCHEMES, SCHEMES)))
def test_conversion_keeps_every_span(source, target):
    for spans in every_span_set(4):
        if "plain" in (source, target) and touches(spans):
            continue
        assert convert_tags(tags_from_spans(spans, 4, source), source, target) == tags_from_spans(spans, 4, target)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_labels_are_every_tag_that_spans_can_have_and_outside_comes_first(scheme):
    labels = labels_for_types(["PER", "LOC", "PER"], scheme)

    assert labels[0] == "O"
    assert len(labels) == len(set(labels)) == 1 + 2 * max(1, len(PREFIXES[scheme]))
    assert set(labels) == {tag for spans in every_span_set(4) for tag in tags_from_spans(spans, 4, scheme)}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_labels_are_sorted_by_type(scheme):
    types = [label[-1] for label in labels_for_types("GAFCEBDH", scheme)[1:]]

    assert types == sorted(types)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_labels_give_their_types_back(scheme):
    assert types_of_labels(labels_for_types(TYPES, scheme), scheme) == sorted(TYPES)


def test_a_type_may_hold_a_hyphen():
    assert split_tag("B-GPE-LOC") == ("B", "GPE-LOC")
    assert spans_from_tags(["B-GPE-LOC", "I-GPE-LOC"]) == [(0, 2, "GPE-LOC")]


def test_spans_may_come_in_any_order():
    assert tags_from_spans([(2, 3, "LOC"), (0, 1, "PER")], 3) == ["B-PER", "O", "B-LOC"]


@pytest.mark.parametrize("spans", [[(0, 2, "PER"), (1, 3, "LOC")], [(2, 4, "PER")], [(-1, 1, "PER")], [(1, 1, "PER")]])
def test_spans_that_overlap_or_leave_the_sentence_are_refused(spans):
    with pytest.raises(ValueError, match=r"lies outside a sentence of 3 words, or overlaps"):
        tags_from_spans(spans, 3)


@pytest.mark.parametrize("tag", ["", "B", "B-", "B_PER", "X-PER", "PER", "b-PER"])
def test_what_is_no_tag_is_refused(tag):
    with pytest.raises(ValueError, match="Unknown tag"):
        split_tag(tag)


def test_a_tag_of_another_scheme_is_refused():
    with pytest.raises(ValueError, match=r"`E-PER` does not belong to IOB2, whose prefixes are B, I"):
        spans_from_tags(["B-PER", "E-PER"])


@pytest.mark.parametrize(
    "call",
    [
        lambda: spans_from_tags([], "BIO"),
        lambda: tags_from_spans([], 0, "BIO"),
        lambda: convert_tags([], "IOB2", "BIO"),
        lambda: labels_for_types([], "BIO"),
        lambda: legal_transitions([], "BIO"),
        lambda: first_violation([], "BIO"),
        lambda: types_of_labels([], "BIO"),
    ],
)
def test_an_unknown_scheme_is_refused(call):
    with pytest.raises(ValueError, match=r"Unknown tag scheme `BIO`\. Expected one of IOB1, IOB2, BIOES, plain"):
        call()
