"""Whole sentences of CoNLL-U, with their comments, multi-word tokens and empty nodes, read and written unchanged."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hf_polyglot.data.column_layout import CONLLU_COLUMNS, NUM_CONLLU_COLUMNS, WORD_ID
from hf_polyglot.data.conll import read_lines
from hf_polyglot.data.tagged_sentences import CorpusFormatError, shown

ID, FORM, UPOS, XPOS, FEATS = 0, 1, CONLLU_COLUMNS["upos"], 4, CONLLU_COLUMNS["feats"]


@dataclass
class ConlluRow:
    """
    A word, a multi-word token or an empty node.

    Args:
        line (`int`):
            Where it stands in the file, from 1.
        columns (`list[str]`):
            Its ten columns.
    """

    line: int
    columns: list[str]

    @property
    def is_word(self) -> bool:
        """Whether it is a word, which has a number."""
        return self.columns[ID].isdecimal()

    @property
    def is_range(self) -> bool:
        """Whether it is a multi-word token, such as `1-2`."""
        return "-" in self.columns[ID]

    @property
    def last_word(self) -> int:
        """Number of the last word of a multi-word token; 0 of anything else."""
        return int(self.columns[ID].partition("-")[2] or 0)


@dataclass
class ConlluSentence:
    """
    A sentence.

    Args:
        comments (`list[str]`):
            Lines above it that begin with `#`.
        rows (`list[ConlluRow]`):
            In the order of the file.
    """

    comments: list[str] = field(default_factory=list)
    rows: list[ConlluRow] = field(default_factory=list)

    @property
    def words(self) -> list[ConlluRow]:
        """The rows that are words."""
        return [row for row in self.rows if row.is_word]


def read_conllu(path: str | Path) -> list[ConlluSentence]:
    """
    The sentences of a file in CoNLL-U.

    Args:
        path (`str` or `Path`):
            A UTF-8 file.

    Raises:
        CorpusFormatError: if a row has not ten columns, or an id or a word that it must not have there.
    """
    sentences = []
    sentence = ConlluSentence()
    for number, line in enumerate(read_lines(Path(path)), 1):
        if not line:
            if sentence.rows:
                sentences.append(sentence)
                sentence = ConlluSentence()
        elif line.startswith("#") and not sentence.rows:
            sentence.comments.append(line)
        else:
            row = ConlluRow(number, line.split("\t"))
            _check_row(row, sentence.rows, f"{path}:{number}")
            sentence.rows.append(row)
    sentences += [sentence] if sentence.rows else []
    for sentence in sentences:
        missing = max((row.last_word for row in sentence.rows), default=0) > len(sentence.words)
        if missing:
            raise CorpusFormatError(
                f"{path}:{sentence.rows[-1].line}: the sentence ends before the last word of a multi-word token. "
                "Expected all of its words. Add them, or correct the token's id."
            )
    return sentences


def _check_row(row: ConlluRow, before: Sequence[ConlluRow], place: str) -> None:
    """
    Refuse a row that cannot stand behind those before it.

    Raises:
        CorpusFormatError: if it cannot.
    """
    if len(row.columns) != NUM_CONLLU_COLUMNS:
        raise CorpusFormatError(
            f"{place}: {len(row.columns)} columns, {shown(row.columns)}. Expected {NUM_CONLLU_COLUMNS}, split by "
            "tabs, as in CoNLL-U. Correct the row."
        )
    found = WORD_ID.fullmatch(row.columns[ID])
    num_words = sum(earlier.is_word for earlier in before)
    next_word = num_words + 1
    expected = {"": next_word, "-": next_word, ".": num_words}[(found[2] or "")[:1]] if found else None
    covered = max((earlier.last_word for earlier in before), default=0)
    if not found or int(found[1]) != expected or (row.is_range and not covered < next_word <= row.last_word):
        raise CorpusFormatError(
            f"{place}: the word id {shown(row.columns[ID])} in {shown(row.columns)}. Expected {next_word}, a range "
            f"such as {next_word}-{next_word + 1}, or an empty node {num_words}.1. Number the words of each sentence "
            "from 1, and put a blank line between sentences."
        )
    if not row.columns[FORM].strip():
        raise CorpusFormatError(
            f"{place}: the word is {shown(row.columns[FORM])} in {shown(row.columns)}. Expected one that is not "
            "empty. Correct the row."
        )


def conllu_lines(sentence: ConlluSentence) -> list[str]:
    """
    A sentence as lines of CoNLL-U, with their ends, and the blank line behind it.

    Args:
        sentence ([`ConlluSentence`]):
            Any.
    """
    rows = ["\t".join(row.columns) for row in sentence.rows]
    return [f"{line}\n" for line in [*sentence.comments, *rows, ""]]


def with_tags(sentence: ConlluSentence, task: str, tags: Sequence[str]) -> ConlluSentence:
    """
    A sentence with other tags.

    Args:
        sentence ([`ConlluSentence`]):
            Any.
        task (`str`):
            `"upos"` or `"feats"`, the column that they go into.
        tags (`Sequence[str]`):
            One for each word.

    Raises:
        ValueError: if there are more or fewer tags than words.
    """
    if len(tags) != len(sentence.words):
        raise ValueError(f"{len(tags)} tags for {len(sentence.words)} words. Expected one for each.")
    remaining = iter(tags)
    column = CONLLU_COLUMNS[task]
    rows = [
        ConlluRow(row.line, [*row.columns[:column], next(remaining), *row.columns[column + 1 :]])
        if row.is_word
        else row
        for row in sentence.rows
    ]
    return ConlluSentence(sentence.comments, rows)


def sentence_of_text(text: str, offsets: Iterable[tuple[int, int]]) -> ConlluSentence:
    """
    A sentence of words that nobody has analysed yet.

    Args:
        text (`str`):
            Its text.
        offsets (`Iterable[tuple[int, int]]`):
            Characters of each word in the text.

    Example:
        >>> sentence = sentence_of_text("Oh, no", [(0, 2), (2, 3), (4, 6)])
        >>> [(row.columns[1], row.columns[9]) for row in sentence.words]
        [('Oh', 'SpaceAfter=No'), (',', '_'), ('no', '_')]
    """
    return ConlluSentence([f"# text = {' '.join(text.split())}"], [*_rows_of_text(text, list(offsets))])


def _rows_of_text(text: str, offsets: list[tuple[int, int]]) -> Iterator[ConlluRow]:
    following = [start for start, _ in offsets[1:]]
    for number, (start, end) in enumerate(offsets, 1):
        is_joined = number <= len(following) and following[number - 1] == end
        misc = "SpaceAfter=No" if is_joined else "_"
        yield ConlluRow(number, [str(number), text[start:end], *["_"] * (NUM_CONLLU_COLUMNS - 3), misc])
