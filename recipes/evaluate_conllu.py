"""
Score CoNLL-U files of any segmentation as the CoNLL 2018 shared task does, and average over treebanks.

    python recipes/evaluate_conllu.py --gold_files ../shared/data/ud/ta_ttb-ud-test.conllu --system_files tagged.conllu

Needs what a system made of the same text, such as `predict.py --output_format conllu`; a system file for each gold
one, in the same order.
"""

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
        metadata={"help": "Treebanks in CoNLL-U, one file each.", "aliases": ["--gold_file"]}
    )
    system_files: list[str] = field(
        metadata={"help": "What the system made of them, in the same order.", "aliases": ["--system_file"]}
    )
    output_file: str | None = field(
        default=None, metadata={"help": "JSON file for precision, recall, F1 and the accuracy of aligned words."}
    )


def treebank_of(path: str) -> str:
    """Name of a treebank, `ta_ttb` of `ta_ttb-ud-test.conllu`."""
    return (corpus_of_file(path) or Path(path).with_suffix("")).name.removesuffix("-ud")


def main(arguments: EvaluateConlluArguments) -> dict[str, dict[str, dict[str, float]]]:
    treebanks = [treebank_of(path) for path in arguments.gold_files]
    if len(arguments.system_files) != len(treebanks) or len(set(treebanks)) < len(treebanks):
        raise ValueError(
            f"There are {len(arguments.system_files)} system files, and the gold files are of {', '.join(treebanks)}. "
            "Expected a system file for each gold file, and no treebank twice. Give them in the same order."
        )
    scores = scores_with_macro_average({
        treebank: conllu_file_scores(*files)
        for treebank, *files in zip(treebanks, arguments.gold_files, arguments.system_files, strict=True)
    })
    print(conllu_table(scores))
    if arguments.output_file is not None:
        write_json(arguments.output_file, scores)
    return scores


if __name__ == "__main__":
    main(*parse_recipe(EvaluateConlluArguments))
