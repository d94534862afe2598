"""Rules that choose a model from the epochs of a run: what each takes, as separate runs would give it."""

import json
import os
import signal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hf_polyglot.tasks import TASKS
from hf_polyglot.training.model_selection import compare_selection, selection_over_seeds
from hf_polyglot.training.optimizer_state import ADAM_STATE_FILE
from hf_polyglot.training.runs import score_corpora, train_over_seeds
from hf_polyglot.training.trainer import PolyglotTrainer
from tests.fresh_process import run_program
from tests.models.tiny_models import tiny_byte_crf, tiny_slicer

from .test_checkpoints import WithinStep
from .test_trainer import CORPORA, trainer_of, training_arguments

# Three steps an epoch.
SOURCE = {"swa": CORPORA["swa"]}
EVALUATION = {"validation": CORPORA, "test": {name: CORPORA[name].select(range(2, 8)) for name in CORPORA}}
EVERY_CHECKPOINT = {"num_train_epochs": 4, "save_total_limit": None}


def trained(folder, make_model=tiny_byte_crf, **settings):
    settings = {"compare_selection": True, "learning_rate": 2e-2} | EVERY_CHECKPOINT | settings
    trainer = trainer_of(make_model, folder, train=SOURCE, evaluation=SOURCE, **settings)
    trainer.train()
    return trainer


def compared(trainer):
    return compare_selection(trainer, EVALUATION, ["yor"], score_corpora)


def checkpoint(folder, epoch):
    """Weights that transformers saved at the end of an epoch."""
    return load_file(folder / f"checkpoint-{3 * epoch}" / "model.safetensors")


def assert_same_weights(found, expected):
    assert set(found) >= set(expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)


class FakeTrainer:
    """Stands for a trainer that has kept its epochs: its model is the number of the epoch that was loaded."""

    def __init__(self, epochs, log_history=()):
        self.accelerator = self.args = self.state = self.epoch_weights = self
        self.task = TASKS["ner"]
        self.epochs = list(range(1, epochs + 1))
        self.log_history = list(log_history)
        self.loaded = torch.tensor(-1)
        self.printed = []

    def wait_for_everyone(self):
        pass

    def print(self, text):
        self.printed.append(text)

    def read(self, epoch):
        return {"epoch": torch.tensor(epoch)}

    def step(self, epoch):
        return 10 * epoch

    def trained_weights(self):
        return {"epoch": self.loaded}

    def load_weights(self, weights):
        self.loaded = weights["epoch"].clone()

    def average_of_epochs(self):
        return {"epoch": torch.tensor(0)}


def scores_from(tables):
    """Scores that are looked up by data set, which is a name, language and epoch; 0 is the average of all epochs."""

    def score(trainer, datasets, zero_shot_languages):
        epoch = int(trainer.loaded)
        scores = {}
        for language, name in datasets.items():
            f1 = tables[name][language][epoch]
            scores[language] = {"f1": f1, "precision": f1 + 1, "recall": f1 - 1, "macro_f1": f1}
        return scores | {"average": {"f1": -1}}, None

    return score


def test_each_rule_takes_its_epoch_and_the_first_of_those_that_are_alike():
    #                         average  epochs 1 to 4
    dev = {"eng": {1: 60, 2: 80, 3: 70, 4: 75}, "rus": {1: 70, 2: 60, 3: 72, 4: 67},
           "swa": {1: 9, 2: 3, 3: 4, 4: 9}, "yor": {1: 1, 2: 2, 3: 3, 4: 4}}  # fmt: skip
    test = {language: {0: 50.5 + shift, 1: 51 + shift, 2: 52 + shift, 3: 53 + shift, 4: 54 + shift}
            for shift, language in enumerate(("eng", "rus", "swa", "yor"))}  # fmt: skip
    evaluation = {"validation": dict.fromkeys(dev, "dev"), "test": dict.fromkeys(test, "test")}
    trainer = FakeTrainer(epochs=4)

    rules = compare_selection(trainer, evaluation, ["swa", "yor"], scores_from({"dev": dev, "test": test}))

    # Epochs 3 and 4 have an average of 71 for the sources.
    assert {rule: of_rule["epochs"] for rule, of_rule in rules.items()} == {
        "source_dev": 3, "target_dev": {"swa": 1, "yor": 4}, "last": 4, "average": 4,
    }  # fmt: skip
    f1 = {
        rule: {language: scores["f1"] for language, scores in of_rule["scores"]["test"].items()}
        for rule, of_rule in rules.items()
    }
    assert f1["source_dev"] == {"eng": 53, "rus": 54, "swa": 55, "yor": 56, "average": -1}
    assert f1["target_dev"] == {"swa": 53, "yor": 57, "average_zero_shot": 55}
    assert rules["target_dev"]["scores"]["test"]["average_zero_shot"]["precision"] == 56
    assert f1["last"] == {"eng": 54, "rus": 55, "swa": 56, "yor": 57, "average": -1}
    assert f1["average"] == {"eng": 50.5, "rus": 51.5, "swa": 52.5, "yor": 53.5, "average": -1}
    assert trainer.loaded == -1  # as it was before


def test_dev_scores_are_those_of_training_where_it_has_measured_them():
    dev = {"eng": {1: 1, 2: 2}, "swa": {1: 2, 2: 1}}
    evaluation = {"validation": dict.fromkeys(dev, "dev"), "test": dict.fromkeys(dev, "dev")}
    dev = {language: of_language | {0: 0} for language, of_language in dev.items()}
    log = [{"step": 5, "eval_eng_f1": 99}, {"step": 10, "eval_eng_f1": 90}, {"step": 20, "eval_eng_f1": 80}]

    rules = compare_selection(FakeTrainer(2, log), evaluation, ["swa"], scores_from({"dev": dev}))

    assert rules["source_dev"]["epochs"] == 1
    assert rules["target_dev"]["epochs"] == {"swa": 1}


def test_a_language_without_a_dev_set_has_no_target_dev():
    dev = {"eng": {1: 1}, "swa": {1: 2}}
    test = {language: {0: 5, 1: 6} for language in ("eng", "swa", "yor")}
    evaluation = {"validation": dict.fromkeys(dev, "dev"), "test": dict.fromkeys(test, "test")}
    score = scores_from({"dev": dev, "test": test})
    trainer = FakeTrainer(1)

    rules = compare_selection(trainer, evaluation, ["swa", "yor"], score)
    without = compare_selection(trainer, evaluation | {"validation": {"eng": "dev"}}, ["swa", "yor"], score)

    assert trainer.printed[0] == "No dev set of yor: target_dev has no score there."
    assert set(rules["target_dev"]["scores"]["test"]) == {"swa"}  # an average over fewer languages is another
    assert list(without) == ["source_dev", "last", "average"]


def test_over_seeds_scores_are_averaged_and_epochs_listed():
    def of_seed(f1, epoch):
        return {
            "last": {"scores": {"test": {"swa": {"f1": f1}}}, "epochs": epoch},
            "target_dev": {"scores": {"test": {"swa": {"f1": f1}}}, "epochs": {"swa": epoch}},
        }

    rules = selection_over_seeds([of_seed(50.0, 3), of_seed(60.0, 1)])

    assert rules["last"]["scores"]["test"]["swa"]["f1"]["values"] == [50.0, 60.0]
    assert rules["last"]["epochs"] == [3, 1]
    assert rules["target_dev"]["epochs"] == {"swa": [3, 1]}


@pytest.mark.parametrize("make_model", [tiny_byte_crf, tiny_slicer])
def test_what_is_compared_is_what_separate_runs_give(make_model, tmp_path):
    trainer = trained(tmp_path / "run", make_model)
    best = {name: weights.clone() for name, weights in trainer.model.state_dict().items()}
    last = trained(tmp_path / "last", make_model, compare_selection=False, selection="last")
    average = trained(tmp_path / "average", make_model, compare_selection=False, selection="average")

    rules = compared(trainer)

    kept = trainer.epoch_weights
    for epoch in range(1, 5):
        assert_same_weights(kept.read(epoch), checkpoint(tmp_path / "run", epoch))
    epoch = rules["source_dev"]["epochs"]
    assert trainer.state.best_model_checkpoint.endswith(f"checkpoint-{3 * epoch}")
    assert_same_weights(kept.read(epoch), best)
    assert_same_weights(trainer.model.state_dict(), best)  # as before the comparison
    assert_same_weights(kept.read(4), last.model.state_dict())
    by_hand = {
        name: (sum(checkpoint(tmp_path / "run", epoch)[name].double() for epoch in range(1, 5)) / 4).float()
        for name in best
    }
    assert_same_weights(average.model.state_dict(), by_hand)
    for rule, other in (("source_dev", trainer), ("last", last), ("average", average)):
        assert rules[rule]["scores"]["test"] == score_corpora(other, EVALUATION["test"], ["yor"])[0]


def test_target_dev_is_the_best_of_evaluating_every_epoch_by_hand(tmp_path):
    trainer = trained(tmp_path, num_train_epochs=5)
    rules = compared(trainer)

    by_hand = []
    for epoch in range(1, 6):
        trainer.model.load_state_dict(checkpoint(tmp_path, epoch))
        dev, test = (score_corpora(trainer, EVALUATION[split], ["yor"])[0] for split in ("validation", "test"))
        by_hand.append((dev["yor"]["f1"], test["yor"]))

    best = int(np.argmax([f1 for f1, _ in by_hand]))
    assert len({f1 for f1, _ in by_hand}) > 2  # there is something to choose
    assert rules["target_dev"]["epochs"] == {"yor": best + 1}
    assert rules["target_dev"]["scores"]["test"]["yor"] == by_hand[best][1]


def test_frozen_parameters_are_not_kept_and_thawing_ones_are_from_the_start(tmp_path):
    def frozen(**settings):
        model, tokenizer = tiny_slicer(**settings)
        model.get_input_embeddings().requires_grad_(False)
        return model, tokenizer

    trainer = trained(tmp_path, frozen, unfrozen_layers_per_epoch=1, num_train_epochs=2)

    names = {name for name, _ in trainer.model.named_parameters()}
    embeddings = {name for name in names if "word_embeddings" in name}
    assert embeddings
    for epoch in (1, 2):
        assert set(trainer.epoch_weights.read(epoch)) & names == names - embeddings


@pytest.mark.parametrize("stop_at", [2, 6, 10])
def test_a_resumed_run_gives_the_table_of_an_undisturbed_one(stop_at, tmp_path):
    expected = compared(trained(tmp_path / "whole"))
    settings = {"compare_selection": True, "learning_rate": 2e-2, "num_train_epochs": 4}
    stopped, resumed = (
        trainer_of(tiny_byte_crf, tmp_path / "run", train=SOURCE, evaluation=SOURCE, **settings) for _ in range(2)
    )
    stopped.add_callback(WithinStep(stop_at, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    with pytest.raises(KeyboardInterrupt):
        stopped.train()

    resumed.train(resume_from_checkpoint=True)

    assert compared(resumed) == expected


def test_a_run_that_had_ended_is_compared_again_when_it_is_resumed(tmp_path):
    # As after a kill between the end of training and results.json; max_steps and patience cut the last epoch short.
    for name, own in (("steps", {"max_steps": 8}), ("patience", {"early_stopping_patience": 1})):
        settings = {"compare_selection": True, "learning_rate": 0.1, "num_train_epochs": 20} | own
        ended, again = (
            trainer_of(tiny_byte_crf, tmp_path / name, train=SOURCE, evaluation=SOURCE, **settings) for _ in range(2)
        )
        ended.train()
        expected = compared(ended)

        again.train(resume_from_checkpoint=True)

        assert again.state.global_step == ended.state.global_step
        assert compared(again) == expected
        if name == "steps":
            assert [ended.epoch_weights.step(epoch) for epoch in ended.epoch_weights.epochs] == [3, 6, 8]
            assert (expected["last"]["epochs"], expected["average"]["epochs"]) == (3, 3)
        else:
            assert expected["last"]["epochs"] == ended.state.epoch < 20


def test_epochs_of_an_earlier_run_are_not_taken_for_those_of_a_new_one(tmp_path):
    trained(tmp_path, num_train_epochs=6)

    trainer = trained(tmp_path, num_train_epochs=2, learning_rate=1e-3)

    assert trainer.epoch_weights.epochs == [1, 2]
    trained(tmp_path, compare_selection=False, learning_rate=1e-4)
    assert trainer.epoch_weights.epochs == []


def test_a_run_that_did_not_keep_its_epochs_cannot_go_on_with_them(tmp_path):
    trained(tmp_path, compare_selection=False, num_train_epochs=2)
    trainer = trainer_of(tiny_byte_crf, tmp_path, train=SOURCE, evaluation=SOURCE, learning_rate=2e-2,
                         selection="average", num_train_epochs=2)  # fmt: skip

    with pytest.raises(
        ValueError, match=r"needs the weights of epochs 1, 2, and the run of .*checkpoint-6 did not kee"
    ):
        trainer.train(resume_from_checkpoint=True)


def test_an_average_is_saved_without_the_state_of_another_model(tmp_path):
    trainer = trained(tmp_path / "run", selection="average")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / ADAM_STATE_FILE).write_text("of an earlier run")

    trainer.save_model(tmp_path / "model")

    assert not (tmp_path / "model" / ADAM_STATE_FILE).exists()
    assert (tmp_path / "run" / "checkpoint-12" / ADAM_STATE_FILE).is_file()
    assert_same_weights(load_file(tmp_path / "model" / "model.safetensors"), trainer.model.state_dict())


def test_seeds_are_compared_each_with_its_own_epochs_and_the_saved_model_is_that_of_the_rule(tmp_path):
    training = training_arguments(tmp_path, compare_selection=True, selection="average", num_train_epochs=3)

    def make_trainer(args):
        model, tokenizer = tiny_byte_crf()
        return PolyglotTrainer(model, args, processing_class=tokenizer, train_dataset=SOURCE, eval_dataset=SOURCE)

    runs = train_over_seeds(make_trainer, training, [1, 2], EVALUATION, ["yor"])

    assert runs.selection["average"]["scores"]["test"] == runs.scores["test"]
    assert runs.selection["average"]["epochs"] == [3, 3]
    assert len(runs.selection["target_dev"]["scores"]["test"]["yor"]["f1"]["values"]) == 2
    assert_same_weights(load_file(tmp_path / "model.safetensors"), runs.trainer.model.state_dict())
    assert_same_weights(runs.trainer.average_of_epochs(), runs.trainer.model.state_dict())


@pytest.mark.parametrize(
    ("selection", "loads_best"), [(None, True), ("source_dev", True), ("last", False), ("average", False)]
)
def test_a_selection_says_whether_the_best_checkpoint_is_loaded(selection, loads_best, tmp_path):
    assert training_arguments(tmp_path, selection=selection).load_best_model_at_end is loads_best


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"selection": "target_dev"}, "`selection` is 'target_dev'; expected source_dev or last or average"),
        (
            {"selection": "source_dev", "eval_strategy": "no", "save_strategy": "no"},
            "`eval_strategy` is 'no'; expected 'average' and 'epoch'",
        ),
        (
            {"compare_selection": True, "eval_strategy": "steps", "save_strategy": "steps"},
            "`metric_for_best_model` is 'average' and `eval_strategy` is 'steps'",
        ),
        ({"compare_selection": True, "metric_for_best_model": "eval_swa_f1"}, "`metric_for_best_model` is 'swa_f1'"),
    ],
)
def test_a_selection_by_scores_that_are_not_there_is_refused(settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        training_arguments(tmp_path, **settings)


@pytest.mark.parametrize("steps", [2, 3, 5])
def test_what_the_log_says_is_what_measuring_says(steps, tmp_path):
    settings = {"eval_strategy": "steps", "eval_steps": steps, "save_strategy": "no", "load_best_model_at_end": False}
    trainer = trained(tmp_path, **settings)
    by_log = compared(trainer)

    trainer.state.log_history.clear()

    assert compared(trainer) == by_log


COMPARE = """
import json, sys
from pathlib import Path
from tests.training.test_model_selection import compared, trained
from tests.models.tiny_models import tiny_byte_crf
from tests.training.test_trainer import no_dropout
make_model = lambda: tiny_byte_crf(**no_dropout(tiny_byte_crf))
trainer = trained(sys.argv[1], make_model, per_device_train_batch_size=int(sys.argv[2]))
rules = compared(trainer)
if trainer.is_world_process_zero():
    (Path(sys.argv[1]) / "rules.json").write_text(json.dumps(rules))
"""


@pytest.mark.slow
def test_two_processes_select_what_one_selects(tmp_path):
    program = tmp_path / "train.py"
    program.write_text(COMPARE)

    for folder, processes, batch_size in (("one", 1, 4), ("two", 2, 2)):
        run = run_program(program, tmp_path / folder, batch_size, processes=processes)
        assert run.returncode == 0, run.stderr[-3000:]

    one, two = (json.loads((tmp_path / folder / "rules.json").read_text()) for folder in ("one", "two"))
    for rule in one:
        assert one[rule]["epochs"] == two[rule]["epochs"]
        for language, scores in one[rule]["scores"]["test"].items():
            assert scores["f1"] == pytest.approx(two[rule]["scores"]["test"][language]["f1"])
