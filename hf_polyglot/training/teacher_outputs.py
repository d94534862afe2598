"""
What a teacher said of texts, kept on the disk: computed once, mapped into memory, found again by its content.

Each kept array has rows for every sentence, as many as the sentence has positions: plain numbers in one file, and
where each sentence's rows begin in another. Removing the folder is safe.
"""

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import datasets
import numpy as np

FORMAT = 2
DESCRIPTION = "arrays.json"


class SentenceRows:
    """
    Rows of numbers of many sentences, mapped into memory.

    Args:
        folder (`Path`):
            Where they lie.
        name (`str`):
            Of the array.
        dtype (`str`):
            Type of the numbers.
        width (`int`):
            Numbers in a row.
    """

    def __init__(self, folder: Path, name: str, dtype: str, width: int):
        self.starts = np.load(folder / f"{name}.starts.npy")  # (sentences,)
        self.counts = np.load(folder / f"{name}.counts.npy")  # (sentences,)
        shape = (int(self.counts.sum()), width)
        self.rows = np.memmap(folder / f"{name}.rows", dtype=dtype, mode="r", shape=shape)

    def __len__(self) -> int:
        """Sentences."""
        return len(self.starts)

    def __getitem__(self, sentence: int) -> np.ndarray:
        """Rows of a sentence, of shape `(positions, width)`."""
        start = self.starts[sentence]
        return self.rows[start : start + self.counts[sentence]]


def outputs_folder(teacher_digest: str, sentences: Iterable[Sequence[str]], settings: Mapping[str, Any]) -> Path:
    """
    Where what this teacher says of these sentences is kept: below the cache of `datasets`, by the content of both.

    Args:
        teacher_digest (`str`):
            Of [`teacher_digest`](hf_polyglot.training.teacher.teacher_digest).
        sentences (`Iterable[Sequence[str]]`):
            Words of each.
        settings (`Mapping[str, Any]`):
            What else decides it.
    """
    digest = sha256(json.dumps([FORMAT, teacher_digest, settings], sort_keys=True).encode())
    for words in sentences:
        digest.update(json.dumps(list(words)).encode())
    return Path(datasets.config.HF_DATASETS_CACHE) / "hf_polyglot-teachers" / digest.hexdigest()


def read_outputs(folder: Path) -> dict[str, SentenceRows] | None:
    """
    The arrays that are kept in this folder, None if there are none.

    Args:
        folder (`Path`):
            As [`outputs_folder`] names it.
    """
    if not (folder / DESCRIPTION).is_file():
        return None
    described = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    return {name: SentenceRows(folder, name, **kind) for name, kind in described.items()}


def write_outputs(
    folder: Path, num_sentences: int, outputs: Iterable[tuple[Sequence[int], Mapping[str, Sequence[np.ndarray]]]]
) -> None:
    """
    Keep arrays in this folder, which is there when all of them are.

    Args:
        folder (`Path`):
            As [`outputs_folder`] names it.
        num_sentences (`int`):
            How many there are.
        outputs (`Iterable`):
            Batches of sentences: their numbers, in any order, and of each array the rows of each of them.

    Raises:
        OSError: if nothing can be written there.
    """
    starts: dict[str, np.ndarray] = {}
    counts: dict[str, np.ndarray] = {}
    kinds: dict[str, dict[str, Any]] = {}
    written: dict[str, int] = {}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, ignore_cleanup_errors=True) as name_of_unfinished:
            unfinished = Path(name_of_unfinished)
            for numbers, arrays in outputs:
                for name, of_sentences in arrays.items():
                    if name not in kinds:
                        kinds[name] = {"dtype": str(of_sentences[0].dtype), "width": of_sentences[0].shape[1]}
                        starts[name], counts[name] = (np.zeros(num_sentences, dtype=np.int64) for _ in range(2))
                    with (unfinished / f"{name}.rows").open("ab") as file:
                        for number, rows in zip(numbers, of_sentences, strict=True):
                            starts[name][number] = written.get(name, 0)
                            counts[name][number] = len(rows)
                            written[name] = written.get(name, 0) + len(rows)
                            file.write(np.ascontiguousarray(rows).tobytes())
            for name in kinds:
                np.save(unfinished / f"{name}.starts.npy", starts[name])
                np.save(unfinished / f"{name}.counts.npy", counts[name])
            (unfinished / DESCRIPTION).write_text(json.dumps(kinds), encoding="utf-8")
            if not folder.is_dir():  # another process may have been first
                unfinished.rename(folder)
    except OSError as error:
        raise OSError(
            f"What the teacher says could not be kept in {folder}: {error}. Make room, set HF_DATASETS_CACHE to "
            "another folder, or ask the teacher anew in each epoch with --keep_teacher_outputs false."
        ) from error


def batches_of_like_length(lengths: Sequence[int], most: int) -> list[list[int]]:
    """
    Numbers of sentences in batches of like length, longest first, each of at most so many units with its padding.

    Args:
        lengths (`Sequence[int]`):
            Units of each sentence.
        most (`int`):
            Units of a batch; a longer sentence is a batch by itself.

    Example:
        >>> batches_of_like_length([3, 9, 2, 4], most=8)
        [[1], [3, 0], [2]]
    """
    batches: list[list[int]] = []
    for number in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= most:
            batches[-1].append(number)
        else:
            batches.append([number])
    return batches
