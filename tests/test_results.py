import json
import re
import statistics
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_polyglot.joined_results import joined_results, joined_seeds
from hf_polyglot.results import (
    aggregate_scores,
    check_results,
    languages_by_training,
    peak_memory_bytes,
    read_results,
    run_environment,
    write_results,
)

percent = st.floats(0, 100)


def scores(f1, std=0.5):
    """Scores of a language: a precision and recall one above and one below an F1."""
    values = {"precision": f1 + 1, "recall": f1 - 1, "f1": f1, "macro_f1": f1 - 5}
    metrics = {name: {"mean": value, "std": std} for name, value in values.items()}
    return {**metrics, "by_type": {"PER": {"f1": {"mean": f1, "std": std}}}}


def zero_shot_results(**changes):
    """Results of a run on English that was tested on two other languages."""
    split = {"sentences": 1000, "fingerprint": "5d41402a"}
    english = {"train": {**split, "sentences": 20000}, "validation": split, "test": split}
    return {
        "name": "slicer-wikiann-zero-shot",
        "command": "accelerate launch recipes/slicer.py --seeds 42 43",
        "model_type": "slicer",
        "regime": "zero-shot",
        "base_model": "intfloat/multilingual-e5-small",
        "arguments": {"slice_width": 8},
        "data": {
            "eng": {**english, "source": "unimelb-nlp/wikiann:en", "license": "CC BY-SA 3.0"},
            "yor": {"test": split, "source": "MasakhaNER 1.0", "license": "CC BY-NC 4.0"},
            "hau": {"test": split, "source": "MasakhaNER 1.0", "license": "CC BY-NC 4.0"},
        },
        "seeds": [42, 43],
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
        "device": {"name": "NVIDIA H100", "cpu_threads": 16},
        "seconds": 5025.3,
        "peak_memory_bytes": 3 * 2**30,
        "scores": {
            "test": {
                "eng": scores(80.0),
                "yor": scores(40.0),
                "hau": scores(61.0),
                "average": scores(60.33, std=0.25),
            },
            "validation": {"eng": scores(81.0)},
        },
        **changes,
    }


def selected(rule, epochs, f1=40.0):
    """What one rule of model selection gave on the zero-shot languages."""
    of_rule = {"yor": scores(f1), "hau": scores(f1 + 21), "average_zero_shot": scores(f1 + 10.5, std=0.25)}
    return {rule: {"scores": {"test": of_rule}, "epochs": epochs}}


def test_results_come_back_as_they_were_written(tmp_path):
    results = zero_shot_results(arguments={"corpora": ["yorùbá=data/yor"], "alpha": 0.5}, best_seed=43)
    results["examples_drawn"] = {"eng": [20000, 19999]}
    results["selection"] = selected("last", [10, 10]) | selected("target_dev", {"yor": [3, 4], "hau": [1, 1]})

    write_results(tmp_path / "new" / "run.json", results)
    write_results(tmp_path, results)

    assert read_results(tmp_path / "new" / "run.json") == results
    assert read_results(tmp_path) == read_results(str(tmp_path / "results.json")) == results
    assert "yorùbá" in (tmp_path / "results.json").read_text(encoding="utf-8")


def without(*keys):
    def change(results):
        for key in keys[:-1]:
            results = results[key]
        del results[keys[-1]]

    return change


def having(value, *keys):
    def change(results):
        for key in keys[:-1]:
            results = results[key]
        results[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *(
            (without(key), f"`{key}` is missing. Expected name, command")
            for key in ("name", "data", "peak_memory_bytes", "scores")
        ),
        (having(7, "name"), "`name` is 7; expected a str"),
        (having(True, "seconds"), "`seconds` is True; expected a int or float"),
        (having(1.5, "peak_memory_bytes"), "`peak_memory_bytes` is 1.5; expected a int"),
        (having("bilingual", "regime"), "`regime` is 'bilingual'; expected one of monolingual, polyglot"),
        (having([], "seeds"), "`seeds` is []; expected at least one integer"),
        (having(["42"], "seeds"), "`seeds` is ['42']; expected at least one integer"),
        (having(3, "base_model"), "`base_model` is 3; expected a str, or null"),
        (having(3, "teacher"), "`teacher` is 3; expected a str, or null for a model without one"),
        (having("nice", "data", "yor"), "`data.yor` is 'nice'; expected a language and its splits"),
        (having({}, "data", "average"), "`data.average` is {}; expected a language and its splits"),
        (having({"sentences": 3}, "data", "yor", "test"), "`data.yor.test` is {'sentences': 3}; expected `sentences`"),
        (having("CC0", "data", "yor", "licence"), "`data.yor.licence` is 'CC0'; expected `sentences`"),
        (having(["CC0"], "data", "yor", "license"), "`data.yor.license` is ['CC0']; expected a str"),
        (having([3], "examples_drawn"), "`examples_drawn` is [3]; expected the numbers of each language"),
        (having({"yor": [3, 4]}, "examples_drawn"), "`examples_drawn.yor` is no language of `data` with a `train`"),
        (having({"wol": [3, 4]}, "examples_drawn"), "`examples_drawn.wol` is no language of `data` with a `train`"),
        (
            having({"eng": [3]}, "examples_drawn"),
            "`examples_drawn.eng` is [3]; expected one integer for each of the 2",
        ),
        (having({"eng": [3, 4.5]}, "examples_drawn"), "`examples_drawn.eng` is [3, 4.5]; expected one integer"),
        (having({}, "selection"), "`selection` is {}; expected some of source_dev, target_dev, last, average"),
        (having({"best": {}}, "selection"), "`selection` is {'best': {}}; expected some of source_dev"),
        (
            having({"last": {"epochs": [3, 3]}}, "selection"),
            "`selection.last` is {'epochs': [3, 3]}; expected",
        ),
        (
            having(selected("last", [3]), "selection"),
            "`selection.last.epochs` is [3]; expected one integer",
        ),
        (
            having(selected("target_dev", {"yor": [3, 1], "hau": [2, 1.5]}), "selection"),
            "expected one integer for each of the 2 seeds, or this for each language",
        ),
        (
            having({"last": {"epochs": [3, 3], "scores": {"test": {"wol": {}}}}}, "selection"),
            "`scores.test.wol` is no language of `data`",
        ),
        (having({}, "scores"), "`scores` is {}; expected at least one split"),
        (
            having({"average": scores(1.0)}, "scores", "test"),
            "expected at least one split with the scores of at least one",
        ),
        (
            having(scores(50.0), "scores", "test", "wol"),
            "`scores.test.wol` is no language of `data`, which are eng, yor, hau",
        ),
        (without("scores", "test", "yor", "recall"), "expected `precision`, `recall` and `f1`, or `accuracy`"),
        (having(61.0, "scores", "test", "hau", "f1"), "`scores.test.hau.f1` is 61.0; expected `mean` and `std`"),
        (having({"mean": 61.0}, "scores", "test", "hau", "f1"), "`scores.test.hau.f1` is {'mean': 61.0}; expected"),
        (having({"mean": 101.0, "std": 0.0}, "scores", "test", "hau", "f1"), "between 0 and 100"),
        (having({"mean": float("nan"), "std": 0.0}, "scores", "test", "hau", "f1"), "between 0 and 100"),
        (having({"mean": 50.0, "std": None}, "scores", "test", "hau", "f1"), "between 0 and 100"),
        (having({"mean": 50.0, "std": 0.0, "values": [50.0]}, "scores", "test", "hau", "f1"), "the 2 seeds"),
        (having({"mean": 50.0, "std": 0.0, "values": ["a", "b"]}, "scores", "test", "hau", "f1"), "between 0 and 100"),
        (
            having({"mean": -1.0, "std": 0.0}, "scores", "test", "yor", "by_type", "PER", "f1"),
            "`scores.test.yor.by_type.PER.f1`",
        ),
    ],
)
def test_a_fault_is_refused_by_its_key_in_writing_and_in_reading(tmp_path, change, message):
    results = zero_shot_results()
    change(results)
    (tmp_path / "faulty.json").write_text(json.dumps(results), encoding="utf-8")

    with pytest.raises(ValueError, match=re.escape(message)):
        write_results(tmp_path / "results.json", results)
    with pytest.raises(ValueError, match=r"faulty.json` holds no results of a run\. .*" + re.escape(message)):
        read_results(tmp_path / "faulty.json")
    assert not (tmp_path / "results.json").exists()


@pytest.mark.parametrize(("text", "message"), [("[1]", "Results are a list"), ("{", "Expecting property name")])
def test_a_file_that_holds_no_results_is_refused_by_its_name(tmp_path, text, message):
    (tmp_path / "results.json").write_text(text, encoding="utf-8")

    with pytest.raises(ValueError, match=rf"results.json` holds no results of a run\. {message}"):
        read_results(tmp_path)


@given(seeds=st.lists(st.tuples(percent, percent), min_size=2, max_size=5))
@settings(max_examples=50, deadline=None)
def test_scores_of_seeds_become_their_mean_and_sample_deviation(seeds):
    per_seed = [{"test": {"yor": {"f1": f1, "by_type": {"PER": {"f1": of_type}}}}} for f1, of_type in seeds]

    aggregated = aggregate_scores(per_seed)["test"]["yor"]

    for found, values in zip(
        (aggregated["f1"], aggregated["by_type"]["PER"]["f1"]), zip(*seeds, strict=True), strict=True
    ):
        assert found["mean"] == pytest.approx(sum(values) / len(values))
        squares = sum((value - found["mean"]) ** 2 for value in values)
        assert found["std"] == pytest.approx((squares / (len(values) - 1)) ** 0.5, abs=1e-5)
        assert found["std"] == pytest.approx(statistics.stdev(values), abs=1e-9)


def test_the_deviation_of_one_seed_is_zero():
    assert aggregate_scores([{"f1": 70.0}]) == {"f1": {"mean": 70.0, "std": 0.0, "values": [70.0]}}


def test_a_type_that_one_seed_never_predicts_counts_as_zero_there():
    seeds = [{"by_type": {"PER": {"f1": 80.0}}}, {"by_type": {"PER": {"f1": 80.0}, "MISC": {"f1": 10.0}}}]

    assert aggregate_scores(seeds)["by_type"]["MISC"]["f1"]["mean"] == 5.0


def test_seeds_with_other_languages_are_refused():
    with pytest.raises(ValueError, match="No scores to aggregate"):
        aggregate_scores([])
    with pytest.raises(ValueError, match="`hau` is missing for some seeds"):
        aggregate_scores([{"yor": {"f1": 1.0}}, {"yor": {"f1": 1.0}, "hau": {"f1": 1.0}}])


def test_languages_without_a_training_split_are_those_not_trained_on():
    assert languages_by_training(zero_shot_results()) == (["eng"], ["yor", "hau"])
    assert languages_by_training(zero_shot_results(), "validation") == (["eng"], [])
    with pytest.raises(ValueError, match=r"no scores on `dev`\. Expected one of test, validation"):
        languages_by_training(zero_shot_results(), "dev")


def test_the_environment_names_what_runs_here():
    environment = run_environment("cpu")

    assert environment["versions"]["torch"] == torch.__version__
    assert all(environment["versions"][package] for package in ("python", "transformers", "datasets", "accelerate"))
    assert environment["versions"]["hf_polyglot"][0].isdigit()
    assert environment["device"]["name"]
    assert environment["device"]["cpu_threads"] == torch.get_num_threads()
    check_results(zero_shot_results(**environment))


def test_peak_memory_of_a_process_is_what_linux_says():
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("no /proc on this machine")

    peak = peak_memory_bytes("cpu")

    kibibytes = int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1])
    # The kernel counts the pages of a running process in batches, a few of them late.
    assert peak == pytest.approx(1024 * kibibytes, rel=0.01)


@pytest.mark.gpu
def test_peak_memory_of_a_gpu_counts_its_tensors():
    block = torch.ones(2**20, device="cuda")

    assert peak_memory_bytes() >= 4 * block.numel()
    assert run_environment()["device"]["name"] == torch.cuda.get_device_name()


def test_runs_of_different_seeds_are_not_joined():
    runs = {"eng": zero_shot_results(), "yor": zero_shot_results(seeds=[1])}

    with pytest.raises(ValueError, match=r"The seeds of eng, yor are \[\[42, 43\], \[1\]\]; expected the same"):
        joined_results(runs, name="all", command="train", arguments={})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": [43, 44]}, r"The seeds of the runs are \[42, 43, 43, 44\]; expected each once"),
        ({"regime": "standard"}, "differ: regime zero-shot and standard"),
        ({"arguments": {"slice_width": 2}}, "differ: slice_width 8 and 2. Expected the same"),
        ({"data": {}}, "differ: train data of eng 5d41402a and None"),
        ({"before": {"test": {}}}, "differ: state before False and True"),
        ({"selection": {"last": {}}}, r"differ: rules compared \[\] and \['last'\]"),
    ],
)
def test_only_runs_that_differ_in_their_seeds_are_joined(changes, message):
    with pytest.raises(ValueError, match=message):
        joined_seeds([zero_shot_results(), zero_shot_results(**{"seeds": [44, 45]} | changes)], name="", command="")


def test_the_models_before_are_those_of_each_seed_where_each_started_from_its_own():
    def metrics(f1):
        return {name: {"mean": f1, "std": 0, "values": [f1]} for name in ("precision", "recall", "f1")}

    def continued(seed, base_model):
        of_seed = {"yor": metrics(60.0 + seed)}
        scores = {"test": of_seed, "validation": {**of_seed, "average": of_seed["yor"]}}
        changes = {"seeds": [seed], "base_model": base_model, "before": {"test": {"yor": metrics(50.0 + seed)}}}
        return zero_shot_results(regime="continued", scores=scores, **changes)

    own = joined_seeds([continued(1, "polyglot-1"), continued(2, "polyglot-2")], name="own", command="")
    same = joined_seeds([continued(1, "polyglot"), continued(2, "polyglot")], name="same", command="")
    elsewhere = [continued(seed, "polyglot") | {"base_model_sha256": f"{seed}"} for seed in (1, 2)]
    three = joined_seeds([own, continued(3, "polyglot-3")], name="three", command="")

    assert (own["best_seed"], own["base_model"]) == (2, "polyglot-2")
    assert own["before"]["test"]["yor"]["f1"]["values"] == [51.0, 52.0]
    assert len(same["before"]["test"]["yor"]["f1"]["values"]) == 1
    other_weights = joined_seeds(elsewhere, name="elsewhere", command="")
    assert other_weights["before"]["test"]["yor"]["f1"]["values"] == [51.0, 52.0]
    assert three["before"]["test"]["yor"]["f1"]["values"] == [51.0, 52.0, 53.0]
    check_results(three)


def test_runs_of_a_task_without_spans_are_joined_like_others():
    def alone(language, accuracy):
        return zero_shot_results(
            seeds=[1], scores={"test": {language: {"accuracy": {"mean": accuracy, "std": 0, "values": [accuracy]}}}}
        )

    joined = joined_results({"yor": alone("yor", 80.0), "hau": alone("hau", 90.0)}, name="", command="", arguments={})

    assert joined["scores"]["test"]["average"]["accuracy"]["values"] == [85.0]


def monolingual_results(language, seed, *splits):
    """Results of a run on one language that has these splits besides training."""
    split = {"sentences": 10, "fingerprint": "a"}
    of_language = {metric: {"mean": 60.0 + seed, "std": 0, "values": [60.0 + seed]} for metric in ("accuracy",)}
    return zero_shot_results(
        regime="monolingual",
        seeds=[seed],
        data={language: dict.fromkeys(("train", *splits), split)},
        scores={name: {language: of_language, "average": of_language} for name in splits},
    )


def test_the_first_seed_is_kept_where_no_dev_set_could_choose():
    without = [monolingual_results("kaz", seed, "test") for seed in (1, 2)]
    with_dev = [monolingual_results("kaz", seed, "validation", "test") for seed in (1, 2)]

    assert joined_seeds(without, name="both", command="join")["best_seed"] == 1
    assert joined_seeds(with_dev, name="both", command="join")["best_seed"] == 2


def test_languages_without_a_dev_set_are_joined_with_those_that_have_one():
    runs = {
        "kaz": monolingual_results("kaz", 1, "test"), "tam": monolingual_results("tam", 1, "validation", "test")
    }  # fmt: skip

    joined = joined_results(runs, name="both", command="join", arguments={})

    assert set(joined["scores"]["validation"]) == {"tam", "average"}
    assert set(joined["scores"]["test"]) == {"kaz", "tam", "average"}
    check_results(joined)
