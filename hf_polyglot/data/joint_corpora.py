"""Corpora with the tags of several tasks, each in a column of its own, for one model of all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

from hf_polyglot.data.corpora import SPLIT_NAMES, LoadedCorpora, Source, load_corpora, tasks_of_source
from hf_polyglot.data.corpus_report import CorpusReport


@dataclass
class JointReport:
    """
    What [`load_joint_corpora`] found, task by task. `str(report)` is made to be printed.

    Args:
        tasks (`dict[str, CorpusReport]`):
            Of each task, by the column of its tags.
        notes (`list[str]`):
            What is accepted but may be a mistake, of all tasks.
    """

    tasks: dict[str, CorpusReport]
    notes: list[str]

    def __str__(self) -> str:
        """The report of each task under its column, and the notes."""
        return "\n".join([*(f"{column}\n{report}\n" for column, report in self.tasks.items()), *self.notes])


@dataclass
class JointCorpora:
    """
    Data sets with a column for each task.

    Args:
        corpora (`dict[str, DatasetDict]`):
            The splits of each language: `tokens`, a column of `ClassLabel` ids for each task, and `language`. A
            sentence without a task has an empty list in its column.
        labels (`dict[str, list[str]]`):
            The labels of each task, by its column.
        report ([`JointReport`]):
            What was found.
    """

    corpora: dict[str, DatasetDict]
    labels: dict[str, list[str]]
    report: JointReport


def load_joint_corpora(
    sources: Mapping[str, Source],
    tasks: Sequence[str],
    *,
    type_map: Mapping[str, str] | None = None,
    scheme: str = "IOB2",
    separator: str | None = None,
    token_column: int | str | None = None,
    source_scheme: str | None = None,
    known_labels: Mapping[str, Sequence[str]] | None = None,
) -> JointCorpora:
    """
    Data sets of several languages with the tags of several tasks, of each language those that it has.

    CoNLL-U has parts of speech and features, other column files have entities, data sets have the columns that they
    have. A sentence whose parts of speech are all `_` has none, and a language whose features are all `_` either.
    Sentences that have no task at all are left out.

    Args:
        sources (`Mapping[str, str | Path | Mapping[str, str | Path]]`):
            As for [`load_corpora`].
        tasks (`Sequence[str]`):
            Columns: of `"ner_tags"`, `"upos"` and `"feats"` several.
        type_map (`Mapping[str, str]`, *optional*):
            New names of entity types.
        scheme (`str`, *optional*, defaults to `"IOB2"`):
            Tag scheme of entities.
        separator (`str`, *optional*):
            What splits the columns of files; found if not given.
        token_column (`int` or `str`, *optional*):
            Column of the words, as for [`load_corpora`].
        source_scheme (`str`, *optional*):
            Tag scheme of the sources' entities; found if not given.
        known_labels (`Mapping[str, Sequence[str]]`, *optional*):
            Labels of a model that there is, by column: they come first.

    Raises:
        ValueError: if no source has one of the tasks, if a source has none of them, or if its sentences differ from
            task to task.
    """
    columns: dict[str, Any] = {"separator": separator, "token_column": token_column}
    known = {language: tasks_of_source(language, source, **columns) for language, source in sources.items()}
    for language, own in known.items():
        if not set(own) & set(tasks):
            raise ValueError(
                f"`{language}`: {sources[language]} has {', '.join(own) or 'no tags'}; expected one of "
                f"{', '.join(tasks)} at least. Leave it out, or name its task."
            )
    loaded: dict[str, LoadedCorpora] = {}
    for task in tasks:
        having = {language: source for language, source in sources.items() if task in known[language]}
        if not having and task in (known_labels or {}):  # a model that has it goes on with languages that have not
            continue
        if not having:
            raise ValueError(
                f"No corpus has `{task}`: {', '.join(map(str, sources))} have {', '.join({*chain(*known.values())})}. "
                "Expected one at least; add it, or leave the task out."
            )
        of_entities: dict[str, Any] = {"type_map": type_map, "scheme": scheme, "source_scheme": source_scheme}
        loaded[task] = load_corpora(
            having,
            task=task,
            may_lack_tags=True,
            known_labels=(known_labels or {}).get(task, ()),
            **columns,
            **(of_entities if task == "ner_tags" else {}),
        )
    reports = {task: of_task.report for task, of_task in loaded.items()}
    notes = list(dict.fromkeys(note for report in reports.values() for note in report.notes))
    for report in reports.values():
        report.notes = []
    labels = {task: reports[task].labels if task in reports else list((known_labels or {})[task]) for task in tasks}
    corpora = {language: _joined(language, sources[language], loaded, labels, notes) for language in sources}
    return JointCorpora(corpora, labels, JointReport(reports, notes))


def _joined(
    language: str,
    source: Source,
    loaded: Mapping[str, LoadedCorpora],
    labels: Mapping[str, list[str]],
    notes: list[str],
) -> DatasetDict:
    """The splits of a language with a column for each task. What it lacks is noted."""
    parts = {task: of_task.corpora[language] for task, of_task in loaded.items() if language in of_task.corpora}
    tagged = {task: splits for task, splits in parts.items() if _is_tagged(task, splits, labels[task])}
    if lacking := [task for task in labels if task not in tagged]:
        notes.append(f"{language}: no {' and no '.join(lacking)}. It is trained and scored on its other tasks.")
    first = next(iter(parts.values()))
    joined = {}
    for split in SPLIT_NAMES:
        if split in first:
            joined[split] = _joined_split(
                f"{language} ({_shown(source)}, {split})", split, parts, tagged, labels, notes
            )
    if empty := [split for split, dataset in joined.items() if not len(dataset)]:
        notes.append(f"{language} ({_shown(source)}): {', '.join(empty)} without any tags: as if it were not there.")
    return DatasetDict({split: dataset for split, dataset in joined.items() if split not in empty})


def _is_tagged(task: str, splits: Mapping[str, Dataset], labels: list[str]) -> bool:
    """Whether a sentence has tags, and, of features, whether one of them is none of `_`."""
    names = {labels[label] for dataset in splits.values() for label in set(chain.from_iterable(dataset[task]))}
    return bool(names - {"_"} if task == "feats" else names)


def _shown(source: Source) -> str:
    return ", ".join(map(str, source.values())) if isinstance(source, Mapping) else str(Path(source))


def _joined_split(
    place: str,
    split: str,
    parts: Mapping[str, DatasetDict],
    tagged: Mapping[str, DatasetDict],
    labels: Mapping[str, list[str]],
    notes: list[str],
) -> Dataset:
    """
    A split with a column for each task.

    Raises:
        ValueError: if the words differ from task to task.
    """
    (first, tokens), *others = ((task, splits[split]["tokens"][:]) for task, splits in parts.items())
    for task, other in others:
        if other != tokens:
            raise ValueError(
                f"{place}: the sentences of {first} and {task} differ; expected the same words in both. Give the "
                "files of each task as a language of its own."
            )
    columns = {task: tagged[task][split][task][:] if task in tagged else [[] for _ in tokens] for task in labels}
    if "upos" in tagged and "feats" in tagged:
        # `_` is a bundle of features where a sentence was annotated, and nothing where nobody did that.
        none = labels["feats"].index("_") if "_" in labels["feats"] else None
        for row, (classes, features_) in enumerate(zip(columns["upos"], columns["feats"], strict=True)):
            if not classes and set(features_) == {none}:
                columns["feats"][row] = []
    kept = [row for row in range(len(tokens)) if any(column[row] for column in columns.values())]
    if len(kept) < len(tokens):
        notes.append(f"{place}: {len(tokens) - len(kept):,} sentences without any tags are left out.")
    language = next(iter(parts.values()))[split]["language"][:]
    features = {task: List(ClassLabel(names=names)) for task, names in labels.items()}
    features = {"tokens": List(Value("string")), **features, "language": Value("string")}
    everything = {"tokens": tokens, **columns, "language": language}
    return Dataset.from_dict(
        {name: [column[row] for row in kept] for name, column in everything.items()}, features=Features(features)
    )
