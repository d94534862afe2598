"""Exact-match precision, recall and F1 of spans, in percent.

A predicted span is correct if a gold span has the same first word, last word and type. How ill-formed tags are read is
the `mode`:

    conlleval   as the script of the CoNLL shared tasks and as seqeval by default: an `I-` that continues nothing opens
                a span
    strict      as seqeval's `mode="strict"`: only spans that are well-formed in the scheme exist

Numbers without a denominator are 0, as in both tools: the precision of a model that predicts no span, the recall and
the F1 of a language that has none.

Reference:
    Tjong Kim Sang and De Meulder (2003), section 2.4. https://aclanthology.org/W03-0419
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from hf_polyglot.models.label_scheme import PADDING_LABEL, spans_from_tags, split_tag, tags_from_spans

if TYPE_CHECKING:
    from transformers import EvalPrediction

MODES = ("conlleval", "strict")


@dataclass(frozen=True)
class SpanScores:
    """
    Agreement of predicted spans with gold spans, in percent.

    Args:
        precision (`float`):
            Share of the predicted spans that are correct, all types pooled (micro).
        recall (`float`):
            Share of the gold spans that were found, all types pooled.
        f1 (`float`):
            Harmonic mean of the two.
        macro_precision (`float`):
            Mean over the types of their precision. Types that occur neither in the gold nor in the predicted spans do
            not count, here and in the next two.
        macro_recall (`float`):
            Mean over the types of their recall.
        macro_f1 (`float`):
            Mean over the types of their F1.
        by_type (`dict[str, dict]`):
            For each type `precision`, `recall` and `f1` in percent, and the counts `gold`, `predicted` and `correct`.
        gold (`int`):
            Number of gold spans.
        predicted (`int`):
            Number of predicted spans.
        correct (`int`):
            Number of spans that are both.
    """

    AVERAGED: ClassVar[tuple[str, ...]] = ("precision", "recall", "f1", "macro_f1")

    precision: float
    recall: float
    f1: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    by_type: dict[str, dict[str, Any]]
    gold: int
    predicted: int
    correct: int

    def plain(self) -> dict[str, Any]:
        """What `results["scores"]` keeps of them, in percent."""
        by_type = {
            entity_type: {key: numbers[key] for key in ("precision", "recall", "f1")}
            for entity_type, numbers in self.by_type.items()
        }
        return {key: getattr(self, key) for key in self.AVERAGED} | {"by_type": by_type}


class Scores(Protocol):
    """Scores of a language, of spans or of words."""

    AVERAGED: ClassVar[tuple[str, ...]]

    def plain(self) -> dict[str, Any]:
        """What `results["scores"]` keeps of them, in percent."""
        ...


def span_scores(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], *, scheme: str = "IOB2", mode: str = "conlleval"
) -> SpanScores:
    """
    Precision, recall and F1 of the predicted spans, in percent, over all sentences.

    Args:
        gold (`Sequence[Sequence[str]]`):
            Tags of each sentence.
        predicted (`Sequence[Sequence[str]]`):
            Tags of the same words.
        scheme (`str`, *optional*, defaults to `"IOB2"`):
            Scheme of both, one of `SCHEMES` of `hf_polyglot.models.label_scheme`.
        mode (`str`, *optional*, defaults to `"conlleval"`):
            `"conlleval"` or `"strict"`. They differ in ill-formed tags only.

    Returns:
        `SpanScores`.

    Reference:
        Tjong Kim Sang and De Meulder (2003), section 2.4. https://aclanthology.org/W03-0419

    Example:
        >>> scores = span_scores([["B-PER", "I-PER", "O", "B-LOC"]], [["B-PER", "I-PER", "O", "B-ORG"]])
        >>> scores.f1, scores.correct
        (50.0, 1)
    """
    _check_mode(mode)
    check_lengths(gold, predicted)
    counts = Counter[tuple[str, str]]()
    for gold_spans, predicted_spans in _spans_of_sentences(gold, predicted, scheme, mode):
        counts.update(("gold", entity_type) for *_, entity_type in gold_spans)
        counts.update(("predicted", entity_type) for *_, entity_type in predicted_spans)
        counts.update(("correct", entity_type) for *_, entity_type in gold_spans & predicted_spans)
    return _scores_from_counts(counts)


def sentence_span_counts(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], *, scheme: str = "IOB2", mode: str = "conlleval"
) -> np.ndarray:
    """
    Numbers of correct, predicted and gold spans of each sentence, which tests of significance resample.

    Args:
        gold (`Sequence[Sequence[str]]`):
            Tags of each sentence.
        predicted (`Sequence[Sequence[str]]`):
            Tags of the same words.
        scheme (`str`, *optional*, defaults to `"IOB2"`):
            Scheme of the tags.
        mode (`str`, *optional*, defaults to `"conlleval"`):
            `"conlleval"` or `"strict"`.

    Returns:
        Integers of shape `(sentences, 3)`. Their sums over the sentences are those of `span_scores`.

    Example:
        >>> sentence_span_counts([["B-PER", "O", "B-LOC"], ["O"]], [["B-PER", "O", "O"], ["B-PER"]]).tolist()
        [[1, 1, 2], [0, 1, 0]]
    """
    _check_mode(mode)
    check_lengths(gold, predicted)
    return np.array([
        (len(gold_spans & predicted_spans), len(predicted_spans), len(gold_spans))
        for gold_spans, predicted_spans in _spans_of_sentences(gold, predicted, scheme, mode)
    ])


def f1_of_counts(counts: np.ndarray) -> np.ndarray:
    """
    F1 in percent, 0 where there is neither a gold nor a predicted span.

    Args:
        counts (`np.ndarray` of shape `(..., 3)`):
            Numbers of correct, predicted and gold spans.

    Returns:
        `np.ndarray` of shape `(...)`.

    Example:
        >>> f1_of_counts(np.array([[1, 1, 3], [0, 0, 0]])).tolist()
        [50.0, 0.0]
    """
    correct, predicted, gold = np.moveaxis(np.asarray(counts), -1, 0)
    # Without a span nothing is correct, so that any denominator but 0 gives 0.
    return 200 * correct / np.where(predicted + gold > 0, predicted + gold, 1)


def span_scores_by_language(
    gold: Sequence[Sequence[str]],
    predicted: Sequence[Sequence[str]],
    languages: Sequence[str],
    *,
    scheme: str = "IOB2",
    mode: str = "conlleval",
) -> dict[str, SpanScores]:
    """
    Precision, recall and F1 of the predicted spans, in percent, of each language in alphabetical order.

    Args:
        gold (`Sequence[Sequence[str]]`):
            Tags of each sentence.
        predicted (`Sequence[Sequence[str]]`):
            Tags of the same words.
        languages (`Sequence[str]`):
            Language of each sentence.
        scheme (`str`, *optional*, defaults to `"IOB2"`):
            Scheme of the tags.
        mode (`str`, *optional*, defaults to `"conlleval"`):
            `"conlleval"` or `"strict"`.

    Returns:
        `dict[str, SpanScores]`. A language without a gold and without a predicted span has F1 0.

    Raises:
        ValueError: if there is not one language for each sentence.

    Example:
        >>> gold, predicted = [["B-PER"], ["B-LOC"]], [["B-PER"], ["O"]]
        >>> scores = span_scores_by_language(gold, predicted, ["yor", "hau"])
        >>> scores["yor"].f1, scores["hau"].f1
        (100.0, 0.0)
    """
    _check_mode(mode)
    check_lengths(gold, predicted)
    if len(languages) != len(gold):
        raise ValueError(
            f"{len(gold)} sentences but {len(languages)} languages. Expected the language of each sentence, in order."
        )
    chosen: dict[str, tuple[list, list]] = {language: ([], []) for language in sorted(set(languages))}
    for gold_tags, predicted_tags, language in zip(gold, predicted, languages, strict=True):
        chosen[language][0].append(gold_tags)
        chosen[language][1].append(predicted_tags)
    return {language: span_scores(*tags, scheme=scheme, mode=mode) for language, tags in chosen.items()}


def with_stray_spans(
    gold: Sequence[str], predicted: Sequence[str], stray_types: Sequence[str], scheme: str = "IOB2"
) -> tuple[list[str], list[str]]:
    """
    Tags of a sentence with made-up words behind it, one for each predicted span that is no span of words.

    A model that reads bytes may mark half a word. No tag can say so, and left out it would go unpunished; on a made-up
    word, outside every gold span, it counts as what it is: a wrong prediction.

    Args:
        gold (`Sequence[str]`):
            Tags of the sentence.
        predicted (`Sequence[str]`):
            Tags of the same words.
        stray_types (`Sequence[str]`):
            Types of the predicted spans that are no spans of words.
        scheme (`str`, *optional*, defaults to `"IOB2"`):
            Scheme of the tags.

    Example:
        >>> with_stray_spans(["B-PER"], ["O"], ["PER"])
        (['B-PER', 'O', 'O'], ['O', 'O', 'B-PER'])
    """
    if not stray_types:
        return list(gold), list(predicted)
    words = 2 * len(stray_types)
    spans = [(2 * index + 1, 2 * index + 2, entity_type) for index, entity_type in enumerate(stray_types)]
    return [*gold, *["O"] * words], [*predicted, *tags_from_spans(spans, words, scheme)]


def average_scores(scores: Mapping[str, Scores]) -> dict[str, float]:
    """
    Unweighted mean over the languages of precision, recall, F1 and macro F1, in percent; or of the accuracy of words.

    Args:
        scores (`Mapping[str, Scores]`):
            Scores of each language. For all sentences pooled, call `span_scores` on them instead.

    Raises:
        ValueError: if there is no language.

    Example:
        >>> gold, predicted = [["B-PER"], ["B-LOC"]], [["B-PER"], ["O"]]
        >>> average_scores(span_scores_by_language(gold, predicted, ["yor", "hau"]))["f1"]
        50.0
    """
    if not scores:
        raise ValueError("No language to average over. Expected the scores of at least one; evaluate one first.")
    keys = next(iter(scores.values())).AVERAGED
    return {key: float(np.mean([getattr(language, key) for language in scores.values()])) for key in keys}


def scores_with_average(scores: Mapping[str, Scores]) -> dict[str, dict[str, Any]]:
    """
    What one seed contributes to `results["scores"][split]`: plain numbers for each language and for `"average"`.

    Args:
        scores (`Mapping[str, Scores]`):
            Scores of each language.

    Returns:
        `dict[str, dict]`, to be summed up over seeds by `hf_polyglot.results.aggregate_scores`.

    Raises:
        ValueError: if there is no language, or if one is called `"average"`.

    Example:
        >>> scores = {"yor": span_scores([["B-PER"]], [["B-PER"]])}
        >>> scores_with_average(scores)["yor"]["by_type"]
        {'PER': {'precision': 100.0, 'recall': 100.0, 'f1': 100.0}}
    """
    if "average" in scores:
        raise ValueError("A language is called `average`, which is the key of the mean. Give it another code.")
    return {language: of_language.plain() for language, of_language in scores.items()} | {
        "average": average_scores(scores)
    }


def span_f1(
    labels: Sequence[str], scheme: str = "IOB2", mode: str = "conlleval"
) -> "Callable[[EvalPrediction], dict[str, float]]":
    """
    A `compute_metrics` for the Trainer: span scores of predicted label ids, in percent.

    Args:
        labels (`Sequence[str]`):
            Tag of each label id.
        scheme (`str`, *optional*, defaults to `"IOB2"`):
            Scheme of the tags.
        mode (`str`, *optional*, defaults to `"conlleval"`):
            `"conlleval"` or `"strict"`.

    Returns:
        A function of an `EvalPrediction` whose `predictions` and `label_ids` are label ids of shape `(sentences,
        words)`, -100 on padding. It returns `precision`, `recall`, `f1`, `macro_f1`, and `<type>_f1` for every type
        among the labels, 0 where it does not occur.

    Example:
        >>> from transformers import EvalPrediction
        >>> metric = span_f1(["O", "B-PER", "I-PER"])
        >>> metric(EvalPrediction(predictions=[[1, 2, -100]], label_ids=[[1, 2, -100]]))["PER_f1"]
        100.0
    """
    _check_mode(mode)
    tags = np.array(labels, dtype=object)
    entity_types = sorted({tag if scheme == "plain" else split_tag(tag)[1] for tag in labels if tag != "O"})

    def compute_metrics(prediction: "EvalPrediction") -> dict[str, float]:
        gold, predicted = _ids_of_words(prediction, len(tags))
        scores = span_scores(
            [tags[ids].tolist() for ids in gold], [tags[ids].tolist() for ids in predicted], scheme=scheme, mode=mode
        )
        by_type = {f"{name}_f1": scores.by_type.get(name, {"f1": 0.0})["f1"] for name in entity_types}
        return {key: getattr(scores, key) for key in SpanScores.AVERAGED} | by_type

    return compute_metrics


def token_accuracy(gold: Sequence[Sequence[Hashable]], predicted: Sequence[Sequence[Hashable]]) -> float:
    """
    Share of the words whose tag is right, in percent. For tasks without spans, such as part-of-speech tagging.

    Args:
        gold (`Sequence[Sequence]`):
            Tags or label ids of each sentence.
        predicted (`Sequence[Sequence]`):
            Tags or label ids of the same words.

    Returns:
        `float`, 0 if no sentence has a word.

    Example:
        >>> token_accuracy([["NOUN", "VERB"], ["NOUN", "PUNCT"]], [["NOUN", "NOUN"], ["NOUN", "PUNCT"]])
        75.0
    """
    check_lengths(gold, predicted)
    pairs = [pair for words in zip(gold, predicted, strict=True) for pair in zip(*words, strict=True)]
    return _percent(sum(right == guess for right, guess in pairs), len(pairs))


def label_accuracy(prediction: "EvalPrediction") -> dict[str, float]:
    """
    A `compute_metrics` for the Trainer: `{"accuracy": percent}`, the share of the words whose label id is right.

    Args:
        prediction (`EvalPrediction`):
            `predictions` and `label_ids` are label ids of shape `(sentences, words)`, -100 on padding.

    Example:
        >>> from transformers import EvalPrediction
        >>> label_accuracy(EvalPrediction(predictions=[[7, 2, -100]], label_ids=[[7, 3, -100]]))
        {'accuracy': 50.0}
    """
    gold, predicted = _ids_of_words(prediction, num_labels=None)
    return {"accuracy": token_accuracy([ids.tolist() for ids in gold], [ids.tolist() for ids in predicted])}


def _spans_of_sentences(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], scheme: str, mode: str
) -> Iterator[tuple[set[tuple[int, int, str]], set[tuple[int, int, str]]]]:
    """Gold spans and predicted spans of each sentence."""
    for gold_tags, predicted_tags in zip(gold, predicted, strict=True):
        yield (
            set(spans_from_tags(gold_tags, scheme, strict=mode == "strict")),
            set(spans_from_tags(predicted_tags, scheme, strict=mode == "strict")),
        )


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0


def _ratios(gold: int, predicted: int, correct: int) -> dict[str, Any]:
    return {
        "precision": _percent(correct, predicted),
        "recall": _percent(correct, gold),
        "f1": _percent(2 * correct, gold + predicted),
    }


def _scores_from_counts(counts: Mapping[tuple[str, str], int]) -> SpanScores:
    """Scores from the number of `("gold" | "predicted" | "correct", type)`."""
    by_type: dict[str, dict[str, Any]] = {}
    for entity_type in sorted({entity_type for _, entity_type in counts}):
        of_type = {kind: counts.get((kind, entity_type), 0) for kind in ("gold", "predicted", "correct")}
        by_type[entity_type] = {**_ratios(**of_type), **of_type}

    totals = {kind: sum(of_type[kind] for of_type in by_type.values()) for kind in ("gold", "predicted", "correct")}
    macro: dict[str, Any] = {
        f"macro_{key}": float(np.mean([of_type[key] for of_type in by_type.values()])) if by_type else 0.0
        for key in ("precision", "recall", "f1")
    }
    return SpanScores(**_ratios(**totals), **macro, by_type=by_type, **totals)


def _check_mode(mode: str) -> None:
    if mode not in MODES:
        raise ValueError(f"Unknown mode `{mode}`. Expected one of {', '.join(MODES)}.")


def check_lengths(gold: Sequence[Sequence], predicted: Sequence[Sequence]) -> None:
    """
    Refuse tags that are not of the same sentences.

    Args:
        gold (`Sequence[Sequence]`):
            Tags of each sentence.
        predicted (`Sequence[Sequence]`):
            Tags of the same words.

    Raises:
        ValueError: if there is no sentence, or if there are more of the one than of the other.
    """
    if not len(gold) and not len(predicted):
        raise ValueError("No sentence to score. Expected at least one; check the split that was read.")
    if len(gold) != len(predicted):
        raise ValueError(
            f"{len(gold)} gold sentences but {len(predicted)} predicted ones. Expected the same sentences, in order."
        )
    for sentence, (gold_tags, predicted_tags) in enumerate(zip(gold, predicted, strict=True)):
        if isinstance(gold_tags, str) or isinstance(predicted_tags, str):
            raise ValueError(
                f"Sentence {sentence} is a string: `{gold_tags}`, `{predicted_tags}`. Expected a list of tags for a "
                "sentence; put those of a single one into a list."
            )
        if len(gold_tags) != len(predicted_tags):
            raise ValueError(
                f"Sentence {sentence} has {len(gold_tags)} gold tags but {len(predicted_tags)} predicted ones. "
                "Expected one of each for every word; a model that cuts long sentences must tag all of their words."
            )


def _ids_of_words(prediction: "EvalPrediction", num_labels: int | None) -> tuple[list[np.ndarray], list[np.ndarray]]:
    gold, predicted = np.asarray(prediction.label_ids), np.asarray(prediction.predictions)
    if gold.ndim != 2 or gold.shape != predicted.shape:
        raise ValueError(
            f"Predictions have shape {predicted.shape} and labels {gold.shape}. Expected label ids of shape "
            "(sentences, words) for both; decode the logits first."
        )
    is_word = gold != PADDING_LABEL
    for name, ids in (("predicted", predicted[is_word]), ("gold", gold[is_word])):
        wrong = (ids < 0) | (ids >= (np.inf if num_labels is None else num_labels))
        if wrong.any():
            raise ValueError(
                f"A word has the {name} label id {ids[wrong][0]}. Expected one of the model's labels, counted from 0; "
                f"{PADDING_LABEL} is for padding only, so every word with a gold label needs a predicted one."
            )
    return (
        [ids[words] for ids, words in zip(gold, is_word, strict=True)],
        [ids[words] for ids, words in zip(predicted, is_word, strict=True)],
    )


def _span_f1_metric() -> type:
    """The class `SpanF1`, made when it is first asked for: importing evaluate takes seconds."""
    import datasets
    import evaluate

    class SpanF1(evaluate.Metric):
        """
        Exact-match span precision, recall and F1 in percent, as an `evaluate.Metric` that needs no network.

        `compute(predictions=..., references=..., scheme="IOB2", mode="conlleval")` takes tags and returns `precision`,
        `recall`, `f1`, `macro_f1` and `by_type`, as `span_scores` does.
        """

        def _info(self) -> evaluate.MetricInfo:
            tags = datasets.List(datasets.Value("string"))
            return evaluate.MetricInfo(
                description="Exact-match precision, recall and F1 of spans, in percent.",
                citation="https://aclanthology.org/W03-0419",
                inputs_description="predictions, references: the tags of each sentence, such as `B-PER`.",
                features=datasets.Features({"predictions": tags, "references": tags}),
            )

        def _compute(self, predictions, references, scheme: str = "IOB2", mode: str = "conlleval") -> dict[str, Any]:
            scores = span_scores(references, predictions, scheme=scheme, mode=mode)
            return {key: getattr(scores, key) for key in SpanScores.AVERAGED} | {"by_type": scores.by_type}

    # Looked up by these names when a process pickles the metric.
    SpanF1.__module__, SpanF1.__qualname__ = __name__, "SpanF1"
    return SpanF1


def __getattr__(name: str) -> Any:
    if name != "SpanF1":
        raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
    globals()[name] = _span_f1_metric()
    return globals()[name]
