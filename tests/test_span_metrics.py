import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from transformers import EvalPrediction

from hf_polyglot import span_metrics
from hf_polyglot.models.label_scheme import spans_from_tags
from hf_polyglot.span_metrics import (
    average_scores,
    f1_of_counts,
    label_accuracy,
    scores_with_average,
    sentence_span_counts,
    span_f1,
    span_scores,
    span_scores_by_language,
    token_accuracy,
)

DATA_FILES = Path(__file__).parent / "data_files"
TYPES = ("PER", "LOC", "LOC-GPE")
PREFIXES = {"IOB1": "BI", "IOB2": "BI", "BIOES": "BIES"}


@st.composite
def tag_pairs(draw, scheme, min_words=0):
    """Gold and predicted tags of a few sentences, well-formed or not."""
    tags = ["O", *(f"{prefix}-{entity_type}" for prefix in PREFIXES[scheme] for entity_type in TYPES)]
    lengths = draw(st.lists(st.integers(min_words, 8), min_size=1, max_size=4))
    sentences = [st.lists(st.sampled_from(tags), min_size=length, max_size=length) for length in lengths]
    gold = [draw(sentence) for sentence in sentences]
    # A guess that differs from the gold tags at a few words: two random sequences hardly ever share a span.
    guesses = [draw(sentence) for sentence in sentences]
    is_right = [draw(st.lists(st.booleans(), min_size=length, max_size=length)) for length in lengths]
    predicted = [
        [right if keep else wrong for right, wrong, keep in zip(*sentence, strict=True)]
        for sentence in zip(gold, guesses, is_right, strict=True)
    ]
    return gold, predicted


def assert_equal_to_seqeval(scores, by_type, micro, macro):
    """Compare with (precision, recall, F1, gold) as seqeval returns them: fractions, one row per type in order."""
    types = scores.by_type.values()
    ours = [[one[key] for one in types] for key in ("precision", "recall", "f1")]
    np.testing.assert_allclose(ours, 100 * np.stack(by_type[:3]), atol=1e-9)
    assert [one["gold"] for one in types] == by_type[3].tolist()
    np.testing.assert_allclose([scores.precision, scores.recall, scores.f1], 100 * np.array(micro[:3]), atol=1e-9)
    assert scores.gold == micro[3]
    ours = [scores.macro_precision, scores.macro_recall, scores.macro_f1]
    np.testing.assert_allclose(ours, 100 * np.array(macro[:3]) if macro else 0, atol=1e-9)


@pytest.mark.parametrize("scheme", PREFIXES)
@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_conlleval_mode_is_seqevals_default(scheme, data):
    from seqeval.metrics.sequence_labeling import precision_recall_fscore_support

    gold, predicted = data.draw(tag_pairs(scheme, min_words=1))

    scores = span_scores(gold, predicted, scheme=scheme)

    by_type, micro, macro = (
        # Without a single span seqeval has nothing to take a mean of; we say 0.
        precision_recall_fscore_support(gold, predicted, average=average, zero_division=0)
        if average != "macro" or scores.by_type
        else None
        for average in (None, "micro", "macro")
    )
    assert_equal_to_seqeval(scores, by_type, micro, macro)


@pytest.mark.parametrize("scheme", PREFIXES)
@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_strict_mode_is_seqevals_strict_mode(scheme, data):
    from seqeval import scheme as seqeval_schemes
    from seqeval.metrics.v1 import precision_recall_fscore_support

    gold, predicted = data.draw(tag_pairs(scheme, min_words=1))
    theirs = getattr(seqeval_schemes, {"BIOES": "IOBES"}.get(scheme, scheme))

    scores = span_scores(gold, predicted, scheme=scheme, mode="strict")

    by_type, micro, macro = (
        precision_recall_fscore_support(gold, predicted, average=average, zero_division=0, scheme=theirs)
        if average != "macro" or scores.by_type
        else None
        for average in (None, "micro", "macro")
    )
    assert_equal_to_seqeval(scores, by_type, micro, macro)


def test_conlleval_mode_is_the_conlleval_script():
    rows = (DATA_FILES / "conlleval_odd_tags.txt").read_text(encoding="utf-8").strip("\n").split("\n\n")
    sentences = [[row.split(" ") for row in sentence.split("\n")] for sentence in rows]
    gold, predicted = ([[row[column] for row in sentence] for sentence in sentences] for column in (1, 2))
    expected = (DATA_FILES / "conlleval_odd_tags.expected.txt").read_text(encoding="utf-8")

    scores = span_scores(gold, predicted)

    lines = [
        f"processed {sum(map(len, gold))} tokens with {scores.gold} phrases; found: {scores.predicted} phrases; "
        f"correct: {scores.correct}.",
        f"accuracy: {token_accuracy(gold, predicted):6.2f}%; precision: {scores.precision:6.2f}%; "
        f"recall: {scores.recall:6.2f}%; FB1: {scores.f1:6.2f}",
    ]
    for entity_type, one in scores.by_type.items():
        lines.append(
            f"{entity_type:>17}: precision: {one['precision']:6.2f}%; recall: {one['recall']:6.2f}%; "
            f"FB1: {one['f1']:6.2f}  {one['predicted']}"
        )
    assert lines == expected.splitlines()


@given(pair=tag_pairs("IOB2"))
@settings(max_examples=50, deadline=None)
def test_counts_are_those_of_the_sets_of_spans(pair):
    gold, predicted = (
        {(sentence, *span) for sentence, tags in enumerate(side) for span in spans_from_tags(tags, "IOB2")}
        for side in pair
    )

    scores = span_scores(*pair)

    assert (scores.gold, scores.predicted, scores.correct) == (len(gold), len(predicted), len(gold & predicted))
    for name in ("gold", "predicted", "correct"):
        assert sum(one[name] for one in scores.by_type.values()) == getattr(scores, name)


def test_adjacent_plain_types_are_one_span():
    scores = span_scores([["PER", "PER", "O", "LOC"]], [["PER", "O", "O", "LOC"]], scheme="plain")

    assert (scores.gold, scores.predicted, scores.correct, scores.f1) == (2, 2, 1, 50.0)


@given(data=st.data(), pair=tag_pairs("IOB2"))
@settings(max_examples=50, deadline=None)
def test_scores_of_a_language_are_those_of_its_sentences(data, pair):
    gold, predicted = pair
    languages = data.draw(st.lists(st.sampled_from(["yor", "hau"]), min_size=len(gold), max_size=len(gold)))

    by_language = span_scores_by_language(gold, predicted, languages, mode="strict")

    assert list(by_language) == sorted(set(languages))
    for language, scores in by_language.items():
        rows = [row for row, of_row in enumerate(languages) if of_row == language]
        assert scores == span_scores([gold[row] for row in rows], [predicted[row] for row in rows], mode="strict")
    mean = sum(scores.f1 for scores in by_language.values()) / len(by_language)
    assert average_scores(by_language)["f1"] == pytest.approx(mean)


def test_a_language_without_any_span_scores_zero_as_in_seqeval():
    from seqeval.metrics import f1_score

    scores = span_scores_by_language([["O"], ["B-PER"]], [["O"], ["B-PER"]], ["hau", "yor"])

    assert (scores["hau"].f1, scores["hau"].macro_f1, scores["hau"].by_type) == (0.0, 0.0, {})
    assert f1_score([["O"]], [["O"]], zero_division=0) == 0.0
    assert average_scores(scores)["f1"] == 50.0


def test_what_a_seed_contributes_holds_each_language_its_types_and_the_average():
    scores = span_scores_by_language([["B-PER"], ["B-LOC"]], [["B-PER"], ["O"]], ["yor", "hau"])

    contribution = scores_with_average(scores)

    assert contribution == {
        "hau": {
            "precision": 0.0,
            "recall": 0.0,
            "f1": 0.0,
            "macro_f1": 0.0,
            "by_type": {"LOC": {"precision": 0.0, "recall": 0.0, "f1": 0.0}},
        },
        "yor": {
            "precision": 100.0,
            "recall": 100.0,
            "f1": 100.0,
            "macro_f1": 100.0,
            "by_type": {"PER": {"precision": 100.0, "recall": 100.0, "f1": 100.0}},
        },
        "average": {"precision": 50.0, "recall": 50.0, "f1": 50.0, "macro_f1": 50.0},
    }


@given(data=st.data(), scheme=st.sampled_from(["IOB2", "BIOES"]), mode=st.sampled_from(span_metrics.MODES))
@settings(max_examples=50, deadline=None)
def test_padding_and_ids_change_no_score_of_the_trainers_metric(data, scheme, mode):
    gold, predicted = data.draw(tag_pairs(scheme))
    assume(any(gold))
    labels = ["O", *(f"{prefix}-{entity_type}" for prefix in PREFIXES[scheme] for entity_type in TYPES)]
    ids = np.full((2, len(gold), max(map(len, gold)) + data.draw(st.integers(0, 2))), -100)
    for side, sentences in enumerate((predicted, gold)):
        for row, tags in enumerate(sentences):
            ids[side, row, : len(tags)] = [labels.index(tag) for tag in tags]
    # Whatever a model says on padding does not count.
    ids[0][ids[1] == -100] = data.draw(st.sampled_from([-100, 0, 1]))

    metrics = span_f1(labels, scheme, mode)(EvalPrediction(predictions=ids[0], label_ids=ids[1]))

    scores = span_scores(gold, predicted, scheme=scheme, mode=mode)
    by_type = {f"{name}_f1": scores.by_type.get(name, {"f1": 0.0})["f1"] for name in TYPES}
    overall = {key: getattr(scores, key) for key in ("precision", "recall", "f1", "macro_f1")}
    assert metrics == overall | by_type


def test_token_accuracy_counts_words_not_sentences():
    gold, predicted = [["NOUN", "VERB", "PUNCT"], ["NOUN"], []], [["NOUN", "NOUN", "PUNCT"], ["NOUN"], []]

    assert token_accuracy(gold, predicted) == 75.0
    assert token_accuracy([[]], [[]]) == 0.0


def test_label_accuracy_leaves_padding_out():
    prediction = EvalPrediction(
        predictions=np.array([[3, 1, 0], [2, 0, 0]]), label_ids=np.array([[3, 2, -100], [2] + [-100] * 2])
    )

    assert label_accuracy(prediction) == {"accuracy": pytest.approx(200 / 3)}


@pytest.mark.parametrize(
    ("gold", "predicted", "settings_", "message"),
    [
        ([], [], {}, "No sentence to score. Expected at least one"),
        ([["O"]], [], {}, "1 gold sentences but 0 predicted ones"),
        ([["O"], ["O"]], [["O"], ["O", "O"]], {}, "Sentence 1 has 1 gold tags but 2 predicted ones"),
        (["O"], ["O"], {}, "Sentence 0 is a string: `O`, `O`. Expected a list of tags"),
        ([["O"]], [["O"]], {"mode": "lenient"}, "Unknown mode `lenient`. Expected one of conlleval, strict"),
        ([["O"]], [["O"]], {"scheme": "IOB3"}, "Unknown tag scheme `IOB3`"),
        ([["O"]], [["PER"]], {}, "Unknown tag `PER`"),
    ],
)
def test_input_that_cannot_be_scored_is_refused(gold, predicted, settings_, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        span_scores(gold, predicted, **settings_)
    with pytest.raises(ValueError, match=re.escape(message)):
        span_scores_by_language(gold, predicted, ["yor"] * len(gold), **settings_)


def test_every_sentence_needs_a_language():
    with pytest.raises(ValueError, match="1 sentences but 2 languages"):
        span_scores_by_language([["O"]], [["O"]], ["yor", "hau"])


def test_an_average_needs_a_language_and_no_language_is_called_average():
    with pytest.raises(ValueError, match="No language to average over"):
        average_scores({})
    with pytest.raises(ValueError, match="A language is called `average`"):
        scores_with_average({"average": span_scores([["O"]], [["O"]])})


@pytest.mark.parametrize(
    ("predictions", "label_ids", "message"),
    [
        ([[[0.1, 0.9]]], [[1]], "Predictions have shape (1, 1, 2) and labels (1, 1)"),
        ([[0, 1]], [[1]], "Predictions have shape (1, 2) and labels (1, 1)"),
        ([0, 1], [0, 1], "Predictions have shape (2,) and labels (2,)"),
        ([[0, -100]], [[0, 1]], "A word has the predicted label id -100"),
        ([[0, 3]], [[0, 1]], "A word has the predicted label id 3"),
        ([[0, 1]], [[0, 3]], "A word has the gold label id 3"),
    ],
)
def test_the_trainers_metric_refuses_what_are_no_label_ids(predictions, label_ids, message):
    prediction = EvalPrediction(predictions=np.array(predictions), label_ids=np.array(label_ids))

    with pytest.raises(ValueError, match=re.escape(message)):
        span_f1(["O", "B-PER", "I-PER"])(prediction)


def test_the_trainers_metric_refuses_an_unknown_mode_before_training():
    with pytest.raises(ValueError, match="Unknown mode `lenient`"):
        span_f1(["O", "B-PER"], mode="lenient")


def test_span_f1_is_an_evaluate_metric_that_works_offline():
    import evaluate

    gold, predicted = [["B-PER", "I-PER"], ["I-LOC"]], [["B-PER", "I-PER"], ["O"]]

    metric = span_metrics.SpanF1()
    together = metric.compute(references=gold, predictions=predicted)
    for right, guess in zip(gold, predicted, strict=True):
        metric.add(reference=right, prediction=guess)
    one_by_one = metric.compute()
    strict = metric.compute(references=gold, predictions=predicted, mode="strict")

    assert isinstance(metric, evaluate.Metric)
    scores = span_scores(gold, predicted)
    assert together == one_by_one
    assert (together["f1"], together["by_type"]) == (scores.f1, scores.by_type)
    assert strict["recall"] == 100.0


def test_the_evaluate_metric_is_made_once_and_pickles():
    assert span_metrics.SpanF1 is span_metrics.SpanF1
    assert pickle.loads(pickle.dumps(span_metrics.SpanF1)) is span_metrics.SpanF1


def test_importing_the_metrics_does_not_import_evaluate():
    program = "import sys, hf_polyglot.span_metrics; print('evaluate' in sys.modules, 'seqeval' in sys.modules)"

    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert found.stdout.split() == ["False", "False"]


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute `SpanF2`"):
        span_metrics.SpanF2  # noqa: B018


@pytest.mark.parametrize("mode", ["conlleval", "strict"])
@pytest.mark.parametrize("scheme", PREFIXES)
@given(data=st.data())
@settings(deadline=None)
def test_the_counts_of_sentences_are_those_of_their_scores(data, scheme, mode):
    gold, predicted = data.draw(tag_pairs(scheme))

    counts = sentence_span_counts(gold, predicted, scheme=scheme, mode=mode)

    for row, *sentence in zip(counts.tolist(), gold, predicted, strict=True):
        alone = span_scores(*([tags] for tags in sentence), scheme=scheme, mode=mode)
        assert row == [alone.correct, alone.predicted, alone.gold]
    scores = span_scores(gold, predicted, scheme=scheme, mode=mode)
    assert counts.sum(0).tolist() == [scores.correct, scores.predicted, scores.gold]
    assert f1_of_counts(counts.sum(0)) == pytest.approx(scores.f1)
