"""Languages that a model tells apart: the field `languages` of its configuration, and their ids."""

from collections.abc import Sequence

UNKNOWN_LANGUAGE_ID = -1


def check_languages(languages: Sequence[str] | None) -> None:
    """
    Raise an error if this is no value for the field `languages` of a configuration.

    Args:
        languages (`Sequence[str]`, *optional*):
            Languages with transition scores of their own.

    Raises:
        ValueError: if there is none, or the same one twice.
    """
    if languages is not None and (not languages or len(set(languages)) < len(languages)):
        raise ValueError(
            f"`languages` is {list(languages)}; expected one or more, each once, or None for transition scores that "
            "all languages share."
        )
