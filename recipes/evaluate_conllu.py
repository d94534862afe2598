"""
Score CoNLL-U files of any segmentation as the CoNLL 2018 shared task does, and average over treebanks.

    python recipes/evaluate_conllu.py --gold_files ../shared/data/ud/ta_ttb-ud-test.conllu --system_files tagged.conllu
    python recipes/evaluate_conllu.py --gold_files '../shared/data/ud/*-test.conllu' --system_files tagged

Needs what a system made of the same text, such as `predict.py --output_format conllu`; a system file for each gold
one, in the same order, or a folder of files with the names of the gold ones.
"""

import glob
from dataclasses import dataclass, field
from pathlib import Path

from hf_polyglot.conllu_metrics import conllu_file_scores, scores_with_macro_average
from hf_polyglot.data.corpora import corpus_of_file
from hf_polyglot.result_tables import conllu_table
from hf_polyglot.training.command_line import parse_recipe, write_json


@dataclass
class EvaluateConlluArguments:
    """What is scored."""

    gold_files: list[str] = field(
        metadata={
            "help": "Treebanks in CoNLL-U, one file each. A * in a name is expanded; a folder stands for its test "
            "files.",
            "aliases": ["--gold_file"],
        }
    )
    system_files: list[str] = field(
        metadata={
            "help": "What the system made of them, in the same order; or a folder that holds it in files of the same "
            "names. Other files there are left out.",
            "aliases": ["--system_file"],
        }
    )
    output_file: str | None = field(
        default=None, metadata={"help": "JSON file for precision, recall, F1 and the accuracy of aligned words."}
    )


def treebank_of(path: str) -> str:
    """Name of a treebank, `ta_ttb` of `ta_ttb-ud-test.conllu`."""
    return (corpus_of_file(path) or Path(path).with_suffix("")).name.removesuffix("-ud")


def expanded(given: list[str], pattern: str) -> list[str]:
    """
    The files that are given: those of a folder that have this pattern, and those that match a pattern.

    Raises:
        ValueError: if there is none.
    """
    files: list[str] = []
    for name in given:
        is_pattern = "*" in name and not Path(name).exists()
        found = sorted(glob.glob(name)) if is_pattern else [name]  # noqa: PTH207 (absolute and relative ones alike)
        if Path(name).is_dir():
            found = sorted(map(str, Path(name).glob(pattern)))
        if not found:
            raise ValueError(f"{name!r} has no file {pattern}; expected one at least. Correct the path.")
        files += found
    return files


def main(arguments: EvaluateConlluArguments) -> dict[str, dict[str, dict[str, float]]]:
    gold_files = expanded(arguments.gold_files, "*-test.conllu")
    if len(arguments.system_files) == 1 and Path(arguments.system_files[0]).is_dir():
        system_files = [str(Path(arguments.system_files[0], Path(path).name)) for path in gold_files]
        if missing := [path for path in system_files if not Path(path).is_file()]:
            raise ValueError(
                f"There is no {', '.join(missing)}; expected a system file for each gold file, of its name. Write "
                "them, or name the gold files that there is one for."
            )
    else:
        system_files = expanded(arguments.system_files, "*.conllu")
    treebanks = [treebank_of(path) for path in gold_files]
    if len(system_files) != len(treebanks) or len(set(treebanks)) < len(treebanks):
        raise ValueError(
            f"There are {len(system_files)} system files, and the gold files are of {', '.join(treebanks)}. "
            "Expected a system file for each gold file, and no treebank twice. Give them in the same order."
        )
    scores = scores_with_macro_average({
        treebank: conllu_file_scores(*files)
        for treebank, *files in zip(treebanks, gold_files, system_files, strict=True)
    })
    print(conllu_table(scores))
    if arguments.output_file is not None:
        write_json(arguments.output_file, scores)
    return scores


if __name__ == "__main__":
    main(*parse_recipe(EvaluateConlluArguments))
