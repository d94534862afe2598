"""
Search the settings of a recipe with optuna: train it with each combination, and choose by the mean dev score of its
seeds.

    python recipes/search.py --output_dir runs/grid --space per_device_train_batch_size=16,32 num_train_epochs=3,4 \
        learning_rate+head_learning_rate=2e-5,3e-5,5e-5 --command accelerate launch recipes/encoder_crf.py \
        --preset recipes/presets/encoder_crf-linear.args --corpora my_corpora/deu
    python recipes/search.py --space learning_rate=1e-4..1e-2 hidden_size=64,128 --num_trials 20 \
        --output_dir runs/tpe --command accelerate launch recipes/byte_crf.py --corpora my_corpora/swa

The first is the grid of Devlin et al. (2019). All behind --command is the command line of the recipe. Lists are tried
in all combinations, a grid; with --num_trials, for ranges too, optuna's sampler chooses. The study is kept: the same
command goes on where the last one was stopped, in the middle of a run too, and optuna's own tools read `study.log`.
One command at a time: a second one on the same folder would take the first one's run for one that was stopped.
"""

import itertools
import math
import shutil
import subprocess
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from hf_polyglot.result_tables import search_table
from hf_polyglot.results import has_dev_set, main_metric, read_results, training_average
from hf_polyglot.training.command_line import parse_recipe, write_json

STUDY_FILE = "study.log"

# The values, or the lowest and highest, of each setting.
Space = dict[str, list[str] | tuple[float, float]]


@dataclass
class SearchArguments:
    """What is searched, and by how many runs."""

    space: list[str] = field(
        metadata={
            "help": "Settings of the recipe, each NAME=VALUE,VALUE,... or NAME=LOW..HIGH. A range between whole "
            "numbers has whole numbers; any other above 0 is searched by orders of magnitude. NAME+NAME moves two "
            "settings together."
        }
    )
    output_dir: str = field(metadata={"help": "Folder of the study and of all its runs."})
    num_trials: int | None = field(
        default=None,
        metadata={
            "help": "Combinations to try, chosen by optuna's TPE sampler. Default: all, which ranges do not have."
        },
    )
    seed: int = field(default=0, metadata={"help": "Of optuna's sampler. The recipe's own are its --seeds."})


def parsed_space(given: Sequence[str]) -> Space:
    """
    What is searched.

    Raises:
        ValueError: if one is neither, or has one value twice, or is named twice.
    """
    space: Space = {}
    for text in given:
        name, equals, choices = text.partition("=")
        low, dots, high = choices.partition("..")
        is_path = "/" in choices  # which may have dots
        values = [] if dots and not is_path else choices.split(",")
        try:
            ends = (float(low), float(high)) if dots and not is_path else None
        except ValueError:
            ends = (math.nan, math.nan)
        is_range = ends is not None and ends[0] < ends[1]
        is_list = all(values) and values and len(set(values)) == len(values)
        if not name or not equals or name in space or not (is_range or is_list):
            raise ValueError(
                f"`space` has {text!r}; expected each setting once, as NAME=VALUE,VALUE or NAME=LOW..HIGH with "
                "different values, such as learning_rate=2e-5,3e-5. Correct it."
            )
        space[name] = ends if is_range and ends is not None else values
    return space


def suggested(trial: optuna.Trial, space: Space) -> dict[str, str]:
    """The settings of a trial, as they stand on the command line."""
    settings = {}
    for name, choices in space.items():
        if isinstance(choices, list):
            settings[name] = trial.suggest_categorical(name, choices)
        elif all(end.is_integer() for end in choices):
            settings[name] = str(trial.suggest_int(name, int(choices[0]), int(choices[1])))
        else:
            settings[name] = repr(trial.suggest_float(name, *choices, log=choices[0] > 0))
    return settings


def scores_of_seeds(results: dict[str, Any], split: str) -> list[float]:
    """
    Mean score over the languages trained on, of each seed, in percent.

    Raises:
        ValueError: if none of them has such a set.
    """
    if not has_dev_set(results):
        raise ValueError(
            f"`{results['name']}` trained on {', '.join(results['data'])}, none of which has a dev set; expected one "
            "at least, by which settings can be chosen. Add a dev file, or a language that has one."
        )
    average = training_average(results["scores"][split])
    return average[main_metric(average)]["values"]


def _flags(settings: dict[str, Any]) -> list[str]:
    """Settings as words of a command line."""
    return [
        word for names, value in settings.items() for name in names.split("+") for word in (f"--{name}", str(value))
    ]


def run_once(folder: Path, command: Sequence[str], settings: dict[str, str]) -> dict[str, Any]:
    """
    Results of the recipe with these settings, from an earlier run if that has ended.

    Raises:
        RuntimeError: if the recipe fails, or leaves no results.
    """
    if results_below(folder) is None:
        flags = _flags(settings)
        goes_on = ["--resume_from_checkpoint", "true"] if folder.exists() else []
        full = [*command, *flags, "--output_dir", str(folder), *goes_on]
        process = subprocess.Popen(full)
        try:
            status = process.wait()
        except KeyboardInterrupt:  # which the recipe got too: it ends behind a step, with a checkpoint
            process.wait()
            sys.exit("The search was stopped. The same command goes on.")
        if status != 0 or results_below(folder) is None:
            raise RuntimeError(
                f"The run in {folder} ended with status {status} and without results; expected a results.json there. "
                f"See above why, and give the same command again to go on. Its command: {' '.join(full)}"
            )
    return read_results(results_below(folder) or folder)


def results_below(folder: Path) -> Path | None:
    """The results of a recipe's run in a folder; slicer.py writes those of SLICER one folder below. None: none yet."""
    if (folder / "results.json").is_file():
        return folder / "results.json"
    below = [path for path in folder.glob("*/results.json") if read_results(path)["regime"] == "zero-shot"]
    return below[0] if below else None


def folder_name(settings: dict[str, str]) -> str:
    """Name of a run's folder, from its settings: short, and without what would make it several folders."""
    name = "_".join(f"{key}-{value}" for key, value in settings.items())
    plain = name.replace("/", "-")[:100]
    return plain if plain == name else f"{plain}-{zlib.crc32(name.encode()):08x}"


def opened_study(folder: Path, arguments: SearchArguments, command: Sequence[str]) -> optuna.Study:
    """
    The study in a folder, or a new one.

    Raises:
        ValueError: if the study there is of another command or another space.
    """
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(folder / STUDY_FILE))),
        study_name=folder.name,
        direction="maximize",
        load_if_exists=True,
    )
    study.sampler = optuna.samplers.TPESampler(seed=arguments.seed + len(study.trials))
    about = {"command": list(command), "space": sorted(arguments.space)}
    known = study.user_attrs.get("about", about)
    if known != about:
        raise ValueError(
            f"{folder} holds the study of {' '.join(known['command'])} over {' '.join(known['space'])}; expected the "
            "command and the space of this one. Give another output_dir."
        )
    study.set_user_attr("about", about)
    for trial in study.get_trials(states=[TrialState.RUNNING]):  # of a search that was stopped
        study.tell(trial.number, state=TrialState.FAIL)
    return study


def settings_to_run(study: optuna.Study, space: Space, num_trials: int | None, first: int) -> list[dict[str, Any]]:
    """
    Combinations that are still to be run: of a grid, all; else those whose run was stopped. Those whose recipe failed
    in this search, whose trials have numbers from `first` on, are left alone.
    """
    ended = [trial.params for trial in study.get_trials(states=[TrialState.COMPLETE])]
    ended += [trial.params for trial in failed_trials(study) if trial.number >= first]
    if num_trials is None:
        wanted = [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]
    else:
        stopped = (trial.params for trial in study.get_trials(states=[TrialState.FAIL]))
        wanted = [params for params in stopped if len(params) == len(space)]
    return [params for params in wanted if params not in ended]


def failed_trials(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Trials whose recipe ended without results. optuna's own state FAIL is here that of runs that were stopped."""
    return study.get_trials(states=[TrialState.PRUNED])


def summary(study: optuna.Study) -> list[dict[str, Any]]:
    """Settings and scores of all runs that have ended, the best first."""
    runs: dict[str, dict[str, Any]] = {}
    for trial in study.get_trials(states=[TrialState.COMPLETE]):
        runs[str(trial.params)] = {
            "settings": trial.params,
            "seconds": trial.user_attrs["seconds"],
            **{
                split: {
                    "mean": fmean(trial.user_attrs[split]),
                    "std": stdev(trial.user_attrs[split]) if len(trial.user_attrs[split]) > 1 else 0.0,
                    "values": trial.user_attrs[split],
                }
                for split in ("validation", "test")
            },
        }
    return sorted(runs.values(), key=lambda run: -run["validation"]["mean"])


def main(arguments: SearchArguments, command: Sequence[str]) -> list[dict[str, Any]]:
    space = parsed_space(arguments.space)
    has_range = any(isinstance(choices, tuple) for choices in space.values())
    if not command:
        raise ValueError(
            "There is no --command; expected the recipe behind it, as in --command python recipes/byte_crf.py."
        )
    if arguments.num_trials is None and has_range:
        raise ValueError(
            "`space` has a range, and there is no `num_trials`; expected how many combinations to try. Give it."
        )
    if shutil.which(command[0]) is None:
        raise ValueError(
            f"No program {command[0]} is found; expected one that can be run. Correct --command, or activate the "
            "environment that has it."
        )
    folder = Path(arguments.output_dir)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = opened_study(folder, arguments, command)

    def objective(trial: optuna.Trial) -> float:
        settings = suggested(trial, space)
        name = folder_name(settings)
        print(f"\n{name}", flush=True)
        try:
            results = run_once(folder / name, command, settings)
        except RuntimeError as error:
            # A rate at which training diverges is no reason to give up on the others.
            print(error, file=sys.stderr)
            raise optuna.TrialPruned(str(error)) from error
        for split in ("validation", "test"):
            trial.set_user_attr(split, scores_of_seeds(results, split))
        trial.set_user_attr("seconds", results["seconds"])
        return fmean(trial.user_attrs["validation"])

    def num_ended() -> int:
        return len(study.get_trials(states=[TrialState.COMPLETE, TrialState.PRUNED]))

    first, wanted = len(study.trials), arguments.num_trials
    while (left := settings_to_run(study, space, wanted, first)) or num_ended() < (wanted or 0):
        if left and not study.get_trials(states=[TrialState.WAITING]):
            study.enqueue_trial(left[0])
        study.optimize(objective, n_trials=1)
    runs = summary(study)
    ended = [run["settings"] for run in runs]
    failed = [" ".join(_flags(trial.params)) for trial in failed_trials(study) if trial.params not in ended]
    if not runs:
        raise RuntimeError(f"No run in {folder} has ended with results; expected some. See above why.")
    write_json(str(folder / "search.json"), runs)
    best = " ".join(_flags(runs[0]["settings"]))
    if failed:
        print("\nWithout results:", *dict.fromkeys(failed), sep="\n")
    print(f"\n{search_table(runs)}\n\nBest on the development sets: {best}\nStudy and runs: {folder}")
    return runs


if __name__ == "__main__":
    words = sys.argv[1:]
    end = words.index("--command") if "--command" in words else len(words)
    main(*parse_recipe(SearchArguments, argv=words[:end]), words[end + 1 :])
