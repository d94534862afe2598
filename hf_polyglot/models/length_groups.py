"""Rows of a batch that are worth reading together, so that little padding is read."""

from collections.abc import Sequence


def groups_of_like_length(
    lengths: Sequence[int], *, min_rows: int, ratio: float, ratio_of_few: float = 0.0
) -> list[tuple[int, int]]:
    """
    Consecutive rows in groups of like length, as `(start, end)`, end exclusive.

    Args:
        lengths (`Sequence[int]`):
            Length of each row, at least one; best falling.
        min_rows (`int`):
            Rows of a group that is large enough to be worth closing.
        ratio (`float`):
            A row that is shorter than this share of the longest in such a group opens another.
        ratio_of_few (`float`, *optional*, defaults to 0.0):
            The share below which a row opens another group while the group has fewer rows; 0 never does.

    Example:
        >>> groups_of_like_length([510, 22, 21, 20, 9, 9, 8], min_rows=8, ratio=0.8, ratio_of_few=0.5)
        [(0, 1), (1, 4), (4, 7)]
    """
    groups, first, longest = [], 0, lengths[0] if lengths else 0
    for row, length in enumerate(lengths):
        limit = ratio if row - first >= min_rows else ratio_of_few
        if row > first and length < limit * longest:
            groups.append((first, row))
            first, longest = row, length
        longest = max(longest, length)
    return [*groups, (first, len(lengths))]
