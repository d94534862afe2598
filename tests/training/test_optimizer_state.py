"""Adam's state by name: what is saved is what the optimizer held, and what is carried goes on where it was."""

import pytest
import torch
from safetensors.torch import load_file
from torch.optim import SGD, AdamW

from hf_polyglot.training.optimizer_state import (
    ADAM_STATE_FILE,
    adam_state_by_name,
    carry_adam_state,
    load_adam_state,
    save_adam_state,
)
from tests.models.tiny_models import tiny_byte_crf, tiny_slicer

from .test_trainer import CORPORA, trainer_of

WITHOUT_DROPOUT = {"embedding_dropout": 0.0, "word_dropout": 0.0, "sentence_dropout": 0.0}
CONSTANT = {
    "lr_scheduler_type": "constant",
    "save_strategy": "no",
    "eval_strategy": "no",
    "load_best_model_at_end": False,
}
ONE_SENTENCE = {"swa": CORPORA["swa"].select([0])}


def byte_crf():
    return tiny_byte_crf(**WITHOUT_DROPOUT)


def slicer():
    return tiny_slicer({"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}, classifier_dropout=0.0)


def small_network(width=3):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, width), torch.nn.Linear(width, 2))


def take_step(network, optimizer):
    optimizer.zero_grad()
    network(torch.ones(1, 4)).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("optim", ["adamw_torch", "adamw_torch_fused"])
@pytest.mark.parametrize(("make_model", "rates"), [(byte_crf, {}), (slicer, {"head_learning_rate": 0.03})])
def test_a_continued_run_takes_the_step_that_the_uninterrupted_run_would_take(make_model, rates, optim, tmp_path):
    settings = CONSTANT | rates | {"optim": optim}
    first = trainer_of(make_model, tmp_path / "first", train=ONE_SENTENCE, num_train_epochs=4, **settings)
    first.train()
    first.save_model()
    uninterrupted = trainer_of(make_model, tmp_path / "whole", train=ONE_SENTENCE, num_train_epochs=5, **settings)
    uninterrupted.train()

    def continued(adam_state):
        trainer = trainer_of(
            lambda: (type(first.model).from_pretrained(tmp_path / "first"), first.processing_class),
            tmp_path / "continued", train=ONE_SENTENCE, num_train_epochs=1, adam_state=adam_state, **settings,
        )  # fmt: skip
        trainer.train()
        return trainer

    carried, fresh = continued(load_adam_state(tmp_path / "first")), continued(None)

    assert not carried.carried_adam_state.fresh
    for name, parameter in uninterrupted.model.named_parameters():
        torch.testing.assert_close(carried.model.get_parameter(name), parameter, rtol=0, atol=0)
    assert any(
        not torch.equal(fresh.model.get_parameter(name), parameter)
        for name, parameter in uninterrupted.model.named_parameters()
    )


def test_the_state_beside_the_best_model_is_that_of_its_step(tmp_path):
    # The best epoch is here the worst one, the first, so that it is not the last.
    trainer = trainer_of(tiny_byte_crf, tmp_path, num_train_epochs=3, greater_is_better=False)

    trainer.train()
    trainer.save_model()

    best = trainer.state.best_model_checkpoint
    saved, of_best = load_file(tmp_path / ADAM_STATE_FILE), load_file(f"{best}/{ADAM_STATE_FILE}")
    steps_of_best = float(best.rpartition("-")[2])
    assert 0 < steps_of_best < trainer.state.global_step
    assert {value.item() for key, value in saved.items() if key.startswith("step/")} == {steps_of_best}
    assert saved.keys() == of_best.keys()
    assert all(torch.equal(saved[key], of_best[key]) for key in saved)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 0.0), (torch.bfloat16, 2.0**-8)])
def test_what_is_saved_comes_back(dtype, tolerance, tmp_path):
    network = small_network()
    adam = AdamW(network.parameters())
    take_step(network, adam)

    save_adam_state(tmp_path, adam_state_by_name(network, adam), dtype)
    state = load_adam_state(tmp_path)

    assert set(state) == {name for name, _ in network.named_parameters()}
    for name, parameter in network.named_parameters():
        for key, value in adam.state[parameter].items():
            torch.testing.assert_close(state[name][key].float(), value, rtol=tolerance, atol=0)
        assert state[name]["exp_avg"].dtype == dtype
        assert state[name]["step"].dtype == torch.float32


def test_saving_it_can_be_left_out_or_take_half_the_room(tmp_path):
    for choice in ("no", "float32", "bfloat16"):
        trainer = trainer_of(
            tiny_byte_crf, tmp_path / choice, num_train_epochs=1, save_adam_state=choice, eval_strategy="no",
            save_strategy="no", load_best_model_at_end=False,
        )  # fmt: skip
        trainer.train()
        trainer.save_model()

    sizes = [(tmp_path / choice / ADAM_STATE_FILE).stat().st_size for choice in ("float32", "bfloat16")]
    assert not (tmp_path / "no" / ADAM_STATE_FILE).exists()
    assert sizes[1] < 0.75 * sizes[0]  # of tiny tensors, their names take much of the room


def test_what_is_carried_is_a_copy():
    source, network = small_network(), small_network()
    adam, continued = AdamW(source.parameters()), AdamW(network.parameters())
    take_step(source, adam)
    state = adam_state_by_name(source, adam)
    before = {name: of_one["exp_avg"].clone() for name, of_one in state.items()}

    carry_adam_state(network, continued, state)
    take_step(network, continued)

    assert all(torch.equal(state[name]["exp_avg"], value) for name, value in before.items())
    assert {of_one["step"].item() for of_one in adam_state_by_name(network, continued).values()} == {2}


def test_parameters_of_another_shape_and_frozen_ones_are_named_as_fresh():
    source, network = small_network(width=3), small_network(width=5)
    adam = AdamW(source.parameters())
    take_step(source, adam)
    network[1].bias.requires_grad_(False)

    outcome = carry_adam_state(
        network, AdamW(p for p in network.parameters() if p.requires_grad), adam_state_by_name(source, adam)
    )

    assert outcome.carried == ()
    assert outcome.fresh == ("0.weight", "0.bias", "1.weight", "1.bias")
    assert str(outcome) == (
        "Adam's state is carried for 0 parameters: none.\nFresh: 0.weight, 0.bias, 1.weight, 1.bias."
    )
    network[1].bias.requires_grad_(True)
    outcome = carry_adam_state(network, AdamW(network.parameters()), adam_state_by_name(source, adam))
    assert outcome.carried == ("1.bias",)


def test_other_optimizers_are_refused():
    network = small_network()

    with pytest.raises(ValueError, match="The optimizer is SGD; expected Adam or AdamW"):
        carry_adam_state(network, SGD(network.parameters()), {})


def test_a_run_with_another_optimizer_leaves_no_state(tmp_path):
    trainer = trainer_of(tiny_byte_crf, tmp_path, num_train_epochs=1, optim="sgd")

    trainer.train()
    trainer.save_model()

    with pytest.raises(ValueError, match=r"has no adam_state.safetensors; expected Adam's state beside the model"):
        load_adam_state(tmp_path)
