"""The results of several runs as those of one: runs on one language each, or runs that differ in their seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

from hf_polyglot.results import (
    DESCRIPTIONS,
    aggregate_scores,
    differing_keys,
    has_dev_set,
    main_metric,
    mean_scores,
    training_average,
)

# Arguments that earlier versions did not have, and what those did: seeds of both can be joined.
LATER_ARGUMENTS = {
    "task": "ner", "label_scheme": "IOB2", "use_crf": True, "adapter": "none", "lora_rank": 8, "lora_alpha": 16,
    "lora_dropout": 0.0, "task_weights": [], "monolingual_min_sentences": 0,
}  # fmt: skip

# Arguments that change nothing that is learned, or, of the corpora, nothing that their fingerprints do not tell.
CHANGE_NOTHING_LEARNED = (
    "output_dir", "resume_from_checkpoint", "disable_tqdm", "push_to_hub", "hub_model_id", "hub_private_repo",
    "corpora", "languages", "compare", "data_source", "data_license", "use_cpu", "dataloader_pin_memory",
    "dataloader_num_workers", "per_device_eval_batch_size", "save_total_limit", "report_to", "run_name",
)  # fmt: skip


def joined_results(
    runs: Mapping[str, Mapping[str, Any]], *, name: str, command: str, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """
    The results of runs on one language each, as those of one run.

    Args:
        runs (`Mapping[str, Mapping]`):
            The results of each language's run, all with the same seeds.
        name (`str`):
            Of all of them together.
        command (`str`):
            The command line that repeats them.
        arguments (`Mapping[str, Any]`):
            Of that command.

    Returns:
        `dict`: scores of every language by its own model and, seed by seed, their average; seconds are the sum, memory
        the largest.

    Raises:
        ValueError: if there is no run, or if the runs have different seeds.
    """
    if not runs or len({tuple(run["seeds"]) for run in runs.values()}) > 1:
        raise ValueError(
            f"The seeds of {', '.join(runs) or 'no language'} are {[run['seeds'] for run in runs.values()]}; expected "
            "the same for every language. Train them with the same `seeds`."
        )
    first = next(iter(runs.values()))
    return {
        **first,
        "name": name,
        "command": command,
        "arguments": dict(arguments),
        "best_seed": None,
        "one_model_per_language": True,
        "data": {language: run["data"][language] for language, run in runs.items()},
        "examples_drawn": {
            language: run["examples_drawn"][language] for language, run in runs.items() if "examples_drawn" in run
        },
        "seconds": round(sum(run["seconds"] for run in runs.values()), 1),
        "peak_memory_bytes": max(run["peak_memory_bytes"] for run in runs.values()),
        **(
            {"size": {key: sum(run["size"][key] for run in runs.values()) for key in first["size"]}}
            if all("size" in run for run in runs.values())
            else {}
        ),
        **{
            key: _joined_scores({name: run[key] for name, run in runs.items()})
            for key in ("scores", "before")
            if key in first
        },
        **(
            {"adam_state": _joined_adam_states([run["adam_state"] for run in runs.values()])}
            if "adam_state" in first
            else {}
        ),
        **(
            {"selection": _joined_selections({name: run["selection"] for name, run in runs.items()})}
            if "selection" in first
            else {}
        ),
    }


def joined_seeds(runs: Sequence[Mapping[str, Any]], *, name: str, command: str) -> dict[str, Any]:
    """
    The results of runs that differ in their seeds, as those of one run over all these seeds.

    Args:
        runs (`Sequence[Mapping]`):
            The results of each.
        name (`str`):
            Of all of them together.
        command (`str`):
            The command lines that repeat and join them.

    Returns:
        `dict`: scores over all seeds in the order given; the best seed by development sets, unless every language has
        a model of its own, with what its model started from; seconds are the sum, memory the largest. Runs that
        differ in more than their seeds raise `ValueError`.
    """
    _check_that_seeds_differ(runs)
    first, seeds = runs[0], [seed for run in runs for seed in run["seeds"]]
    scores = _scores_of_all_seeds(runs, [run["scores"] for run in runs])
    best_seed, best = None, first
    if not first.get("one_model_per_language"):
        best_seed = seeds[0]
        if has_dev_set(first):
            dev = training_average(scores["validation"])
            values = dev[main_metric(dev)]["values"]
            best_seed = seeds[max(range(len(seeds)), key=values.__getitem__)]
        best = next(run for run in runs if best_seed in run["seeds"])
    joined = {
        **best,
        "name": name,
        "command": command,
        "arguments": {**best["arguments"], "seeds": seeds},
        "seeds": seeds,
        "best_seed": best_seed,
        "device": {**best["device"], "name": " and ".join(dict.fromkeys(run["device"]["name"] for run in runs))},
        "versions": {
            package: " and ".join(dict.fromkeys(str(run["versions"].get(package)) for run in runs))
            for package in best["versions"]
        },
        "seconds": round(sum(run["seconds"] for run in runs), 1),
        "peak_memory_bytes": max(run["peak_memory_bytes"] for run in runs),
        "scores": scores,
    }
    if "examples_drawn" in first:
        joined["examples_drawn"] = {
            language: [number for run in runs for number in run["examples_drawn"][language]]
            for language in first["examples_drawn"]
        }
    if "adam_state" in first:
        joined["adam_state"] = _joined_adam_states([run["adam_state"] for run in runs])
    if "selection" in first:
        joined["selection"] = {
            rule: {
                "scores": _scores_of_all_seeds(runs, [run["selection"][rule]["scores"] for run in runs]),
                "epochs": _joined_lists([run["selection"][rule]["epochs"] for run in runs]),
            }
            for rule in first["selection"]
        }
    if "before" in first and len({(run["base_model"], run.get("base_model_sha256")) for run in runs}) > 1:
        # Each seed has its own model before, be it that of all seeds of its run.
        joined["before"] = aggregate_scores([
            _of_seed(run["before"], index if _num_models(run["before"]) > 1 else 0)
            for run in runs
            for index in range(len(run["seeds"]))
        ])
    return joined


def _scores_of_all_seeds(runs: Sequence[Mapping[str, Any]], scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Scores of runs of different seeds, as those of one run."""
    return aggregate_scores([
        _of_seed(of_run, index) for run, of_run in zip(runs, scores, strict=True) for index in range(len(run["seeds"]))
    ])


def _joined_lists(parts: Sequence[Any]) -> Any:
    """Lists one behind the other, or those under each key."""
    if isinstance(parts[0], Mapping):
        return {key: _joined_lists([part[key] for part in parts]) for key in parts[0]}
    return [value for part in parts for value in part]


def _check_that_seeds_differ(runs: Sequence[Mapping[str, Any]]) -> None:
    """
    Refuse runs that differ in more than their seeds, or not in these.

    Raises:
        ValueError: if there is no run, if two have the same seed, or if they differ in anything that is learned from.
    """
    seeds = [seed for run in runs for seed in run["seeds"]]
    if not runs or len(set(seeds)) < len(seeds):
        raise ValueError(f"The seeds of the runs are {seeds}; expected each once. Give every run once.")
    first = runs[0]
    for run in runs[1:]:
        ours, theirs = _what_was_learned_from(first), _what_was_learned_from(run)
        different = [f"{key} {ours.get(key)} and {theirs.get(key)}" for key in differing_keys(ours, theirs)]
        if different:
            raise ValueError(
                f"The runs {first['name']} (seeds {first['seeds']}) and {run['name']} (seeds {run['seeds']}) differ: "
                f"{'; '.join(different)}. Expected the same but for their seeds. Train them so."
            )


def _what_was_learned_from(run: Mapping[str, Any]) -> dict[str, Any]:
    """All that has to be the same in runs that differ in their seeds."""
    free = (*CHANGE_NOTHING_LEARNED, "seeds", "seed", "model")  # each may have its own model to continue
    arguments = {**LATER_ARGUMENTS, **run["arguments"]}
    return {
        "model_type": run["model_type"],
        "regime": run["regime"],
        **{name: value for name, value in arguments.items() if name not in free},
        **{
            f"{split} data of {language}": of_split["fingerprint"]
            for language, splits in run["data"].items()
            for split, of_split in splits.items()
            if split not in DESCRIPTIONS
        },
        "scores": {split: sorted(languages) for split, languages in run["scores"].items()},
        "state before": "before" in run,
        "rules compared": sorted(run.get("selection", {})),
        "Adam state": run.get("adam_state") is not None,
    }


def _num_models(scores: Mapping[str, Any]) -> int:
    """How many models these scores are of."""
    while "values" not in scores:
        scores = next(iter(scores.values()))
    return len(scores["values"])


def _joined_adam_states(states: Sequence[Mapping[str, list[str]] | None]) -> dict[str, list[str]] | None:
    """Parameters that began with Adam's state in all runs, and those that began without in one of them at least."""
    known = [state for state in states if state is not None]
    if len(known) < len(states):
        return None
    fresh = list(dict.fromkeys(name for state in known for name in state["fresh"]))
    return {"carried": [name for name in known[0]["carried"] if name not in fresh], "fresh": fresh}


def _joined_scores(runs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """`scores` of one language each as those of all of them, with their average."""
    joined = {}
    for split in dict.fromkeys(split for scores in runs.values() for split in scores):
        having = {language: scores[split] for language, scores in runs.items() if split in scores}
        joined[split] = aggregate_scores([
            _with_average({language: _of_seed(scores[language], index) for language, scores in having.items()})
            for index in range(_num_models(next(iter(having.values()))))
        ])
    return joined


def _joined_selections(runs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What each rule of model selection gives on one language each, as that on all of them."""
    return {
        rule: {
            "scores": _joined_scores({name: selection[rule]["scores"] for name, selection in runs.items()}),
            "epochs": {name: selection[rule]["epochs"] for name, selection in runs.items()},
        }
        for rule in next(iter(runs.values()))
    }


def _with_average(languages: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The scores of each language by one seed, and their mean as `"average"`."""
    return languages | {"average": mean_scores(languages)}


def _of_seed(scores: Mapping[str, Any], index: int) -> dict[str, Any]:
    """
    The numbers of one seed in scores that `aggregate_scores` made.

    Raises:
        ValueError: if the scores of the single seeds were not kept.
    """
    if scores.keys() >= {"mean", "std"}:
        raise ValueError(
            f"The scores are {dict(scores)}; expected `values` of each seed. Train again, which keeps them."
        )
    return {
        key: value["values"][index] if "values" in value else _of_seed(value, index) for key, value in scores.items()
    }
