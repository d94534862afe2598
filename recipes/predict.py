"""
Tag raw text or column files with a trained model.

    python recipes/predict.py --model runs/byte_crf --input letters.txt
    python recipes/predict.py --model runs/byte_crf --input test.conll --output_format conll

Needs the folder or Hub id of a model or an adapter of this package, or the folder of a run with an adapter for each
language, one of which --language chooses. Of raw text each line is one text. JSONL has an object per
text, with its entities and their character offsets; CoNLL has a word and a tag per line.
"""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from transformers import pipeline

import hf_polyglot.inference.pipeline  # registers the models and the task
from hf_polyglot.data.conll import conll_lines, read_words
from hf_polyglot.inference.adapters import LanguageAdapters, load_tagger
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
        metadata={"help": "jsonl: entities with offsets. conll: words and tags.", "choices": ["jsonl", "conll"]},
    )
    language: str | None = field(
        default=None, metadata={"help": "Language of the input, for models that tell languages apart."}
    )
    base_model: str | None = field(
        default=None,
        metadata={"help": "Of adapters: folder or Hub id of their base. Default: as it was called in their training."},
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


def texts_or_words(arguments: PredictArguments) -> Iterator[str | list[str]]:
    """The lines of a text, or the words of each sentence of a column file."""
    if arguments.input_format == "conll":
        source = "/dev/stdin" if arguments.input == "-" else arguments.input
        yield from read_words(source, token_column=arguments.token_column)
    elif arguments.input == "-":
        yield from (line.rstrip("\r\n") for line in sys.stdin)
    else:
        with Path(arguments.input).open(encoding="utf-8-sig", newline="\n") as lines:
            yield from (line.rstrip("\r\n") for line in lines)


def main(arguments: PredictArguments) -> None:
    if arguments.input_format is None:
        arguments = replace(arguments, input_format="conll" if is_column_file(arguments.input) else "text")
        if arguments.input_format == "conll":
            print(f"{arguments.input} is read as a column file; --input_format text reads its lines.", file=sys.stderr)
    model, tokenizer = load_tagger(arguments.model, arguments.base_model)
    if isinstance(model, LanguageAdapters) and arguments.language is None:
        known = ", ".join(model.config.languages)
        print(f"Without --language, all is read with the base alone; there are adapters for {known}.", file=sys.stderr)
    tag = pipeline(hf_polyglot.inference.pipeline.TASK, model=model, tokenizer=tokenizer)
    inputs = texts_or_words(arguments)
    settings = {
        "batch_size": arguments.batch_size,
        "is_split_into_words": arguments.input_format == "conll",
        "language": arguments.language,
    }
    with sys.stdout if arguments.output == "-" else Path(arguments.output).open("w", encoding="utf-8") as output:
        while batch := list(islice(inputs, 100 * arguments.batch_size)):
            for reading in tag.read(batch, **settings):
                if arguments.output_format == "conll":
                    output.writelines(conll_lines(reading["words"], reading["tags"]))
                else:
                    record = {"text": reading["text"], "entities": reading["entities"]}
                    output.write(json.dumps(record, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(*parse_recipe(PredictArguments))
