"""
Reading and writing one column file: a word a line, a blank line between sentences, tags in one of the columns.

Covers MasakhaNER (`token TAG`), CoNLL-2002 and 2003 (`token POS ... TAG`), WikiANN (`index token TAG`), UNER
(`id token TAG ...`) and CoNLL-U.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hf_polyglot.data.column_layout import (
    CONLLU_COLUMNS,
    DOCUMENT_SEPARATOR,
    NUM_CONLLU_COLUMNS,
    WORD_ID,
    ColumnLayout,
    find_layout,
)
from hf_polyglot.data.tagged_sentences import (
    TASKS,
    CorpusFormatError,
    Occurrences,
    Place,
    TaggedSentence,
    check_word_tags,
    convert_sentences,
    drop_missing_tags,
    find_scheme,
    is_tag,
    shown,
)
from hf_polyglot.models.label_scheme import SCHEMES


@dataclass
class ColumnFile:
    """
    What one file holds.

    Args:
        sentences (`list[TaggedSentence]`):
            Sentences with at least one word, tags in the target scheme.
        layout (`ColumnLayout`):
            Its columns.
        scheme (`str`):
            Tag scheme of the file; empty for tasks other than `ner_tags`.
        repaired (`Occurrences`):
            Tags that this scheme forbids at their place, such as an `I-` behind `O`.
        converted (`Occurrences`):
            Tags that the target scheme writes differently.
        left_out (`dict[str, Occurrences]`):
            Lines that did not become a word, by kind.
    """

    sentences: list[TaggedSentence]
    layout: ColumnLayout
    scheme: str
    repaired: Occurrences
    converted: Occurrences
    left_out: dict[str, Occurrences]


def read_lines(path: Path) -> list[str]:
    """
    The lines of a text file, without their ends.

    Args:
        path (`Path`):
            A UTF-8 file.

    Raises:
        CorpusFormatError: if it is empty, is not UTF-8, or has a zero or a lone carriage return in a line.
    """
    # Cut at line feeds alone: `str.splitlines` would also cut inside tokens.
    content = path.read_bytes()
    if not content.strip():
        raise CorpusFormatError(f"{path}:1: the file is empty. Expected a token and a tag a line. Check the path.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # Not `content`: in `error.object` a byte order mark has been taken off, and `error.start` counts from there.
        line = error.object.count(b"\n", 0, error.start) + 1
        raise CorpusFormatError(
            f"{path}:{line}: the bytes {error.object[error.start : error.end]!r} are not UTF-8. Expected a file in "
            "UTF-8. Convert it, for example with `iconv -f LATIN1 -t UTF-8`, or from UTF-16 if it begins with them."
        ) from None
    line_ends = "Expected lines that end in \\n or \\r\\n. Convert them, for example with `tr '\\r' '\\n'`."
    utf_16 = "Expected text. If the file is UTF-16, convert it with `iconv -f UTF-16 -t UTF-8`."
    for pattern, remedy in (("\0", utf_16), ("\r(?!\r*(?:\n|\\Z))", line_ends)):
        if found := re.search(pattern, text):
            line = text.count("\n", 0, found.start()) + 1
            raise CorpusFormatError(f"{path}:{line}: the character {found[0]!r} inside a line. {remedy}")
    return [line.rstrip("\r") for line in text.split("\n")]


def _read_sentences(
    lines: Iterable[str], layout: ColumnLayout, place: Place, left_out: dict[str, Occurrences]
) -> list[TaggedSentence]:
    sentences: list[TaggedSentence] = []
    sentence = TaggedSentence()
    is_announced = False  # by comments
    tag_column = layout.token_column if layout.tag_column is None else layout.tag_column

    def leave_out(kind: str, number: int) -> None:
        left_out.setdefault(kind, Occurrences()).add(place(number))

    for number, line in enumerate(lines, 1):
        columns = layout.split(line)
        if not columns or columns[0] == DOCUMENT_SEPARATOR:
            if columns:
                leave_out("document separators", number)
            elif is_announced and not sentence.tokens:
                leave_out("comment blocks without a word", number)
            if sentence.tokens:
                sentences.append(sentence)
                sentence = TaggedSentence()
            is_announced = False
        elif layout.is_comment(columns):
            leave_out("comments", number)
            is_announced = True
        else:
            layout.check(columns, place, number)
            if layout.has_ids and not columns[0].isdecimal():
                if not WORD_ID.fullmatch(columns[0]):
                    raise CorpusFormatError(
                        f"{place(number)}: the word id {shown(columns[0])} in {shown(columns)}. Expected a number, a "
                        "range such as 1-2 or an empty node such as 1.1. Correct it, or give `token_column=0` if the "
                        "first column is the word."
                    )
                leave_out("word ranges" if "-" in columns[0] else "empty nodes", number)
                continue
            sentence.tokens.append(columns[layout.token_column])
            sentence.tags.append(columns[tag_column].strip(" "))
            sentence.lines.append(number)
    return [*sentences, sentence] if sentence.tokens else sentences


def _read(
    path: str | Path, separator: str | None, token_column: int | None, tag_column: int | None, task: str | None
) -> tuple[list[TaggedSentence], ColumnLayout, dict[str, Occurrences], Place]:
    # The sentences of a file with its tags as they stand.
    if separator is not None and (not separator or "\n" in separator):
        raise ValueError(
            f"The separator {separator!r} splits no columns. Expected a tab or a space, or None to find it."
        )

    def place(line: int) -> str:
        return f"{path}:{line}"

    lines = read_lines(Path(path))
    layout = find_layout(
        lines, place, separator=separator, token_column=token_column, tag_column=tag_column, task=task
    )
    left_out: dict[str, Occurrences] = {}
    sentences = _read_sentences(lines, layout, place, left_out) if layout else []
    if not layout or not sentences:
        raise CorpusFormatError(f"{path}:1: no word in the file. Expected a token and a tag a line. Check the path.")
    return sentences, layout, left_out, place


def read_conll(
    path: str | Path,
    *,
    separator: str | None = None,
    token_column: int | None = None,
    tag_column: int | None = None,
    scheme: str | None = None,
    target_scheme: str = "IOB2",
    task: str = "ner_tags",
    may_lack_tags: bool = False,
) -> ColumnFile:
    """
    Sentences of one column file.

    Columns are found so: if the first one numbers the words, the words are in the second and the tags in the first
    column of tags behind it (WikiANN, UNER); otherwise the words are in the first and the tags in the last column of
    tags (CoNLL-2003). A line that starts with `#` is a row if it has the columns and the tag of one, and a comment if
    not. A line of white space ends a sentence.

    A file that is not UTF-8, holds no word, a row with too few columns or an unknown tag, or contradicts an argument
    raises `CorpusFormatError`, which begins with `path:line:`.

    Args:
        path (`str` or `Path`):
            A UTF-8 file.
        separator (`str`, *optional*):
            What splits columns; tab or space, whichever it is, if not given. Several spaces count as one.
        token_column (`int`, *optional*):
            Column of the words, from 0, or negative from the end.
        tag_column (`int`, *optional*):
            Column of the tags, likewise.
        scheme (`str`, *optional*):
            The file's tag scheme, one of `SCHEMES`; found if not given.
        target_scheme (`str`, *optional*, defaults to `"IOB2"`):
            The scheme of the tags that are returned.
        task (`str`, *optional*, defaults to `"ner_tags"`):
            `"ner_tags"`, or `"upos"` or `"feats"` for these columns of CoNLL-U.
        may_lack_tags (`bool`, *optional*, defaults to `False`):
            True takes a sentence whose parts of speech are all `_`, and leaves it without tags.

    Returns:
        [`ColumnFile`]

    Raises:
        ValueError: if `scheme`, `target_scheme` or `task` is none of its values.
    """
    if task not in TASKS:
        raise ValueError(f"Unknown task {task!r}. Expected one of {', '.join(TASKS)}.")
    for name, value in (("scheme", scheme), ("target_scheme", target_scheme)):
        if value is not None and value not in SCHEMES:
            raise ValueError(f"Unknown `{name}` {value!r}. Expected one of {', '.join(SCHEMES)}.")
    sentences, layout, left_out, place = _read(path, separator, token_column, tag_column, task)
    if task != "ner_tags":
        if may_lack_tags:
            drop_missing_tags(sentences, task)
        check_word_tags(sentences, task, place)
        return ColumnFile(sentences, layout, "", Occurrences(), Occurrences(), left_out)
    found = find_scheme(sentences, scheme, place)
    repaired, converted = convert_sentences(sentences, found, target_scheme, place)
    return ColumnFile(sentences, layout, found, repaired, converted, left_out)


def tasks_of_file(path: str | Path, *, separator: str | None = None, token_column: int | None = None) -> list[str]:
    """
    The tasks that a column file has a column for: of CoNLL-U `upos` and `feats`, whatever stands in them, and
    `ner_tags` if one of its columns holds such; of any other file `ner_tags`.

    Args:
        path (`str` or `Path`):
            A UTF-8 file.
        separator (`str`, *optional*):
            What splits columns; found if not given.
        token_column (`int`, *optional*):
            Column of the words, from 0, or negative from the end; found if not given.
    """
    _, layout, _, _ = _read(path, separator, token_column, None, None)
    if not (layout.num_columns == NUM_CONLLU_COLUMNS and layout.has_ids):
        return ["ner_tags"]
    return [*(["ner_tags"] if layout.tag_column is not None else []), *CONLLU_COLUMNS]


def read_words(path: str | Path, *, separator: str | None = None, token_column: int | None = None) -> list[list[str]]:
    """
    Words of each sentence of a column file, with or without tags; comments, word ranges and empty nodes are left out.

    Args:
        path (`str` or `Path`):
            A UTF-8 file.
        separator (`str`, *optional*):
            What splits columns; found if not given.
        token_column (`int`, *optional*):
            Column of the words, from 0, or negative from the end; found if not given.

    Returns:
        `list[list[str]]`
    """
    return [sentence.tokens for sentence in _read(path, separator, token_column, None, None)[0]]


def conll_lines(tokens: Sequence[str], tags: Sequence[str], *, separator: str = "\t") -> list[str]:
    """
    A sentence as lines of a column file: a token and a tag each, then a blank line. `read_conll` reads them back.

    Args:
        tokens (`Sequence[str]`):
            Its words.
        tags (`Sequence[str]`):
            The tag of each word.
        separator (`str`, *optional*, defaults to a tab):
            Tab or space.

    Returns:
        `list[str]`: lines with their ends.

    Raises:
        ValueError: if there are more or fewer tags than tokens, or if a word would not be read back.

    Example:
        >>> conll_lines(["New", "York"], ["B-LOC", "I-LOC"], separator=" ")
        ['New B-LOC\\n', 'York I-LOC\\n', '\\n']
    """
    if len(tokens) != len(tags):
        raise ValueError(
            f"{len(tags)} tags for the {len(tokens)} tokens {shown(list(tokens))}. Expected one tag each."
        )
    for token, tag in zip(tokens, tags, strict=True):
        breaks = {*"\n\r\0\t", separator}.intersection(token) or any("\ud800" <= unit <= "\udfff" for unit in token)
        is_word = token.strip(" ") and token != DOCUMENT_SEPARATOR and not breaks
        is_read_as_comment = token == "#" and separator == " " and not is_tag(tag)
        if not is_word or is_read_as_comment or not tag or " " in tag or not tag.isprintable():
            raise ValueError(
                f"The token {shown(token)} with the tag {shown(tag)} would not be read back from columns split by "
                f"{separator!r}. Expected a word without line breaks, tabs, separators and lone surrogates, other "
                f"than {DOCUMENT_SEPARATOR!r}, and a tag without white space. Replace them, or write with a tab if it "
                "is the space that is in the way."
            )
    return [*(f"{token}{separator}{tag}\n" for token, tag in zip(tokens, tags, strict=True)), "\n"]


def write_conll(
    path: str | Path, sentences: Iterable[tuple[Sequence[str], Sequence[str]]], *, separator: str = "\t"
) -> None:
    """
    Write sentences so that `read_conll` reads them back.

    Args:
        path (`str` or `Path`):
            The file to write.
        sentences (`Iterable[tuple[Sequence[str], Sequence[str]]]`):
            Tokens and tags of each sentence. One without words becomes a blank line, which is not read back.
        separator (`str`, *optional*, defaults to a tab):
            Tab or space.
    """
    text = "".join(line for tokens, tags in sentences for line in conll_lines(tokens, tags, separator=separator))
    # Reading takes a byte order mark off, which must not be the first character of the first word.
    Path(path).write_bytes(text.encode("utf-8-sig" if text.startswith("\ufeff") else "utf-8"))
