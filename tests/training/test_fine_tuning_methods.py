"""Discriminative rates, gradual unfreezing and the slanted triangular schedule: what moves, when, and how fast."""

import pytest
import torch
from transformers import TrainerCallback

from hf_polyglot.models.piece_encoder import encoder_layers
from hf_polyglot.training.optimizer_state import load_adam_state
from tests.models.tiny_models import tiny_byte_crf, tiny_encoder_crf, tiny_slicer
from tests.training.test_trainer import trainer_of

NO_EVALUATION = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}


def of_three_layers(**settings):
    return tiny_encoder_crf({"num_hidden_layers": 3}, **settings)


def where(name):
    """Layer, embeddings or head that a parameter of the encoder-CRF is in."""
    if not name.startswith("encoder."):
        return "head"
    return int(name.split(".layer.")[1].split(".")[0]) if ".layer." in name else "embeddings"


class Moves(TrainerCallback):
    """Notes which parts of the model have moved in each epoch."""

    def __init__(self, model):
        self.model = model
        self.moved = []
        self.before = self._weights()

    def _weights(self):
        return {name: weights.detach().clone() for name, weights in self.model.named_parameters()}

    def on_epoch_end(self, args, state, control, **kwargs):
        after = self._weights()
        self.moved.append({where(name) for name in after if not torch.equal(after[name], self.before[name])})
        self.before = after


@pytest.mark.parametrize("make_model", [of_three_layers, lambda: tiny_slicer({"num_hidden_layers": 3})])
def test_each_layer_learns_slower_than_the_one_above(make_model, tmp_path):
    trainer = trainer_of(
        make_model, tmp_path, learning_rate=1e-3, head_learning_rate=1e-2, layer_rate_divisor=2.0, weight_decay=0.1
    )
    optimizer = trainer.create_optimizer()

    rate_of = {weights: group["lr"] for group in optimizer.param_groups for weights in group["params"]}
    decay_of = {weights: group["weight_decay"] for group in optimizer.param_groups for weights in group["params"]}
    rates = {}
    for name, weights in trainer.model.named_parameters():
        rates.setdefault(where(name), set()).add(rate_of[weights])
        assert (decay_of[weights] > 0) == (name in trainer.get_decay_parameter_names(trainer.model))
    assert rates == {"head": {1e-2}, 2: {1e-3}, 1: {1e-3 / 2}, 0: {1e-3 / 4}, "embeddings": {1e-3 / 8}}


def test_layers_thaw_from_the_top_one_group_an_epoch(tmp_path):
    trainer = trainer_of(of_three_layers, tmp_path, num_train_epochs=4, unfrozen_layers_per_epoch=2, **NO_EVALUATION)
    moves = Moves(trainer.model)
    trainer.add_callback(moves)

    trainer.train()

    upper, all_layers = {"head", 1, 2}, {"head", 0, 1, 2}
    assert moves.moved == [upper, all_layers, all_layers | {"embeddings"}, all_layers | {"embeddings"}]
    assert all(weights.requires_grad for weights in trainer.model.parameters())
    steps_of_epoch = trainer.state.global_step // 4
    layers = encoder_layers(trainer.model.encoder)
    state = trainer.optimizer.state
    for layer, epochs in ((layers[2], 4), (layers[1], 4), (layers[0], 3), (trainer.model.get_input_embeddings(), 2)):
        assert {state[weights]["step"].item() for weights in layer.parameters()} == {epochs * steps_of_epoch}


def test_what_is_frozen_for_good_does_not_thaw(tmp_path):
    def make_model():
        model, tokenizer = of_three_layers()
        model.get_input_embeddings().requires_grad_(False)
        return model, tokenizer

    trainer = trainer_of(make_model, tmp_path, num_train_epochs=3, unfrozen_layers_per_epoch=3, **NO_EVALUATION)
    before = trainer.model.get_input_embeddings().weight.detach().clone()

    trainer.train()

    embeddings = trainer.model.get_input_embeddings().weight
    assert torch.equal(embeddings, before)
    assert not embeddings.requires_grad


def test_where_processes_share_gradients_the_frozen_ones_are_dropped_before_they_are_clipped(tmp_path):
    settings = {"num_train_epochs": 3, "unfrozen_layers_per_epoch": 2, "max_grad_norm": 0.01} | NO_EVALUATION
    one = trainer_of(of_three_layers, tmp_path, **settings)
    one.train()

    several = trainer_of(of_three_layers, tmp_path, **settings)
    callback = next(callback for callback in several.callback_handler.callbacks if hasattr(callback, "unfreezing"))
    callback.has_replicas = True
    several.train()

    for weights, other in zip(one.model.parameters(), several.model.parameters(), strict=True):
        torch.testing.assert_close(other, weights, rtol=0, atol=0)


@pytest.mark.parametrize("step", [2, 5, 7, 10])
def test_a_run_resumed_while_it_thaws_ends_as_the_undisturbed_one(step, tmp_path):
    settings = {
        "num_train_epochs": 4, "unfrozen_layers_per_epoch": 1, "layer_rate_divisor": 1.5, "slanted_triangular": True,
        "save_strategy": "steps", "save_steps": 1, "save_total_limit": None, "eval_strategy": "no",
        "load_best_model_at_end": False,
    }  # fmt: skip
    undisturbed = trainer_of(of_three_layers, tmp_path / "run", **settings)
    undisturbed.train()
    assert undisturbed.state.global_step == 20

    resumed = trainer_of(of_three_layers, tmp_path / "run", **settings)
    moves = Moves(resumed.model)
    resumed.add_callback(moves)
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / f"checkpoint-{step}"))

    first_epoch = step // 5
    # An epoch that had been begun before has its steps left to move what had thawed in it.
    assert len(moves.moved) == 4 - first_epoch
    assert (0 in moves.moved[0]) == (first_epoch >= 2)
    for name, weights in undisturbed.model.named_parameters():
        assert torch.equal(resumed.model.get_parameter(name), weights), name


def test_the_best_model_has_the_adam_state_of_its_own_step(tmp_path):
    trainer = trainer_of(
        of_three_layers, tmp_path, num_train_epochs=3, unfrozen_layers_per_epoch=1, learning_rate=1e-3
    )
    evaluate = trainer.evaluate

    def ever_worse(*arguments, **options):  # so that the first epoch is the best, when one layer of three had thawed
        metrics = evaluate(*arguments, **options)
        return metrics | ({"eval_average_f1": 3 - trainer.state.epoch} if "eval_average_f1" in metrics else {})

    trainer.evaluate = ever_worse

    trainer.train()
    trainer.save_model()

    state = load_adam_state(tmp_path)
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-5")
    assert {where(name) for name in state} == {"head", 2}


def test_a_run_is_not_resumed_with_another_method(tmp_path):
    settings = {"num_train_epochs": 1, "save_strategy": "steps", "save_steps": 2, "eval_strategy": "no",
                "load_best_model_at_end": False, "save_total_limit": None}  # fmt: skip
    trainer_of(of_three_layers, tmp_path, unfrozen_layers_per_epoch=1, **settings).train()

    other = trainer_of(of_three_layers, tmp_path, unfrozen_layers_per_epoch=2, **settings)
    with pytest.raises(ValueError, match="unfrozen_layers_per_epoch"):
        other.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))


def test_rates_rise_and_fall_as_in_the_paper(tmp_path):
    trainer = trainer_of(
        of_three_layers, tmp_path, num_train_epochs=20, learning_rate=1e-2, head_learning_rate=1e-1,
        slanted_triangular=True, logging_strategy="steps", logging_steps=1, **NO_EVALUATION,
    )  # fmt: skip

    trainer.train()

    def rate(t, highest, T=100, cut_frac=0.1, ratio=32):  # as they write equation 3
        cut = int(T * cut_frac)
        p = t / cut if t < cut else 1 - (t - cut) / (cut * (1 / cut_frac - 1))
        return highest * (1 + p * (ratio - 1)) / ratio

    rates = [log["learning_rate"] for log in trainer.state.log_history if "learning_rate" in log]
    assert len(rates) == 100
    assert max(rates) in (pytest.approx(1e-1), pytest.approx(1e-2))
    assert rates == pytest.approx([rate(t, max(rates)) for t in range(100)])
    assert rates[0] == pytest.approx(max(rates) / 32)


def test_methods_for_an_encoder_are_refused_where_there_is_none(tmp_path):
    with pytest.raises(ValueError, match="ByteCRFForTokenClassification, which has no pretrained encoder"):
        trainer_of(tiny_byte_crf, tmp_path, unfrozen_layers_per_epoch=1)
    with pytest.raises(ValueError, match="no pretrained encoder"):
        trainer_of(tiny_byte_crf, tmp_path, layer_rate_divisor=2.6).create_optimizer()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layer_rate_divisor": 0}, r"`layer_rate_divisor` is 0; expected a number above 0"),
        ({"unfrozen_layers_per_epoch": 0}, r"`unfrozen_layers_per_epoch` is 0; expected at least 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        trainer_of(of_three_layers, tmp_path, **settings)
