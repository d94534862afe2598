"""Scores of CoNLL-U files by the rules of the CoNLL 2018 shared task, whatever their segmentation.

Gold and system are two analyses of one text, whose characters, white space left out, must be the same. Tokens and
sentences are right if they have the same characters. Words are aligned first: those that are tokens by their
characters; those within multi-word tokens, where two ways to cut overlap, by the longest common subsequence of their
forms, case folded. A tag is right if it is that of the aligned gold word. All counts are those of the official script,
`conll18_ud_eval.py`; what it says of lemmas and dependencies is left out.

Reference:
    Zeman et al. (2018), section 3. https://aclanthology.org/K18-2001
"""

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from hf_polyglot.data.conllu import FEATS, FORM, UPOS, XPOS, ConlluSentence, read_conllu

# All others, and those with a layer such as Gender[psor], are language-specific and do not count.
UNIVERSAL_FEATURES = frozenset((
    "PronType", "NumType", "Poss", "Reflex", "Foreign", "Abbr", "Gender", "Animacy", "Number", "Case", "Definite",
    "Degree", "VerbForm", "Mood", "Tense", "Aspect", "Voice", "Evident", "Polarity", "Person", "Polite",
))  # fmt: skip
METRICS = ("Tokens", "Sentences", "Words", "UPOS", "XPOS", "UFeats", "AllTags")


@dataclass(frozen=True)
class AlignedScore:
    """
    Agreement of a system's units with the gold ones.

    Args:
        correct (`int`):
            Number of units of the system that are right.
        gold (`int`):
            Number of gold units.
        system (`int`):
            Number of the system's units.
        aligned (`int`, *optional*):
            Number of aligned words, of tags of words.
    """

    correct: int
    gold: int
    system: int
    aligned: int | None = None

    @property
    def precision(self) -> float:
        """Share of the system's units that are right, in percent; 0 if there is none."""
        return _percent(self.correct, self.system)

    @property
    def recall(self) -> float:
        """Share of the gold units that were found, in percent."""
        return _percent(self.correct, self.gold)

    @property
    def f1(self) -> float:
        """Harmonic mean of the two, in percent."""
        return _percent(2 * self.correct, self.gold + self.system)

    @property
    def aligned_accuracy(self) -> float | None:
        """Share of the aligned words whose tag is right, in percent; None of what is no tag."""
        return None if self.aligned is None else _percent(self.correct, self.aligned)

    def plain(self) -> dict[str, float]:
        """The scores by name, in percent."""
        names = ("precision", "recall", "f1", "aligned_accuracy")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class _Word(NamedTuple):
    """A word, with the characters of its token."""

    start: int
    end: int
    is_within_token: bool
    form: str
    upos: str
    xpos: str
    features: str


@dataclass(frozen=True)
class _Analysis:
    """What one file says of the characters of a text."""

    characters: str
    tokens: list[tuple[int, int]]
    sentences: list[tuple[int, int]]
    words: list[_Word]


def conllu_scores(gold: Sequence[ConlluSentence], system: Sequence[ConlluSentence]) -> dict[str, AlignedScore]:
    """
    Scores of tokens, sentences and words, and of the tags of words.

    Args:
        gold (`Sequence[ConlluSentence]`):
            Of a treebank.
        system (`Sequence[ConlluSentence]`):
            Another analysis of the same text.

    Returns:
        `dict[str, AlignedScore]` with the keys `METRICS`: `UFeats` counts universal features only, `AllTags` these
        with both parts of speech.

    Raises:
        ValueError: if the characters of the two differ.
    """
    ours, theirs = _analysis(gold), _analysis(system)
    if ours.characters != theirs.characters:
        pairs = zip(ours.characters, theirs.characters, strict=False)
        same = next(
            (index for index, (left, right) in enumerate(pairs) if left != right),
            min(len(ours.characters), len(theirs.characters)),
        )
        raise ValueError(
            f"The texts differ behind {same:,} characters: {ours.characters[same : same + 20]!r} in gold, "
            f"{theirs.characters[same : same + 20]!r} in system. Expected the same characters but for white space. "
            "Let the system read the text of the gold file."
        )
    pairs_of_words = _aligned(ours.words, theirs.words)
    words = {"gold": len(ours.words), "system": len(theirs.words)}

    def tag_score(tag_of: Callable[[_Word], Any]) -> AlignedScore:
        correct = sum(tag_of(left) == tag_of(right) for left, right in pairs_of_words)
        return AlignedScore(correct, **words, aligned=len(pairs_of_words))

    return {
        "Tokens": _span_score(ours.tokens, theirs.tokens),
        "Sentences": _span_score(ours.sentences, theirs.sentences),
        "Words": AlignedScore(len(pairs_of_words), **words),
        "UPOS": tag_score(lambda word: word.upos),
        "XPOS": tag_score(lambda word: word.xpos),
        "UFeats": tag_score(lambda word: word.features),
        "AllTags": tag_score(lambda word: (word.upos, word.xpos, word.features)),
    }


def conllu_file_scores(gold_file: str | Path, system_file: str | Path) -> dict[str, AlignedScore]:
    """
    Scores of a file, see [`conllu_scores`].

    Args:
        gold_file (`str` or `Path`):
            A treebank in CoNLL-U.
        system_file (`str` or `Path`):
            Another analysis of its text.

    Raises:
        ValueError: if one of them is no CoNLL-U, or if their texts differ.
    """
    gold, system = read_conllu(gold_file), read_conllu(system_file)
    try:
        return conllu_scores(gold, system)
    except ValueError as error:
        raise ValueError(f"{gold_file} and {system_file}: {error}") from error


def scores_with_macro_average(
    scores: Mapping[str, Mapping[str, AlignedScore]],
) -> dict[str, dict[str, dict[str, float]]]:
    """
    Scores of each treebank in percent, and their unweighted mean over treebanks as `"average"`.

    Args:
        scores (`Mapping[str, Mapping[str, AlignedScore]]`):
            Of each treebank, as [`conllu_scores`] gives them.

    Raises:
        ValueError: if there is no treebank, or if one is called `"average"`.
    """
    if not scores or "average" in scores:
        raise ValueError(
            f"The treebanks are {', '.join(scores) or 'none'}; expected one or more, and none that is called average, "
            "which is the key of the mean. Rename its file."
        )
    plain = {
        treebank: {metric: score.plain() for metric, score in of_treebank.items()}
        for treebank, of_treebank in scores.items()
    }
    first = next(iter(plain.values()))
    average = {
        metric: {name: fmean(of_treebank[metric][name] for of_treebank in plain.values()) for name in first[metric]}
        for metric in first
    }
    return plain | {"average": average}


def _analysis(sentences: Sequence[ConlluSentence]) -> _Analysis:
    """Characters of a text, and where its tokens, sentences and words are."""
    texts: list[str] = []
    tokens: list[tuple[int, int]] = []
    spans: list[tuple[int, int]] = []
    words: list[_Word] = []
    end = 0
    for sentence in sentences:
        first_character, num_words, last_within = end, 0, 0
        for row in sentence.rows:
            is_within_token = row.is_word and num_words < last_within
            if row.is_range or (row.is_word and not is_within_token):
                text = "".join(character for character in row.columns[FORM] if unicodedata.category(character) != "Zs")
                tokens.append((end, end + len(text)))
                texts.append(text)
                end += len(text)
                last_within = max(last_within, row.last_word)
            if row.is_word:
                num_words += 1
                # The words of a token are compared as they are written, spaces and all.
                form = row.columns[FORM] if is_within_token else texts[-1]
                tags = (row.columns[UPOS], row.columns[XPOS], _universal_features(row.columns[FEATS]))
                words.append(_Word(*tokens[-1], is_within_token, form.lower(), *tags))
        spans.append((first_character, end))
    return _Analysis("".join(texts), tokens, spans, words)


def _universal_features(features: str) -> str:
    return "|".join(sorted(one for one in features.split("|") if one.partition("=")[0] in UNIVERSAL_FEATURES))


def _span_score(gold: Sequence[tuple[int, int]], system: Sequence[tuple[int, int]]) -> AlignedScore:
    return AlignedScore(len(set(gold) & set(system)), len(gold), len(system))


def _aligned(gold: Sequence[_Word], system: Sequence[_Word]) -> list[tuple[_Word, _Word]]:
    """Pairs of a gold word and the system's word for it, in their order."""
    pairs = []
    at = _Place(gold, system)
    while at.gold and at.system:
        if at.gold.is_within_token or at.system.is_within_token:
            pairs += _common_subsequence(*at.take_multi_word_span())
        elif at.gold[:2] == at.system[:2]:
            pairs.append((at.take_gold(), at.take_system()))
        elif at.gold.start <= at.system.start:
            at.take_gold()
        else:
            at.take_system()
    return pairs


class _Place:
    """A place in both lists of words, which only moves on."""

    def __init__(self, gold: Sequence[_Word], system: Sequence[_Word]):
        self.words = (gold, system)
        self.indices = [0, 0]

    def _next(self, side: int) -> _Word | None:
        index = self.indices[side]
        return self.words[side][index] if index < len(self.words[side]) else None

    def _take(self, side: int) -> _Word:
        self.indices[side] += 1
        return self.words[side][self.indices[side] - 1]

    @property
    def gold(self) -> _Word | None:
        return self._next(0)

    @property
    def system(self) -> _Word | None:
        return self._next(1)

    def take_gold(self) -> _Word:
        return self._take(0)

    def take_system(self) -> _Word:
        return self._take(1)

    def take_multi_word_span(self) -> tuple[list[_Word], list[_Word]]:
        """
        The words of both within the smallest span of characters that no multi-word token sticks out of.

        One of the two next words is within a multi-word token.
        """
        opener, other = (0, 1) if self._next(0).is_within_token else (1, 0)  # type: ignore[union-attr]
        first, beside = self._next(opener), self._next(other)
        if not beside.is_within_token and beside.start < first.start:  # type: ignore[union-attr]
            # It sticks out of the span. Only one word is passed over: the official script does not look for more.
            self._take(other)
        end = first.end  # type: ignore[union-attr]
        taken: tuple[list[_Word], list[_Word]] = ([], [])
        while not all(_is_beyond(self._next(side), end) for side in (0, 1)):
            gold, system = self.gold, self.system
            side = 0 if gold and (not system or gold.start <= system.start) else 1
            word = self._take(side)
            taken[side].append(word)
            end = max(end, word.end) if word.is_within_token else end
        return taken


def _is_beyond(word: _Word | None, end: int) -> bool:
    """Whether a word is not within a multi-word span that reaches so far; None stands behind the last word."""
    if word is None:
        return True
    return word.start >= end if word.is_within_token else word.end > end


def _common_subsequence(gold: Sequence[_Word], system: Sequence[_Word]) -> list[tuple[_Word, _Word]]:
    """Pairs of words of the same form in a longest common subsequence."""
    # lengths[i][j]: of the longest one behind the first i gold and j system words.
    lengths = [[0] * (len(system) + 1) for _ in range(len(gold) + 1)]
    for i in reversed(range(len(gold))):
        for j in reversed(range(len(system))):
            both = lengths[i + 1][j + 1] + (gold[i].form == system[j].form)
            lengths[i][j] = max(both, lengths[i + 1][j], lengths[i][j + 1])
    pairs = []
    i = j = 0
    while i < len(gold) and j < len(system):
        if gold[i].form == system[j].form:
            pairs.append((gold[i], system[j]))
            i, j = i + 1, j + 1
        elif lengths[i][j] == lengths[i + 1][j]:
            i += 1
        else:
            j += 1
    return pairs


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0
