"""
Tag schemes: spans to tags and back, and which tag may follow which.

A tag is `O`, outside every span, or a prefix and an entity type, such as `B-PER`. The four schemes differ in what
opens and what closes a span:

    IOB1    `I-` opens and continues; `B-` opens a span only right behind one of the same type
    IOB2    `B-` opens, `I-` continues
    BIOES   as IOB2, and `E-` closes; a span of one word is `S-`
    plain   bare types, `PER`; adjacent words of one type are one span

Where every word has a class of its own, such as its part of speech, there is nothing to join and nothing outside. The
labels of such a model, `upos` or `feats`, are these classes: any may follow any, and each word is a span by itself.

Reference:
    Tjong Kim Sang and Veenstra (1999), who name IOB1 and IOB2. https://aclanthology.org/E99-1023
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

PREFIXES = {"IOB1": "BI", "IOB2": "BI", "BIOES": "BIES", "plain": ""}
SCHEMES: tuple[str, ...] = tuple(PREFIXES)

# Labels that are classes of single words: universal parts of speech, and bundles of morphological features.
WORD_CLASSES = ("upos", "feats")

# What stands for a label where there is no word; torch's losses pass over it by default.
PADDING_LABEL = -100

Span = tuple[int, int, str]


def _check_scheme(scheme: str, known: Sequence[str] = SCHEMES) -> None:
    if scheme not in known:
        raise ValueError(f"Unknown tag scheme `{scheme}`. Expected one of {', '.join(known)}.")


def split_tag(tag: str) -> tuple[str, str]:
    """
    Prefix and entity type of a tag, `("O", "")` for `O`.

    Args:
        tag (`str`):
            A tag of any scheme but plain.

    Raises:
        ValueError: if `tag` is neither `O` nor one of the letters B, I, E, S, a hyphen and a type.

    Example:
        >>> split_tag("B-PER")
        ('B', 'PER')
    """
    if tag == "O":
        return "O", ""
    prefix, hyphen, entity_type = tag.partition("-")
    if prefix not in ("B", "I", "E", "S") or not hyphen or not entity_type:
        raise ValueError(
            f"Unknown tag `{tag}`. Expected `O`, or one of B-, I-, E-, S- and an entity type, as in `B-PER`."
        )
    return prefix, entity_type


@lru_cache(maxsize=4096)
def _parts(tag: str, scheme: str) -> tuple[str, str]:
    if scheme in WORD_CLASSES:
        return "", tag
    if scheme == "plain":  # without a prefix
        return ("O", "") if tag == "O" else ("", tag)
    prefix, entity_type = split_tag(tag)
    if prefix != "O" and prefix not in PREFIXES[scheme]:
        raise ValueError(
            f"The tag `{tag}` does not belong to {scheme}, whose prefixes are {', '.join(PREFIXES[scheme])}."
        )
    return prefix, entity_type


def _continues(previous: tuple[str, str], current: tuple[str, str]) -> bool:
    """Whether a tag goes on with the span of the tag before it."""
    if not current[0]:
        return previous == current
    return current[0] in ("I", "E") and previous[0] in ("B", "I") and previous[1] == current[1]


def _opens(previous: tuple[str, str], current: tuple[str, str], scheme: str) -> bool:
    """Whether a tag that continues no well-formed span may open one."""
    if scheme == "IOB1" and current[0] == "B":
        return previous[0] in ("B", "I") and previous[1] == current[1]
    return current[0] in {"IOB1": ("I",), "IOB2": ("B",), "BIOES": ("B", "S"), "plain": ("",)}[scheme]


def _closes(current: tuple[str, str], following: tuple[str, str], scheme: str) -> bool:
    """Whether a span may end in `current` when `following` does not continue it."""
    if scheme == "BIOES":
        return current[0] in ("E", "S")
    # In IOB1 a `B-` behind a `B-` of another type breaks the scheme, and seqeval discards the span before it.
    return not (scheme == "IOB1" and current[0] == following[0] == "B" and current[1] != following[1])


def spans_from_tags(tags: Sequence[str], scheme: str = "IOB2", *, strict: bool = False) -> list[Span]:
    """
    Word spans `(start, end, type)` of one sentence, half-open, in order.

    Args:
        tags (`Sequence[str]`):
            The tags of one sentence.
        scheme (`str`, *optional*, defaults to `"IOB2"`):
            One of `SCHEMES`, or of `WORD_CLASSES`.
        strict (`bool`, *optional*, defaults to `False`):
            False reads as conlleval and as seqeval's default mode do: an `I-` behind `O` or behind another type opens
            a span. True counts only spans that are well-formed in `scheme`, as seqeval's `mode="strict"` does.

    Returns:
        `list[tuple[int, int, str]]`

    Example:
        >>> spans_from_tags(["I-PER", "O", "B-LOC", "I-LOC"])
        [(0, 1, 'PER'), (2, 4, 'LOC')]
        >>> spans_from_tags(["I-PER", "O", "B-LOC", "I-LOC"], strict=True)
        [(2, 4, 'LOC')]
    """
    _check_scheme(scheme, (*SCHEMES, *WORD_CLASSES))
    if scheme in WORD_CLASSES:
        return [(index, index + 1, tag) for index, tag in enumerate(tags)]
    outside = ("O", "")
    parts = [_parts(tag, scheme) for tag in tags] + [outside]
    spans = []
    start = 0
    while start < len(tags):
        previous = parts[start - 1] if start else outside
        if parts[start] == outside or (strict and not _opens(previous, parts[start], scheme)):
            start += 1
            continue
        end = start + 1
        while _continues(parts[end - 1], parts[end]):
            end += 1
        if not strict or _closes(parts[end - 1], parts[end], scheme):
            spans.append((start, end, parts[start][1]))
        start = end
    return spans


def _tags_of_span(length: int, entity_type: str, scheme: str, touches_same_type: bool) -> list[str]:
    if scheme == "plain":
        return [entity_type] * length
    prefixes = ["I"] * length
    if scheme == "BIOES":
        prefixes[-1] = "E"
        prefixes[0] = "B" if length > 1 else "S"
    elif scheme == "IOB2" or touches_same_type:
        prefixes[0] = "B"
    return [f"{prefix}-{entity_type}" for prefix in prefixes]


def tags_from_spans(spans: Iterable[Span], num_words: int, scheme: str = "IOB2") -> list[str]:
    """
    Tags of one sentence. Plain tags cannot keep two spans of one type apart where they touch.

    Args:
        spans (`Iterable[tuple[int, int, str]]`):
            Half-open word spans `(start, end, type)`, in any order.
        num_words (`int`):
            Words of the sentence.
        scheme (`str`, *optional*, defaults to `"IOB2"`):
            One of `SCHEMES`.

    Returns:
        `list[str]` of length `num_words`

    Raises:
        ValueError: if `scheme` is unknown, or if a span is empty, lies outside the sentence or overlaps another.

    Example:
        >>> tags_from_spans([(0, 2, "PER"), (2, 3, "PER")], 4)
        ['B-PER', 'I-PER', 'B-PER', 'O']
        >>> tags_from_spans([(0, 2, "PER"), (2, 3, "PER")], 4, "IOB1")
        ['I-PER', 'I-PER', 'B-PER', 'O']
    """
    _check_scheme(scheme)
    tags: list[str] = []
    last_type = "O"
    for start, end, entity_type in sorted(spans):
        if not 0 <= start < end <= num_words or start < len(tags):
            raise ValueError(
                f"The span {(start, end, entity_type)} is empty, lies outside a sentence of {num_words} words, or "
                "overlaps the span before it. Expected `0 <= start < end <= num_words` and no word in two spans."
            )
        touches_same_type = start == len(tags) > 0 and last_type == entity_type
        tags += ["O"] * (start - len(tags))
        tags += _tags_of_span(end - start, entity_type, scheme, touches_same_type)
        last_type = entity_type
    return tags + ["O"] * (num_words - len(tags))


def convert_tags(tags: Sequence[str], source: str, target: str) -> list[str]:
    """
    The tags of one sentence in another scheme; ill-formed ones are read as conlleval reads them.

    Args:
        tags (`Sequence[str]`):
            The tags of one sentence.
        source (`str`):
            Their scheme, one of `SCHEMES`.
        target (`str`):
            The scheme wanted, one of `SCHEMES`.

    Returns:
        `list[str]` as long as `tags`

    Example:
        >>> convert_tags(["I-PER", "I-PER", "O"], "IOB1", "BIOES")
        ['B-PER', 'E-PER', 'O']
    """
    return tags_from_spans(spans_from_tags(tags, source), len(tags), target)


def with_types_mapped(tags: Sequence[str], type_map: Mapping[str, str], scheme: str = "IOB2") -> list[str]:
    """
    The tags of a sentence with its spans' types renamed.

    Args:
        tags (`Sequence[str]`):
            Tag of each word.
        type_map (`Mapping[str, str]`):
            New name of each type that changes; `"O"` drops its spans.
        scheme (`str`, *optional*, defaults to `"IOB2"`):
            Scheme of the tags.

    Example:
        >>> with_types_mapped(["B-DATE", "B-PER", "I-PER"], {"DATE": "O", "PER": "PERSON"})
        ['O', 'B-PERSON', 'I-PERSON']
    """
    renamed = ((start, end, type_map.get(kind, kind)) for start, end, kind in spans_from_tags(tags, scheme))
    return tags_from_spans([span for span in renamed if span[2] != "O"], len(tags), scheme)


def labels_for_types(types: Iterable[str], scheme: str) -> list[str]:
    """
    Every tag of these entity types: `O` first, then by type.

    Args:
        types (`Iterable[str]`):
            Entity types, in any order; repetitions count once.
        scheme (`str`):
            One of `SCHEMES`.

    Returns:
        `list[str]`

    Example:
        >>> labels_for_types(["PER", "LOC"], "IOB2")
        ['O', 'B-LOC', 'I-LOC', 'B-PER', 'I-PER']
    """
    _check_scheme(scheme)
    if scheme == "plain":
        return ["O", *sorted(set(types))]
    return ["O", *(f"{prefix}-{entity_type}" for entity_type in sorted(set(types)) for prefix in PREFIXES[scheme])]


def labels_of(config: Any) -> list[str]:
    """
    The labels of a model, in the order of their ids.

    Args:
        config (`PreTrainedConfig`):
            Its configuration.
    """
    return [config.id2label[index] for index in range(config.num_labels)]


def labels_by_scheme(config: Any) -> dict[str, list[str]]:
    """
    The labels of each task of a model, under the scheme that tells the task: first its own, then `further_labels`.

    Args:
        config (`PreTrainedConfig`):
            Its configuration.
    """
    # By the order of `WORD_CLASSES`: config.json sorts its keys.
    further = getattr(config, "further_labels", None) or {}
    return {config.label_scheme: labels_of(config)} | {name: further[name] for name in WORD_CLASSES if name in further}


def types_of_labels(labels: Iterable[str], scheme: str) -> list[str]:
    """
    Entity types of these labels, each once, in order of appearance.

    Args:
        labels (`Iterable[str]`):
            Tags of the scheme.
        scheme (`str`):
            One of `SCHEMES`, or of `WORD_CLASSES`.

    Returns:
        `list[str]`

    Example:
        >>> types_of_labels(["O", "B-LOC", "I-LOC", "B-PER"], "IOB2")
        ['LOC', 'PER']
    """
    _check_scheme(scheme, (*SCHEMES, *WORD_CLASSES))
    return list(dict.fromkeys(kind for kind in (_parts(label, scheme)[1] for label in labels) if kind))


def _may_follow(previous: tuple[str, str], current: tuple[str, str], scheme: str) -> bool:
    """Whether the scheme allows `current` behind `previous`; `O` stands for either end of the sentence."""
    if scheme in ("plain", "IOB1"):
        # IOB1: an `I-` may stand anywhere, a `B-` only behind its own type.
        return current[0] != "B" or (previous[0] in ("B", "I") and previous[1] == current[1])
    if scheme == "BIOES" and previous[0] in ("B", "I"):
        return _continues(previous, current)
    return current[0] not in ("I", "E") or _continues(previous, current)


def legal_transitions(labels: Sequence[str], scheme: str) -> tuple[list[bool], list[list[bool]], list[bool]]:
    """
    Which labels may begin a sentence, follow one another, and end a sentence.

    Args:
        labels (`Sequence[str]`):
            The tag of each label id.
        scheme (`str`):
            One of `SCHEMES`, or of `WORD_CLASSES`, which forbid nothing.

    Returns:
        `tuple[list[bool], list[list[bool]], list[bool]]`: `may_start` of shape `(labels,)`, `may_follow` of shape
        `(from, to)` and `may_end` of shape `(labels,)`.

    Example:
        >>> legal_transitions(["O", "B-PER", "I-PER"], "IOB2")
        ([True, True, False], [[True, True, False], [True, True, True], [True, True, True]], [True, True, True])
    """
    _check_scheme(scheme, (*SCHEMES, *WORD_CLASSES))
    if scheme in WORD_CLASSES:  # thousands of labels, whose pairs would take seconds
        every = [True] * len(labels)
        return every, [every] * len(labels), every
    parts = [_parts(label, scheme) for label in labels]
    outside = ("O", "")
    may_start = [_may_follow(outside, current, scheme) for current in parts]
    may_follow = [[_may_follow(previous, current, scheme) for current in parts] for previous in parts]
    may_end = [_may_follow(previous, outside, scheme) for previous in parts]
    return may_start, may_follow, may_end


def first_violation(tags: Sequence[str], scheme: str) -> int | None:
    """
    Index of the first tag that the scheme forbids at its place, or None.

    Args:
        tags (`Sequence[str]`):
            The tags of one sentence.
        scheme (`str`):
            One of `SCHEMES`.

    Returns:
        `int` or `None`: a BIOES span that the end of the sentence cuts off is reported at the last tag.

    Example:
        >>> first_violation(["O", "B-PER", "I-LOC"], "IOB2")
        2
        >>> first_violation(["O", "B-PER", "I-PER"], "IOB2") is None
        True
    """
    _check_scheme(scheme)
    previous = outside = ("O", "")
    for index, tag in enumerate(tags):
        current = _parts(tag, scheme)
        if not _may_follow(previous, current, scheme):
            return index
        previous = current
    return None if _may_follow(previous, outside, scheme) else len(tags) - 1
