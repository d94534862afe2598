"""
Writes the embedded corpus from the frames and names in `frames/`.

    python hf_polyglot/data/demo/generate.py

The result depends on those files and the seed alone: names and frames are held out by a checksum of their text, and
every choice is one call of `random.Random.random`, whose values are the same in all versions of Python. Only the
standard library is imported, so the script runs without the package.

A file in `frames/` has sections. Entries are parted by commas; `[frames]`, `[person]` and `[organisation...]` hold one
pattern a line. `[place: nom gen]` says which forms its entries have, and `Москв~а/ы` spells them out. In a pattern

- `{PER.f}`, `{LOC}`, `{ORG.bare:gen}`, `{PER=surname:m.gen}` are entities: type and kind or section, then the form;
- `{month}` is drawn from the section `[month]` and carries no tag; `{place}` is drawn from `[place]` and `[place.c]`;
- text that touches a slot, a clitic or a case ending, becomes a part of the name's first or last word.
"""

import argparse
import re
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

SPLIT_SIZES = {"train": 300, "validation": 50, "test": 100}
SEED = 2
HELD_OUT_NAMES = 0.33  # share of the names that no training split contains
HELD_OUT_FRAMES = 0.2  # share of the frames that no training split contains
UNSEEN_ENTITIES = 0.4  # probability that an entity of validation or test is made of held-out names
UNSEEN_FRAMES = 0.25  # probability that a sentence of validation or test is made from a held-out frame

PERSON_PATTERNS = ("{given} {surname}", "{given} {surname}", "{given} {surname}", "{given}", "{surname}")
ENTITY_SECTIONS = {"PER": "person", "LOC": "place", "ORG": "organisation"}
PATTERN_SECTIONS = ("frames", "person", "organisation")
SLOT = re.compile(r"\{([A-Za-z.]+)(?:=([a-z.]+))?(?::([a-z.]+))?\}")
MOST_DRAWS = 1000


@dataclass(frozen=True)
class Entry:
    """One word, name or pattern, and the forms that the header of its section lists."""

    text: str
    forms: tuple[str, ...]


@cache
def is_held_out(text: str, share: float) -> bool:
    """
    Whether a name or frame is kept out of the training splits of all languages.

    Args:
        text (`str`):
            The frame, or the name in its first form. Capitals make no difference.
        share (`float`):
            The fraction of all texts that are held out.

    Returns:
        `bool`: the same for the same text in every language and run

    Example:
        >>> is_held_out("De Vries", 0.4) == is_held_out("de Vries", 0.4)
        True
    """
    return zlib.crc32(text.casefold().encode()) % 1000 < 1000 * share


@dataclass
class Language:
    """
    What is written about a language in its file.

    Args:
        sections (`dict[str, list[Entry]]`):
            The entries of each section.
        endings (`dict[str, str]`):
            Endings that have a name: `{"ов": "/а/у/а/ой/ой"}`.
    """

    sections: dict[str, list[Entry]]
    endings: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> "Language":
        """The language that a file of `frames/` describes."""
        sections = {"person": [Entry(pattern, ()) for pattern in PERSON_PATTERNS]}
        endings = {}
        for line in path.read_text(encoding="utf-8").splitlines():
            if not line or line.startswith("#"):
                continue
            if line.startswith("["):
                section, _, header = line.strip("[]").partition(":")
                forms = tuple(header.split())
                sections[section] = []
            elif section == "endings":
                name, _, listed = line.partition(" = ")
                endings[name] = listed
            else:
                texts = [line] if section.split(".")[0] in PATTERN_SECTIONS else line.rstrip(",").split(",")
                sections[section] += [Entry(text.strip(), forms) for text in texts]
        return cls(sections, endings)

    def entries(self, section: str) -> list[Entry]:
        """
        The entries of a section and of those below it: `place` takes in `place.c`.

        Raises:
            ValueError: if there is none.
        """
        names = [name for name in self.sections if name == section or name.startswith(f"{section}.")]
        if not names:
            raise ValueError(
                f"There is no section [{section}]. Expected one of {sorted(self.sections)}; correct the slot's name."
            )
        return [entry for name in names for entry in self.sections[name]]

    def inflected(self, entry: Entry, form: str = "", gender: str = "") -> str:
        """
        An entry in one of its forms: the form itself (`gen`), that form of a gender (`f.gen`), or else the first.

        Raises:
            ValueError: if a word has not one ending for every form, or not the form that is asked for.
        """
        wanted = [known for known in entry.forms if known in (form, f"{gender}.{form}")] if form else entry.forms
        if form and entry.forms and not wanted:
            raise ValueError(
                f"{entry.text!r} has the forms {entry.forms}, not {form!r}. Correct the slot, or add the form to the "
                "section's header and its entries."
            )
        of_gender = [known for known in wanted if known.startswith(f"{gender}.")] or wanted
        words = []
        for word in entry.text.split():
            stem, tilde, listed = word.partition("~")
            endings = self.endings.get(listed, listed).split("/")
            if tilde and len(endings) != len(entry.forms):
                raise ValueError(
                    f"{word!r} has {len(endings)} endings. Expected one for each of {entry.forms}; correct the entry."
                )
            words.append(stem + endings[entry.forms.index(of_gender[0])] if tilde else stem)
        return " ".join(words)


@dataclass
class Writer:
    """
    Draws sentences of one language.

    Args:
        language (`Language`):
            Its frames and names.
        random (`Random`):
            Only `random()` is called.
        unseen_entities (`float`):
            Probability that an entity is made of held-out names.
        unseen_frames (`float`):
            Probability that a sentence is made from a held-out frame.
    """

    language: Language
    random: Random
    unseen_entities: float
    unseen_frames: float

    def split(self, size: int, written: set[str]) -> list[list[tuple[str, str]]]:
        """
        Sentences that are not in `written`, to which they are added.

        Raises:
            ValueError: if the frames do not yield so many.
        """
        sentences: list[list[tuple[str, str]]] = []
        for _ in range(MOST_DRAWS * size):
            is_unseen = self.random.random() < self.unseen_frames
            frames = [
                entry
                for entry in self.language.entries("frames")
                if is_held_out(entry.text, HELD_OUT_FRAMES) == is_unseen
            ]
            sentence = self.sentence(self.choose(frames).text)
            text = " ".join(word for word, _ in sentence)
            if text not in written:
                written.add(text)
                sentences.append(sentence)
            if len(sentences) == size:
                return sentences
        raise ValueError(
            f"{len(sentences)} different sentences came of {MOST_DRAWS * size} draws. Expected {size}; add frames."
        )

    def sentence(self, frame: str) -> list[tuple[str, str]]:
        """Words and IOB2 tags of a sentence made from a frame; no slot of it is filled like another."""
        tagged: list[tuple[str, str]] = []
        used: list[str] = []
        for word in frame.split():
            slot = SLOT.search(word)
            if slot is None:
                tagged.append((word, "O"))
                continue
            filling = self.filling(slot)
            while filling in used:
                filling = self.filling(slot)
            used.append(filling)
            entity_type = slot[1].partition(".")[0]
            is_entity = entity_type in ENTITY_SECTIONS
            for number, part in enumerate((word[: slot.start()] + filling + word[slot.end() :]).split()):
                tagged.append((part, f"{'I' if number else 'B'}-{entity_type}" if is_entity else "O"))
        first, tag = tagged[0]
        return [(first[0].upper() + first[1:], tag), *tagged[1:]]

    def filling(self, slot: re.Match[str]) -> str:
        """What stands in a frame's slot: an entity's name or untagged words."""
        kind, _, detail = slot[1].partition(".")
        form = slot[3] or ""
        if kind not in ENTITY_SECTIONS:
            return self.language.inflected(self.choose(self.language.entries(slot[1])), form)
        is_unseen = self.random.random() < self.unseen_entities
        if kind == "PER" and not slot[2]:
            gender = detail or ("f" if self.random.random() < 0.5 else "m")
            return self.filled(self.choose(self.language.entries("person")).text, is_unseen, form, gender)
        return self.name(slot[2] or ENTITY_SECTIONS[kind] + (f".{detail}" if detail else ""), is_unseen, form)

    def name(self, section: str, is_unseen: bool, form: str = "", gender: str = "") -> str:
        """A name from a section: a held-out one if `is_unseen`, else one of the others."""
        inflected = self.language.inflected
        names = [
            entry
            for entry in self.language.entries(section)
            # A pattern is as unseen as the names that fill it.
            if SLOT.search(entry.text) or is_held_out(inflected(entry), HELD_OUT_NAMES) == is_unseen
        ]
        return self.filled(inflected(self.choose(names), form, gender), is_unseen)

    def filled(self, pattern: str, is_unseen: bool, form: str = "", gender: str = "") -> str:
        """A pattern with names in its slots; of an unseen one the last is held out, and the others half the time."""
        slots = list(SLOT.finditer(pattern))
        for slot in slots:
            section = f"given.{gender}" if slot[1] == "given" and gender else slot[1]
            is_name_unseen = is_unseen and (slot is slots[-1] or self.random.random() < 0.5)
            name = self.name(section, is_name_unseen, slot[3] or form, gender)
            pattern = pattern.replace(slot[0], name, 1)
        return pattern

    def choose(self, entries: list[Entry]) -> Entry:
        """
        One of the entries, all equally likely.

        Raises:
            ValueError: if there is none.
        """
        if not entries:
            raise ValueError("A list has no held-out entry, or no other. Expected some of both; lengthen the list.")
        return entries[int(self.random.random() * len(entries))]


def generate(folder: Path, *, seed: int = SEED) -> None:
    """
    Writes `<language>/{train,validation,test}.txt` for each file of `frames/`.

    Args:
        folder (`Path`):
            Where the languages' folders go.
        seed (`int`, *optional*, defaults to 2):
            Of the choices. Which names and frames are held out does not depend on it.
    """
    for path in sorted((Path(__file__).parent / "frames").glob("*.txt")):
        language = Language.read(path)
        written: set[str] = set()
        for split, size in SPLIT_SIZES.items():
            random = Random(zlib.crc32(f"{seed} {path.stem} {split}".encode()))
            unseen = (0.0, 0.0) if split == "train" else (UNSEEN_ENTITIES, UNSEEN_FRAMES)
            sentences = Writer(language, random, *unseen).split(size, written)
            blocks = ["".join(f"{word} {tag}\n" for word, tag in sentence) for sentence in sentences]
            target = folder / path.stem / f"{split}.txt"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes("\n".join(blocks).encode())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the embedded corpus.")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent, help="where the languages' folders go")
    parser.add_argument("--seed", type=int, default=SEED, help="of the choices of frames and names")
    arguments = parser.parse_args()
    generate(arguments.folder, seed=arguments.seed)
