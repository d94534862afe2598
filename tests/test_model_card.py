import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

from hf_polyglot.model_card import REGIME_MEANINGS, evaluation_results, main, model_card, write_model_card
from hf_polyglot.result_tables import results_table, selection_table
from hf_polyglot.results import REGIMES, read_results, write_results
from tests.fresh_process import run_program
from tests.models.tiny_byte_to_span import tiny_byte_to_span
from tests.models.tiny_models import tiny_byte_crf
from tests.test_result_tables import joint_results
from tests.test_results import scores, selected, zero_shot_results

REPOSITORY = Path(__file__).parent.parent
KEPT = REPOSITORY / "model_cards"


def section(card, title):
    """Text below a heading of a card."""
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", str(card), re.MULTILINE | re.DOTALL)[1]


def polyglot_results(**changes):
    results = zero_shot_results(name="byte_crf-masakhaner1-polyglot", model_type="byte_crf", regime="polyglot")
    for splits in results["data"].values():
        splits["train"] = {"sentences": 1234, "fingerprint": "a"}
    del results["base_model"]
    return {**results, **changes}


def test_evaluation_results_come_back_from_the_written_card(tmp_path):
    results = zero_shot_results()

    path = write_model_card(tmp_path, results)

    loaded = ModelCard.load(path).data
    assert path == tmp_path / "README.md"
    assert loaded.eval_results == evaluation_results(results)
    assert loaded.model_name == results["name"]
    assert [(result.dataset_config, result.metric_value) for result in loaded.eval_results] == [
        ("en", 80.0),
        ("yor", 40.0),
        ("hau", 61.0),
    ]


def test_a_language_is_reported_under_its_data_set_on_the_hub_or_under_its_source():
    hub, file, unknown = evaluation_results(
        zero_shot_results(data={**zero_shot_results()["data"], "hau": {"test": {"sentences": 1, "fingerprint": "a"}}})
    )

    assert (hub.dataset_type, hub.dataset_config) == ("unimelb-nlp/wikiann", "en")
    assert (file.dataset_type, file.dataset_config, file.dataset_name) == (
        "masakhaner-1.0",
        "yor",
        "MasakhaNER 1.0 (yor)",
    )
    assert (unknown.dataset_config, unknown.dataset_name) == ("hau", "data of slicer-wikiann-zero-shot (hau)")


def test_a_distilled_model_names_its_teacher():
    taught = zero_shot_results(base_model=None, teacher="me/large", distilled_on={"eng": 1200, "yor": 30})

    content = model_card(taught | {"regime": "distilled"}).content

    assert "Its teacher was `me/large`, asked about 1,230 unlabelled sentences of eng, yor. It was trained" in content
    assert "teacher" not in model_card(zero_shot_results()).content


def test_the_metadata_is_what_the_hub_accepts():
    data = model_card(zero_shot_results()).data

    assert data.language == ["eng"]
    assert data.base_model == "intfloat/multilingual-e5-small"
    assert data.datasets == ["unimelb-nlp/wikiann"]
    assert data.tags == ["hf_polyglot", "slicer", "zero-shot"]
    assert (data.library_name, data.pipeline_tag) == ("transformers", "token-classification")
    # A folder of this machine is no repository, and a made-up name no language code.
    local = zero_shot_results(base_model="../shared/models/e5-small")
    local["data"]["demo-x"] = {"train": {"sentences": 1, "fingerprint": "a"}}
    local["scores"]["test"]["demo-x"] = scores(10.0)
    assert model_card(local).data.base_model is None
    assert model_card(local).data.language == ["eng"]
    assert "Training started from `../shared/models/e5-small`." in str(model_card(local))
    left_by_a_recipe = zero_shot_results(base_model="runs/encoder_crf-ud-polyglot")
    assert model_card(left_by_a_recipe).data.base_model is None


def test_a_card_says_what_its_results_say():
    results = polyglot_results(best_seed=43)

    card = model_card(results, repo_id="me/tagger")

    assert results_table(results) in section(card, "Results")
    assert "over 2 seeds (42, 43). The weights are those of seed 43" in section(card, "Results")
    assert "| yor | 1,234 |  | 1,000 | MasakhaNER 1.0 | CC BY-NC 4.0 |" in section(card, "Data")
    assert "| eng | 1,234 | 1,000 | 1,000 | unimelb-nlp/wikiann:en | CC BY-SA 3.0 |" in section(card, "Data")
    assert results["command"] in section(card, "Training")
    assert "1 h 24 min on NVIDIA H100 (16 CPU threads); at most 3.0 GiB of memory." in section(card, "Training")
    assert "torch 2.13.0" in section(card, "Training")
    assert "Marks PER in text. A `byte_crf` model (polyglot: one model trained" in str(card)
    assert "It was trained from scratch." in str(card)
    assert "**Languages trained on:** eng, yor, hau" in str(card)
    assert "Zero-shot" not in str(card)


def test_a_card_shows_what_rules_of_selection_gave():
    results = zero_shot_results(selection=selected("last", [10, 10]))

    assert f"by F1:\n\n{selection_table(results)}\n\n" in section(model_card(results), "Results")
    assert "Ways to choose" not in str(model_card(zero_shot_results()))


def test_limits_are_drawn_from_the_scores():
    limits = section(model_card(zero_shot_results()), "Limits")

    # Precision is 81, 41 and 62 on average over the languages, recall 79, 39 and 60.
    assert "Of 100 spans that it marks, 39 are wrong" in limits
    assert "it misses 41." in limits
    assert "Weakest on `yor` (40.00)." in limits
    assert "It saw no annotated sentence in yor, hau." in limits
    assert "With one seed" not in limits


def test_the_card_of_one_seed_warns_of_chance_and_claims_no_choice():
    card = model_card(zero_shot_results(seeds=[42], best_seed=42))

    assert "With one seed" in section(card, "Limits")
    assert "One seed (42).\n" in section(card, "Results")


def test_a_model_that_finds_nothing_is_not_said_to_mark_wrong_spans():
    nothing = {"precision": {"mean": 0.0, "std": 0.0}, "recall": {"mean": 0.0, "std": 0.0}}
    nothing["f1"] = nothing["recall"]

    limits = section(model_card(zero_shot_results(scores={"test": {"eng": nothing}})), "Limits")

    assert "spans" not in limits
    assert "Weakest on `eng` (0.00)." in limits


def test_a_zero_shot_card_lists_source_and_zero_shot_languages_apart():
    card = str(model_card(zero_shot_results()))

    assert (
        "- **Languages trained on:** eng\n- **Zero-shot languages (tested on, never trained on):** yor, hau\n" in card
    )
    assert "**average, not trained on**" in card


@pytest.mark.parametrize(
    ("adam_state", "said"),
    [
        ({"carried": ["a", "b"], "fresh": []}, "Adam went on with the state of that training."),
        (
            {"carried": ["a"], "fresh": ["b"]},
            "Adam went on with the state of that training, but for 1 of its parameters.",
        ),
        (None, "Adam began with a fresh state."),
    ],
)
def test_a_continued_card_says_how_adam_began(adam_state, said):
    assert said in str(model_card(zero_shot_results(regime="continued", adam_state=adam_state)))
    assert "Adam" not in str(model_card(zero_shot_results()))


def test_a_continued_card_does_not_claim_that_other_languages_were_never_seen():
    card = str(model_card(zero_shot_results(regime="continued")))

    assert "- **Tested on, not trained on in this run:** yor, hau" in card
    assert "It saw no annotated sentence" not in card


@pytest.mark.parametrize(
    ("model_type", "cited"),
    [
        ("byte_crf", "mueller-etal-2020-sources"),
        ("charner", "kuru-etal-2016-charner"),
        ("meta_lstm", "bohnet-etal-2018-morphosyntactic"),
        ("slicer", "schmidt-etal-2022-slicer"),
    ],
)
def test_a_card_cites_the_paper_of_its_model(model_type, cited):
    card = model_card(zero_shot_results(model_type=model_type))

    (entry,) = re.findall(r"@inproceedings\{(.*),", section(card, "Citation"))
    assert entry == cited


def test_a_model_type_without_a_paper_has_no_citation():
    assert "## Citation" not in str(model_card(zero_shot_results(model_type="bert")))


def test_every_regime_is_explained():
    assert set(REGIME_MEANINGS) == set(REGIMES)


def test_a_run_without_spans_is_described_by_its_accuracy():
    accuracy = {"accuracy": {"mean": 93.0, "std": 0.0}}

    card = model_card(zero_shot_results(scores={"test": {"eng": accuracy, "yor": accuracy}}))

    assert "Tags the words of a text." in str(card)
    assert "Accuracy on the test sets" in section(card, "Results")
    assert "spans" not in section(card, "Limits")
    assert {result.metric_type for result in card.data.eval_results} == {"accuracy"}


def test_no_cell_of_the_data_table_breaks_it():
    results = zero_shot_results()
    results["data"]["yor"]["source"] = "one | two"

    assert r"| one \| two |" in section(model_card(results), "Data")


def test_nothing_in_a_card_is_left_unfilled():
    for results in (zero_shot_results(), polyglot_results()):
        card = str(model_card(results))
        assert not re.search(r"\bNone\b|\{\{|\{%|undefined|nan", card.replace("bert-base", ""))
        assert yaml.safe_load(card.split("---")[1])["model-index"]


def test_the_code_of_a_card_names_the_repository_or_says_what_stands_for_it():
    named, unnamed = model_card(zero_shot_results(), repo_id="me/tagger"), model_card(zero_shot_results())

    assert section(named, "How to use").count('"me/tagger"') == 5
    assert "stands for" not in section(named, "How to use")
    assert "`slicer-wikiann-zero-shot` stands for the folder" in section(unnamed, "How to use")


@pytest.mark.slow
@pytest.mark.parametrize("make_model", [tiny_byte_crf, tiny_byte_to_span])
def test_the_code_of_a_card_runs(make_model, tmp_path):
    model, tokenizer = make_model()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    card = model_card(polyglot_results() | {"model_type": model.config.model_type}, repo_id=str(tmp_path))
    blocks = re.findall(r"```python\n(.*?)```", section(card, "How to use"), re.DOTALL)

    (tmp_path / "use.py").write_text(
        "\n".join(blocks[:2]) + "\nassert isinstance(entities, list)\nprint(type(model).__module__)"
    )
    with_package = run_program(tmp_path / "use.py")
    without = "import sys\nsys.modules['hf_polyglot'] = None\n" + blocks[2] + "\nprint(type(model).__module__)"
    output = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", without], capture_output=True, text=True, check=True, timeout=300
    ).stdout.splitlines()

    assert len(blocks) == 3
    assert with_package.stdout.splitlines() == [type(model).__module__], with_package.stderr
    assert output[-1].startswith("transformers_modules.")
    if make_model is tiny_byte_crf:
        assert re.match(r"\[\('Wangari', '\S+'\), \('Maathai', '\S+'\)", output[0])


def test_the_command_writes_the_card_of_a_file(tmp_path):
    write_results(tmp_path / "run.json", zero_shot_results())

    main([str(tmp_path / "run.json"), str(tmp_path / "run.md"), "--repo_id", "me/tagger"])

    assert (tmp_path / "run.md").read_text(encoding="utf-8") == str(
        model_card(zero_shot_results(), repo_id="me/tagger")
    )


def test_an_installed_package_finds_its_template(tmp_path):
    build = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    ((source, target),) = re.findall(r'^"(model_cards/.*)" = "(.*)"$', build, re.MULTILINE)
    shutil.copytree(REPOSITORY / "hf_polyglot", tmp_path / "site" / "hf_polyglot")
    shutil.copy(REPOSITORY / source, tmp_path / "site" / target)
    write_results(tmp_path / "run.json", zero_shot_results())

    # From a folder outside the checkout, as `python -m` puts the working folder first on its path.
    command = [sys.executable, "-W", "error", "-m", "hf_polyglot.model_card", "run.json", "run.md"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=300)

    assert (tmp_path / "run.md").read_text(encoding="utf-8") == str(model_card(zero_shot_results()))


def test_every_kept_card_is_what_its_results_generate():
    cards = {path.stem for path in KEPT.glob("*.md")} - {"template", "README"}
    assert cards == {path.stem for path in KEPT.glob("*.json")}

    for name in sorted(cards):
        results = read_results(KEPT / f"{name}.json")
        # If this fails: python -m hf_polyglot.model_card model_cards/NAME.json model_cards/NAME.md
        assert (KEPT / f"{name}.md").read_text(encoding="utf-8") == str(model_card(results)), name
        assert name == results["name"]
        assert re.fullmatch(rf"{results['model_type']}-.+-{results['regime']}", name)


def test_the_card_of_several_tasks_has_a_result_of_each():
    results = joint_results()

    card = model_card(results)

    assert "One model with a head for each task: upos, feats." in str(card)
    assert [(result.metric_name, result.dataset_config, result.metric_value) for result in card.data.eval_results] == [
        ("UPOS accuracy (percent)", "vie", 70.0),
        ("UPOS accuracy (percent)", "tam", 90.0),
        ("FEATS accuracy (percent)", "tam", 80.0),
    ]
    assert card.data.metrics == ["accuracy"]


def test_the_card_says_where_no_dev_set_chose_the_seed():
    results = joint_results() | {"best_seed": 42}
    assert "The weights are those of seed 42, chosen on the development sets." in str(model_card(results))
    for splits in results["data"].values():
        del splits["validation"]

    assert "those of seed 42, the first: there is no development set to choose by." in str(model_card(results))
