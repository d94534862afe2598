"""The corpora of a recipe: which ones its command line names, and how they are loaded."""

import glob
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict

from hf_polyglot.data.corpora import (
    HUB_NAME,
    CorpusReport,
    LoadedCorpora,
    corpus_of_file,
    fingerprint,
    load_corpora,
    tasks_of_source,
)
from hf_polyglot.data.demo import DEMO_FOLDER, SOURCE_LANGUAGES, ZERO_SHOT_LANGUAGES
from hf_polyglot.data.joint_corpora import JointCorpora, JointReport, load_joint_corpora
from hf_polyglot.joint_tasks import task_of_model
from hf_polyglot.models.label_scheme import SCHEMES, WORD_CLASSES, labels_by_scheme
from hf_polyglot.results import AVERAGES
from hf_polyglot.tasks import TASKS, Task, task_of

# Labels beyond which a CRF is slow: it reads every pair of them at every word.
MANY_LABELS = 500


@dataclass
class CorpusArguments:
    """Which annotated files a recipe reads, shared by all of them."""

    corpora: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Training corpora, each LANGUAGE=SOURCE, or a folder named after its language. A source is a "
            "folder with train, dev and test files, a pattern with {split}, what the names of such files begin with "
            "(ud/ta_ttb-ud), or a Hub id. A * in a folder's or file's name is expanded. Default: the embedded "
            "synthetic corpus."
        },
    )
    task: str = field(
        default="ner",
        metadata={
            "help": "What is learnt. ner: entities. upos: parts of speech; feats: bundles of morphological features, "
            "each a class; both of CoNLL-U. Of several, as upos feats, one model has a head for each.",
            "choices": list(TASKS),
            "nargs": "+",
        },
    )
    task_weights: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Of several tasks: what a label of a task counts in the loss, as upos=1 feats=0.5. Default: 1 for "
            "all, so that the losses of all labels are added up and divided by their number."
        },
    )
    zero_shot_corpora: list[str] = field(
        default_factory=list,
        metadata={"help": "Corpora, given likewise, that the model is tested on and never trained on."},
    )
    type_map: list[str] = field(
        default_factory=list,
        metadata={"help": "Entity types to rename, as DATE=O (outside every entity) or PERSON=PER."},
    )
    token_column: str | None = field(
        default=None,
        metadata={"help": "Column of the words: number in files, from 0, or name. Default: found."},
    )
    tag_column: str | None = field(
        default=None,
        metadata={"help": "Column of the tags: number in files, from 0, or name. Default: found."},
    )
    separator: str | None = field(
        default=None,
        metadata={"help": "What splits the columns of files. Default: found.", "choices": ["tab", "space"]},
    )
    source_scheme: str | None = field(
        default=None, metadata={"help": "Tag scheme of the sources: IOB1, IOB2, BIOES or plain. Default: found."}
    )
    label_scheme: str = field(
        default="IOB2",
        metadata={
            "help": "Tag scheme of entities that the model learns and writes, whatever that of the sources.",
            "choices": SCHEMES,
        },
    )
    max_train_sentences: int | None = field(
        default=None, metadata={"help": "Training sentences kept of each language, drawn at random. Default: all."}
    )
    max_test_sentences: int | None = field(
        default=None, metadata={"help": "Sentences kept of each dev and test set, drawn at random. Default: all."}
    )
    data_source: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Where the corpora come from, for the card: one text for all, or LANGUAGE=TEXT. Hub data sets are "
            "named without it."
        },
    )
    data_license: list[str] = field(
        default_factory=list, metadata={"help": "Licence of the corpora, for the card, given likewise."}
    )
    seeds: list[int] = field(
        default_factory=lambda: [42], metadata={"help": "One run for each; results are mean and standard deviation."}
    )

    def __post_init__(self):
        # One string, as before there could be several: results.json of one task are what they were. In the order of
        # the heads, so that the same tasks are the same run.
        names = self.task.split() if isinstance(self.task, str) else self.task
        self.task = " ".join(sorted(names, key=lambda name: [*TASKS, name].index(name)))

    @property
    def tasks(self) -> list[Task]:
        """
        The tasks, entities first.

        Raises:
            ValueError: if one is named twice, or is none.
        """
        names = self.task.split()
        if not names or len(set(names)) < len(names) or not set(names) <= set(TASKS):
            raise ValueError(f"`task` is {self.task!r}; expected some of {', '.join(TASKS)}, each once. Correct it.")
        return [TASKS[name] for name in names]


def named_sources(given: Sequence[str]) -> dict[str, str]:
    """
    Source of each language, from `LANGUAGE=SOURCE`, or from the name of a folder or of the files of a treebank.

    Args:
        given (`Sequence[str]`):
            As on the command line. Of the files of one corpus, several may be given.

    Raises:
        ValueError: if a language is named twice, or has no name: a pattern matches no folder, or a source is none.

    Example:
        >>> named_sources(["swa=data/swa", "eng=unimelb-nlp/wikiann:en"])
        {'swa': 'data/swa', 'eng': 'unimelb-nlp/wikiann:en'}
    """
    sources: dict[str, str] = {}
    for source in given:
        language, equals, path = source.partition("=")
        if "/" in language:  # the "=" is part of a path
            language, equals, path = source, "", ""
        for folder in [path] if equals else _expanded(source):
            name = language if equals else Path(folder).resolve().name.removesuffix("-ud")
            if not equals and not (Path(folder).is_dir() or _begins_file_names(folder)):
                raise ValueError(
                    f"{source!r} is no folder, which would give its name to a language. Correct the path, or give "
                    f"LANGUAGE=SOURCE, as swa={source}."
                )
            if sources.get(name, folder) != folder:
                raise ValueError(
                    f"The language {name!r} has two corpora, {sources[name]} and {folder}. Leave one out."
                )
            sources[name] = folder
    return sources


def _expanded(pattern: str) -> list[str]:
    """
    The folders and the corpora of files that a pattern matches, in order; anything without `*` as it is.

    Raises:
        ValueError: if it matches none.
    """
    if "*" not in pattern:
        return [_corpus_of(pattern) or pattern]
    matches = glob.glob(pattern)  # noqa: PTH207 (absolute and relative patterns alike)
    corpora = {path if Path(path).is_dir() else _corpus_of(path) for path in matches} - {None}
    if not corpora:
        raise ValueError(
            f"No folder matches {pattern!r}, and no file with a split in its name. A corpus is a folder with train, "
            "dev and test files, or files such as ta_ttb-ud-train.conllu."
        )
    return sorted(map(str, corpora))


def _corpus_of(path: str) -> str | None:
    """What the names of a corpus's files begin with, if this is one of them."""
    corpus = corpus_of_file(path) if Path(path).is_file() else None
    return None if corpus is None else str(corpus)


def _begins_file_names(path: str) -> bool:
    folder = Path(path).parent
    return folder.is_dir() and any(corpus_of_file(file) == Path(path) for file in folder.iterdir())


def parsed_task_weights(given: Sequence[str], tasks: Sequence[Task]) -> dict[str, float]:
    """
    What a label of each task counts in the loss, from `TASK=NUMBER`.

    Args:
        given (`Sequence[str]`):
            As on the command line.
        tasks (`Sequence[Task]`):
            Those that are learnt.

    Raises:
        ValueError: if one has not that form, is of no task that is learnt, or not positive.

    Example:
        >>> parsed_task_weights(["feats=0.5"], [TASKS["upos"], TASKS["feats"]])
        {'feats': 0.5}
    """
    weights = {}
    names = [task.name for task in tasks]
    for entry in given:
        name, _, number = entry.partition("=")
        if name not in names or name in weights or not re.fullmatch(r"\d+(\.\d+)?", number) or not float(number):
            raise ValueError(
                f"`task_weights` has {entry!r}; expected TASK=NUMBER with a positive number, of {', '.join(names)} "
                "each once at most. Correct it."
            )
        weights[name] = float(number)
    return weights


def parsed_type_map(given: Sequence[str]) -> dict[str, str]:
    """
    Entity types to rename, from `OLD=NEW`.

    Args:
        given (`Sequence[str]`):
            As on the command line.

    Raises:
        ValueError: if one has not that form.

    Example:
        >>> parsed_type_map(["DATE=O"])
        {'DATE': 'O'}
    """
    pairs = [entry.partition("=") for entry in given]
    for old, _, new in pairs:
        if not old or not new:
            raise ValueError(f"The type map {list(given)} is not made of OLD=NEW, such as DATE=O.")
    if len({old for old, _, _ in pairs}) < len(pairs):
        raise ValueError(f"The type map {list(given)} renames a type twice. Name each type once.")
    return {old: new for old, _, new in pairs}


@dataclass
class RecipeCorpora:
    """
    What a recipe trains and tests on. Without a corpus on the command line, the embedded synthetic one.

    Args:
        train (`dict[str, Dataset]`):
            Training sentences of each language.
        evaluation (`dict[str, dict[str, Dataset]]`):
            `validation` and `test`: sentences of each language trained on, and of the zero-shot ones too.
        zero_shot_languages (`list[str]`):
            Languages that are tested on only.
        labels (`list[str]`):
            Tags, in the order of their ids.
        label_scheme (`str`):
            Their scheme.
        report ([`CorpusReport`]):
            What was read, mapped, repaired and left out.
        is_demo (`bool`):
            True for the embedded corpus.
        descriptions (`dict[str, dict[str, str]]`):
            `source` and `license` of each language's corpus, those that are known.
        further_labels (`dict[str, list[str]]`, *optional*):
            Tags of each further task, by its name.
        loss_weights (`dict[str, float]`, *optional*):
            Of several tasks, what a label counts in the loss, by scheme.
    """

    train: dict[str, Dataset]
    evaluation: dict[str, dict[str, Dataset]]
    zero_shot_languages: list[str]
    labels: list[str]
    label_scheme: str
    report: CorpusReport | JointReport
    is_demo: bool
    descriptions: dict[str, dict[str, str]]
    further_labels: dict[str, list[str]] = field(default_factory=dict)
    loss_weights: dict[str, float] = field(default_factory=dict)

    @property
    def tasks(self) -> list[Task]:
        """What is learnt, in the order of the model's heads."""
        return [task_of(self.label_scheme), *(TASKS[name] for name in self.further_labels)]

    @property
    def task_settings(self) -> dict[str, Any]:
        """Fields of the configuration of a model for these tasks, `id2label` aside."""
        settings: dict[str, Any] = {"label_scheme": self.label_scheme}
        if self.further_labels:
            settings |= {"further_labels": self.further_labels, "loss_weights": self.loss_weights or None}
        return settings

    def check_one_task(self, name: str) -> None:
        """
        Refuse several tasks for a model that has one head.

        Args:
            name (`str`):
                Of the model.

        Raises:
            ValueError: if there are several.
        """
        if self.further_labels:
            tasks = " ".join(task.name for task in self.tasks)
            raise ValueError(
                f"`task` is {tasks!r}, and {name} has one head; expected one task. Train a model for each, "
                "or use byte_crf.py, encoder_crf.py, slicer.py or meta_lstm.py."
            )

    @property
    def source_validation(self) -> dict[str, Dataset]:
        """Dev sets of the languages trained on, of those that have one; a zero-shot model must be chosen by them."""
        known = self.evaluation.get("validation", {})
        return {language: known[language] for language in self.train if language in known}

    def of_languages(self, languages: Sequence[str]) -> "RecipeCorpora":
        """
        Some of the languages that are trained on, with the labels of all, and no zero-shot ones.

        Args:
            languages (`Sequence[str]`):
                Which ones.

        Raises:
            ValueError: if one of them is not there.
        """
        unknown = [language for language in languages if language not in self.train]
        if unknown:
            raise ValueError(
                f"There is no training corpus of {', '.join(unknown)}; expected some of {', '.join(self.train)}. "
                f"Give it with --corpora {unknown[0]}=FOLDER."
            )

        def chosen(of_languages: Mapping[str, Any]) -> dict[str, Any]:
            return {language: of_languages[language] for language in languages if language in of_languages}

        return replace(
            self,
            train=chosen(self.train),
            evaluation={split: known for split, datasets in self.evaluation.items() if (known := chosen(datasets))},
            zero_shot_languages=[],
            descriptions=chosen(self.descriptions),
        )

    def check_crf(self, use_crf: bool) -> None:
        """
        Warn of a CRF with so many labels that its transitions cost more than all else.

        Args:
            use_crf (`bool`):
                Whether there is to be one.
        """
        num_labels = max(map(len, (self.labels, *self.further_labels.values())))
        if use_crf and num_labels > MANY_LABELS:
            warnings.warn(
                f"A CRF with {num_labels:,} labels has {num_labels**2:,} transition scores. On one CPU "
                "core, a batch of 16 sentences of 20 words takes it 0.4 s with 1,000 labels and 5 s with 3,400, where "
                "a classifier of single words takes less than 0.04 s. Give --use_crf false.",
                stacklevel=2,
            )

    def to_dict(self) -> dict[str, Any]:
        """Sentences and fingerprint of each data set, as `results.json` keeps them."""
        splits = {"train": self.train, **self.evaluation}
        languages = [*self.train, *self.zero_shot_languages]
        return {
            language: {
                split: {"sentences": len(datasets[language]), "fingerprint": fingerprint(datasets[language])}
                for split, datasets in splits.items()
                if language in datasets
            }
            | self.descriptions[language]
            for language in languages
        }


def load_recipe_corpora(
    arguments: CorpusArguments, scheme: str | None = None, known_labels: Mapping[str, Sequence[str]] | None = None
) -> RecipeCorpora:
    """
    The corpora that a command line names.

    Args:
        arguments ([`CorpusArguments`]):
            From the command line.
        scheme (`str`, *optional*):
            Scheme of the labels, of a model that there is. Defaults to `label_scheme` for entities.
        known_labels (`Mapping[str, Sequence[str]]`, *optional*):
            Labels that come first, see [`load_corpora`], of each task by its scheme.

    Raises:
        ValueError: if a language is both trained on and zero-shot, if a corpus lacks a split that is needed, if the
            embedded corpus lacks the task, or if the scheme is that of another task.
    """
    task, *further = arguments.tasks
    asked_for = arguments.label_scheme if task is TASKS["ner"] else task.name
    scheme = scheme or asked_for
    weights = parsed_task_weights(arguments.task_weights, arguments.tasks)
    if task_of(scheme) is not task:
        raise ValueError(
            f"`task` is {task.name!r}, and the model was trained for {task_of(scheme).name!r}. Expected its own task; "
            "leave `task` out, or train another model."
        )
    if scheme != asked_for:
        raise ValueError(
            f"`label_scheme` is {asked_for!r}, and the model writes {scheme}; expected its own scheme. Leave "
            "`label_scheme` out, or train another model."
        )
    if arguments.tasks != [TASKS["ner"]] and not arguments.corpora:
        raise ValueError(
            f"`task` is {arguments.task!r}, and no corpus is given; the embedded one has entities only. Give "
            "treebanks in CoNLL-U with --corpora, such as 'ud/*' or tam=ud/ta_ttb-ud."
        )
    is_demo = not arguments.corpora
    demo = {language: str(DEMO_FOLDER / language) for language in (*SOURCE_LANGUAGES, *ZERO_SHOT_LANGUAGES)}
    training = (
        {language: demo[language] for language in SOURCE_LANGUAGES} if is_demo else named_sources(arguments.corpora)
    )
    zero_shot = named_sources(arguments.zero_shot_corpora)
    if is_demo and not zero_shot:
        zero_shot = {language: demo[language] for language in ZERO_SHOT_LANGUAGES}
    reserved = sorted({*training, *zero_shot} & {*AVERAGES})
    if reserved:
        raise ValueError(
            f"A language is called {', '.join(reserved)}, which results.json keeps for averages. Give it another name."
        )
    twice = sorted(set(training) & set(zero_shot))
    if twice:
        raise ValueError(
            f"Trained on and zero-shot at once: {', '.join(twice)}. A zero-shot language is tested on only."
        )

    loaded, labels = _loaded(arguments, training | zero_shot, scheme, known_labels or {})
    for language in training | zero_shot:
        needed = ("train", "test") if language in training else ("test",)
        missing = [split for split in needed if split not in loaded.corpora[language]]
        if missing:
            raise ValueError(
                f"The corpus of {language} has no {' and no '.join(missing)} split. Add the file, or leave the corpus "
                "out; with a test split, it can be one of the `zero_shot_corpora`."
            )
    languages = training | zero_shot
    if is_demo:
        source, licence = "the synthetic corpus embedded in hf_polyglot", "Apache-2.0"
        descriptions = {language: {"source": source, "license": licence} for language in languages}
    else:
        descriptions = _descriptions(languages, arguments.data_source, arguments.data_license)
    for language, splits in loaded.corpora.items():
        for split, most in (
            ("train", arguments.max_train_sentences),
            ("validation", arguments.max_test_sentences),
            ("test", arguments.max_test_sentences),
        ):
            if most is not None and most < len(splits.get(split, ())) and (split != "train" or language in training):
                loaded.report.notes.append(
                    f"{language}: {most:,} sentences are drawn from {split}, and no others read."
                )
    train = {
        language: drawn(loaded.corpora[language]["train"], arguments.max_train_sentences) for language in training
    }
    evaluation = {
        split: {
            language: drawn(splits[split], arguments.max_test_sentences)
            for language, splits in loaded.corpora.items()
            if split in splits
        }
        for split in ("validation", "test")
        if any(split in splits for splits in loaded.corpora.values())
    }
    loaded.report.notes += _unchosen_notes(list(training), evaluation.get("validation", {}))
    for column, of_task in labels.items():
        if column in WORD_CLASSES:
            kind = f"{column} labels" if further else "labels"
            loaded.report.notes += _unseen_labels(train, evaluation, column, len(of_task), kind)
            loaded.report.notes += _single_label_notes(evaluation.get("test", {}), column)
    return RecipeCorpora(
        train=train,
        evaluation=evaluation,
        zero_shot_languages=list(zero_shot),
        labels=labels[task.label_column],
        label_scheme=scheme,
        report=loaded.report,
        is_demo=is_demo,
        descriptions=descriptions,
        further_labels={of_task.name: labels[of_task.label_column] for of_task in further},
        loss_weights={scheme if name == task.name else name: weight for name, weight in weights.items()},
    )


def load_gold_corpora(
    config: Any, sources: Mapping[str, str], type_map: Mapping[str, str]
) -> tuple[dict[str, DatasetDict], dict[str, list[str]], Any]:
    """
    Corpora with what a trained model is to find in them.

    Args:
        config (`PreTrainedConfig`):
            Of the model.
        sources (`Mapping[str, str]`):
            As for [`load_corpora`].
        type_map (`Mapping[str, str]`):
            New names of entity types.

    Returns:
        The splits of each language, with a column for each task of the model that some corpus has; the labels of each
        column; and what was found, to be printed.

    Raises:
        ValueError: if the corpora have none of the model's tasks.
    """
    scheme, *further = labels_by_scheme(config)
    settings: dict[str, Any] = {"type_map": type_map, "scheme": "IOB2" if scheme in WORD_CLASSES else scheme}
    if not further:
        column = task_of(scheme).label_column
        corpora, report = load_corpora(sources, task=column, **settings)
        return corpora, {column: report.labels}, report
    present = {task for language, source in sources.items() for task in tasks_of_source(language, source)}
    columns = [column for column in task_of_model(config).label_column if column in present]
    if not columns:
        raise ValueError(
            f"The corpora have tags of {', '.join(sorted(present)) or 'no task'}; expected some of "
            f"{', '.join(task_of_model(config).label_column)}, which the model was trained for. Give other corpora."
        )
    several = load_joint_corpora(sources, columns, **settings)
    return several.corpora, several.labels, several.report


def _loaded(
    arguments: CorpusArguments, sources: Mapping[str, str], scheme: str, known_labels: Mapping[str, Sequence[str]]
) -> tuple[LoadedCorpora | JointCorpora, dict[str, list[str]]]:
    """
    The corpora of one task or of several, and the labels of each by its column.

    Raises:
        ValueError: if several tasks are to be read from one column.
    """
    columns = [task.label_column for task in arguments.tasks]
    settings: dict[str, Any] = {
        "type_map": parsed_type_map(arguments.type_map),
        "separator": {"tab": "\t", "space": " "}.get(arguments.separator or ""),
        "token_column": _column(arguments.token_column),
        "source_scheme": arguments.source_scheme,
        "scheme": "IOB2" if scheme in WORD_CLASSES else scheme,
    }
    if len(columns) == 1:
        tag_column = _column(arguments.tag_column)
        known = known_labels.get(scheme, ())
        one = load_corpora(sources, task=columns[0], tag_column=tag_column, known_labels=known, **settings)
        return one, {columns[0]: one.report.labels}
    for name, value in (("tag_column", arguments.tag_column), ("type_map", arguments.type_map)):
        if value and (name == "tag_column" or "ner_tags" not in columns):
            raise ValueError(
                f"`{name}` is {value!r}, and `task` is {arguments.task!r}; expected none with these tasks. Leave it "
                "out."
            )
    known_by_column = {task_of(name).label_column: labels for name, labels in known_labels.items()}
    several = load_joint_corpora(sources, columns, known_labels=known_by_column, **settings)
    return several, several.labels


def _unchosen_notes(languages: Sequence[str], validation: Mapping[str, Dataset]) -> list[str]:
    """A note on the languages trained on that have no dev set, and on what chooses the model instead."""
    without = [language for language in languages if language not in validation]
    if not without:
        return []
    chosen_by = [language for language in languages if language in validation]
    others = f"a model of several languages is chosen by the dev sets of the others, {', '.join(chosen_by)}; one of "
    how = f"{others}it alone" if chosen_by else "a model"
    return [f"{', '.join(without)}: without a dev set, {how} is trained to its last epoch."]


def _single_label_notes(test: Mapping[str, Dataset], column: str) -> list[str]:
    """Notes on languages whose words all have one label, as those of treebanks without features."""
    notes = []
    for language, dataset in test.items():
        found = {label for labels in dataset[column] for label in labels}
        if len(found) == 1:
            label = dataset.features[column].feature.int2str(found.pop())
            notes.append(
                f"{language}: all words of test have {label!r}, so that its score says nothing, and it is part of "
                "averages all the same."
            )
    return notes


def _unseen_labels(
    train: Mapping[str, Dataset],
    evaluation: Mapping[str, Mapping[str, Dataset]],
    column: str,
    num_labels: int,
    kind: str,
) -> list[str]:
    """Notes on words whose class no training sentence has, which no model can learn."""

    def counts(dataset: Dataset) -> np.ndarray:
        return np.bincount(np.concatenate([*dataset[column], []]).astype(int), minlength=num_labels)

    is_unseen = sum(counts(dataset) for dataset in train.values()) == 0
    return [
        f"{language}: {unseen.sum():,} words of {split} have one of {np.count_nonzero(unseen):,} {kind} that no "
        "training sentence has. They are kept, and count as errors."
        for split, datasets in evaluation.items()
        for language, dataset in datasets.items()
        if (unseen := counts(dataset)[is_unseen]).any()
    ]


def _descriptions(
    sources: Mapping[str, str], data_source: Sequence[str], data_license: Sequence[str]
) -> dict[str, dict[str, str]]:
    """
    `source` and `license` of each language, those that are known.

    Raises:
        ValueError: if one is given for a language that is not there.
    """
    descriptions: dict[str, dict[str, str]] = {
        language: {"source": source} if _is_hub_name(source) else {} for language, source in sources.items()
    }
    for key, given in (("source", data_source), ("license", data_license)):
        # Texts for all come first, so that those for one language override them.
        for text in sorted(given, key=lambda text: "=" in text):
            language, equals, value = text.partition("=")
            if equals and language not in sources:
                raise ValueError(
                    f"`data_{key}` has {text!r}, and there is no corpus of {language!r}; expected one of "
                    f"{', '.join(sources)}. Correct the language."
                )
            for described in [language] if equals else sources:
                descriptions[described][key] = value if equals else text
    return descriptions


def _is_hub_name(source: str | None) -> bool:
    return source is not None and not Path(source).exists() and HUB_NAME.fullmatch(source) is not None


def _column(given: str | None) -> int | str | None:
    """A column's number, or its name."""
    return int(given) if given is not None and given.lstrip("-").isdigit() else given


def drawn(dataset: Dataset, most: int | None) -> Dataset:
    """
    At most so many sentences, drawn at random, the same ones in every run.

    Args:
        dataset (`Dataset`):
            All of them.
        most (`int`, *optional*):
            How many are kept. Defaults to all.
    """
    if most is None or len(dataset) <= most:
        return dataset
    return dataset.select(sorted(np.random.default_rng(0).choice(len(dataset), most, replace=False).tolist()))
