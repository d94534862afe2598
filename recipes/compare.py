"""
Test whether two taggers differ by more than chance, in each language: bootstrap, randomisation and sign test.

    python recipes/compare.py runs/slicer/standard runs/slicer/slicer-h8 --output_file comparison.json
    python recipes/compare.py crf.conll bert.conll --gold_file test.conll

Needs two folders of runs, or their results, with the sentence counts that every training recipe leaves beside them; or
the counts of saved models, by evaluate.py --sentence_counts; or two column files of predictions for the same words.
Several runs of each system (--seeds) tell a better way of training from a lucky run; one of each compares two models.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_polyglot.analysis.prediction_files import counts_of_prediction_files
from hf_polyglot.analysis.significance import compare_systems, same_test_sets
from hf_polyglot.result_tables import comparison_table
from hf_polyglot.sentence_counts import read_sentence_counts
from hf_polyglot.training.command_line import parse_recipe, write_json


@dataclass
class CompareArguments:
    """What is compared, on what, and how exactly."""

    systems: list[str] = field(
        metadata={
            "help": "The two to compare, before all other flags or behind this one: folders of runs, results.json or "
            "sentence counts, or column files of predictions. Differences are those of the second to the first."
        }
    )
    split: str = field(default="test", metadata={"help": "Split of the runs: validation or test."})
    gold_file: str | None = field(
        default=None, metadata={"help": "Column file with the gold tags of the words of prediction files."}
    )
    gold_column: int | None = field(
        default=None, metadata={"help": "Or their column in the prediction files, from 0 or negative from the end."}
    )
    tag_column: int | None = field(
        default=None, metadata={"help": "Column of the predicted tags in prediction files. Default: found."}
    )
    num_resamples: int = field(default=10_000, metadata={"help": "Resamples of the bootstrap and the randomisation."})
    seed: int = field(default=0, metadata={"help": "Of the resamples."})
    confidence_level: float = field(
        default=0.95, metadata={"help": "Share of the intervals that cover the difference; 1 less alpha."}
    )
    output_file: str | None = field(default=None, metadata={"help": "JSON file for the comparison."})


def main(arguments: CompareArguments) -> dict[str, Any]:
    if len(arguments.systems) != 2:
        raise ValueError(f"`systems` is {arguments.systems}. Expected two of them; name the baseline first.")
    if missing := [system for system in arguments.systems if not Path(system).exists()]:
        raise ValueError(
            f"{', '.join(missing)}: no such folder or file. Expected runs or predictions; correct the path."
        )
    if all(Path(system).is_dir() or Path(system).suffix == ".json" for system in arguments.systems):
        systems = [read_sentence_counts(system) for system in arguments.systems]
    else:
        systems = counts_of_prediction_files(
            arguments.systems,
            gold_file=arguments.gold_file,
            gold_column=arguments.gold_column,
            tag_column=arguments.tag_column,
            split=arguments.split,
        )
    counts = same_test_sets(*systems, arguments.split)
    left_out = {language for system in systems for language in system.counts[arguments.split]} - set(counts[0])
    if left_out:
        print(f"Only one of them was scored on {', '.join(sorted(left_out))}: left out.\n")
    comparison = {"systems": [system.name for system in systems], "split": arguments.split}
    comparison |= compare_systems(
        *counts,
        num_resamples=arguments.num_resamples,
        seed=arguments.seed,
        confidence_level=arguments.confidence_level,
    )
    print(comparison_table(comparison))
    if arguments.output_file is not None:
        write_json(arguments.output_file, comparison)
    return comparison


if __name__ == "__main__":
    argv = sys.argv[1:]
    main(*parse_recipe(CompareArguments, argv=["--systems", *argv] if argv and not argv[0].startswith("-") else argv))
