"""What goes wrong in the spans of a tagger, and with which words."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from hf_polyglot.models.label_scheme import Span, spans_from_tags

# Of spans that are not as they should be.
ERROR_KINDS = ("type", "boundaries", "both", "missed", "spurious")


def span_errors(gold: Sequence[Span], predicted: Sequence[Span]) -> Counter[str]:
    """
    How often each kind of error is made in one sentence.

    A gold span is `correct` if it was predicted. Else it is compared with the predicted span that it shares most words
    with, the first if there are several: this has the wrong `type`, or wrong `boundaries`, or `both`. A gold span
    without a word in a predicted one is `missed`. A predicted span without a word in a gold one is `spurious`.

    Args:
        gold (`Sequence[Span]`):
            Spans that do not overlap.
        predicted (`Sequence[Span]`):
            Spans that do not overlap.

    Reference:
        Manning (2006), "Doing named entity recognition? Don't optimize for F1", whose label errors, boundary errors,
        label-boundary errors, false negatives and false positives these are.

    Example:
        >>> dict(span_errors([(0, 2, "LOC"), (4, 5, "PER")], [(0, 1, "LOC"), (2, 3, "ORG")]))
        {'boundaries': 1, 'missed': 1, 'spurious': 1}
    """
    errors: Counter[str] = Counter()
    for start, end, entity_type in gold:
        shared = [min(end, other[1]) - max(start, other[0]) for other in predicted]
        if max(shared, default=0) <= 0:
            errors["missed"] += 1
            continue
        closest = predicted[shared.index(max(shared))]
        if closest[:2] == (start, end):
            errors["correct" if closest[2] == entity_type else "type"] += 1
        else:
            errors["boundaries" if closest[2] == entity_type else "both"] += 1
    for start, end, _ in predicted:
        errors["spurious"] += all(end <= of_gold[0] or of_gold[1] <= start for of_gold in gold)
    return +errors


def error_report(
    gold: Sequence[Sequence[str]],
    predicted: Sequence[Sequence[str]],
    scheme: str = "IOB2",
    *,
    strict: bool = False,
    num_words: Sequence[int] | None = None,
) -> dict[str, Any]:
    """
    Errors of spans, by kind and gold type, and of words, by gold type.

    Args:
        gold (`Sequence[Sequence[str]]`):
            Tags of the words of each sentence.
        predicted (`Sequence[Sequence[str]]`):
            Tags of the same words.
        scheme (`str`, *optional*, defaults to `"IOB2"`):
            Of both.
        strict (`bool`, *optional*, defaults to `False`):
            How ill-formed tags are read, see [`spans_from_tags`].
        num_words (`Sequence[int]`, *optional*):
            Words of each sentence; tags behind them are of made-up words, see `with_stray_spans` of
            `hf_polyglot.span_metrics`. By default there are as many words as tags.

    Returns:
        `dict`: `spans`, the number of `gold`, `predicted` and `correct` ones and of each error; `words`, for each gold
        type (O included) its `words` and those that were given another type, `wrong`: the recall errors of Mueller,
        Andrews and Dredze (2020).

    Raises:
        ValueError: if a sentence has other numbers of gold and of predicted tags.
    """
    spans: Counter[str] = Counter(dict.fromkeys(("gold", "predicted", "correct", *ERROR_KINDS), 0))
    words: dict[str, Counter[str]] = {}
    if list(map(len, gold)) != list(map(len, predicted)):
        raise ValueError(
            f"`gold` has {len(gold)} sentences with {sum(map(len, gold))} tags, `predicted` {len(predicted)} with "
            f"{sum(map(len, predicted))}; expected a predicted tag for each gold one. Predict for the same sentences."
        )
    for index, (gold_tags, predicted_tags) in enumerate(zip(gold, predicted, strict=True)):
        of_gold, of_predicted = (spans_from_tags(tags, scheme, strict=strict) for tags in (gold_tags, predicted_tags))
        spans.update(span_errors(of_gold, of_predicted))
        spans.update(gold=len(of_gold), predicted=len(of_predicted))
        types = (_types_of_words(of_gold, len(gold_tags)), _types_of_words(of_predicted, len(predicted_tags)))
        real = len(gold_tags) if num_words is None else num_words[index]
        for gold_type, predicted_type in zip(*(of_side[:real] for of_side in types), strict=True):
            counts = words.setdefault(gold_type, Counter(words=0, wrong=0))
            counts["words"] += 1
            counts["wrong"] += gold_type != predicted_type
    return {"spans": dict(spans), "words": {name: dict(words[name]) for name in sorted(words)}}


def total_errors(reports: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """
    The errors of several languages together.

    Args:
        reports (`Mapping[str, Mapping[str, Any]]`):
            What [`error_report`] gives, by language.
    """
    spans: Counter[str] = Counter()
    words: dict[str, Counter[str]] = {}
    for report in reports.values():
        spans.update(report["spans"])
        for name, counts in report["words"].items():
            words.setdefault(name, Counter()).update(counts)
    return {"spans": dict(spans), "words": {name: dict(words[name]) for name in sorted(words)}}


def _types_of_words(spans: Sequence[Span], num_words: int) -> list[str]:
    """The type of the span that each word is in, O outside."""
    types = ["O"] * num_words
    for start, end, entity_type in spans:
        types[start:end] = [entity_type] * (end - start)
    return types
