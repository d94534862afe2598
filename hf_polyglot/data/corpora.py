"""Annotated corpora of several languages as data sets that share one label list, with a report of what was changed."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value, load_dataset

from hf_polyglot.data.conll import read_conll, tasks_of_file
from hf_polyglot.data.corpus_cache import cache_folder, read_corpora, write_corpora
from hf_polyglot.data.corpus_report import CorpusReport, SplitReport
from hf_polyglot.data.tagged_sentences import (
    ENTITY_TYPE,
    PREFIXED_TAG,
    TASKS,
    CorpusFormatError,
    Occurrences,
    TaggedSentence,
    check_word_tags,
    convert_sentences,
    drop_missing_tags,
    find_scheme,
    shown,
)
from hf_polyglot.models.label_scheme import SCHEMES, labels_for_types, spans_from_tags, tags_from_spans

SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("dev", "valid", "validation", "val", "testa"),
    "test": ("test", "testb"),
}
SPLIT_OF_NAME = {name: split for split, names in SPLIT_NAMES.items() for name in names}
COLUMN_FILES = (".txt", ".tsv", ".conll", ".conllu", ".conllup", ".iob", ".iob1", ".iob2", ".bio", ".bioes")
# If sentences are longer than this on average, their borders are probably missing.
WORDS_OF_A_LONG_SENTENCE = 200
# Smaller corpora are read as fast as they are found in the cache.
CACHED_BYTES = 100_000
HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?(:[\w.-]+)?")

Source = str | Path | Mapping[str, str | Path]


@dataclass
class LoadedCorpora:
    """
    Data sets and report, which unpack as `corpora, report`.

    Args:
        corpora (`dict[str, DatasetDict]`):
            The splits of each language: `tokens`, the column of the task as `ClassLabel` ids, and `language`.
        report (`CorpusReport`):
            What was found, mapped, repaired and left out.
    """

    corpora: dict[str, DatasetDict]
    report: CorpusReport

    def __iter__(self) -> Iterator[Any]:
        """The data sets, then the report."""
        return iter((self.corpora, self.report))


@dataclass(frozen=True)
class _Reading:
    """The arguments of `load_corpora` that say how to read a source."""

    task: str
    separator: str | None
    token_column: int | str | None
    tag_column: int | str | None
    source_scheme: str | None
    may_lack_tags: bool = False


_Split = tuple[list[TaggedSentence], SplitReport]


def fingerprint(dataset: Dataset, task: str | None = None) -> str:
    """
    SHA-256 of the words and tags of a split, whatever the process and the order of the labels.

    Args:
        dataset (`Dataset`):
            A split that `load_corpora` or `load_joint_corpora` made.
        task (`str`, *optional*):
            Column of the tags, of several. Defaults to all of them.

    Returns:
        `str` of 64 hexadecimal digits
    """
    dataset = dataset.with_format(None)
    tasks = [name for name in TASKS if name in dataset.column_names] if task is None else [task]
    labels = {name: dataset.features[name].feature.names for name in tasks}
    return _fingerprint(
        (row["tokens"], *([labels[name][label] for label in row[name]] for name in tasks)) for row in dataset
    )


def _fingerprint(sentences: Iterable[tuple[Sequence[str], ...]]) -> str:
    digest = hashlib.sha256()
    for sentence in sentences:
        digest.update(json.dumps(sentence).encode())
    return digest.hexdigest()


def _split_of(name: str) -> str | None:
    """The split that a file name tells: validation from `eng.testa` or `da_ddt-ud-dev.iob2`, none from `a.txt`."""
    found = {SPLIT_OF_NAME[word] for word in re.findall(r"[a-z]+", name.lower()) if word in SPLIT_OF_NAME}
    return found.pop() if len(found) == 1 else None


def corpus_of_file(path: str | Path) -> Path | None:
    """
    What the names of a corpus's files begin with, where the files of several corpora share a folder.

    Args:
        path (`str` or `Path`):
            One of the files.

    Returns:
        `Path`, None if the name does not end in a split and the ending of a column file.

    Example:
        >>> str(corpus_of_file("ud/ta_ttb-ud-train.conllu"))
        'ud/ta_ttb-ud'
    """
    path = Path(path)
    corpus, _, split = re.sub(r"[-_.](?=[^-_.]+$)", "/", path.stem).partition("/")
    if path.suffix.lower() in COLUMN_FILES and corpus and split.lower() in SPLIT_OF_NAME:
        return path.with_name(corpus)
    return None


def _candidates(language: str, source: Source) -> Iterator[tuple[str, Path]]:
    # Every split with its file. A split may come twice.
    if isinstance(source, Mapping):
        for name, path in source.items():
            split = SPLIT_OF_NAME.get(name)
            if split is None:
                raise ValueError(
                    f"`{language}` has a split {name!r}. Expected {', '.join(SPLIT_NAMES)}. Rename it or leave it out."
                )
            yield split, Path(path)
    elif "{split}" in str(source):
        for split, names in SPLIT_NAMES.items():
            paths = [Path(str(source).replace("{split}", name)) for name in names]
            yield from ((split, path) for path in paths if path.is_file())
    elif Path(source).is_dir():
        for path in sorted(Path(source).iterdir()):
            split = _split_of(path.name)
            if split and path.is_file() and (path.suffix.lower() in COLUMN_FILES or _split_of(path.suffix)):
                yield split, path
    elif Path(source).parent.is_dir():
        for path in sorted(Path(source).parent.iterdir()):
            if corpus_of_file(path) == Path(source) and path.is_file():
                yield SPLIT_OF_NAME[re.split("[-_.]", path.stem)[-1].lower()], path


def _files_of(language: str, source: Source) -> dict[str, Path]:
    # The file of each split, in the order of `SPLIT_NAMES`; none where `load_dataset` has to read the source.
    files: dict[str, Path] = {}
    for split, path in _candidates(language, source):
        if not path.is_file():
            raise FileNotFoundError(
                f"`{language}`: {path} is no file. Expected the {split} split there. Correct the path; relative ones "
                f"start at {Path.cwd()}."
            )
        if split in files:
            raise ValueError(
                f"`{language}` has two {split} splits, {files[split]} and {path}. Expected one. Give a pattern "
                f"with {{split}}, or the files one by one, as {{'{split}': '{path}'}}."
            )
        files[split] = path
    is_name = isinstance(source, str) and HUB_NAME.fullmatch(source) and not source.lower().endswith(COLUMN_FILES)
    if not files and (isinstance(source, Mapping) or not (is_name or Path(source).is_dir())):
        raise FileNotFoundError(
            f"`{language}`: no split at {str(source)!r}. Expected a folder with train, dev and test files, a pattern "
            "with {split}, what their names begin with, a path for each split, or a Hub name such as "
            f"owner/name:configuration. Correct the path; relative ones start at {Path.cwd()}."
        )
    return {split: files[split] for split in SPLIT_NAMES if split in files}


def _read_file(path: Path, reading: _Reading) -> _Split:
    # A column that is given by name belongs to data sets.
    token_column, tag_column = (
        column if isinstance(column, int) else None for column in (reading.token_column, reading.tag_column)
    )
    found = read_conll(
        path,
        separator=reading.separator,
        token_column=token_column,
        tag_column=tag_column,
        scheme=reading.source_scheme,
        task=reading.task,
        may_lack_tags=reading.may_lack_tags,
    )
    return found.sentences, SplitReport(str(path), found.scheme, found.repaired, found.converted, found.left_out)


def _load_data_set(language: str, source: str) -> DatasetDict:
    # A data set that `load_dataset` reads.
    is_folder = Path(source).is_dir()
    name, _, configuration = (source, "", "") if is_folder else source.partition(":")
    try:
        return load_dataset(name, configuration or None)
    except Exception as error:  # the loaders behind it raise whatever they like
        raise ValueError(
            f"`{language}`: `load_dataset({name!r}{f', {configuration!r}' if configuration else ''})` says: {error} "
            "Expected a folder with train, dev and test files, or a data set on the Hub as owner/name:configuration. "
            f"If it is a path, it is missing or empty; relative ones start at {Path.cwd()}."
        ) from error


def tasks_of_source(
    language: str, source: Source, *, separator: str | None = None, token_column: int | str | None = None
) -> list[str]:
    """
    The tasks that a source has columns for, of `TASKS`.

    Args:
        language (`str`):
            Its language.
        source (`str`, `Path` or `Mapping`):
            As for [`load_corpora`].
        separator (`str`, *optional*):
            What splits the columns of files; found if not given.
        token_column (`int` or `str`, *optional*):
            Column of the words, as for [`load_corpora`].
    """
    files = _files_of(language, source)
    column = token_column if isinstance(token_column, int) else None
    found = {task for path in files.values() for task in tasks_of_file(path, separator=separator, token_column=column)}
    if not files:
        found = {name for dataset in _load_data_set(language, str(source)).values() for name in dataset.column_names}
    return [task for task in TASKS if task in found]


def _read_data_set(language: str, source: str, reading: _Reading) -> tuple[dict[str, _Split], list[str]]:
    # The splits of a data set that `load_dataset` reads, and the names of those that are left out.
    splits: dict[str, _Split] = {}
    left_out = []
    for key, dataset in _load_data_set(language, source).items():
        split = SPLIT_OF_NAME.get(str(key))
        if split is None or split in splits:
            left_out.append(str(key))
        else:
            splits[split] = _read_rows(dataset, f"{source}[{key}]", reading)
    if not splits:
        raise ValueError(
            f"`{language}`: {source} has the splits {', '.join(left_out)}. Expected {', '.join(SPLIT_NAMES)}. Save "
            "them under these names."
        )
    return {split: splits[split] for split in SPLIT_NAMES if split in splits}, left_out


def _tag_names(dataset: Dataset, column: str, place: str) -> list[str] | None:
    # The tag of each id, None where the tags themselves are stored.
    feature = getattr(dataset.features[column], "feature", None)
    if isinstance(feature, ClassLabel):
        return feature.names
    if feature is not None and getattr(feature, "dtype", "") in ("string", "large_string"):
        return None
    raise CorpusFormatError(
        f"{place}: the column {column!r} holds {dataset.features[column]}. Expected lists of strings or of "
        "`ClassLabel` ids. Give another `tag_column`, or cast the column so that its ids have names."
    )


def _read_rows(dataset: Dataset, source: str, reading: _Reading) -> _Split:
    # The sentences of one split of a data set. A column that is given by number belongs to files.
    token_column = reading.token_column if isinstance(reading.token_column, str) else "tokens"
    tag_column = reading.tag_column if isinstance(reading.tag_column, str) else reading.task
    for name, column in (("token_column", token_column), ("tag_column", tag_column)):
        if column not in dataset.column_names:
            raise CorpusFormatError(
                f"{source}: no column {column!r}. Expected one of {', '.join(dataset.column_names)}. Give `{name}`."
            )
    names = _tag_names(dataset, tag_column, source)
    sentences = []
    left_out: dict[str, Occurrences] = {}

    def place(row: int) -> str:
        return f"{source}:{row}"

    for row, (tokens, tags) in enumerate(zip(dataset[token_column], dataset[tag_column], strict=True)):
        if reading.may_lack_tags and tokens and not tags:
            sentences.append(TaggedSentence(list(tokens)))
            continue
        if names is not None and tags is not None and all(tag is not None and 0 <= tag < len(names) for tag in tags):
            tags = [names[tag] for tag in tags]
        if tokens is None or tags is None or len(tokens) != len(tags):
            raise CorpusFormatError(
                f"{place(row)}: the tokens {shown(tokens)} and the tags {shown(tags)}. Expected one tag for each "
                "token. Correct the row, or give `token_column` and `tag_column`."
            )
        for token, tag in zip(tokens, tags, strict=True):
            if not isinstance(token, str) or not token.strip(" ") or not isinstance(tag, str):
                raise CorpusFormatError(
                    f"{place(row)}: the token {shown(token)} with the tag {shown(tag)}. Expected a word that is not "
                    "empty, and a tag or the id of one. Correct the row, or give `token_column` and `tag_column`."
                )
        if tokens:
            sentences.append(TaggedSentence(list(tokens), list(tags), [row] * len(tokens)))
        else:
            left_out.setdefault("empty sentences", Occurrences()).add(place(row))
    if not sentences:
        raise CorpusFormatError(f"{source}: no sentence in the split. Expected one at least. Check the data set.")
    if reading.task != "ner_tags":
        if reading.may_lack_tags:
            drop_missing_tags(sentences, reading.task)
        check_word_tags(sentences, reading.task, place)
        return sentences, SplitReport(source, "", Occurrences(), Occurrences(), left_out)
    scheme = find_scheme(sentences, reading.source_scheme, place)
    repaired, converted = convert_sentences(sentences, scheme, "IOB2", place)
    return sentences, SplitReport(source, scheme, repaired, converted, left_out)


def _map_types(sentences: list[TaggedSentence], report: SplitReport, type_map: Mapping[str, str], scheme: str) -> None:
    """Rename the types of IOB2 sentences, write them in `scheme`, and report both."""
    entities: Counter[str] = Counter()
    for sentence in sentences:
        spans = []
        for start, end, entity_type in spans_from_tags(sentence.tags):
            new_type = type_map.get(entity_type, entity_type)
            if entity_type in type_map:
                found = report.mapped.setdefault(f"{entity_type} -> {new_type}", Occurrences())
                found.add(f"{report.source}:{sentence.lines[start]}")
            if new_type != "O":
                spans.append((start, end, new_type))
        entities.update(entity_type for _, _, entity_type in spans)
        sentence.tags = tags_from_spans(spans, len(sentence.tags), scheme)
        lost = len(spans) - len(spans_from_tags(sentence.tags, scheme)) if scheme == "plain" else 0
        if lost:
            kind = "borders between spans of one type, which plain tags lack"
            report.left_out.setdefault(kind, Occurrences()).add(f"{report.source}:{sentence.lines[0]}", lost)
    report.entities = dict(sorted(entities.items()))


def _dataset(sentences: list[TaggedSentence], language: str, task: str, labels: list[str]) -> Dataset:
    ids = {label: index for index, label in enumerate(labels)}
    features = {"tokens": List(Value("string")), task: List(ClassLabel(names=labels)), "language": Value("string")}
    columns = {
        "tokens": [sentence.tokens for sentence in sentences],
        task: [[ids[tag] for tag in sentence.tags] for sentence in sentences],
        "language": [language] * len(sentences),
    }
    return Dataset.from_dict(columns, features=Features(features))


def _notes(languages: Mapping[str, Mapping[str, SplitReport]], type_map: Mapping[str, str], task: str) -> list[str]:
    """What is accepted but may be a mistake."""
    notes = []
    every_split = [split for splits in languages.values() for split in splits.values()]
    for old, new in type_map.items():
        if not any(f"{old} -> {new}" in split.mapped for split in every_split):
            notes.append(f"type_map: no corpus has the type {old}, so {old} -> {new} did nothing.")
    every_type = sorted({entity_type for split in every_split for entity_type in split.entities})
    for language, splits in languages.items():
        missing = [split for split in SPLIT_NAMES if split not in splits]
        if missing:
            notes.append(f"{language}: no {' and no '.join(missing)} split.")
        for first, second in (("train", "validation"), ("train", "test"), ("validation", "test")):
            if first in splits and second in splits and splits[first].fingerprint == splits[second].fingerprint:
                notes.append(f"{language}: {first} and {second} are identical.")
        for name, split in splits.items():
            if split.words > WORDS_OF_A_LONG_SENTENCE * split.sentences:
                notes.append(
                    f"{language}: {split.words:,} words in {split.sentences:,} sentences of {name}. Does a blank line "
                    "stand between sentences?"
                )
        if task == "ner_tags":
            notes += [f"{language}: no entity in {name}." for name, split in splits.items() if not split.entities]
            own_types = {entity_type for split in splits.values() for entity_type in split.entities}
            absent = [entity_type for entity_type in every_type if entity_type not in own_types]
            if absent:
                notes.append(f"{language}: no {', no '.join(absent)}, unlike other languages.")
    return notes


def _check_arguments(
    sources: Mapping[str, Source], type_map: Mapping[str, str], scheme: str, source_scheme: str | None, task: str
) -> None:
    if not sources:
        raise ValueError("No sources. Expected one language or more. Give `{'swa': 'path/to/folder'}`.")
    if task not in TASKS:
        raise ValueError(f"Unknown task {task!r}. Expected one of {', '.join(TASKS)}.")
    for name, value in (("scheme", scheme), ("source_scheme", source_scheme or scheme)):
        if value not in SCHEMES:
            raise ValueError(f"Unknown `{name}` {value!r}. Expected one of {', '.join(SCHEMES)}.")
    if type_map and task != "ner_tags":
        raise ValueError(f"A `type_map` renames entity types, but the task is {task!r}. Leave `type_map` out.")
    for old, new in type_map.items():
        if PREFIXED_TAG.fullmatch(old) or PREFIXED_TAG.fullmatch(new) or not ENTITY_TYPE.fullmatch(new):
            raise ValueError(
                f"`type_map` has {old!r}: {new!r}. Expected entity types without a prefix, or 'O' to drop one. Give "
                "it as `{'DATE': 'O'}`."
            )


def load_corpora(
    sources: Mapping[str, Source],
    *,
    type_map: Mapping[str, str] | None = None,
    scheme: str = "IOB2",
    task: str = "ner_tags",
    separator: str | None = None,
    token_column: int | str | None = None,
    tag_column: int | str | None = None,
    source_scheme: str | None = None,
    known_labels: Sequence[str] = (),
    may_lack_tags: bool = False,
) -> LoadedCorpora:
    """
    Data sets of several languages that share one label list, and a report of what was mapped, repaired and left out.

    Data that cannot be read raise `CorpusFormatError`, which names file and line, or data set and row. A path that
    does not exist raises `FileNotFoundError`; a split that comes twice, a failing `load_dataset` or a wrong argument
    raises `ValueError`. What is read from files is kept in the cache of `datasets`, by their content, and mapped into
    memory.

    Args:
        sources (`Mapping[str, str | Path | Mapping[str, str | Path]]`):
            For each language, a folder that holds train, dev and test files (`train.txt`, `x-dev.iob2`, `eng.testa`),
            a pattern with `{split}`, what the names of its files begin with (`ud/ta_ttb-ud`), a mapping from split to
            path, or the name of a data set on the Hub, with its configuration behind a colon
            (`unimelb-nlp/wikiann:en`). A folder of data files such as Parquet is read as
            the Hub's data sets are, by `load_dataset`.
        type_map (`Mapping[str, str]`, *optional*):
            New names of entity types; `"O"` drops one.
        scheme (`str`, *optional*, defaults to `"IOB2"`):
            Tag scheme of the labels, one of `SCHEMES`.
        task (`str`, *optional*, defaults to `"ner_tags"`):
            `"ner_tags"`, `"upos"` or `"feats"`.
        separator (`str`, *optional*):
            What splits the columns of files; found if not given.
        token_column (`int` or `str`, *optional*):
            Column of the words: a number for files, a name for data sets (`"tokens"` if not given). It has no effect
            on sources of the other kind.
        tag_column (`int` or `str`, *optional*):
            Column of the tags, likewise (the task if not given).
        source_scheme (`str`, *optional*):
            Tag scheme of the sources; found in each file if not given.
        known_labels (`Sequence[str]`, *optional*):
            Labels that come first in the list of labels, in this order, such as those of a model that is to be trained
            further; those of the corpora that are not among them come behind.
        may_lack_tags (`bool`, *optional*, defaults to `False`):
            True takes sentences that nobody has tagged, with an empty list for tags: those whose parts of speech are
            all `_`, and rows of data sets whose list is empty.

    Returns:
        [`LoadedCorpora`], which unpacks as `corpora, report`
    """
    type_map = type_map or {}
    _check_arguments(sources, type_map, scheme, source_scheme, task)
    reading = _Reading(task, separator, token_column, tag_column, source_scheme, may_lack_tags)
    files_of = {language: _files_of(language, source) for language, source in sources.items()}
    every_file = [path for files in files_of.values() for path in files.values()]
    folder = None
    if all(files_of.values()) and sum(path.stat().st_size for path in every_file) >= CACHED_BYTES:
        names = {language: {split: str(path) for split, path in files.items()} for language, files in files_of.items()}
        arguments = [list(names.items()), list(type_map.items()), scheme, asdict(reading), list(known_labels)]
        folder = cache_folder(every_file, arguments, Path(__file__))
        found = read_corpora(folder)
        if found is not None:
            return LoadedCorpora(*found)

    read: dict[str, dict[str, _Split]] = {}
    notes = []
    for language, source in sources.items():
        files = files_of[language]
        if files:
            read[language] = {split: _read_file(path, reading) for split, path in files.items()}
        else:
            read[language], left_out = _read_data_set(language, str(source), reading)
            notes += [f"{language}: the split {split} of {source} is left out." for split in left_out]
        for split, (sentences, report) in read[language].items():
            if all(token == "_" for sentence in sentences for token in sentence.tokens):
                notes.append(
                    f"{language}: every word of {split} is `_`, as in treebanks that are given away without their "
                    "text. Nothing can be learnt from it, and no score on it means anything; put the words in first."
                )
            if task == "ner_tags":
                _map_types(sentences, report, type_map, scheme)
            report.sentences = len(sentences)
            report.words = sum(len(sentence.tokens) for sentence in sentences)
            report.fingerprint = _fingerprint((sentence.tokens, sentence.tags) for sentence in sentences)

    reports = {language: {name: report for name, (_, report) in splits.items()} for language, splits in read.items()}
    every_split = [split for splits in read.values() for split in splits.values()]
    if task == "ner_tags":
        labels = labels_for_types(
            {entity_type for _, report in every_split for entity_type in report.entities}, scheme
        )
    else:
        labels = sorted({tag for sentences, _ in every_split for sentence in sentences for tag in sentence.tags})
    labels = list(dict.fromkeys([*known_labels, *labels]))
    corpora = {
        language: DatasetDict({name: _dataset(found[0], language, task, labels) for name, found in splits.items()})
        for language, splits in read.items()
    }
    notes += _notes(reports, type_map, task)
    loaded = LoadedCorpora(corpora, CorpusReport(task, labels, reports, notes))
    if folder is not None:
        write_corpora(folder, *loaded)
        found = read_corpora(folder)
        return loaded if found is None else LoadedCorpora(*found)
    return loaded
