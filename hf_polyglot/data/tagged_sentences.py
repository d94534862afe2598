"""Words with tags, on their way from a file or a data set: their scheme, its repair and its conversion."""

import re
import reprlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from hf_polyglot.models.label_scheme import PREFIXES, spans_from_tags, tags_from_spans

TASKS = ("ner_tags", "upos", "feats")
UPOS_TAGS = (
    *("ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM"),
    *("PART", "PRON", "PROPN", "PUNCT", "SCONJ", "SYM", "VERB", "X"),
)

# A type O would read as none.
PREFIXED_TAG = re.compile(r"[BIES]-(?!O$)\w\S*")
ENTITY_TYPE = re.compile(r"\w\S*")
# What passes for a bare type where nobody said that types are bare. `B_PER`, `X-PER`, `B` and `o` are misspelt tags.
UNDECLARED_TYPE = re.compile(r"(?!.[-_])[^\W\d_][\w.:/&+-]+")
FEATURES = re.compile(r"_|[^=|\s]+=[^=|\s]+(\|[^=|\s]+=[^=|\s]+)*")

Place = Callable[[int], str]


_short = reprlib.Repr()
_short.maxlist = _short.maxstring = 60


def shown(value: str | Sequence[str]) -> str:
    """
    The value as an error message shows it, cut in the middle if it is long.

    Args:
        value (`str` or `Sequence[str]`):
            A tag, a word or the columns of a row.

    Returns:
        `str`

    Example:
        >>> shown("\\u200b")
        "'\\\\u200b'"
    """
    return _short.repr(value)


class CorpusFormatError(ValueError):
    """Annotated data that cannot be read. The message names the place, the value, what was expected and a remedy."""


@dataclass
class Occurrences:
    """
    How often something was met, and where first.

    Args:
        count (`int`, *optional*, defaults to 0):
            How often.
        first (`str`, *optional*, defaults to `""`):
            Where first, as `file:line`.
    """

    count: int = 0
    first: str = ""

    def add(self, place: str, count: int = 1) -> None:
        """
        Count `count` more, met at `place`.

        Args:
            place (`str`):
                Where, as `file:line`.
            count (`int`, *optional*, defaults to 1):
                How many.
        """
        self.first = self.first or place
        self.count += count


@dataclass(slots=True)
class TaggedSentence:
    """
    One sentence.

    Args:
        tokens (`list[str]`):
            Its words.
        tags (`list[str]`):
            The tag of each word; none of a sentence that is not tagged, where that is allowed.
        lines (`list[int]`):
            The line, or the row of a data set, that each tag came from.
    """

    tokens: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)


def is_tag(value: str) -> bool:
    """
    Whether this is `O` or a prefixed tag.

    Args:
        value (`str`):
            What stands in a column of tags.

    Returns:
        `bool`

    Example:
        >>> [is_tag(value) for value in ("O", "B-PER", "B_PER", "PER")]
        [True, True, False, False]
    """
    return value == "O" or bool(PREFIXED_TAG.fullmatch(value) and value.isprintable())


def _first_lines(sentences: Iterable[TaggedSentence]) -> dict[str, int]:
    """Every distinct tag and the line where it stands first."""
    first: dict[str, int] = {}
    for sentence in sentences:
        for tag, line in zip(sentence.tags, sentence.lines, strict=True):
            if tag not in first:
                first[tag] = line
    return first


def _first_openings(sentences: Iterable[TaggedSentence]) -> dict[str, tuple[str, int]]:
    """First tag and line of the spans that `B-` and that `I-` opens, behind `O` or behind another type."""
    first: dict[str, tuple[str, int]] = {}
    for sentence in sentences:
        previous_type = ""
        for tag, line in zip(sentence.tags, sentence.lines, strict=True):
            entity_type = tag[2:]
            if entity_type and entity_type != previous_type and tag[0] not in first:
                first[tag[0]] = tag, line
            previous_type = entity_type
    return first


def _check_tags(first_lines: dict[str, int], scheme: str | None, place: Place) -> None:
    is_prefixed = any(PREFIXED_TAG.fullmatch(tag) for tag in first_lines)
    types = ENTITY_TYPE if scheme == "plain" else UNDECLARED_TYPE
    may_be_plain = scheme == "plain" or (scheme is None and not is_prefixed and "O" in first_lines)
    for tag, line in first_lines.items():
        if scheme == "plain" and PREFIXED_TAG.fullmatch(tag):
            raise CorpusFormatError(
                f"{place(line)}: the tag {shown(tag)} contradicts the scheme 'plain'. Expected bare types such as "
                "PER. Give the scheme that the tags follow, or none to have it found."
            )
        if not is_tag(tag) and not (may_be_plain and types.fullmatch(tag) and tag.isprintable()):
            raise CorpusFormatError(
                f"{place(line)}: unknown tag {shown(tag)}. Expected `O`, or one of B-, I-, E-, S- and a type, as in "
                "`B-PER` (L- and U- of BILOU are E- and S- here). Correct it, name another column of tags, or give "
                "the scheme 'plain' if these are bare types."
            )
        if scheme in ("IOB1", "IOB2") and tag != "O" and tag[0] not in PREFIXES[scheme]:
            raise CorpusFormatError(
                f"{place(line)}: the tag {shown(tag)} contradicts the scheme {scheme!r}. Expected the prefixes B- and "
                "I-. Give the scheme that the tags follow, or none to have it found."
            )


def find_scheme(sentences: Sequence[TaggedSentence], scheme: str | None, place: Place) -> str:
    """
    Tag scheme of these sentences: the one given, unless they contradict it, or else the one that they follow.

    E- and S- make it BIOES, bare types plain. B- and I- are IOB2 unless no span at all opens with B- (IOB1), so a
    stray `I-` behind `O` does not turn IOB2 into something else.

    Args:
        sentences (`Sequence[TaggedSentence]`):
            Sentences with the tags of the source.
        scheme (`str`, *optional*):
            One of `SCHEMES`, or None to find it.
        place (`Callable[[int], str]`):
            Names the place of a line, as `file:line`.

    Returns:
        `str`: one of `SCHEMES`.

    Raises:
        CorpusFormatError: if a tag is unknown, or if the sentences contradict `scheme`.
    """
    first_lines = _first_lines(sentences)
    _check_tags(first_lines, scheme, place)
    tags = {tag: line for tag, line in first_lines.items() if tag != "O"}
    if scheme == "plain" or not tags:
        return scheme or "IOB2"
    if not any(map(PREFIXED_TAG.fullmatch, tags)):
        return "plain"
    if any(tag[0] in "ES" for tag in tags):
        return "BIOES"
    openings = _first_openings(sentences)
    found = "IOB2" if "B" in openings else "IOB1"
    if scheme not in (None, found):
        tag, line = openings["B"] if scheme == "IOB1" else next(iter(tags.items()))
        reason = {
            "IOB1": "it opens a span",
            "IOB2": "every span opens with I-",
            "BIOES": "there is no E- and no S-",
        }[str(scheme)]
        raise CorpusFormatError(
            f"{place(line)}: the tag {shown(tag)} contradicts the scheme {scheme!r}: {reason}. Expected tags of "
            f"{scheme}. Give the scheme {found!r}, or none to have it found."
        )
    return found


def convert_sentences(
    sentences: Iterable[TaggedSentence], source: str, target: str, place: Place
) -> tuple[Occurrences, Occurrences]:
    """
    Rewrite the tags of these sentences in another scheme, in place, and count what changed.

    Args:
        sentences (`Iterable[TaggedSentence]`):
            Sentences whose tags are in `source`.
        source (`str`):
            Their scheme, one of `SCHEMES`.
        target (`str`):
            The scheme wanted, one of `SCHEMES`.
        place (`Callable[[int], str]`):
            Names the place of a line, as `file:line`.

    Returns:
        `tuple[Occurrences, Occurrences]`: the tags that `source` forbids at their place, such as an `I-` behind `O` in
        IOB2, and the tags that `target` writes differently.
    """
    repaired, converted = Occurrences(), Occurrences()
    for sentence in sentences:
        spans = spans_from_tags(sentence.tags, source)
        sound = tags_from_spans(spans, len(sentence.tags), source)
        tags = sound if source == target else tags_from_spans(spans, len(sentence.tags), target)
        for before, after, changed in ((sentence.tags, sound, repaired), (sound, tags, converted)):
            if before != after:
                for old, new, line in zip(before, after, sentence.lines, strict=True):
                    if old != new:
                        changed.add(place(line))
        sentence.tags = tags
    return repaired, converted


def drop_missing_tags(sentences: Iterable[TaggedSentence], task: str) -> None:
    """
    Take the tags from those sentences whose words all have `_` for a part of speech: nobody has tagged them.

    Args:
        sentences (`Iterable[TaggedSentence]`):
            Sentences with the tags of the source.
        task (`str`):
            `"upos"`; of any other task, `_` is a value like others.
    """
    for sentence in sentences:
        if task == "upos" and all(tag == "_" for tag in sentence.tags):
            sentence.tags, sentence.lines = [], []


def check_word_tags(sentences: Iterable[TaggedSentence], task: str, place: Place) -> None:
    """
    Refuse the first tag that is no part of speech, or no list of features.

    Args:
        sentences (`Iterable[TaggedSentence]`):
            Sentences with the tags of the source.
        task (`str`):
            `"upos"` or `"feats"`.
        place (`Callable[[int], str]`):
            Names the place of a line, as `file:line`.

    Raises:
        CorpusFormatError: if there is such a tag.
    """
    for tag, line in _first_lines(sentences).items():
        if task == "upos" and tag not in UPOS_TAGS:
            raise CorpusFormatError(
                f"{place(line)}: unknown tag {shown(tag)}. Expected a universal part of speech, one of "
                f"{' '.join(UPOS_TAGS)}. Correct it, or name another column of tags."
            )
        if task == "feats" and not (tag.isprintable() and FEATURES.fullmatch(tag)):
            raise CorpusFormatError(
                f"{place(line)}: unknown features {shown(tag)}. Expected `_`, or `Name=Value` joined by `|`. Correct "
                "them, or name another column of tags."
            )
