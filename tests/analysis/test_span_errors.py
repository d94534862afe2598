"""Kinds of errors: worked examples, and identities with the counts of the metric."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_polyglot.analysis.span_errors import ERROR_KINDS, error_report, span_errors, total_errors
from hf_polyglot.result_tables import errors_table
from hf_polyglot.span_metrics import span_scores

TAGS = st.lists(st.sampled_from(["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("predicted", "errors"),
    [
        ([(2, 4, "LOC")], {"correct": 1}),
        ([(2, 4, "PER")], {"type": 1}),
        ([(2, 3, "LOC")], {"boundaries": 1}),
        ([(1, 5, "LOC")], {"boundaries": 1}),
        ([(3, 5, "PER")], {"both": 1}),
        ([], {"missed": 1}),
        ([(0, 2, "LOC"), (4, 6, "LOC")], {"missed": 1, "spurious": 2}),
        ([(0, 3, "PER"), (3, 4, "LOC")], {"both": 1}),  # as much of one as of the other: the first
        ([(2, 3, "LOC"), (3, 8, "PER")], {"boundaries": 1}),
    ],
)
def test_each_kind_of_error(predicted, errors):
    assert span_errors([(2, 4, "LOC")], predicted) == errors


@given(st.lists(st.tuples(TAGS, st.randoms()), min_size=1, max_size=5))
def test_the_kinds_add_up_to_the_counts_of_the_metric(drawn):
    gold = [tags for tags, _ in drawn]
    predicted = [random.choices(["O", "B-LOC", "I-LOC", "B-PER", "I-PER"], k=len(tags)) for tags, random in drawn]

    report = error_report(gold, predicted)

    spans, scores = report["spans"], span_scores(gold, predicted)
    assert sum(spans[kind] for kind in ("correct", *ERROR_KINDS)) - spans["spurious"] == spans["gold"]
    assert spans["correct"] == pytest.approx(scores.recall * spans["gold"] / 100)
    assert spans["correct"] == pytest.approx(scores.precision * spans["predicted"] / 100)
    assert spans["spurious"] <= spans["predicted"] - spans["correct"]
    assert sum(counts["words"] for counts in report["words"].values()) == sum(map(len, gold))


def test_a_word_is_wrong_if_its_type_is_and_not_for_its_prefix():
    report = error_report([["B-PER", "I-PER", "O", "B-LOC"]], [["B-PER", "B-PER", "B-LOC", "O"]])

    assert report["words"] == {
        "LOC": {"words": 1, "wrong": 1},
        "O": {"words": 1, "wrong": 1},
        "PER": {"words": 2, "wrong": 0},
    }


def test_the_table_has_the_shares_of_every_report():
    reports = {
        "swa": error_report([["B-PER", "O"]], [["B-PER", "O"]]),
        "yor": error_report([["B-PER", "O", "B-LOC"]], [["B-LOC", "O", "O"]]),
    }

    reports["all"] = total_errors(reports)
    table = errors_table(reports).splitlines()

    assert [cell.strip() for cell in table[2].strip("|").split("|")] == [
        "swa", "100.0", "0.0", "0.0", "0.0", "0.0", "0.0", "–", "0.0", "0.0",
    ]  # fmt: skip
    assert [cell.strip() for cell in table[4].strip("|").split("|")] == [
        "all", "33.3", "33.3", "0.0", "0.0", "33.3", "0.0", "100.0", "50.0", "0.0",
    ]  # fmt: skip
    assert reports["all"]["spans"]["gold"] == 3


def test_sentences_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match=r"`gold` has 1 sentences with 1 tags, `predicted` 1 with 2; expected"):
        error_report([["O"]], [["O", "O"]])


def test_made_up_words_make_spurious_spans_and_no_words():
    report = error_report([["B-PER", "O"]], [["B-PER", "B-LOC"]], num_words=[1])

    assert report["words"] == {"PER": {"words": 1, "wrong": 0}}
    assert report["spans"]["spurious"] == 1


def test_ill_formed_tags_are_read_as_asked():
    lenient, strict = (error_report([["B-PER"]], [["I-PER"]], strict=strict)["spans"] for strict in (False, True))

    assert (lenient["correct"], strict["correct"], strict["missed"]) == (1, 0, 1)
