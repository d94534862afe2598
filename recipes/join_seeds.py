"""
Join runs that differ in nothing but their seeds, as if one command with all --seeds had trained them.

    python recipes/join_seeds.py runs/swa-1 runs/swa-2 runs/swa-3 --output_dir runs/swa

Seeds that were trained side by side, each by a command, on a core, GPU or machine of its own, give one results.json
with mean and deviation, one file of sentence counts (of each task, if several) and one card, beside the model of the
seed that is best on the development sets. Runs of one model for each language are joined language by language. Each
of several continued runs may have started from a polyglot model of its own.
"""

import shlex
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_polyglot.joined_results import joined_seeds
from hf_polyglot.model_card import write_model_card
from hf_polyglot.results import read_results, write_results
from hf_polyglot.sentence_counts import (
    FILE_NAME,
    file_name_of_task,
    joined_seed_counts,
    read_sentence_counts,
    write_sentence_counts,
)
from hf_polyglot.training.command_line import parse_recipe
from hf_polyglot.training.publishing import KEPT_AT_HOME, results_summary


@dataclass
class JoinArguments:
    """What is joined, and where to."""

    runs: list[str] = field(metadata={"help": "Folders of the runs, before all other flags or behind this one."})
    output_dir: str = field(metadata={"help": "Folder to write, which holds no run yet."})


def main(arguments: JoinArguments) -> dict[str, Any]:
    output = Path(arguments.output_dir)
    if (output / "results.json").exists():
        raise ValueError(f"`output_dir` is {output}, which holds a run already; expected a new folder. Name another.")
    if files := [run for run in arguments.runs if Path(run).is_file()]:
        raise ValueError(f"{', '.join(files)}: a file; expected the folder of a run, with its model. Give the folder.")
    results = join([Path(run) for run in arguments.runs], output)
    print(results_summary(results, output))
    return results


def join(runs: list[Path], output: Path) -> dict[str, Any]:
    """One run in the folder `output`, from the runs in these."""
    results = [read_results(run) for run in runs]
    join_command = shlex.join(["python", "recipes/join_seeds.py", *map(str, runs), "--output_dir", str(output)])
    commands = [*(result["command"] for result in results), join_command]
    joined = joined_seeds(results, name=output.name, command=" && ".join(commands))
    # Of several tasks, each has a file.
    files = [path.name for path in sorted(runs[0].glob(file_name_of_task("*")))] or [FILE_NAME]
    counts = {
        file: joined_seed_counts(
            [read_sentence_counts(run if file == FILE_NAME else run / file) for run in runs], output.name
        )
        for file in files
    }
    if joined.get("one_model_per_language"):
        for language in joined["data"]:
            join([run / language for run in runs], output / language)
    else:
        best = next(run for run, of_run in zip(runs, results, strict=True) if joined["best_seed"] in of_run["seeds"])
        shutil.copytree(best, output, ignore=shutil.ignore_patterns(*KEPT_AT_HOME, "results.json"), dirs_exist_ok=True)
    for file, of_task in counts.items():
        write_sentence_counts(output / file, of_task)
    write_model_card(output, joined)
    write_results(output, joined)  # last: it says that all is there
    return joined


if __name__ == "__main__":
    argv = sys.argv[1:]
    main(*parse_recipe(JoinArguments, argv=["--runs", *argv] if argv and not argv[0].startswith("-") else argv))
