"""results.json: what a training run was, what it cost and what came out. Cards, tables and plots come from it alone.

Keys, all required unless in brackets; others are kept and not read:

    name                 name of the run, as `byte_crf-masakhaner1-polyglot`
    command              the command line that repeats it
    model_type           as in the model's config.json
    regime               one of `REGIMES`
    [base_model]         what training started from, by its Hub id if it has one; absent or null if from scratch
    [base_model_sha256]  digest of the weights of the model that a continued run started from, as `sha256sum` gives it
    [teacher]            what a distilled model learned from, by its Hub id or folder; absent or null if from none
    [distilled_on]       {language: sentences}: the unlabelled ones that the teacher was asked about
    arguments            of the recipe, by name
    data                 {language: {split: {sentences, fingerprint}, [source], [license]}}, only splits that were used
    seeds                list of integers
    [best_seed]          the one whose model is kept, chosen on the development sets; the first where there is none of
                         a language trained on
    [one_model_per_language]  true if each language has a model of its own, in a folder of its name
    [parts]              {part: number}: best dev score of each part of a Meta-LSTM that was trained part by part,
                         of the best seed, in percent
    [examples_drawn]     {language: [number]}: training sentences (segments of Byte-to-Span) that went into updates, of
                         each seed, in their order
    versions             {package: version}
    device               {name, cpu_threads}
    seconds              wall-clock time of the run
    peak_memory_bytes    of the GPU if there is one, else of the process
    [before]             scores, in the same form, of the model that a continued run started from, or of the model
                         that each seed started from
    [size]               {trained_parameters, bytes}: numbers that were learned, and the weights on disk; of one model
                         for each language, the sums
    [adapter]            {method, rank, alpha, dropout, base_bytes}: how the model differs from its base, whose weights
                         lie elsewhere; absent or null if it is whole
    [adam_state]         {carried, fresh}: names of the parameters that a continued run began with Adam's state, and
                         without; null if all began without
    [selection]          {rule: {scores, epochs}}, rules of `SELECTION_RULES`: test scores, in the same form, of what
                         each takes from the epochs of a run; and which epoch, of each seed, [number]; of target_dev
                         and of one model for each language, {language: [number]}; of average, how many epochs
    scores               {split: {language: {metric: {mean, std, [values]}, [by_type: {type: {metric: {mean, std}}}]},
                         [average], [average_source], [average_zero_shot]}}, in percent; `values` are those of the
                         seeds, in their order; of several tasks, metrics are `task_mean` and, of each task that the
                         language has, such as `upos_accuracy` and `ner_f1`

A language whose `data` has no `train` split was not trained on. A `source` written as `owner/name:configuration` is a
data set on the Hub.
"""

import importlib.metadata
import json
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch

import hf_polyglot

REGIMES = ("monolingual", "polyglot", "continued", "zero-shot", "distilled", "standard")

# Keys of `scores[split]` that are means over languages, not languages.
AVERAGES = ("average", "average_source", "average_zero_shot")

# Ways to choose a model from the epochs of a run: by the dev sets of the languages trained on, by that of each
# zero-shot language, not at all, and the mean of the weights of all.
SELECTION_RULES = ("source_dev", "target_dev", "last", "average")

# Keys of `data[language]` that are no splits.
DESCRIPTIONS = ("source", "license")

PACKAGES = ("torch", "transformers", "datasets", "accelerate")

# Of a model of several tasks: the mean of what each is chosen by. Those are there too, behind the name of their task,
# as `upos_accuracy`; a language without a task lacks them.
TASK_MEAN = "task_mean"

# Metrics of a task with spans, of one without, and of several.
_NEEDED_METRICS = ({"precision", "recall", "f1"}, {"accuracy"}, {TASK_MEAN})

_TYPES: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "command": str,
    "model_type": str,
    "regime": str,
    "arguments": Mapping,
    "data": Mapping,
    "seeds": list,
    "versions": Mapping,
    "device": Mapping,
    "seconds": (int, float),
    "peak_memory_bytes": int,
    "scores": Mapping,
}


def write_results(path: str | Path, results: Mapping[str, Any]) -> None:
    """
    Write `results` to a JSON file, checked first.

    Args:
        path (`str` or `Path`):
            File to write, or the folder in which to write `results.json`.
        results (`Mapping[str, Any]`):
            As described at the top of this module.
    """
    check_results(results)
    path = results_file(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


def read_results(path: str | Path) -> dict[str, Any]:
    """
    The results in a JSON file, checked.

    Args:
        path (`str` or `Path`):
            The file, or the folder that holds `results.json`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not JSON, or if a key is missing or holds something unexpected.
    """
    path = results_file(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"No results at `{path}`; expected the folder of a run that has ended, or its results.json. Correct the "
            "path."
        )
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        check_results(results)
    except ValueError as error:
        raise ValueError(f"`{path}` holds no results of a run. {error}") from error
    return results


def check_results(results: Mapping[str, Any]) -> None:
    """
    Raise an error that names the first key of `results` that is missing or holds something unexpected.

    Args:
        results (`Mapping[str, Any]`):
            As described at the top of this module.

    Raises:
        ValueError: if a key is missing or holds something unexpected.
    """
    if not isinstance(results, Mapping):
        raise ValueError(f"Results are a {type(results).__name__}; expected a dictionary with {', '.join(_TYPES)}.")
    for key, expected in _TYPES.items():
        if key not in results:
            raise ValueError(f"`{key}` is missing. Expected {', '.join(_TYPES)}; let the recipe that ran write it.")
        # True and False are integers to Python, but no number of bytes.
        if not isinstance(results[key], expected) or isinstance(results[key], bool):
            names = " or ".join(kind.__name__ for kind in (expected if isinstance(expected, tuple) else (expected,)))
            raise ValueError(f"`{key}` is {results[key]!r}; expected a {names}.")
    if results["regime"] not in REGIMES:
        raise ValueError(f"`regime` is {results['regime']!r}; expected one of {', '.join(REGIMES)}.")
    if not results["seeds"] or not all(type(seed) is int for seed in results["seeds"]):
        raise ValueError(f"`seeds` is {results['seeds']!r}; expected at least one integer.")
    if not isinstance(results.get("base_model"), str | None):
        raise ValueError(
            f"`base_model` is {results['base_model']!r}; expected a str, or null for a model from scratch."
        )
    if not isinstance(results.get("teacher"), str | None):
        raise ValueError(f"`teacher` is {results['teacher']!r}; expected a str, or null for a model without one.")
    _check_data(results["data"])
    _check_examples_drawn(results.get("examples_drawn", {}), results["data"], len(results["seeds"]))
    _check_scores(results["scores"], results["data"], len(results["seeds"]))
    if "before" in results:
        # Of one model that all seeds started from, or of one for each seed.
        _check_scores(results["before"], results["data"], 1, len(results["seeds"]))
    if "selection" in results:
        _check_selection(results["selection"], results["data"], len(results["seeds"]))


def run_environment(device: torch.device | str | None = None) -> dict[str, Any]:
    """
    The keys `versions` and `device` of results.json.

    Args:
        device (`torch.device` or `str`, *optional*):
            Where the model was trained, such as `training_arguments.device`. Defaults to the GPU if there is one.

    Returns:
        `dict`: `{"versions": {package: version}, "device": {"name", "cpu_threads"}}`.

    Example:
        >>> sorted(run_environment("cpu")["versions"])
        ['accelerate', 'datasets', 'hf_polyglot', 'python', 'torch', 'transformers']
    """
    on_gpu = _device(device).type == "cuda"
    versions = {package: importlib.metadata.version(package) for package in PACKAGES}
    versions["torch"] = torch.__version__  # names the build too, such as +cpu or +cu130
    return {
        "versions": {"python": platform.python_version(), **versions, "hf_polyglot": hf_polyglot.__version__},
        "device": {
            "name": torch.cuda.get_device_name(_device(device)) if on_gpu else _cpu_name(),
            "cpu_threads": torch.get_num_threads(),
        },
    }


def peak_memory_bytes(device: torch.device | str | None = None) -> int:
    """
    Most memory in use so far: of the tensors on the GPU, or of the whole process on a CPU.

    Args:
        device (`torch.device` or `str`, *optional*):
            Where the model was trained. Defaults to the GPU if there is one.

    Example:
        >>> peak_memory_bytes("cpu") > 1_000_000
        True
    """
    if _device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(_device(device))
    import resource  # Not on Windows, where the rest of this module works.

    # Linux counts in KiB, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def aggregate_scores(seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """
    Mean and standard deviation over seeds of every number in nested dictionaries.

    A type that occurs under `by_type` for some seeds only was neither there nor predicted for the others: its scores
    count as 0 there, as they do wherever they have no denominator.

    Args:
        seeds (`Sequence[Mapping[str, Any]]`):
            One dictionary a seed, all with the same keys.

    Returns:
        `dict`: the same keys, each number replaced by `{"mean", "std", "values"}`. `std` is the sample standard
        deviation, which divides by one less than the seeds; 0 for one seed. `values` are the numbers themselves.

    Raises:
        ValueError: if there is no seed, or if the seeds have different keys.

    Example:
        >>> aggregate_scores([{"yor": {"f1": 70.0}}, {"yor": {"f1": 72.0}}])
        {'yor': {'f1': {'mean': 71.0, 'std': 1.4142135623730951, 'values': [70.0, 72.0]}}}
    """
    if not seeds:
        raise ValueError("No scores to aggregate. Expected those of at least one seed.")
    keys = list(dict.fromkeys(key for seed in seeds for key in seed))
    for key in keys:
        if not all(key in seed for seed in seeds):
            raise ValueError(
                f"`{key}` is missing for some seeds. Expected the same scores of every seed; train it again."
            )
    aggregated = {}
    for key in keys:
        values = [seed[key] for seed in seeds]
        if isinstance(values[0], Mapping):
            aggregated[key] = aggregate_scores(_with_absent_types(values) if key == "by_type" else values)
        else:
            deviation = stdev(values) if len(values) > 1 else 0.0
            aggregated[key] = {"mean": fmean(values), "std": deviation, "values": values}
    return aggregated


def main_metric(scores: Mapping[str, Any]) -> str:
    """
    The metric by which models are chosen and compared: F1 of a task with spans, accuracy of one without, of several
    tasks the mean of theirs.

    Args:
        scores (`Mapping[str, Any]`):
            Of one language, by metric.

    Example:
        >>> main_metric({"precision": 70.0, "recall": 60.0, "f1": 64.6}), main_metric({"accuracy": 91.0})
        ('f1', 'accuracy')
    """
    return next((metric for metric in (TASK_MEAN, "f1") if metric in scores), "accuracy")


def mean_scores(languages: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """
    Unweighted mean of each metric over the languages that have it, `by_type` left out.

    Args:
        languages (`Mapping[str, Mapping]`):
            Numbers of each language, by metric.

    Example:
        >>> mean_scores({"tam": {"task_mean": 60.0, "upos_accuracy": 60.0}, "swa": {"task_mean": 40.0}})
        {'task_mean': 50.0, 'upos_accuracy': 60.0}
    """
    metrics = dict.fromkeys(metric for scores in languages.values() for metric in scores if metric != "by_type")
    return {metric: fmean(scores[metric] for scores in languages.values() if metric in scores) for metric in metrics}


def training_average(scores: Mapping[str, Any]) -> Any:
    """
    The average over the languages trained on, which alone has a say in what is chosen.

    Args:
        scores (`Mapping[str, Any]`):
            Of a split, by language and average.

    Example:
        >>> training_average({"average": {"f1": 60.0}, "average_source": {"f1": 80.0}})
        {'f1': 80.0}
    """
    return scores.get("average_source", scores["average"])


def has_dev_set(results: Mapping[str, Any]) -> bool:
    """
    Whether a language that a run trained on has a development set, by which its model can be chosen.

    Args:
        results (`Mapping[str, Any]`):
            Of the run.
    """
    return any({"train", "validation"} <= set(splits) for splits in results["data"].values())


def differing_keys(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """
    The keys whose values differ, those that only one of the two has included.

    Args:
        first (`Mapping[str, Any]`):
            Such as the arguments of a run.
        second (`Mapping[str, Any]`):
            Those of another.
    """
    return [key for key in {**first, **second} if first.get(key) != second.get(key)]


def languages_by_training(results: Mapping[str, Any], split: str = "test") -> tuple[list[str], list[str]]:
    """
    The languages with scores, apart: those that the run trained on, and the others.

    Args:
        results (`Mapping[str, Any]`):
            Of one run.
        split (`str`, *optional*, defaults to `"test"`):
            Whose scores.

    Raises:
        ValueError: if the run has no scores on that split.
    """
    if split not in results["scores"]:
        raise ValueError(
            f"`{results['name']}` has no scores on `{split}`. Expected one of {', '.join(results['scores'])}; "
            "evaluate the model on that split first."
        )
    languages = [language for language in results["scores"][split] if language not in AVERAGES]
    trained_on = [language for language in languages if "train" in results["data"][language]]
    return trained_on, [language for language in languages if language not in trained_on]


def results_file(path: str | Path) -> Path:
    """
    Where results lie.

    Args:
        path (`str` or `Path`):
            The file itself, or the folder that holds `results.json`.
    """
    return Path(path) / "results.json" if Path(path).is_dir() else Path(path)


def _check_data(data: Mapping[str, Any]) -> None:
    for language, splits in data.items():
        if language in AVERAGES or not isinstance(splits, Mapping):
            raise ValueError(f"`data.{language}` is {splits!r}; expected a language and its splits.")
        for key, value in splits.items():
            if key in DESCRIPTIONS:
                if not isinstance(value, str):
                    raise ValueError(f"`data.{language}.{key}` is {value!r}; expected a str.")
            elif (
                not isinstance(value, Mapping)
                or type(value.get("sentences")) is not int
                or not isinstance(value.get("fingerprint"), str)
            ):
                raise ValueError(
                    f"`data.{language}.{key}` is {value!r}; expected `sentences` (an int) and `fingerprint` (a "
                    f"str) of a split. Keys that are no splits are {', '.join(DESCRIPTIONS)}."
                )


def _check_examples_drawn(drawn: Any, data: Mapping[str, Any], num_seeds: int) -> None:
    if not isinstance(drawn, Mapping):
        raise ValueError(f"`examples_drawn` is {drawn!r}; expected the numbers of each language.")
    for language, numbers in drawn.items():
        if "train" not in data.get(language, {}):
            raise ValueError(
                f"`examples_drawn.{language}` is no language of `data` with a `train` split. Add it there."
            )
        if not isinstance(numbers, list) or len(numbers) != num_seeds or not all(type(n) is int for n in numbers):
            raise ValueError(
                f"`examples_drawn.{language}` is {numbers!r}; expected one integer for each of the {num_seeds} seeds."
            )


def _check_scores(scores: Mapping[str, Any], data: Mapping[str, Any], *num_models: int) -> None:
    if not scores or not all(
        isinstance(of_split, Mapping) and {*of_split} - {*AVERAGES} for of_split in scores.values()
    ):
        raise ValueError(
            f"`scores` is {scores!r}; expected at least one split with the scores of at least one language."
        )
    for split, languages in scores.items():
        for language, metrics in languages.items():
            if language not in (*data, *AVERAGES):
                raise ValueError(
                    f"`scores.{split}.{language}` is no language of `data`, which are {', '.join(data)}. Add it there."
                )
            if not isinstance(metrics, Mapping) or not any(needed <= set(metrics) for needed in _NEEDED_METRICS):
                raise ValueError(
                    f"`scores.{split}.{language}` is {metrics!r}; expected `precision`, `recall` and `f1`, or "
                    "`accuracy`."
                )
            _check_numbers(metrics, f"scores.{split}.{language}", num_models)


def _check_selection(selection: Any, data: Mapping[str, Any], num_seeds: int) -> None:
    if not isinstance(selection, Mapping) or not selection or not set(selection) <= set(SELECTION_RULES):
        raise ValueError(f"`selection` is {selection!r}; expected some of {', '.join(SELECTION_RULES)}.")
    for rule, of_rule in selection.items():
        if not isinstance(of_rule, Mapping) or not {"scores", "epochs"} <= set(of_rule):
            raise ValueError(f"`selection.{rule}` is {of_rule!r}; expected `scores` and `epochs`.")
        _check_scores(of_rule["scores"], data, num_seeds)
        epochs = of_rule["epochs"]
        for numbers in epochs.values() if isinstance(epochs, Mapping) else [epochs]:
            if not isinstance(numbers, list) or len(numbers) != num_seeds or not all(type(n) is int for n in numbers):
                raise ValueError(
                    f"`selection.{rule}.epochs` is {epochs!r}; expected one integer for each of the {num_seeds} "
                    "seeds, or this for each language."
                )


def _check_numbers(scores: Mapping[str, Any], key: str, num_models: tuple[int, ...]) -> None:
    for name, value in scores.items():
        if isinstance(value, Mapping) and not {"mean", "std", "values"} & set(value):
            _check_numbers(value, f"{key}.{name}", num_models)
            continue
        is_score = isinstance(value, Mapping) and {"mean", "std"} <= set(value) <= {"mean", "std", "values"}
        numbers = [value["mean"], value["std"], *value.get("values", [])] if is_score else [None]
        if not all(isinstance(number, (int, float)) and 0 <= number <= 100 for number in numbers):
            raise ValueError(f"`{key}.{name}` is {value!r}; expected `mean` and `std` in percent, between 0 and 100.")
        if "values" in value and len(value["values"]) not in num_models:
            raise ValueError(
                f"`{key}.{name}.values` is {value['values']}; expected one number for each of the {num_models[-1]} "
                "seeds."
            )


def _with_absent_types(seeds: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The `by_type` of each seed with zeros for the types that only other seeds have."""
    zeros = {name: dict.fromkeys(numbers, 0.0) for seed in seeds for name, numbers in seed.items()}
    return [zeros | dict(seed) for seed in seeds]


def _device(device: torch.device | str | None) -> torch.device:
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def _cpu_name() -> str:
    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text(encoding="utf-8").splitlines() if cpus.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine() or "CPU")
