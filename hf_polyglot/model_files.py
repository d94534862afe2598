"""Models by their names, which are folders or Hub ids, and the digests of what lies there."""

from pathlib import Path

from huggingface_hub.utils.sha import sha_fileobj
from transformers.utils import SAFE_WEIGHTS_NAME, cached_file


def checked_model_name(name: str) -> str:
    """
    The folder or Hub id of a model, unless it looks like a folder and there is none.

    A missing folder would be looked for on the Hub, which takes a while and ends in a misleading error.

    Args:
        name (`str`):
            As given on the command line.

    Raises:
        ValueError: if nothing lies there, and it is a path or its parent is a folder here.
    """
    path = Path(name)
    is_path = path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1
    if not path.exists() and (is_path or (str(path.parent) != "." and path.parent.is_dir())):
        raise ValueError(
            f"`{name}` does not exist; expected the folder of a model, or its Hub id, as `owner/name`. Correct the "
            f"path, which is relative to the current folder; if the Hub's {name} is meant, go to a folder without "
            f"{path.parent}."
        )
    return name


def file_digest(path: Path) -> str:
    """
    SHA-256 of a file, in hexadecimal digits.

    Args:
        path (`Path`):
            The file.
    """
    with path.open("rb") as file:
        return sha_fileobj(file).hex()


def weights_file(model_name: str) -> Path | None:
    """
    Where a model's weights lie on this machine, behind their download; None if they lie in parts.

    Args:
        model_name (`str`):
            Folder or Hub id of the model.
    """
    path = cached_file(model_name, SAFE_WEIGHTS_NAME, _raise_exceptions_for_missing_entries=False)
    return None if path is None else Path(path)


def weights_digest(model_name: str) -> str | None:
    """
    SHA-256 of a model's weights, by which a continued run tells what it started from; None if they lie in parts.

    Args:
        model_name (`str`):
            Folder or Hub id of the model.
    """
    path = weights_file(model_name)
    return None if path is None else file_digest(path)
