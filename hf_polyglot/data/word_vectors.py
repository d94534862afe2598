"""Word vectors of fastText, from its text (`.vec`) and binary (`.bin`) files, and the union of those of languages.

A binary file also has vectors of character n-grams: a word that it does not list is the mean of those of its n-grams.
"""

import struct
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from hf_polyglot.models.known_words import subword_buckets

MAGIC, VERSIONS = 793712314, (11, 12)
# dim, ws, epoch, minCount, neg, wordNgrams, loss, model, bucket, minn, maxn, lrUpdateRate and t of `Args::save`.
ARGUMENTS = struct.Struct("<12id")
COUNTS = struct.Struct("<iiiqq")  # entries, words, labels, tokens, and pairs of a pruned vocabulary, -1 if it is not
SUPERVISED = 3


class TextVectors:
    """
    A `.vec` file: a line with the numbers of words and of dimensions, then a word and its vector on each line.

    Args:
        path (`Path`):
            The file, in UTF-8.

    Raises:
        ValueError: if the first line is not of that form.
    """

    def __init__(self, path: Path):
        self.path = path
        with path.open("rb") as file:
            header = file.readline().split()
        if len(header) != 2 or not all(number.isdigit() for number in header):
            raise ValueError(
                f"{path}:1 is {b' '.join(header)[:60]!r}; expected the number of words and that of dimensions, as in "
                "a .vec file of fastText. Write that line first, or give another file."
            )
        self.num_words, self.size = map(int, header)

    def words(self) -> Iterator[str]:
        """The words, the most frequent first."""
        for _, word, _ in self._lines():
            yield word

    def read(self, wanted: Collection[str]) -> dict[str, np.ndarray]:
        """
        Vectors of those words that are there; the first of a word that is there twice.

        Args:
            wanted (`Collection[str]`):
                Best a set.

        Raises:
            ValueError: if a vector is not made of finite numbers.
        """
        found: dict[str, np.ndarray] = {}
        for number, word, values in self._lines():
            if word in wanted and word not in found:
                try:
                    vector = np.array(values.split(b" "), dtype=np.float32)
                except ValueError:
                    vector = np.array([np.nan], dtype=np.float32)
                if not np.isfinite(vector).all():
                    raise ValueError(
                        f"{self.path}:{number}: the vector of {word!r} begins with {values[:40]!r}; expected "
                        f"{self.size} finite numbers. Repair the line, or take it out and mend the number of words."
                    )
                found[word] = vector
        return found

    def _lines(self) -> Iterator[tuple[int, str, bytes]]:
        """
        Number, word and vector of each line.

        Raises:
            ValueError: if one has not the form, or if there are more or fewer than the first line says.
        """
        number = 1
        with self.path.open("rb") as file:
            next(file)
            for number, line in enumerate(file, start=2):
                word, _, values = line.rstrip(b" \r\n").partition(b" ")
                dimensions = values.count(b" ") + 1 if values else 0
                if dimensions != self.size:
                    raise ValueError(
                        f"{self.path}:{number}: {dimensions} numbers behind the word {word[:40]!r}; expected "
                        f"{self.size}, each behind one space. Repair the line; a word cannot have a space in it."
                    )
                try:
                    yield number, word.decode(), values
                except UnicodeDecodeError:
                    raise ValueError(
                        f"{self.path}:{number}: the word {word[:40]!r} is not UTF-8. Convert the file, or take the "
                        "line out and mend the number of words."
                    ) from None
        if number - 1 != self.num_words:
            raise ValueError(
                f"{self.path}:{number} is the last line, of word {number - 1:,}; expected {self.num_words:,}, as "
                "the first line says. Get the file again: it was cut off, or mend its first line."
            )

    def subwords(self) -> dict[str, int] | None:
        """None: there are no n-grams."""
        return None

    def vector_of_subwords(self, word: str) -> np.ndarray | None:
        """
        None: an unlisted word has no vector.

        Args:
            word (`str`):
                Any.
        """
        return None


class BinaryVectors:
    """
    A `.bin` file: words, and a matrix with a row for each of them and for each bucket of n-grams, left on the disk.

    Args:
        path (`Path`):
            The file.

    Raises:
        ValueError: if it is no model of fastText, cut off, or one whose vectors are compressed or pruned.

    Reference:
        The code of fastText, `FastText::loadModel`, `Args::load` and `Dictionary::load`.
        https://github.com/facebookresearch/fastText
    """

    def __init__(self, path: Path):
        self.path = path
        with path.open("rb") as file:
            magic, version = self._unpack(file, struct.Struct("<ii"))
            if magic != MAGIC or version not in VERSIONS:
                raise ValueError(
                    f"{path} begins with {magic} and {version}; expected {MAGIC} and 12, as in a .bin file of "
                    "fastText. Give such a file, or the .vec file of the same vectors."
                )
            arguments = self._unpack(file, ARGUMENTS)
            self.size, model, self.num_buckets, self.min_characters, self.max_characters = (
                arguments[index] for index in (0, 7, 8, 9, 10)
            )
            if version == 11 and model == SUPERVISED:
                self.max_characters = 0  # such models had no n-grams
            num_entries, num_words, _, _, num_pruned = self._unpack(file, COUNTS)
            if num_pruned >= 0:
                raise ValueError(
                    f"{path} has a pruned vocabulary; expected a whole one. Give the model that it was made from."
                )
            entries = [self._entry(file) for _ in range(num_entries)]
            self.row_of = {word: row for row, word in enumerate(entries[:num_words])}
            (is_quantised,) = self._unpack(file, struct.Struct("<?"))
            if is_quantised:
                raise ValueError(
                    f"{path} has compressed vectors; expected 32-bit ones. Give the model that it was made from."
                )
            rows, columns = self._unpack(file, struct.Struct("<qq"))
            start = file.tell()
        if path.stat().st_size < start + 4 * rows * columns:
            raise self._cut_off()
        self.matrix = np.memmap(path, dtype="<f4", mode="r", offset=start, shape=(rows, columns))
        self.num_words = num_words

    def words(self) -> Iterator[str]:
        """The words, the most frequent first."""
        yield from self.row_of

    def read(self, wanted: Collection[str]) -> dict[str, np.ndarray]:
        """
        Vectors of those words that are there: the mean of a word's own and of those of its n-grams.

        Args:
            wanted (`Collection[str]`):
                Of any kind.
        """
        return {
            word: self.matrix[[self.row_of[word], *self._rows(word)]].mean(0) for word in wanted if word in self.row_of
        }

    def subwords(self) -> dict[str, int] | None:
        """How n-grams are made, the first arguments of [`subword_buckets`]; None if there are none."""
        if self.max_characters == 0:
            return None
        return {
            "min_characters": self.min_characters,
            "max_characters": self.max_characters,
            "num_buckets": self.num_buckets,
        }

    def vector_of_subwords(self, word: str) -> np.ndarray | None:
        """
        The mean of the vectors of a word's n-grams; None if it has none.

        Args:
            word (`str`):
                That is not listed.
        """
        rows = self._rows(word)
        return self.matrix[rows].mean(0) if rows else None

    def vectors_of_buckets(self, buckets: Sequence[int]) -> np.ndarray:
        """
        Vectors of n-grams, of shape `(buckets, size)`.

        Args:
            buckets (`Sequence[int]`):
                Of [`subword_buckets`].
        """
        return self.matrix[[self.num_words + bucket for bucket in buckets]]

    def _rows(self, word: str) -> list[int]:
        sizes = self.subwords()
        # fastText reads its mark of the end of a line as a word without n-grams.
        if sizes is None or word == "</s>":
            return []
        return [self.num_words + bucket for bucket in subword_buckets(word, **sizes)]

    def _entry(self, file: BinaryIO) -> str:
        word = bytearray()
        while (byte := file.read(1)) not in (b"\0", b""):
            word += byte
        self._unpack(file, struct.Struct("<qb"))  # count, and whether it is a label
        return word.decode(errors="surrogateescape")  # not all of Wikipedia is UTF-8; no word of a corpus has these

    def _unpack(self, file: BinaryIO, form: struct.Struct) -> tuple:
        content = file.read(form.size)
        if len(content) < form.size:
            raise self._cut_off()
        return form.unpack(content)

    def _cut_off(self) -> ValueError:
        return ValueError(f"{self.path} is cut off; expected a whole .bin file of fastText. Get it again.")


def open_word_vectors(path: str | Path) -> TextVectors | BinaryVectors:
    """
    The word vectors of a file, by its ending.

    Args:
        path (`str` or `Path`):
            A `.vec` or `.bin` file of fastText.

    Raises:
        ValueError: if there is no such file, or if it has another ending.
    """
    path = Path(path)
    if not path.is_file() or path.suffix not in (".vec", ".bin"):
        raise ValueError(
            f"Word vectors {str(path)!r} are {'of an unknown kind' if path.is_file() else 'not there'}; expected a "
            ".vec or .bin file of fastText, unpacked. Correct the path, or leave it out for random vectors."
        )
    return TextVectors(path) if path.suffix == ".vec" else BinaryVectors(path)


@dataclass(frozen=True)
class WordTable:
    """
    Words with their vectors, in the order of their rows; row 0 is that of unknown words.

    Args:
        words (`list[str]`):
            Those that are trained first. The first has row 1.
        num_trained (`int`):
            Rows that are trained, row 0 among them.
        vectors (`np.ndarray` of shape `(words + 1, size)`, *optional*):
            Pretrained ones; zero for words without one. None if all are random.
        subwords (`list[dict]`, *optional*):
            N-grams of each file, as [`WordSpellingTokenizer`] keeps them.
        subword_vectors (`np.ndarray` of shape `(n-grams, size)`, *optional*):
            Of those n-grams.
        report (`str`, *optional*):
            How many words have a vector, for people.
    """

    words: list[str]
    num_trained: int
    vectors: np.ndarray | None = None
    subwords: list[dict[str, Any]] = field(default_factory=list)
    subword_vectors: np.ndarray | None = None
    report: str = ""


def trained_words(sentences: Iterable[Sequence[str]], *, min_count: int, lowercase: bool) -> list[str]:
    """
    Words of a training set that occur often enough for a vector of their own, the most frequent first.

    Args:
        sentences (`Iterable[Sequence[str]]`):
            Words of each sentence.
        min_count (`int`):
            Least occurrences. Rarer words share the vector of unknown ones, which is trained on them: with 1 there
            are none.
        lowercase (`bool`):
            Whether words are the same in upper and lower case.

    Example:
        >>> trained_words([["no", "a", "No"], ["a"]], min_count=2, lowercase=True)
        ['a', 'no']
    """
    counts = Counter(word.lower() if lowercase else word for words in sentences for word in words)
    return sorted(
        (word for word, count in counts.items() if count >= min_count), key=lambda word: (-counts[word], word)
    )


def union_of_vectors(
    trained: Sequence[str],
    words_of: Mapping[str, Collection[str]],
    files: Mapping[str, TextVectors | BinaryVectors],
    *,
    num_frequent: int = 0,
    num_subwords: int = 0,
    lowercase: bool = False,
) -> WordTable:
    """
    One table of the word vectors of several languages.

    A word has the mean of its vectors in all files that list it, whatever its language: the model reads sentences
    without knowing theirs. A word that no file lists has that of its n-grams in the binary files of the languages
    that have it in their data.

    Args:
        trained (`Sequence[str]`):
            Words with a trained vector besides.
        words_of (`Mapping[str, Collection[str]]`):
            Words of the data of each language, of all splits.
        files (`Mapping[str, TextVectors or BinaryVectors]`):
            Vectors of each language, or of some; several may have one file.
        num_frequent (`int`, *optional*, defaults to 0):
            Most frequent words of each file that are kept besides.
        num_subwords (`int`, *optional*, defaults to 0):
            N-grams of each binary file that are kept, by which words that are in no data are known: those that most
            words of the table have.
        lowercase (`bool`, *optional*, defaults to `False`):
            Whether words will be looked up in lower case, as those above then are. A word that a file lists with
            capitals only has the vector of the most frequent of these; other frequent words are passed over.

    Raises:
        ValueError: if vectors of two files have different sizes.
    """
    sizes = {language: file.size for language, file in files.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(
            "Word vectors have different sizes: "
            + ", ".join(f"{size} in {files[language].path}" for language, size in sizes.items())
            + ". Expected one size, for they are put into one table. Give vectors of one size."
        )
    wanted = set().union(*words_of.values())
    sums: dict[str, np.ndarray] = {}
    counts: Counter[str] = Counter()

    def add(found: Mapping[str, np.ndarray]) -> None:
        for word, vector in found.items():
            sums[word] = sums[word] + vector if word in sums else vector
            counts[word] += 1

    distinct = {file.path: file for file in files.values()}
    for file in distinct.values():
        reachable = (word for word in file.words() if _is_text(word) and not (lowercase and word != word.lower()))
        frequent = set(islice(reachable, num_frequent))
        found = file.read(wanted | frequent)
        add(found)
        if lowercase:
            capitalised: dict[str, str] = {}
            for word in file.words():
                if (lower := word.lower()) in wanted and lower not in found:
                    capitalised.setdefault(lower, word)
            others = file.read(set(capitalised.values()))
            add({lower: others[word] for lower, word in capitalised.items()})
    listed = set(sums)
    for language, file in files.items():
        unlisted = sorted(set(words_of.get(language, ())) - listed)
        spelled = {word: file.vector_of_subwords(word) for word in unlisted}
        add({word: vector for word, vector in spelled.items() if vector is not None})
    words = [*trained, *sorted(set(sums) - set(trained))]
    vectors = np.zeros((len(words) + 1, next(iter(sizes.values()))), dtype=np.float32)
    for row, word in enumerate(words, start=1):
        if word in sums:
            vectors[row] = sums[word] / counts[word]
    subwords, subword_vectors = _kept_subwords(words, distinct.values(), num_subwords)
    return WordTable(
        words=words,
        num_trained=len(trained) + 1,
        vectors=vectors,
        subwords=subwords,
        subword_vectors=subword_vectors,
        report=_coverage(words_of, listed, set(sums)),
    )


def _is_text(word: str) -> bool:
    """Whether all of it could be decoded, so that a text may have it."""
    return not any("\ud800" <= character <= "\udfff" for character in word)


def _kept_subwords(
    words: Sequence[str], files: Iterable[TextVectors | BinaryVectors], num_subwords: int
) -> tuple[list[dict[str, Any]], np.ndarray | None]:
    """N-grams of each file that most of the words have, and their vectors."""
    subwords: list[dict[str, Any]] = []
    vectors: list[np.ndarray] = []
    for file in files:
        sizes = file.subwords()
        if sizes is None or num_subwords == 0 or not isinstance(file, BinaryVectors):
            continue
        found = Counter(bucket for word in words for bucket in set(subword_buckets(word, **sizes)))
        buckets = sorted(found, key=lambda bucket: (-found[bucket], bucket))[:num_subwords]
        subwords.append({**sizes, "buckets": buckets})
        vectors.append(file.vectors_of_buckets(buckets))
    return subwords, np.concatenate(vectors) if vectors else None


def _coverage(words_of: Mapping[str, Collection[str]], listed: set[str], known: set[str]) -> str:
    """A line for each language."""
    return "\n".join(
        f"{language}: of {len(words):,} distinct words, {len(listed.intersection(words)):,} have a vector, and "
        f"{len(known.intersection(words) - listed):,} that of their n-grams"
        for language, words in words_of.items()
    )
