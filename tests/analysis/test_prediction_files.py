"""Column files of predictions: their counts, and files that do not go together."""

import numpy as np
import pytest

from hf_polyglot.analysis.prediction_files import ALL_SENTENCES, counts_of_prediction_files
from hf_polyglot.analysis.significance import same_test_sets

GOLD = "Amina B-PER\nBako I-PER\nalifika O\n\nDar B-LOC\nes I-LOC\nSalaam I-LOC\n"
FIRST = "Amina B-PER\nBako B-PER\nalifika O\n\nDar B-LOC\nes I-LOC\nSalaam I-LOC\n"
SECOND = "Amina B-PER\nBako I-PER\nalifika I-LOC\n\nDar O\nes O\nSalaam O\n"


@pytest.fixture
def write(tmp_path):
    def write_file(name, text):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write_file


def with_gold(predicted):
    """A file with the gold tags before the predicted ones, as conlleval reads it."""
    pairs = zip(GOLD.split("\n"), predicted.split("\n"), strict=True)
    return "\n".join(f"{gold} {line.split()[1]}" if line else "" for gold, line in pairs)


def assert_expected(first, second):
    assert first.counts["test"][ALL_SENTENCES].tolist() == [[[0, 2, 1], [1, 1, 1]]]
    # A stray I- opens a span, as conlleval reads it.
    assert second.counts["test"][ALL_SENTENCES].tolist() == [[[1, 2, 1], [0, 0, 1]]]
    assert (first.name, second.name) == ("first", "second")
    np.testing.assert_equal([*same_test_sets(first, second)[0]], [ALL_SENTENCES])


def test_gold_tags_may_lie_in_a_third_file(write):
    files = [write("first.conll", FIRST), write("second.conll", SECOND.replace(" ", "\t"))]

    assert_expected(*counts_of_prediction_files(files, gold_file=write("gold.conll", GOLD)))


@pytest.mark.parametrize(("gold_column", "tag_column"), [(1, None), (-2, -1)])
def test_gold_tags_may_stand_beside_the_predicted_ones(write, gold_column, tag_column):
    files = [write("first.conll", with_gold(FIRST)), write("second.conll", with_gold(SECOND))]

    assert_expected(*counts_of_prediction_files(files, gold_column=gold_column, tag_column=tag_column))


@pytest.mark.parametrize("settings", [{}, {"gold_file": "gold.conll", "gold_column": 1}])
def test_gold_tags_come_from_one_place(write, settings):
    files = [write("first.conll", FIRST), write("second.conll", SECOND)]

    with pytest.raises(ValueError, match=r"`gold_file` is .* and `gold_column` .*Expected one of them"):
        counts_of_prediction_files(files, **settings)


def test_the_gold_column_is_not_that_of_the_predictions(write):
    files = [write("first.conll", with_gold(FIRST)), write("second.conll", with_gold(SECOND))]

    with pytest.raises(ValueError, match=r"first\.conll`: gold and predicted tags are both read from column 2"):
        counts_of_prediction_files(files, gold_column=2)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (
            SECOND.replace("es", "as"),
            r"words of sentence 2 differ: 'es' at .*gold\.conll:6, 'as' at .*second\.conll:6",
        ),
        (SECOND.replace("Salaam O\n", ""), r"'Salaam' at .*gold\.conll:7, '\(end of sentence\)' at .*second\.conll:6"),
        (SECOND + "! O\n", r"'\(end of sentence\)' at .*gold\.conll:7, '!' at .*second\.conll:8"),
        (SECOND + "\nHabari O\n", r"gold\.conll has 2 sentences and .*second\.conll has 3"),
        (SECOND.split("\n\n")[0] + "\n", r"gold\.conll has 2 sentences and .*second\.conll has 1"),
    ],
)
def test_other_words_are_named_by_file_and_line(write, second, message):
    files = [write("first.conll", FIRST), write("second.conll", second)]

    with pytest.raises(ValueError, match=message):
        counts_of_prediction_files(files, gold_file=write("gold.conll", GOLD))


def test_other_gold_tags_are_named_by_file_and_line(write):
    files = [
        write("first.conll", with_gold(FIRST)),
        write("second.conll", with_gold(SECOND).replace("LOC O", "PER O")),
    ]

    with pytest.raises(
        ValueError, match=r"gold tags of sentence 2 differ: 'B-LOC' at .*first\.conll:5, 'B-PER' at .*second\.conll:5"
    ):
        counts_of_prediction_files(files, gold_column=1)
