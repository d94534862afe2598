"""A Meta-LSTM is trained part by part, each part's best is kept, and an interrupted run ends as if it had not been."""

import json

import pytest
import torch
from transformers import TrainerCallback, set_seed

from hf_polyglot.models.modeling_meta_lstm import PARTS
from hf_polyglot.training.meta_lstm import MetaLSTMTrainer, PartTrainer
from hf_polyglot.training.optimizer_state import load_adam_state
from tests.models.test_meta_lstm import owner_of
from tests.models.tiny_models import tiny_meta_lstm, tiny_meta_lstm_of_vectors

from .test_trainer import CORPORA, trainer_of, training_arguments


def trainer_of_parts(folder, make_model=tiny_meta_lstm, trainer_class=MetaLSTMTrainer, callbacks=None, **settings):
    model, tokenizer = make_model()
    own = {"part": settings.pop("part")} if "part" in settings else {}
    return trainer_class(
        model,
        training_arguments(folder, **settings),
        processing_class=tokenizer,
        train_dataset=CORPORA,
        eval_dataset=CORPORA,
        callbacks=callbacks,
        **own,
    )


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level("ERROR")


def weights_of(model, part):
    return {name: weight.clone() for name, weight in model.named_parameters() if owner_of(name) == part}


def assert_equal(found, expected):
    assert set(found) == set(expected)
    for name, weight in expected.items():
        assert torch.equal(found[name], weight), name


def test_each_part_is_trained_as_if_the_others_were_not_there(tmp_path):
    whole = trainer_of_parts(tmp_path / "whole")
    begin = {part: weights_of(whole.model, part) for part in PARTS}

    whole.train()

    for part in ("characters", "words"):
        alone = trainer_of_parts(tmp_path / part, trainer_class=PartTrainer, part=part)
        alone.train()
        assert_equal(weights_of(whole.model, part), weights_of(alone.model, part))
        assert_equal(weights_of(alone.model, "joint"), begin["joint"])
        assert whole.described["parts"][part] == alone.state.best_metric
    assert whole.model.part is None
    assert all(weight.requires_grad for weight in whole.model.parameters())


def test_the_best_of_every_part_is_kept_and_the_score_of_each_is_written_down(tmp_path):
    trainer = trainer_of_parts(tmp_path, num_train_epochs=12)

    trainer.train()

    scores = trainer.described["parts"]
    assert list(scores) == list(PARTS)
    for part in PARTS:
        trainer.model.train_part(part)
        assert trainer.evaluate()["eval_average_f1"] == pytest.approx(scores[part])
        folder = tmp_path if part == "joint" else tmp_path / part
        states = [json.loads(path.read_text()) for path in folder.glob("checkpoint-*/trainer_state.json")]
        history = max((state["log_history"] for state in states), key=len)
        assert scores[part] == max(log["eval_average_f1"] for log in history if "eval_average_f1" in log)
    assert scores["joint"] > 50


def test_the_joint_part_learns_and_leaves_the_others_as_they_were(tmp_path):
    trainer = trainer_of_parts(tmp_path, trainer_class=PartTrainer, part="joint")
    begin = {part: weights_of(trainer.model, part) for part in PARTS}

    trainer.train()

    assert_equal(weights_of(trainer.model, "characters"), begin["characters"])
    assert_equal(weights_of(trainer.model, "words"), begin["words"])
    assert not torch.equal(trainer.model.classifier.weight, begin["joint"]["classifier.weight"])


class Interrupt(TrainerCallback):
    """Ends a part behind a step, as a killed process would, but for its last checkpoint."""

    def __init__(self, part, step):
        self.part, self.step = part, step

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if model.part == self.part and state.global_step == self.step:
            raise KeyboardInterrupt


class CountSteps(TrainerCallback):
    """How many steps of each part are taken."""

    def __init__(self):
        self.taken = dict.fromkeys(PARTS, 0)

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.taken[model.part] += 1


# Of the 10 steps of each part, checkpoints are written at 4, 8 and 10.
@pytest.mark.parametrize(
    ("part", "step", "taken", "make_model"),
    [
        ("characters", 7, [6, 10, 10], tiny_meta_lstm),
        ("words", 7, [0, 6, 10], tiny_meta_lstm_of_vectors),
        ("joint", 7, [0, 0, 6], tiny_meta_lstm),
        ("joint", 2, [0, 0, 10], tiny_meta_lstm),
    ],
)
def test_an_interrupted_run_ends_with_the_weights_of_the_undisturbed_one(part, step, taken, make_model, tmp_path):
    settings = {"num_train_epochs": 2, "save_strategy": "steps", "eval_strategy": "steps", "save_steps": 4,
                "eval_steps": 4, "make_model": make_model}  # fmt: skip
    undisturbed = trainer_of_parts(tmp_path / "undisturbed", **settings)
    undisturbed.train()
    undisturbed.save_model(str(tmp_path / "one"))
    with pytest.raises(KeyboardInterrupt):
        trainer_of_parts(tmp_path / "resumed", callbacks=[Interrupt(part, step)], **settings).train()

    set_seed(7)  # what another process begins with is of no matter
    steps = CountSteps()
    resumed = trainer_of_parts(tmp_path / "resumed", callbacks=[steps], **settings)
    resumed.train(resume_from_checkpoint=True)
    resumed.save_model(str(tmp_path / "two"))

    assert list(steps.taken.values()) == taken
    assert_equal(dict(resumed.model.named_parameters()), dict(undisturbed.model.named_parameters()))
    assert resumed.described == undisturbed.described
    one, two = (load_adam_state(tmp_path / name) for name in ("one", "two"))
    assert set(one) == {name for name, weight in resumed.model.named_parameters() if weight.requires_grad} == set(two)
    for name, state in one.items():
        assert all(torch.equal(two[name][key], value) for key, value in state.items())


def test_early_stopping_ends_each_part_by_itself(tmp_path):
    settings = {"num_train_epochs": 30, "learning_rate": 1e-9, "early_stopping_patience": 2}
    trainer = trainer_of_parts(tmp_path, **settings)

    trainer.train()

    steps = {
        part: max(int(path.name.removeprefix("checkpoint-")) for path in (tmp_path / part).glob("checkpoint-*"))
        for part in PARTS[:-1]
    }
    assert trainer.state.epoch == 3
    assert steps == dict.fromkeys(PARTS[:-1], trainer.state.global_step)


def test_a_continued_model_finds_adams_state_of_all_parts(tmp_path):
    trainer = trainer_of_parts(tmp_path)
    trainer.train()
    trainer.save_model()

    continued = trainer_of(tiny_meta_lstm, tmp_path / "continued", adam_state=load_adam_state(tmp_path))
    continued.create_optimizer()

    assert continued.carried_adam_state.fresh == ()


def test_a_checkpoint_of_a_run_of_all_parts_at_once_is_not_gone_on_from(tmp_path):
    trainer_of(tiny_meta_lstm, tmp_path).train()

    with pytest.raises(ValueError, match="is of another run: part None, not joint"):
        trainer_of_parts(tmp_path).train(resume_from_checkpoint=True)


def test_all_parts_at_once_learn_too(tmp_path):
    trainer = trainer_of(tiny_meta_lstm, tmp_path, num_train_epochs=12)

    trainer.train()

    for part in PARTS:
        trainer.model.train_part(part)
        assert trainer.evaluate()["eval_average_f1"] > 50
