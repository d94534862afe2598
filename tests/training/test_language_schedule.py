"""How often languages are drawn in the epochs of a run, and what is written of it."""

import re
from collections import Counter

import numpy as np
import pytest
import torch
from datasets import Dataset

from hf_polyglot.data.language_sampling import (
    dynamic_probabilities,
    language_probabilities,
    unimax_probabilities,
)
from hf_polyglot.results import write_results
from hf_polyglot.training.arguments import PolyglotTrainingArguments
from hf_polyglot.training.command_line import parse_recipe
from hf_polyglot.training.language_schedule import LanguageSchedule
from hf_polyglot.training.trainer import PolyglotTrainer
from tests.models.tiny_models import EXAMPLES, tiny_byte_crf
from tests.test_results import zero_shot_results
from tests.training.test_trainer import FEATURES, training_arguments

SIZES = {"swa": 6, "por_BR": 14}
CORPORA = {
    language: Dataset.from_list([example | {"language": language} for example in examples], features=FEATURES)
    for language, examples in (("swa", EXAMPLES[:6]), ("por_BR", EXAMPLES[6:]))
}
DYNAMIC = {"sampling": "dynamic", "alpha": 0.5}


def word_accuracy(prediction):
    """Stands for F1, which would be 0 in the first epochs."""
    is_word = prediction.label_ids != -100
    return {"f1": 100 * float(np.mean((prediction.predictions == prediction.label_ids)[is_word]))}


def trainer_of(folder, evaluation=CORPORA, **settings):
    model, tokenizer = tiny_byte_crf()
    return PolyglotTrainer(
        model,
        training_arguments(folder, **{"learning_rate": 3e-3} | settings),
        processing_class=tokenizer,
        train_dataset=CORPORA,
        eval_dataset=evaluation,
        compute_metrics=word_accuracy,
    )


def schedule_of(tmp_path, run_epochs=2, evaluated=tuple(SIZES), **settings):
    return LanguageSchedule(training_arguments(tmp_path, **settings), SIZES, run_epochs, evaluated)


def evaluation(epoch, swa, por_br):
    return {"eval_swa_f1": swa, "eval_por_BR_f1": por_br, "eval_average_f1": (swa + por_br) / 2, "epoch": epoch}


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level("ERROR")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, language_probabilities(SIZES, 1)),
        ({"alpha": 0.3}, language_probabilities(SIZES, 0.3)),
        ({"sampling": "uniform", "alpha": 0.3}, language_probabilities(SIZES, 0)),
        ({"sampling": "unimax", "unimax_max_epochs": 3}, unimax_probabilities(SIZES, 3, 2)),
    ],
)
def test_fixed_probabilities_are_those_of_the_sampling(settings, expected, tmp_path):
    schedule = schedule_of(tmp_path, **settings)

    assert schedule.probabilities(0, []) == expected
    assert schedule.probabilities(1, [evaluation(1.0, 10.0, 90.0)]) == expected


def test_dynamic_probabilities_follow_the_last_evaluation_before_the_epoch(tmp_path):
    schedule = schedule_of(tmp_path, **DYNAMIC, dynamic_strength=2)
    base = language_probabilities(SIZES, 0.5)
    log = [
        {"eval_swa_f1": 1.0, "epoch": 1.0},  # each language has an entry of its own, too
        evaluation(1.0, 10.0, 90.0),
        {"loss": 0.5, "epoch": 1.5},
        evaluation(1.5, 50.0, 95.0),
        {"eval_average_f1": 3.0, "eval_hau_f1": 3.0, "epoch": 2.0},  # of other data
        evaluation(2.5, 99.0, 1.0),
    ]

    def following(swa, por_br):
        return dynamic_probabilities(base, {"swa": swa, "por_BR": por_br}, dict.fromkeys(SIZES, 100), 2)

    assert schedule.probabilities(0, log) == base
    assert schedule.probabilities(1, log) == following(10, 90)
    assert schedule.probabilities(2, log) == following(50, 95)
    assert schedule.probabilities(3, log) == following(99, 1)


def results_of(name, language, f1, folder, zero_shot="yor"):
    results = zero_shot_results(name=name)
    results["data"] = {language: results["data"]["eng"], zero_shot: results["data"]["yor"]}
    score = results["scores"]["validation"].pop("eng")
    results["scores"] = {"validation": {language: score | {"f1": {"mean": f1, "std": 0.0}}, zero_shot: score}}
    write_results(folder / name, results)
    return str(folder / name)


def test_baselines_are_the_dev_scores_of_earlier_runs(tmp_path):
    paths = [results_of(language, language, f1, tmp_path) for language, f1 in (("swa", 40.0), ("por_BR", 80.0))]

    schedule = schedule_of(tmp_path, **DYNAMIC, dynamic_baselines=paths)

    assert schedule.baselines == {"swa": 40.0, "por_BR": 80.0}
    assert schedule.probabilities(1, [evaluation(1.0, 40.0, 85.0)]) == language_probabilities(SIZES, 0.5)
    assert schedule_of(tmp_path, **DYNAMIC).baselines == {"swa": 100, "por_BR": 100}


def test_baselines_that_lack_a_language_or_have_two_of_it_are_refused(tmp_path):
    first, second = (results_of(name, "swa", 40.0, tmp_path, zero_shot="por_BR") for name in ("first", "second"))
    zero = results_of("zero", "swa", 0.0, tmp_path)

    with pytest.raises(ValueError, match="`dynamic_baselines` has no run that was trained on por_BR"):
        schedule_of(tmp_path, **DYNAMIC, dynamic_baselines=[first])
    with pytest.raises(ValueError, match=r"the dev F1 of swa is 40.0 and 40.0; expected one positive"):
        schedule_of(tmp_path, **DYNAMIC, dynamic_baselines=[first, second])
    with pytest.raises(ValueError, match=r"the dev F1 of swa is 0.0; expected one positive"):
        schedule_of(tmp_path, **DYNAMIC, dynamic_baselines=[zero])


@pytest.mark.parametrize("given", [{"swa": CORPORA["swa"]}, CORPORA["swa"], None])
def test_dynamic_sampling_needs_a_dev_score_of_every_training_language(given, tmp_path):
    settings = {"eval_strategy": "epoch", "metric_for_best_model": "f1"}
    trainer = trainer_of(tmp_path, evaluation=given or {}, **DYNAMIC, **settings)

    missing = "por_BR" if given == {"swa": CORPORA["swa"]} else "por_BR, swa"
    with pytest.raises(ValueError, match=f"there is no dev F1 of {missing}; expected a data set of every"):
        trainer.train()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sampling": "temperature"}, "`sampling` is 'temperature'; expected alpha or uniform or unimax or dynamic."),
        ({**DYNAMIC, "dynamic_strength": -1}, "`dynamic_strength` is -1; expected 0"),
        (
            {**DYNAMIC, "eval_strategy": "no", "load_best_model_at_end": False},
            "`eval_strategy` is 'no', so there is no dev F1 to follow; expected 'epoch' or 'steps'",
        ),
        (
            {**DYNAMIC, "save_strategy": "steps", "load_best_model_at_end": False},
            "`eval_strategy` is 'epoch' and `save_strategy` is 'steps'; expected them alike",
        ),
    ],
)
def test_a_sampling_that_lacks_something_is_refused(settings, message, tmp_path):
    with pytest.raises(ValueError, match=re.escape(message)):
        training_arguments(tmp_path, **settings)


def test_the_sampling_is_chosen_on_the_command_line(tmp_path, capsys):
    flags = ["--output_dir", str(tmp_path), "--use_cpu", "true", "--sampling", "unimax", "--unimax_max_epochs", "4"]

    (training,) = parse_recipe(PolyglotTrainingArguments, argv=[*flags, "--batch_languages", "single"])

    assert (training.sampling, training.unimax_max_epochs, training.batch_languages) == ("unimax", 4, "single")
    with pytest.raises(SystemExit):
        parse_recipe(PolyglotTrainingArguments, argv=[*flags, "--batch_languages", "both"])
    assert "choose from" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "run_epochs"), [({"num_train_epochs": 1.5}, 1.5), ({"max_steps": 12, "num_train_epochs": 1}, 2.4)]
)
def test_the_cap_of_unimax_counts_passes_of_the_whole_run(settings, run_epochs, tmp_path):
    trainer = trainer_of(tmp_path, sampling="unimax", unimax_max_epochs=3, **settings)
    too_few = trainer_of(tmp_path, sampling="unimax", **settings)

    trainer.train()

    # Of 5 updates an epoch, with 4 sentences each.
    assert trainer.batch_sampler.probabilities == unimax_probabilities(SIZES, 3, run_epochs)
    drawn = trainer.examples_drawn()
    for language, size in SIZES.items():
        assert drawn[language] <= 3 * size + 3  # exact up to one of each epoch
    with pytest.raises(ValueError, match=f"`unimax_max_epochs` is 0, and the run passes over .* {run_epochs} times"):
        too_few.train()


@pytest.mark.parametrize(
    "settings",
    [
        {"num_train_epochs": 5, "alpha": 0.6},  # 12.5 of 20 are Portuguese
        {"max_steps": 7, "batch_languages": "single", "alpha": 0.5},
        {"num_train_epochs": 3, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 3, **DYNAMIC},
    ],
)
def test_the_log_of_each_epoch_counts_the_examples_that_the_model_saw(settings, tmp_path):
    trainer = trainer_of(tmp_path, **settings)
    seen, collate, step = [], trainer.data_collator, trainer.training_step
    languages = trainer.train_dataset["language"][:]
    trainer.data_collator = lambda rows: collate(rows) | {"rows": [row["language"] for row in rows]}

    def counting_step(model, inputs, *others):
        seen.append(Counter(inputs.pop("rows")))
        return step(model, inputs, *others)

    trainer.training_step = counting_step
    trainer.evaluate = lambda *args, **options: trainer.log(scores := evaluation(0, 30.0, 90.0)) or scores
    trainer.train()

    logged = [entry["examples_drawn"] for entry in trainer.state.log_history if "examples_drawn" in entry]
    assert sum(map(Counter, logged), Counter()) == trainer.examples_drawn() == sum(seen, Counter())
    assert all(len(batch) == 1 for batch in seen) == (settings.get("batch_languages") == "single")
    assert len(logged) == -(-trainer.state.global_step // trainer.batch_sampler.num_updates)
    assert sum(logged[0].values()) == len(languages)
    assert len([entry for entry in trainer.state.log_history if "loss" in entry]) == len(logged)


@pytest.mark.parametrize("steps", [{"eval_steps": 3, "save_steps": 3}, {}])
def test_a_resumed_run_draws_what_the_undisturbed_one_draws(steps, tmp_path):
    strategy = "steps" if steps else "epoch"
    settings = {"num_train_epochs": 4, "eval_strategy": strategy, "save_strategy": strategy, "save_total_limit": None,
                "load_best_model_at_end": False, **DYNAMIC, **steps}  # fmt: skip
    undisturbed = trainer_of(tmp_path, **settings)
    undisturbed.train()
    last = undisturbed.batch_sampler.probabilities

    # At step 9 the second epoch, of steps 6 to 10, has been evaluated twice; what it draws must not follow from that.
    for step in (3, 9, 12) if steps else (5, 10):
        resumed = trainer_of(tmp_path, **settings)
        resumed.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{step}"))

        assert resumed.batch_sampler.probabilities == last
        assert resumed.examples_drawn() == undisturbed.examples_drawn()
        for name, parameter in undisturbed.model.named_parameters():
            assert torch.equal(resumed.model.get_parameter(name), parameter)
    assert last != undisturbed.language_schedule.probabilities(0, [])
