"""Tables of runs."""

import copy

import pytest

from hf_polyglot.result_tables import (
    comparison_table,
    differences_table,
    progress_table,
    results_table,
    scores_table,
    selection_table,
    sizes_table,
    systems_table,
    treebanks_table,
)
from hf_polyglot.results import aggregate_scores, check_results

from .test_results import scores, selected, zero_shot_results


def cells(table):
    """Rows of a Markdown table, without the rule below its head."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert len({len(row) for row in rows}) == 1
    return rows[:1] + rows[2:]


def test_the_table_of_a_run_keeps_source_and_zero_shot_languages_apart():
    results = zero_shot_results()
    del results["scores"]["test"]["average"]

    assert cells(results_table(results)) == [
        ["Language", "Training sentences", "Precision", "Recall", "F1"],
        ["eng", "20,000", "81.00 ± 0.50", "79.00 ± 0.50", "80.00 ± 0.50"],
        ["yor", "0", "41.00 ± 0.50", "39.00 ± 0.50", "40.00 ± 0.50"],
        ["hau", "0", "62.00 ± 0.50", "60.00 ± 0.50", "61.00 ± 0.50"],
        # Nobody wrote down the deviation of this average, and it cannot be had from those of the languages.
        ["**average, not trained on**", "", "51.50", "49.50", "50.50"],
    ]


def test_the_table_shows_the_deviation_of_an_average_that_was_kept():
    results = zero_shot_results()
    results["scores"]["test"]["average_zero_shot"] = scores(50.5, std=0.3)

    assert cells(results_table(results))[-1][-1] == "50.50 ± 0.30"


def test_a_table_where_all_languages_were_trained_on_ends_in_one_average():
    results = zero_shot_results(regime="polyglot")
    for language in ("yor", "hau"):
        results["data"][language]["train"] = {"sentences": 7, "fingerprint": "a"}

    rows = cells(results_table(results))

    assert [row[0] for row in rows] == ["Language", "eng", "yor", "hau", "**average**"]
    assert rows[2][1] == "7"
    assert rows[-1][-1] == "60.33 ± 0.25"


def test_a_table_of_several_runs_has_a_column_for_each_and_gaps_where_a_language_is_missing():
    standard, slicer = zero_shot_results(name="standard", seeds=[42]), zero_shot_results()
    del slicer["scores"]["test"]["hau"]

    assert cells(results_table([standard, slicer])) == [
        ["Language", "Training sentences", "standard", "slicer-wikiann-zero-shot"],
        ["eng", "20,000", "80.00", "80.00 ± 0.50"],
        ["yor", "0", "40.00", "40.00 ± 0.50"],
        ["hau", "0", "61.00", "–"],
        # The average of another set of languages would look comparable and not be.
        ["**average, not trained on**", "", "50.50", "–"],
    ]


def test_the_kept_average_of_other_languages_is_not_shown():
    polyglot, zero_shot = zero_shot_results(name="polyglot"), zero_shot_results(name="zero-shot")
    for results in (polyglot, zero_shot):
        results["scores"]["test"]["average_zero_shot"] = scores(50.5)
    polyglot["data"]["yor"]["train"] = {"sentences": 7, "fingerprint": "a"}

    rows = cells(results_table([polyglot, zero_shot]))

    assert [row[0] for row in rows] == ["Language", "eng", "yor", "**average, trained on**", "hau"]
    assert rows[3][2:] == ["60.00", "60.00"]


def test_a_run_without_spans_is_shown_by_its_accuracy():
    accuracy = {"accuracy": {"mean": 93.125, "std": 0.0}}
    results = zero_shot_results(seeds=[1], scores={"test": {"eng": accuracy, "yor": accuracy}})
    check_results(results)

    assert cells(results_table(results))[:2] == [
        ["Language", "Training sentences", "Accuracy"],
        ["eng", "20,000", "93.12"],
    ]


def test_the_columns_of_a_table_are_aligned():
    assert len({len(line) for line in results_table(zero_shot_results()).splitlines()}) == 1


def test_tables_leave_the_results_as_they_were():
    results = zero_shot_results()
    before = copy.deepcopy(results)

    results_table([results, results])

    assert results == before


def run_of_seeds(name, f1_of_seeds, seeds=(42, 43)):
    """A run on English, with one F1 a seed of each language that it was not trained on."""
    of_seeds = []
    for f1 in f1_of_seeds:
        of_language = {"precision": f1, "recall": f1, "f1": f1}
        languages = {"eng": dict.fromkeys(of_language, 80.0), "yor": of_language, "hau": of_language}
        of_seeds.append(languages | {"average_zero_shot": of_language})
    return zero_shot_results(name=name, seeds=list(seeds), scores={"test": aggregate_scores(of_seeds)})


def test_differences_are_taken_seed_by_seed():
    standard, slicer = run_of_seeds("standard", [40.0, 50.0]), run_of_seeds("slicer", [44.0, 55.0])

    assert cells(differences_table(standard, [slicer])) == [
        ["Run", "Trained on", "difference", "Not trained on", "difference"],
        ["standard", "80.00 ± 0.00", "", "45.00 ± 7.07", ""],
        # 4 and 5: the seeds themselves differ by far more.
        ["slicer", "80.00 ± 0.00", "+0.00 ± 0.00", "49.50 ± 7.78", "+4.50 ± 0.71"],
    ]


@pytest.mark.parametrize("seeds", [(42, 44), (43, 42)])
def test_runs_of_other_seeds_differ_by_their_averages(seeds):
    standard, slicer = run_of_seeds("standard", [40.0, 50.0]), run_of_seeds("slicer", [44.0, 55.0], seeds)

    assert cells(differences_table(standard, [slicer]))[-1][-1] == "+4.50"


def test_runs_on_other_languages_are_not_compared():
    standard, slicer = run_of_seeds("standard", [40.0, 50.0]), run_of_seeds("slicer", [44.0, 55.0])
    del slicer["scores"]["test"]["hau"]

    with pytest.raises(ValueError, match=r"`slicer` has the languages .*'yor'.*compare runs on the same corpora"):
        differences_table(standard, [slicer])


def test_progress_is_shown_language_by_language_against_each_run():
    alone, polyglot, continued = (zero_shot_results(name=name, seeds=[1]) for name in ("alone", "poly", "continued"))
    del alone["scores"]["test"]["hau"]
    for run in (alone, continued):
        del run["scores"]["test"]["average"]  # which is of other numbers
    continued["scores"]["test"] |= {"eng": scores(81.5), "hau": scores(60.0)}

    assert cells(progress_table([alone, polyglot], continued)) == [
        ["Language", "alone", "poly", "continued", "against alone", "against poly"],
        ["eng", "80.00", "80.00", "81.50", "+1.50", "+1.50"],
        ["yor", "40.00", "40.00", "40.00", "+0.00", "+0.00"],
        ["hau", "–", "61.00", "60.00", "–", "-1.00"],
        ["**average**", "60.00", "60.33", "60.50", "+0.75", "+0.17"],
    ]


def test_names_of_runs_are_shown_without_what_they_all_begin_with():
    names = ["byte_crf-masakhaner1-monolingual", "byte_crf-masakhaner1_carry-continued"]
    runs = [run_of_seeds(name, [50.0, 60.0]) for name in names]

    head, *_ = cells(progress_table(runs[:1], runs[1]))

    assert head == ["Language", "monolingual", "carry-continued", "against monolingual"]


def compared(f1, interval, p_values, **language):
    tests = dict(zip(("bootstrap", "randomisation", "sign"), p_values, strict=False))
    return {"f1": f1, "difference": f1[1] - f1[0], "interval": interval, "p": tests, **language}


def test_systems_stand_side_by_side_with_what_each_regime_gains():
    def run(name, f1):
        return zero_shot_results(name=name) | {
            "scores": {"test": {language: scores(f1 + shift) for shift, language in enumerate(("eng", "yor", "hau"))}}
        }

    runs = [run("a-x-monolingual", 50), run("a-x-polyglot", 51.5), run("b-x-monolingual", 60), run("b-x-polyglot", 58)]

    assert cells(systems_table(runs)) == [
        ["System", "Regime", "eng", "yor", "hau", "average", "gain"],
        ["a-x", "monolingual", "50.0", "51.0", "52.0", "51.00", ""],
        ["a-x", "polyglot", "51.5", "52.5", "53.5", "52.50", "+1.50"],
        ["b-x", "monolingual", "60.0", "61.0", "62.0", "61.00", ""],
        ["b-x", "polyglot", "58.0", "59.0", "60.0", "59.00", "-2.00"],
    ]
    del runs[1]["scores"]["test"]["hau"]
    with pytest.raises(ValueError, match=r"`a-x-polyglot` was tested on .*; expected the languages of `a-x-mono"):
        systems_table(runs)


def selecting(name, f1, **changes):
    rules = {"source_dev": [3, 2], "target_dev": {"yor": [1, 3], "hau": [2, 2]}, "last": [4, 4]}
    selection = {}
    for shift, (rule, epochs) in enumerate(rules.items()):
        selection |= selected(rule, epochs, f1 + shift)
    return zero_shot_results(name=name, selection=selection, **changes)


def test_rules_of_selection_stand_below_each_other_for_the_zero_shot_languages():
    table, notes = selection_table(selecting("slicer", 40)).split("\n\n")
    of_two, _ = selection_table([selecting("standard", 30), selecting("slicer", 40)]).split("\n\n")

    rows = [
        ["source_dev", "2–3", "40.00 ± 0.50", "61.00 ± 0.50", "50.50 ± 0.25"],
        ["target_dev", "1–3", "41.00 ± 0.50", "62.00 ± 0.50", "51.50 ± 0.25"],
        ["last", "4", "42.00 ± 0.50", "63.00 ± 0.50", "52.50 ± 0.25"],
    ]
    assert cells(table) == [["Selection", "Epochs", "yor", "hau", "average"], *rows]
    assert "target_dev needs labelled sentences of each language" in notes
    assert cells(of_two)[0] == ["Run", "Selection", "Epochs", "yor", "hau", "average"]
    assert cells(of_two)[4:] == [["slicer", *row] for row in rows]
    assert cells(of_two)[1] == ["standard", "source_dev", "2–3", "30.00 ± 0.50", "51.00 ± 0.50", "40.50 ± 0.25"]


def test_without_zero_shot_languages_the_table_has_those_trained_on():
    results = zero_shot_results(selection=selected("last", [4, 4]))
    for splits in results["data"].values():
        splits["train"] = splits["test"]
    of_rule = results["selection"]["last"]["scores"]["test"]
    of_rule |= {"eng": scores(80.0), "average": scores(60.0)}

    table, notes = selection_table(results).split("\n\n")

    assert cells(table)[0] == ["Selection", "Epochs", "eng", "yor", "hau", "average"]
    assert cells(table)[1][-1] == "60.00 ± 0.50"
    assert "target_dev needs" not in notes


def test_a_language_that_a_rule_has_not_scored_has_a_dash():
    results = selecting("slicer", 40)
    of_rule = results["selection"]["target_dev"]["scores"]["test"]
    del of_rule["hau"], of_rule["average_zero_shot"]

    assert cells(selection_table(results).split("\n\n")[0])[2] == ["target_dev", "1–3", "41.00 ± 0.50", "–", "–"]


def test_only_runs_that_compared_the_rules_on_the_same_languages_have_a_table():
    other = selecting("other", 50)
    del other["scores"]["test"]["hau"]

    with pytest.raises(ValueError, match=r"`slicer-wikiann-zero-shot` has compared no rules .*--compare_selection"):
        selection_table(zero_shot_results())
    with pytest.raises(ValueError, match=r"`other` was tested on yor; expected the languages of `slicer`, yor, hau"):
        selection_table([selecting("slicer", 40), other])


def comparison(**changes):
    return {
        "systems": ["standard", "slicer"],
        "covers": "test sentences",
        "confidence_level": 0.95,
        "languages": {
            "swa": compared([70, 72.5], [1.1, 4], [0.012, 0.02, 0.5], holm={"bootstrap": 0.024}, differs=True),
            "yor": compared([60, 59], [-2, 0.5], [0.25, 0.5, 1], holm={"bootstrap": 0.25}, differs=False),
        },
        "pooled": compared([66, 67], [-1, 3], [0.1, 0.2, 0.3]),
        "average": compared([65, 65.75], [-1, 2.5], [0.1, 0.2]),
    } | changes


def test_a_comparison_is_a_table_of_all_tests_and_a_verdict():
    table, verdict = comparison_table(comparison()).split("\n\n")

    tests = ["p bootstrap", "Holm", "p randomisation", "p sign"]
    assert cells(table) == [
        ["Language", "standard", "slicer", "Difference", "95 % interval", *tests],
        ["swa", "70.00", "72.50", "+2.50", "+1.10 to +4.00", "0.0120", "0.0240", "0.0200", "0.5000"],
        ["yor", "60.00", "59.00", "-1.00", "-2.00 to +0.50", "0.2500", "0.2500", "0.5000", "1.0000"],
        ["**pooled**", "66.00", "67.00", "+1.00", "-1.00 to +3.00", "0.1000", "–", "0.2000", "0.3000"],
        ["**average**", "65.00", "65.75", "+0.75", "-1.00 to +2.50", "0.1000", "–", "0.2000", "–"],
    ]
    assert verdict.startswith("Different at 0.05, by the bootstrap and Holm's correction: swa.\n")
    assert "not about how they were trained" in verdict


def test_a_comparison_of_several_runs_says_so_and_may_find_nothing():
    yor = {"yor": comparison()["languages"]["yor"]}
    alone = comparison(covers="test sentences and runs", languages=yor, confidence_level=0.9)
    del alone["pooled"], alone["average"]

    table, verdict = comparison_table(alone).split("\n\n")

    assert [row[0] for row in cells(table)] == ["Language", "yor"]
    assert "90 % interval" in table
    assert verdict.startswith("Different at 0.1, by the bootstrap and Holm's correction: none.\n")
    assert "other runs (seeds)" in verdict


def test_sizes_stand_beside_scores():
    whole = zero_shot_results()
    adapters = copy.deepcopy(whole) | {
        "name": "adapters",
        "one_model_per_language": True,
        "size": {"trained_parameters": 1_234_567, "bytes": 4_940_000},
        "adapter": {"method": "lora", "rank": 8, "alpha": 16, "dropout": 0.0, "base_bytes": 250_780_632},
    }

    head, *rows = cells(sizes_table([whole, adapters]))

    assert head == ["Run", "Models", "Trained parameters", "Weights (MB)", "Base (MB)", "F1"]
    assert [row[1:-1] for row in rows] == [
        ["1", "–", "–", "–"],
        [str(len(adapters["data"])), "1,234,567", "4.9", "250.8"],
    ]
    assert rows[0][-1] == rows[1][-1]


def joint_results():
    """Results of a model of two tasks on two treebanks, the second of which has no features."""

    def numbers(**means):
        return {name: {"mean": mean, "std": 0.5, "values": [mean - 0.5, mean + 0.5]} for name, mean in means.items()}

    tamil = numbers(upos_accuracy=90.0, feats_accuracy=80.0, task_mean=85.0)
    vietnamese = numbers(upos_accuracy=70.0, task_mean=70.0)
    average = numbers(upos_accuracy=80.0, feats_accuracy=80.0, task_mean=77.5)
    split = {"sentences": 10, "fingerprint": "a"}
    return zero_shot_results(
        regime="polyglot",
        arguments={"task": "upos feats"},
        data={name: {"train": split, "validation": split, "test": split} for name in ("vie", "tam")},
        scores={"test": {"vie": vietnamese, "tam": tamil, "average": average}},
    )


def test_a_model_of_several_tasks_shows_each_and_their_mean():
    results = joint_results()

    check_results(results)

    assert cells(results_table(results)) == [
        ["Language", "Training sentences", "UPOS accuracy", "FEATS accuracy", "Mean of tasks"],
        ["vie", "10", "70.00 ± 0.50", "–", "70.00 ± 0.50"],
        ["tam", "10", "90.00 ± 0.50", "80.00 ± 0.50", "85.00 ± 0.50"],
        ["**average**", "", "80.00 ± 0.50", "80.00 ± 0.50", "77.50 ± 0.50"],
    ]
    assert cells(results_table([results, results]))[1][2:] == ["70.00 ± 0.50"] * 2
    assert cells(sizes_table([results]))[0][-1] == "Mean of tasks"
    plain = {"vie": {"upos_accuracy": 70.0, "task_mean": 70.0}, "tam": {"feats_accuracy": 1.0, "task_mean": 1.0}}
    assert cells(scores_table(plain)) == [
        ["Language", "UPOS accuracy", "FEATS accuracy", "Mean of tasks"],
        ["vie", "70.00", "–", "70.00"],
        ["tam", "–", "1.00", "1.00"],
    ]


def treebank_results(name, task, scores_of_languages, sentences):
    """Results of a run on treebanks, with one seed."""
    return {
        "name": name,
        "seeds": [42],
        "arguments": {"task": task},
        "data": {
            language: {"train": {"sentences": count, "fingerprint": "a"}} for language, count in sentences.items()
        },
        "scores": {
            "test": {
                language: {metric: {"mean": value, "std": 0.0} for metric, value in of_language.items()}
                for language, of_language in scores_of_languages.items()
            }
            # Of each metric over the languages that have it.
            | {"average": {metric: {"mean": 1.0, "std": 0.0} for metric in next(iter(scores_of_languages.values()))}}
        },
    }


def test_the_tables_of_treebanks_are_one_for_each_task_small_ones_first():
    sentences = {"fra": 2231, "kaz": 31, "vie": 1400, "tam": 400}
    both = {"upos_accuracy": 90.0, "feats_accuracy": 80.0, "task_mean": 85.0}
    upos = {"upos_accuracy": 70.0, "task_mean": 70.0}
    joint = treebank_results(
        "crf-ud-polyglot", "upos feats", {"fra": both, "kaz": both, "vie": upos, "tam": both}, sentences
    )
    one = treebank_results("meta_lstm-ud_feats", "feats", {name: {"accuracy": 60.0} for name in sentences}, sentences)
    del one["scores"]["test"]["kaz"]

    upos_table, feats_table = treebanks_table([joint, one]).split("\n\n")

    assert cells(upos_table) == [
        ["UPOS accuracy", "Training sentences", "crf-ud-polyglot"],
        ["kaz", "31", "90.00"],
        ["tam", "400", "90.00"],
        ["**average of 2 with at most 500**", "", "90.00"],
        ["vie", "1,400", "70.00"],
        ["fra", "2,231", "90.00"],
        ["**average of all**", "", "1.00"],  # as the run kept it
    ]
    assert cells(feats_table) == [
        ["FEATS accuracy", "Training sentences", "crf-ud-polyglot", "meta_lstm-ud_feats"],
        ["kaz", "31", "80.00", "–"],
        ["tam", "400", "80.00", "60.00"],
        ["vie", "1,400", "–", "60.00"],
        ["fra", "2,231", "80.00", "60.00"],
        ["**average of the 2 that all have**", "", "80.00", "60.00"],
    ]
