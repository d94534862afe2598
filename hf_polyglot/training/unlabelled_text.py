"""Unlabelled sentences to learn from: the training sentences of corpora, and lines of text files."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from datasets import Dataset

from hf_polyglot.data.conll import read_lines
from hf_polyglot.data.corpora import load_corpora, tasks_of_source
from hf_polyglot.training.recipe_corpora import drawn

Segment = Callable[[str], list[tuple[int, int]]]


@dataclass
class TextArguments:
    """Which text a student learns from, besides the training sentences of its corpora."""

    text_files: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Files of unlabelled text, in UTF-8, each line a sentence, each LANGUAGE=FILE or a file that is "
            "named after its language."
        },
    )
    max_text_sentences: int | None = field(
        default=None, metadata={"help": "Sentences read of each text file, its first ones. Default: all."}
    )


def read_text_files(arguments: TextArguments) -> dict[str, list[str]]:
    """
    The lines of the text files that a command line names, by language, empty ones left out.

    Args:
        arguments ([`TextArguments`]):
            From the command line.

    Raises:
        ValueError: if a file is not there, has no text, or is not UTF-8.
    """
    texts: dict[str, list[str]] = {}
    for given in arguments.text_files:
        language, equals, name = given.partition("=")
        if not equals or "/" in language:  # the "=" is part of a path
            language, name = "", given
        path = Path(name)
        if not path.is_file():
            raise ValueError(f"The text file {name} is not there; expected FILE or LANGUAGE=FILE. Correct the path.")
        lines = read_lines(path) if path.read_bytes().strip() else []
        kept = [line.strip() for line in lines if line.strip()][: arguments.max_text_sentences]
        if not kept:
            raise ValueError(f"The text file {name} has no text; expected a sentence to a line. Leave it out.")
        texts.setdefault(language or path.name.split(".")[0], []).extend(kept)
    return texts


def training_sentences(sources: Mapping[str, str], most: int | None = None) -> dict[str, Dataset]:
    """
    The words of the training sentences of labelled corpora, whatever their labels.

    Args:
        sources (`Mapping[str, str]`):
            By language, as for [`load_corpora`].
        most (`int`, *optional*):
            Sentences kept of each language, drawn at random, the same every time. Defaults to all.

    Raises:
        ValueError: if a corpus has no training sentences.
    """
    by_task: dict[str, dict[str, str]] = {}
    for language, source in sources.items():
        by_task.setdefault(next(iter(tasks_of_source(language, source)), "ner_tags"), {})[language] = source
    found = {}
    for task, of_task in by_task.items():
        for language, splits in load_corpora(of_task, task=task, may_lack_tags=True).corpora.items():
            if "train" not in splits:
                raise ValueError(
                    f"The corpus of {language}, {of_task[language]}, has no training sentences, but "
                    f"{', '.join(splits)}; expected some. Leave it out."
                )
            found[language] = drawn(splits["train"], most)
    return {language: found[language] for language in sources}


def words_of_texts(texts: Mapping[str, list[str]], segment: Segment) -> dict[str, Dataset]:
    """
    The words of each text, as data sets with `tokens` and `language`; texts without a word are left out.

    Args:
        texts (`Mapping[str, list[str]]`):
            Of each language.
        segment (`Callable`):
            Gives the places of the words of a text, such as `segment_words`.
    """
    datasets = {}
    for language, lines in texts.items():
        words = [[line[start:end] for start, end in segment(line)] for line in lines]
        kept = [of_line for of_line in words if of_line]
        datasets[language] = Dataset.from_dict({"tokens": kept, "language": [language] * len(kept)})
    return datasets


def texts_as_read(
    corpora: Mapping[str, Dataset], words_of_lines: Mapping[str, Dataset], lines: Mapping[str, list[str]]
) -> Iterator[str | list[str]]:
    """
    Everything that a tokenizer will meet, each sentence once by its words and once as running text.

    Args:
        corpora (`Mapping[str, Dataset]`):
            Sentences with `tokens`.
        words_of_lines (`Mapping[str, Dataset]`):
            What [`words_of_texts`] makes of the lines.
        lines (`Mapping[str, list[str]]`):
            Of each language, as they stand.
    """
    for dataset in corpora.values():
        for words in dataset["tokens"]:
            yield words
            yield " ".join(words)
    for dataset in words_of_lines.values():
        yield from dataset["tokens"]
    for of_language in lines.values():
        yield from of_language
