"""Accuracy of the classes of words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_polyglot.result_tables import scores_table
from hf_polyglot.span_metrics import f1_of_counts, scores_with_average, token_accuracy
from hf_polyglot.tasks import TASKS, task_of
from hf_polyglot.word_metrics import sentence_word_counts, word_scores, word_scores_by_language

PAIRS = st.lists(
    st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from("ABC")), min_size=1, max_size=6), min_size=1, max_size=5
)


@given(PAIRS)
def test_accuracy_is_the_share_of_right_words(sentences):
    gold, predicted = ([[pair[side] for pair in sentence] for sentence in sentences] for side in (0, 1))

    counts = sentence_word_counts(gold, predicted)

    words = [pair for sentence in sentences for pair in sentence]
    expected = 100 * sum(right == guess for right, guess in words) / len(words)
    assert word_scores(counts).accuracy == pytest.approx(expected)
    assert token_accuracy(gold, predicted) == pytest.approx(expected)
    # What tests of significance compute of the same counts.
    assert f1_of_counts(counts.sum(0)) == pytest.approx(expected)


def test_the_average_is_over_languages_and_not_over_words():
    gold, predicted = [["A", "B"], ["A"], ["B"] * 8], [["A", "B"], ["B"], ["B"] * 8]

    scores = word_scores_by_language(gold, predicted, ["swa", "hau", "hau"])

    assert scores_with_average(scores) == {
        "hau": {"accuracy": pytest.approx(800 / 9)},
        "swa": {"accuracy": 100.0},
        "average": {"accuracy": pytest.approx((100 + 800 / 9) / 2)},
    }
    assert scores_table(scores_with_average(scores)).splitlines()[0].split() == ["|", "Language", "|", "Accuracy", "|"]


def test_every_sentence_has_a_language():
    with pytest.raises(ValueError, match="2 sentences but 1 languages"):
        word_scores_by_language([["A"], ["B"]], [["A"], ["B"]], ["swa"])


def test_sentences_without_a_word_have_accuracy_0():
    assert word_scores(np.zeros((1, 3), int)).accuracy == 0


@pytest.mark.parametrize(
    ("scheme", "name", "column"), [("IOB2", "ner", "ner_tags"), ("plain", "ner", "ner_tags"), ("feats",) * 3]
)
def test_the_scheme_of_its_labels_tells_a_model_s_task(scheme, name, column):
    assert task_of(scheme) is TASKS[name]
    assert task_of(scheme).label_column == column


def test_one_task_measures_spans_and_the_others_words():
    gold, predicted, languages = [["B-PER", "I-PER", "O"]], [["B-PER", "O", "O"]], ["swa"]

    scores = {
        name: scores_with_average(task.scores_by_language(gold, predicted, languages, "IOB2"))["swa"][task.metric]
        for name, task in TASKS.items()
    }
    counts = {name: task.sentence_counts(gold, predicted, "IOB2").tolist() for name, task in TASKS.items()}

    assert scores == {"ner": 0.0, "upos": pytest.approx(200 / 3), "feats": pytest.approx(200 / 3)}
    assert counts == {"ner": [[0, 1, 1]], "upos": [[2, 3, 3]], "feats": [[2, 3, 3]]}
