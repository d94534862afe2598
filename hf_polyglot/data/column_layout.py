"""How a column file is laid out: what splits its columns, and which of them hold words and tags."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hf_polyglot.data.tagged_sentences import CorpusFormatError, Place, is_tag, shown

# CoNLL-U goes through this reader and not through the `conllu` package: the errors of conllu 6.0 name no line, and it
# accepts a row of three columns. It is the tests' independent reference instead.
CONLLU_COLUMNS = {"upos": 3, "feats": 5}
NUM_CONLLU_COLUMNS = 10
DOCUMENT_SEPARATOR = "-DOCSTART-"
WORD_ID = re.compile(r"([0-9]{1,9})([-.][0-9]{1,9})?")  # a word, a range of words (1-2) or an empty node (1.1)
SAMPLE_SIZE = 1000  # rows

Row = tuple[int, list[str]]  # line number and columns


@dataclass
class ColumnLayout:
    """
    The columns of a file.

    Args:
        separator (`str`):
            What splits them.
        num_columns (`int`):
            How many most rows have.
        token_column (`int`):
            Column of the words, from 0.
        tag_column (`int`, *optional*):
            Column of the tags, None if there is none.
        has_ids (`bool`):
            True if the first column numbers the words.
        is_ragged (`bool`):
            True if columns behind the words and tags may come and go.
        known_tags (`set[str]`):
            Tags of rows that do not start with `#`.
    """

    separator: str
    num_columns: int
    token_column: int
    tag_column: int | None
    has_ids: bool
    is_ragged: bool
    known_tags: set[str]

    def split(self, line: str) -> list[str]:
        """
        The columns of a line, none if it is blank.

        Args:
            line (`str`):
                Without the end of the line.

        Returns:
            `list[str]`
        """
        return _split(line, self.separator)

    def fits(self, columns: Sequence[str]) -> bool:
        """
        Whether a line has the columns of a row. Empty ones may trail.

        Args:
            columns (`Sequence[str]`):
                Its columns.

        Returns:
            `bool`
        """
        if self.is_ragged:
            return len(columns) > max(self.token_column, self.tag_column or 0)
        return len(columns) >= self.num_columns and not any(columns[self.num_columns :])

    def is_comment(self, columns: Sequence[str]) -> bool:
        """
        Whether a line is a comment: one that starts with `#` and is no row whose word does.

        Args:
            columns (`Sequence[str]`):
                Its columns.

        Returns:
            `bool`
        """
        if columns[0][:1] != "#":
            return False
        if self.has_ids or not self.fits(columns):
            return True
        if self.separator != " " or columns[0] != "#" or self.tag_column is None:
            return False  # `#tag B_PER` is a row with a misspelt tag; taken for a comment, it would vanish
        tag = columns[self.tag_column]
        return not (is_tag(tag) or tag in self.known_tags)

    def check(self, columns: Sequence[str], place: Place, line: int) -> None:
        """
        Refuse a row with too few or too many columns, or without a word.

        Args:
            columns (`Sequence[str]`):
                Its columns.
            place (`Callable[[int], str]`):
                Names the place of a line, as `file:line`.
            line (`int`):
                Its line.

        Raises:
            CorpusFormatError: if the row is one of these.
        """
        if self.fits(columns):
            token = columns[self.token_column]
            if token.strip(" ") and "\t" not in token:
                return
            raise CorpusFormatError(
                f"{place(line)}: the word is {shown(token)} in {shown(columns)}. Expected one that is not empty and "
                "holds no tab. Correct the row, or give `separator`."
            )
        expected = max(self.token_column, self.tag_column or 0) + 1 if self.is_ragged else self.num_columns
        remedy = "Add what is missing, or give `separator`."
        if len(columns) > expected:
            remedy = (
                "Use another separator if words hold this one, or give `token_column` and `tag_column` if only the "
                "first columns count."
            )
        raise CorpusFormatError(
            f"{place(line)}: {len(columns)} column{'s' * (len(columns) != 1)}, {shown(columns)}. Expected {expected}, "
            f"split by {self.separator!r}. {remedy}"
        )


def _split(line: str, separator: str) -> list[str]:
    if not line or line.isspace():
        return []
    columns = line.split(separator)
    if separator == " " and "" in columns:
        return [column for column in columns if column]  # aligned with several blanks
    return columns


def _find_separator(lines: Sequence[str]) -> str:
    """Tab if most rows have one, otherwise the space."""
    filled = [line for line in lines if line and not line.isspace()]
    rows = [line for line in filled if line[0] != "#"] or filled
    return "\t" if 2 * sum("\t" in line for line in rows) >= len(rows) else " "


def _sample(lines: Iterable[str], separator: str) -> list[Row]:
    """The first rows. Where every line starts with `#`, these lines: they may still hold words that do."""
    samples: list[Row] = []
    comments: list[Row] = []
    for number, line in enumerate(lines, 1):
        columns = _split(line, separator)
        if columns and columns[0] != DOCUMENT_SEPARATOR:
            (comments if columns[0][:1] == "#" else samples).append((number, columns))
        if len(samples) == SAMPLE_SIZE:
            break
    return samples or comments


def _has_ids(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first of several columns numbers the words of each sentence, from 0 or 1."""
    found = [match for columns in rows if (match := WORD_ID.fullmatch(columns[0]))]
    if len(rows[0]) < 3 or 10 * len(found) < 9 * len(rows):
        return False
    numbers = [int(match[1]) for match in found]
    # Numbers alone would not do: words may be numbers, and a part of a file may begin inside a sentence.
    counted = sum(now in (0, 1) or now == before + 1 for before, now in zip([-1, *numbers], numbers, strict=False))
    return 2 * counted >= len(numbers)


def _find_tag_column(rows: Sequence[Sequence[str]], token_column: int, has_ids: bool) -> int | None:
    """The column of tags: the first one behind numbered words (UNER), else the last one (CoNLL-2003)."""
    columns = [column for column in range(len(rows[0])) if column != token_column]
    columns = columns[1:] if has_ids else columns[::-1]
    for column in columns:
        if 2 * sum(is_tag(row[column]) for row in rows) >= len(rows):
            return column
    for column in columns:
        if Counter(row[column] for row in rows).most_common(1)[0][0] == "O":
            return column
    return columns[0] if len(columns) == 1 else None


def find_layout(
    lines: Sequence[str],
    place: Place,
    *,
    separator: str | None,
    token_column: int | None,
    tag_column: int | None,
    task: str | None,
) -> ColumnLayout | None:
    """
    The layout that most of the first rows have.

    Args:
        lines (`Sequence[str]`):
            Lines of the file, without their ends.
        place (`Callable[[int], str]`):
            Names the place of a line, as `file:line`.
        separator (`str`, *optional*):
            What splits columns; found if None.
        token_column (`int`, *optional*):
            Column of the words, negative from the end; found if None.
        tag_column (`int`, *optional*):
            Column of the tags, likewise.
        task (`str`, *optional*):
            `"ner_tags"`, `"upos"` or `"feats"`; None if only words are read, and tags need not be there.

    Returns:
        [`ColumnLayout`], or None if the file has no row

    Raises:
        CorpusFormatError: if the first rows have too few columns, or no column of tags.
    """
    separator = separator or _find_separator(lines)
    rows = _sample(lines, separator)
    if not rows:
        return None
    num_columns = Counter(len(columns) for _, columns in rows).most_common(1)[0][0]
    line, first = next((number, columns) for number, columns in rows if len(columns) == num_columns)
    if num_columns < 2 and task:
        raise CorpusFormatError(
            f"{place(line)}: 1 column, {shown(first[0])}. Expected a token and a tag, split by {separator!r}. Add the "
            "tags, or give `separator` if columns are split by another character."
        )
    for name, column in (("token_column", token_column), ("tag_column", tag_column)):
        if column is not None and not -num_columns <= column < num_columns:
            raise CorpusFormatError(
                f"{place(line)}: `{name}` is {column}, but the row has {num_columns} columns, {shown(first)}. "
                f"Expected at most {num_columns - 1}. Correct `{name}`, or give `separator` if the row is split "
                "wrongly."
            )
    is_ragged = token_column is not None and tag_column is not None and min(token_column, tag_column) >= 0
    typical = [columns for _, columns in rows if len(columns) == num_columns]
    is_conllu = task in CONLLU_COLUMNS and num_columns == NUM_CONLLU_COLUMNS
    has_ids = (token_column is None or token_column % num_columns != 0) and (is_conllu or _has_ids(typical))
    token_column = int(has_ids) if token_column is None else token_column % num_columns
    if tag_column is None and is_conllu:
        tag_column = CONLLU_COLUMNS[str(task)]
    elif tag_column is None and (task not in CONLLU_COLUMNS or num_columns == 2):
        tag_column = _find_tag_column(typical, token_column, has_ids)
    if tag_column is None and task:
        raise CorpusFormatError(
            f"{place(line)}: no column of `{task}` in {shown(first)}. Expected "
            f"{'tags' if task == 'ner_tags' else 'ten columns'}. Give `tag_column`, counted from 0."
        )
    known_tags = set()
    if tag_column is not None:
        tag_column %= num_columns
        known_tags = {columns[tag_column] for columns in typical if columns[0][:1] != "#"}
    return ColumnLayout(separator, num_columns, token_column, tag_column, has_ids, is_ragged, known_tags)
