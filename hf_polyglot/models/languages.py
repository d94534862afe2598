"""Languages that a model tells apart: the field `languages` of its configuration, and their ids."""

from collections.abc import Sequence

UNKNOWN_LANGUAGE_ID = -1


def check_languages(languages: Sequence[str] | None, *, use_crf: bool = True) -> None:
    """
    Raise an error if this is no value for the field `languages` of a configuration.

    Args:
        languages (`Sequence[str]`, *optional*):
            Languages with transition scores of their own.
        use_crf (`bool`, *optional*, defaults to `True`):
            Whether the model has such scores at all.

    Raises:
        ValueError: if there is none, or the same one twice, or if there are languages and no CRF.
    """
    if languages is not None and (not languages or len(set(languages)) < len(languages)):
        raise ValueError(
            f"`languages` is {list(languages)}; expected one or more, each once, or None for transition scores that "
            "all languages share."
        )
    if languages is not None and not use_crf:
        raise ValueError(
            f"`languages` is {list(languages)} and `use_crf` is False; only a CRF has transition scores. Leave one of "
            "them out."
        )
