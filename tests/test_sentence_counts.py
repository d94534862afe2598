"""The file of what each sentence contributes: it comes back as it was, and beside the wrong results it is refused."""

import json

import numpy as np
import pytest

from hf_polyglot.results import aggregate_scores, write_results
from hf_polyglot.sentence_counts import SentenceCounts, read_sentence_counts, write_sentence_counts
from hf_polyglot.span_metrics import scores_with_average, sentence_span_counts, span_scores

from .test_results import zero_shot_results

GOLD = [["B-PER", "O"], ["O"], ["B-LOC", "B-PER"]]
PREDICTED = [
    [["B-PER", "B-PER"], ["O"], ["B-LOC", "O"]],
    [["O", "B-PER"], ["B-PER"], ["B-LOC", "B-PER"]],
]
COUNTS = np.stack([sentence_span_counts(GOLD, predicted) for predicted in PREDICTED])


def run(**changes):
    counts = {"test": {"eng": COUNTS, "yor": COUNTS[:, 1:]}}
    fingerprints = {"test": {"eng": "5d41402a", "yor": "5d41402a"}}
    return SentenceCounts(**{"name": "slicer", "counts": counts, "fingerprints": fingerprints} | changes)


def results_of_run():
    """Results of the runs of `COUNTS`, on English alone."""
    scores = [scores_with_average({"eng": span_scores(GOLD, predicted)}) for predicted in PREDICTED]
    return zero_shot_results(scores={"test": aggregate_scores(scores)})


def run_on_english(**changes):
    return run(counts={"test": {"eng": COUNTS}}, fingerprints={"test": {"eng": "5d41402a"}}, **changes)


def assert_same(found, expected):
    assert (found.name, found.fingerprints) == (expected.name, expected.fingerprints)
    assert found.counts.keys() == expected.counts.keys()
    for split, languages in expected.counts.items():
        assert found.counts[split].keys() == languages.keys()
        for language, counts in languages.items():
            np.testing.assert_array_equal(found.counts[split][language], counts)


def test_counts_come_back_as_they_were(tmp_path):
    write_sentence_counts(tmp_path / "kept" / "slicer.json", run())

    assert_same(read_sentence_counts(tmp_path / "kept" / "slicer.json"), run())


def test_the_file_is_what_the_module_describes(tmp_path):
    write_sentence_counts(tmp_path, run_on_english())

    text = (tmp_path / "sentence_counts.json").read_text()
    assert " " not in text
    assert json.loads(text) == {
        "name": "slicer",
        "counts": {
            "test": {
                "eng": {
                    "fingerprint": "5d41402a",
                    "gold": [1, 0, 2],
                    "predicted": [[2, 0, 1], [1, 1, 2]],
                    "correct": [[1, 0, 1], [0, 0, 2]],
                }
            }
        },
    }


@pytest.mark.parametrize(
    ("results_file", "counts_file", "asked"),
    [
        ("run/results.json", "run/sentence_counts.json", "run"),
        ("run/results.json", "run/sentence_counts.json", "run/results.json"),
        ("cards/slicer-a.json", "cards/sentence_counts/slicer-a.json", "cards/slicer-a.json"),
    ],
)
def test_counts_are_found_by_the_results(results_file, counts_file, asked, tmp_path):
    write_results(tmp_path / results_file, results_of_run())
    write_sentence_counts(tmp_path / counts_file, run_on_english())

    assert_same(read_sentence_counts(tmp_path / asked), run_on_english())


def test_results_without_counts_say_what_to_do(tmp_path):
    write_results(tmp_path, results_of_run())

    with pytest.raises(ValueError, match=r"has no sentence counts.*Train again.*--sentence_counts FILE"):
        read_sentence_counts(tmp_path)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (run_on_english(), None),
        (run(), "of yor on test are .* nan"),
        (run(counts={"test": {"eng": COUNTS[:1]}}), r"\('5d41402a', 1\)"),
        (run(counts={"test": {"eng": COUNTS[::-1, :2]}}), r"and 33\.3333; expected \('5d41402a', 2\) and 61\.9048"),
        (run(counts={"test": {"eng": COUNTS}}, fingerprints={"test": {"eng": "other"}}), r"\('other', 2\)"),
        (run(counts={"validation": {"eng": COUNTS}}, fingerprints={"validation": {"eng": "5d41402a"}}), "validation"),
    ],
)
def test_counts_of_another_run_are_refused(counts, message, tmp_path):
    write_results(tmp_path, results_of_run())
    write_sentence_counts(tmp_path, counts)

    if message is None:
        read_sentence_counts(tmp_path)
        return
    with pytest.raises(ValueError, match=f"is not of the run of .*{message}.*Keep the files of a run together"):
        read_sentence_counts(tmp_path)


def broken(**columns):
    good = {"fingerprint": "a", "gold": [1, 0], "predicted": [[1, 1]], "correct": [[1, 0]]}
    return {"name": "a", "counts": {"test": {"swa": good | columns}}}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([1], "a list"),
        ({}, "KeyError: 'name'"),
        ({"name": "a", "counts": [1]}, "AttributeError"),
        (broken(predicted=[[1]]), "ValueError"),
        (broken(predicted=[[1, 1], [1]]), "ValueError"),
        (broken(gold=[1, 0.5]), "not integers"),
        (broken(gold=[], predicted=[[]], correct=[[]]), r"of shape \(1, 0, 3\)"),
        (broken(gold=[1], predicted=[1], correct=[1]), r"of shape \(1, 3\)"),
        (broken(correct=[[1, 1]]), "more correct spans"),
        (broken(correct=[[-1, 0]]), "fewer than none"),
    ],
)
def test_a_file_that_holds_no_counts_is_named(document, message, tmp_path):
    path = tmp_path / "counts.json"
    path.write_text(json.dumps(document))

    with pytest.raises(ValueError, match=f"`{path}` holds .*{message}.*"):
        read_sentence_counts(path)


def test_a_file_that_is_no_json_is_named(tmp_path):
    path = tmp_path / "counts.json"
    path.write_text("Amina B-PER")

    with pytest.raises(ValueError, match=r"is no JSON.*Expected the results or the sentence counts"):
        read_sentence_counts(path)
