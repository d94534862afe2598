"""Sentences of a language from gettext catalogues: what programs say in it."""

import html
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

SUFFIXES = (".mo", ".po")

# What a program fills in before anybody reads the text: %d, %1, %.2f, %(name)s, $(ARG1), ${name}, {0:d}, #, <name>.
_PLACEHOLDER = re.compile(r"%\S|\$[({\[\w]|\{[^{}]*\}|#|<\w+>|&\w+;")
# Of text that is shown with markup, as <b>...</b>: elements that end.
_MARKUP = re.compile(r"<(\w+)[^<>]*>(?=.*</\1>)|</\w+>|<(?:br|p|hr|img)\b[^<>]*/?>")
# The key that chooses an entry of a menu: "(~F)" behind it where letters are of another script, else within or before
# a word; R&D and LC_ALL have none.
_ACCESS_KEY = re.compile(r"\s?\([~&_]\w\)|(?<!\S)[~&_](?=\w)|(?<=[^\W_])[~](?=\w)|(?<=[^\W\d_])[&_](?=[^\W\d_A-Z])")


def translated_sentences(paths: Sequence[str | Path], min_words: int = 4) -> list[str]:
    """
    The translations of gettext catalogues that read as text, each once, in the order of the files.

    What is not translated is left out, and so are texts with places that a program fills in. Markup and the marks of
    access keys are taken out; lines are texts of their own.

    Args:
        paths (`Sequence[str` or `Path]`):
            Files `.mo` or `.po` of one language, or folders of such files, whose subfolders are looked through.
        min_words (`int`, *optional*, defaults to 4):
            Texts of fewer words are left out.

    Raises:
        ValueError: if there is no catalogue, if one cannot be read, or if no text is left.
    """
    files = [file for path in paths for file in _catalogues_in(Path(path))]
    sentences = dict.fromkeys(
        sentence
        for file in files
        for text in _translations(file)
        for line in text.splitlines()
        if (sentence := _as_read(line)) is not None and len(sentence.split()) >= min_words
    )
    if not sentences:
        raise ValueError(
            f"{len(files)} catalogues in {', '.join(map(str, paths))} have no translation of {min_words} words or "
            "more; expected some. Take a lower `min_words`, or catalogues that are translated."
        )
    return list(sentences)


def _catalogues_in(path: Path) -> Iterable[Path]:
    """
    The path itself, or the catalogues in the folder that it is.

    Raises:
        ValueError: if there is none.
    """
    found = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES) if path.is_dir() else [path]
    if not found or not found[0].is_file() or found[0].suffix not in SUFFIXES:
        raise ValueError(
            f"{path} is no gettext catalogue and has none; expected a file {' or '.join(SUFFIXES)}, or a folder with "
            "such files. Correct the path."
        )
    return found


def _translations(file: Path) -> Iterator[str]:
    """
    The texts that a catalogue has been translated to, plural forms among them.

    Raises:
        ImportError: if polib is not installed.
        ValueError: if it cannot be read.
    """
    try:
        import polib
    except ImportError:
        raise ImportError(
            "Catalogues are read by polib, which is not installed: `pip install 'hf_polyglot[catalogues]'`."
        ) from None
    try:
        entries = list(polib.mofile(str(file)) if file.suffix == ".mo" else polib.pofile(str(file)))
    except (OSError, UnicodeDecodeError, ValueError, struct.error) as error:
        raise ValueError(f"{file}: {error}; expected a gettext catalogue. Leave it out, or mend it.") from error
    for entry in entries:
        if entry.obsolete or "fuzzy" in entry.flags:  # of a text that has changed since
            continue
        originals = ("", entry.msgid, entry.msgid_plural)
        yield from (text for text in (entry.msgstr, *entry.msgstr_plural.values()) if text not in originals)


def _as_read(text: str) -> str | None:
    """A text as it is shown, None if a program must fill in something."""
    text = html.unescape(_MARKUP.sub(" ", text))  # before the access keys, whose `&` begins `&amp;` too
    text = " ".join(_ACCESS_KEY.sub("", text).split())
    return None if _PLACEHOLDER.search(text) else text
