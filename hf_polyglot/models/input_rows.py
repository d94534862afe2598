"""
What models read, as rows of ids in plain lists: spelled words, spelled sentences, windows of pieces.

There are no tensors here, so that a program without torch makes the same rows.

Axes:
    distinct  the distinct words of a batch
    batch     sentences
    words     positions of the longest sentence in the batch
    units     bytes or characters of the longest word or sentence
    windows   rows of pieces; a sentence has one, or several if it is longer than the encoder reads
    pieces    positions of the longest window in the batch
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence

# What stands in `unit_words` for a unit that belongs to no word: padding, and the space between two words.
NO_WORD, SPACE = -1, -2

Rows = list[list[int]]


def check_text(text: str) -> None:
    """
    Refuse text that has no UTF-8 bytes.

    Args:
        text (`str`):
            A word or a text.

    Raises:
        ValueError: if it has a lone surrogate.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"Character {error.start} of {text[:40]!r} is the lone surrogate U+{ord(text[error.start]):04X}, which is "
            "not text and has no UTF-8 bytes. Decode the source with its true encoding, or replace it with U+FFFD."
        ) from None


def check_words(words: Iterable[str]) -> None:
    """
    Refuse what is no word.

    Args:
        words (`Iterable[str]`):
            Words of one sentence or of many.

    Raises:
        ValueError: if one is empty or has a lone surrogate.
    """
    for word in words:
        if not word:
            raise ValueError("A word is the empty string; a word must have a character. Leave it out, with its label.")
        check_text(word)


def distinct_words(sentences: Sequence[Sequence[str]]) -> list[str]:
    """
    The distinct words of a batch, in order of appearance; none is empty or has a lone surrogate.

    Args:
        sentences (`Sequence[Sequence[str]]`):
            The words of each sentence.
    """
    distinct = list(dict.fromkeys(word for sentence in sentences for word in sentence))
    check_words(distinct)
    return distinct


def shortened(units: list[int], limit: int | None) -> list[int]:
    """
    The first and the last half of a word that is longer than the limit.

    Args:
        units (`list[int]`):
            Its bytes or characters.
        limit (`int`, *optional*):
            Units kept. Defaults to all.
    """
    if limit is None or len(units) <= limit:
        return units
    head = (limit + 1) // 2
    return units[:head] + units[len(units) - (limit - head) :]


def padded(rows: Sequence[Sequence[int]], value: int, least: int = 0) -> Rows:
    """
    Rows of one length.

    Args:
        rows (`Sequence[Sequence[int]]`):
            Rows of any lengths.
        value (`int`):
            What stands on padding.
        least (`int`, *optional*, defaults to 0):
            Length at least.
    """
    width = max([least, *map(len, rows)])
    return [[*row, *[value] * (width - len(row))] for row in rows]


def word_rows(spelled: Mapping[str, list[int]], sentences: Sequence[Sequence[str]], padding: int) -> tuple[Rows, Rows]:
    """
    A batch in which each distinct word is spelled once.

    Args:
        spelled (`Mapping[str, list[int]]`):
            Units of each distinct word.
        sentences (`Sequence[Sequence[str]]`):
            The words of each sentence.
        padding (`int`):
            Id of padding.

    Returns:
        `input_ids (distinct, units)`, longest word first, and `word_indices (batch, words)`, the row of each word, -1
        on padding.

    Example:
        >>> word_rows({"a": [5], "no": [6, 7]}, [["a", "no"], ["a"]], padding=0)
        ([[6, 7], [5, 0]], [[1, 0], [1, -1]])
    """
    order = sorted(spelled, key=lambda word: -len(spelled[word]))
    row = {word: position for position, word in enumerate(order)}
    units = padded([spelled[word] for word in order] or [[padding]], padding)
    return units, padded([[row[word] for word in sentence] for sentence in sentences], NO_WORD)


def sentence_rows(
    spelled: Mapping[str, list[int]], sentences: Sequence[Sequence[str]], space: int, padding: int
) -> tuple[Rows, Rows]:
    """
    A batch of whole sentences, their words joined by one space.

    Args:
        spelled (`Mapping[str, list[int]]`):
            Units of each distinct word.
        sentences (`Sequence[Sequence[str]]`):
            The words of each sentence.
        space (`int`):
            Id of the space.
        padding (`int`):
            Id of padding.

    Returns:
        `input_ids (batch, units)`, and `unit_words (batch, units)`, the index in its sentence of the word that a unit
        belongs to, -2 on the space between two words, -1 on padding.
    """
    units: Rows = []
    owners: Rows = []
    for words in sentences:
        # A space before each word, of which the first is cut off.
        units.append([unit for word in words for unit in (space, *spelled[word])][1:])
        owners.append(
            [owner for index, word in enumerate(words) for owner in (SPACE, *[index] * len(spelled[word]))][1:]
        )
    return padded(units, padding, least=1), padded(owners, NO_WORD, least=1)


def piece_rows(
    pieces: Sequence[Sequence[int]],
    piece_words: Sequence[Sequence[int]],
    num_words: Sequence[int],
    *,
    max_pieces: int,
    before: Sequence[int],
    after: Sequence[int],
    padding: int,
    unknown: int,
    every_piece: bool = False,
) -> tuple[Rows, Rows, Rows]:
    """
    Windows of the pieces of sentences, and where the first piece of every word stands in them.

    No word is lost: one that the tokenizer maps to nothing gets the unknown piece, and a sentence of more than
    `max_pieces` pieces is read in windows that overlap by half; each of its words counts in the window where it is
    farthest from an edge.

    Args:
        pieces (`Sequence[Sequence[int]]`):
            Pieces of each sentence, without special ones.
        piece_words (`Sequence[Sequence[int]]`):
            The word of each piece.
        num_words (`Sequence[int]`):
            Words of each sentence.
        max_pieces (`int`):
            Pieces that the encoder reads at most, special ones included.
        before (`Sequence[int]`):
            Special pieces at the beginning of a window.
        after (`Sequence[int]`):
            Special pieces at its end.
        padding (`int`):
            Id of padding.
        unknown (`int`):
            Id of the unknown piece.
        every_piece (`bool`, *optional*, defaults to `False`):
            True takes each piece for a word, so that `word_positions` has all of them.

    Returns:
        `input_ids` and `attention_mask` of shape `(windows, pieces)`, and `word_positions` of shape `(batch,
        words)`: the index of each word's first piece in the flattened `input_ids`, -1 on padding.

    Raises:
        ValueError: if `max_pieces` leaves no room for a word.
    """
    room = max_pieces - len(before) - len(after)
    if room < 2:
        raise ValueError(
            f"`max_pieces` is {max_pieces}, of which {len(before) + len(after)} are special pieces; expected room for "
            "two pieces at least. Raise `max_pieces`."
        )
    rows: Rows = []
    places: list[list[tuple[int, int]]] = []  # (window, piece) of each word's first piece, for each sentence
    for given, owners, count in zip(pieces, piece_words, num_words, strict=True):
        kept, firsts = _with_first_pieces(given, owners, count, unknown)
        firsts = list(range(len(kept))) if every_piece else firsts
        starts = _window_starts(len(kept), room)
        windows = [_most_central(first, starts, room, len(kept)) if len(starts) > 1 else 0 for first in firsts]
        places.append([
            (len(rows) + window, len(before) + first - starts[window])
            for first, window in zip(firsts, windows, strict=True)
        ])
        rows.extend([*before, *kept[start : start + room], *after] for start in starts)
    input_ids = padded(rows, padding)
    width = len(input_ids[0])
    return (
        input_ids,
        padded([[1] * len(row) for row in rows], 0),
        padded([[row * width + place for row, place in words] for words in places], NO_WORD),
    )


def _with_first_pieces(
    pieces: Sequence[int], piece_words: Sequence[int], num_words: int, unknown: int
) -> tuple[list[int], list[int]]:
    """Pieces of a sentence, with an unknown one for each word that has none, and each word's first."""
    kept: list[int] = []
    firsts: list[int] = []

    def open_words(before: int) -> None:
        while len(firsts) < before:
            firsts.append(len(kept))
            kept.append(unknown)

    for piece, word in zip(pieces, piece_words, strict=True):
        open_words(word)
        if len(firsts) == word:
            firsts.append(len(kept))
        kept.append(piece)
    open_words(num_words)
    return kept, firsts


def _window_starts(num_pieces: int, room: int) -> list[int]:
    """First pieces of windows of `room` pieces that overlap by half and cover a sentence."""
    if num_pieces <= room:
        return [0]
    stride = room // 2
    last = num_pieces - room
    return [*range(0, last, stride), last]


def _most_central(first: int, starts: list[int], room: int, num_pieces: int) -> int:
    """Index of the window in which the piece is farthest from a cut; the ends of the sentence are no cuts."""

    def distance_to_cut(start: int) -> int:
        left = first - start if start > 0 else num_pieces
        right = start + room - 1 - first if start + room < num_pieces else num_pieces
        return min(left, right) if start <= first < start + room else -1

    # Windows overlap by half, the last two by more: those that begin up to `room` pieces before it are few.
    behind = bisect_right(starts, first)
    return max(range(max(0, behind - 4), behind), key=lambda window: distance_to_cut(starts[window]))
