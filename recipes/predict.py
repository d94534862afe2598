"""
Tag raw text or column files with a trained model.

    python recipes/predict.py --model runs/byte_crf --input letters.txt
    python recipes/predict.py --model runs/byte_crf --input test.conll --output_format conll
    python recipes/predict.py --model runs/upos --input test.conllu --output_format conllu

Needs the folder or Hub id of a model or an adapter of this package, the folder of a run with an adapter for each
language, one of which --language chooses, or a folder that export.py has written. Of raw text each line is one text.
JSONL has an object per text, with its entities and their character offsets, or its words and their tags where every
word has a class; CoNLL has a word and a tag per line. CoNLL-U has the lines of the input with the tags in their
column; of raw text, new ones. A model of several tasks writes the tags of all of them in one pass.
"""

import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice, repeat
from pathlib import Path
from typing import Any

from transformers import pipeline

import hf_polyglot.inference.pipeline  # registers the models and the task
from hf_polyglot.data.conll import conll_lines, read_words
from hf_polyglot.data.conllu import FORM, ConlluSentence, conllu_lines, read_conllu, sentence_of_text, with_tags
from hf_polyglot.inference.adapters import LanguageAdapters, load_tagger
from hf_polyglot.inference.int8_lstm import with_int8_lstms
from hf_polyglot.inference.onnx_runtime import OnnxTagger, is_exported
from hf_polyglot.inference.tagged_words import check_batch_size
from hf_polyglot.models.label_scheme import WORD_CLASSES, labels_by_scheme
from hf_polyglot.training.command_line import parse_recipe


@dataclass
class PredictArguments:
    """What is tagged, and how it is written."""

    model: str = field(metadata={"help": "Folder or Hub id of the model."})
    input: str = field(default="-", metadata={"help": "File to tag, in UTF-8; - for standard input."})
    input_format: str | None = field(
        default=None,
        metadata={
            "help": "text: one text a line. conll: one word a line, with columns. Default: conll for a file that is "
            "called .conll, .conllu or .iob2, or whose first lines all end in a tag; text for anything else.",
            "choices": ["text", "conll"],
        },
    )
    token_column: int | None = field(
        default=None, metadata={"help": "Column of the words in a column file, from 0. Default: found."}
    )
    output: str = field(default="-", metadata={"help": "File to write; - for standard output."})
    output_format: str = field(
        default="jsonl",
        metadata={
            "help": "jsonl: entities with offsets. conll: words and tags. conllu: CoNLL-U, with the parts of speech "
            "or the features, or both, in their column and all else as in the input.",
            "choices": ["jsonl", "conll", "conllu"],
        },
    )
    language: str | None = field(
        default=None, metadata={"help": "Language of the input, for models that tell languages apart."}
    )
    base_model: str | None = field(
        default=None,
        metadata={"help": "Of adapters: folder or Hub id of their base. Default: as it was called in their training."},
    )
    second_best_for: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Classes of words that are passed over, such as X: where one comes out, the most probable other "
            "one is taken."
        },
    )
    int8_lstms: bool = field(
        default=False,
        metadata={
            "help": "Read with LSTMs of 8-bit weights on the CPU: byte-CRF, CharNER or Meta-LSTM, up to three "
            "times as fast where the processor has 8-bit instructions."
        },
    )
    batch_size: int = field(default=32, metadata={"help": "Texts read at once."})


TAGGED_WORD = re.compile(r"\S+\s(.*\s)?(O|[BIES]-\S+)\s*")


def is_column_file(path: str) -> bool:
    """Whether the file is one of words, by its name or by the tags behind the first twenty of them."""
    if path == "-" or not Path(path).is_file():  # what comes through a pipe can be read only once
        return False
    if Path(path).suffix in (".conll", ".conllu", ".iob2"):
        return True
    with Path(path).open(encoding="utf-8-sig", errors="replace") as lines:
        words = list(islice((line for line in lines if line.strip() and not line.startswith(("#", "-DOCSTART-"))), 20))
    same_columns = len({len(line.split()) for line in words}) == 1
    return len(words) > 1 and same_columns and all(TAGGED_WORD.fullmatch(line) for line in words)


def source_of(arguments: PredictArguments) -> str:
    """The path of the input, which can be read once if it is standard input."""
    return "/dev/stdin" if arguments.input == "-" else arguments.input


def analysed(reading: dict[str, Any], sentence: ConlluSentence | None) -> list[str]:
    """Lines of CoNLL-U of one input: those of its sentence, or new ones of a text, with the tags in their columns."""
    if sentence is None:
        offsets = [(word["start"], word["end"]) for word in reading["entities"]]
        sentence = sentence_of_text(reading["text"], offsets)
    for task, tags in reading["tags_by_task"].items():
        sentence = with_tags(sentence, task, tags) if task in WORD_CLASSES else sentence
    return conllu_lines(sentence) if sentence.rows else []


def columns(reading: dict[str, Any]) -> list[str]:
    """Lines of one input: each word with its tag, or with one of each task."""
    first, *further = reading["tags_by_task"].values()
    *lines, blank = conll_lines(reading["words"], first)
    for tags in further:
        lines = [f"{line.removesuffix(chr(10))}\t{tag}\n" for line, tag in zip(lines, tags, strict=True)]
    return [*lines, blank]


def record(reading: dict[str, Any]) -> dict[str, Any]:
    """What JSONL keeps of one input."""
    tasks = reading["tags_by_task"]
    kept = ["text", *(["entities"] if "ner" in tasks else [])]
    if len(tasks) > 1:
        kept += ["words", "tags_by_task"]
    elif "ner" not in tasks:
        kept += ["words", "tags"]
    return {name: reading[name] for name in kept}


def texts_or_words(arguments: PredictArguments) -> Iterator[str | list[str]]:
    """The lines of a text, or the words of each sentence of a column file."""
    if arguments.input_format == "conll":
        yield from read_words(source_of(arguments), token_column=arguments.token_column)
    elif arguments.input == "-":
        yield from decoded(sys.stdin.buffer, "standard input")
    else:
        with Path(arguments.input).open("rb") as lines:
            yield from decoded(lines, arguments.input)


def decoded(lines: Iterable[bytes], name: str) -> Iterator[str]:
    """
    Lines of UTF-8 without their ends, and without a mark of the byte order.

    Raises:
        ValueError: if one is not UTF-8.
    """
    for number, line in enumerate(lines, 1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{name}:{number}: the byte 0x{line[error.start]:02x} is no UTF-8; expected UTF-8. Convert it, as "
                "with `iconv -f latin1 -t utf-8`."
            ) from None


def tagger_of(arguments: PredictArguments) -> tuple[Any, list[str]]:
    """
    What tags the texts, and the schemes of its labels, one for each task.

    Raises:
        ValueError: if an exported graph is to have other LSTMs.
    """
    if is_exported(arguments.model):
        if arguments.int8_lstms:
            raise ValueError(
                f"`int8_lstms` is true, and {arguments.model} has a graph, which is as it was exported; expected a "
                "model. Export it with --int8 true for 8 bits."
            )
        exported = OnnxTagger(arguments.model)
        return exported, list(exported.tagger.labels)
    model, tokenizer = load_tagger(arguments.model, arguments.base_model)
    if isinstance(model, LanguageAdapters) and arguments.language is None:
        known = ", ".join(model.config.languages)
        print(f"Without --language, all is read with the base alone; there are adapters for {known}.", file=sys.stderr)
    if arguments.int8_lstms:
        model = with_int8_lstms(model)
    device = "cpu" if arguments.int8_lstms else None
    tag = pipeline(hf_polyglot.inference.pipeline.TASK, model=model, tokenizer=tokenizer, device=device)
    return tag, list(labels_by_scheme(model.config))


def main(arguments: PredictArguments) -> None:
    if arguments.input_format is None:
        arguments = replace(arguments, input_format="conll" if is_column_file(arguments.input) else "text")
        if arguments.input_format == "conll":
            print(f"{arguments.input} is read as a column file; --input_format text reads its lines.", file=sys.stderr)
    check_batch_size(arguments.batch_size)
    if arguments.input != "-" and not Path(arguments.input).exists():
        raise ValueError(f"`input` {arguments.input} does not exist; expected a file, or - for standard input.")
    places = [Path(given) for given in (arguments.input, arguments.output) if given != "-"]
    if len(places) == 2 and all(place.exists() for place in places) and places[0].samefile(places[1]):
        raise ValueError(
            f"`output` is {arguments.output}, which is `input` too, and would be overwritten before it is read; "
            "expected another file. Give another --output."
        )
    tag, schemes = tagger_of(arguments)
    classes = [scheme for scheme in schemes if scheme in WORD_CLASSES]
    if arguments.output_format == "conllu" and not classes:
        raise ValueError(
            "`output_format` is 'conllu', and the model finds entities, which have no column there; expected a model "
            "of parts of speech or of morphology. Use conll."
        )
    inputs = texts_or_words(arguments)
    sentences: Iterator[ConlluSentence | None] = repeat(None)
    if arguments.output_format == "conllu" and arguments.input_format == "conll":
        of_file = read_conllu(source_of(arguments))
        inputs, sentences = iter([[row.columns[FORM] for row in one.words] for one in of_file]), iter(of_file)
    settings = {
        "batch_size": arguments.batch_size,
        "is_split_into_words": arguments.input_format == "conll",
        "language": arguments.language,
        "second_best_for": arguments.second_best_for,
    }
    if arguments.output_format == "conllu" and len(schemes) > 1:
        settings["task"] = classes[0]  # whose spans are the words
    at_once = 100 * arguments.batch_size
    batch = list(islice(inputs, at_once))  # before the output is emptied, for the input may not be readable
    with sys.stdout if arguments.output == "-" else Path(arguments.output).open("w", encoding="utf-8") as output:
        while batch:
            for reading in tag.read(batch, **settings):
                if arguments.output_format == "conll":
                    output.writelines(columns(reading))
                elif arguments.output_format == "conllu":
                    output.writelines(analysed(reading, next(sentences)))
                else:
                    output.write(json.dumps(record(reading), ensure_ascii=False) + "\n")
            batch = list(islice(inputs, at_once))


if __name__ == "__main__":
    main(*parse_recipe(PredictArguments))
