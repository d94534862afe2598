"""Gradient surgery: on vectors by hand, and in training on languages that agree and that contradict each other."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hf_polyglot.training import gradient_surgery
from hf_polyglot.training.gradient_surgery import GradientSurgery, weights_without_conflicts
from tests.models.tiny_models import TINY_MODELS, tiny_byte_crf, tiny_encoder_crf
from tests.training import test_segment_trainer
from tests.training.test_trainer import CORPORA, no_dropout, trainer_of

ONE_STEP = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False, "max_steps": 1,
            "optim": "sgd", "max_grad_norm": 0, "learning_rate": 0.1, "lr_scheduler_type": "constant",
            "per_device_train_batch_size": 16}  # fmt: skip


def surgery_on_vectors(gradients, random):
    """Algorithm 1 of Yu et al. (2020), word for word."""
    left = []
    for index, gradient in enumerate(gradients):
        projected = gradient.copy()
        for other in random.permutation(len(gradients)):
            if other != index and projected @ gradients[other] < 0:
                projected -= projected @ gradients[other] / (gradients[other] @ gradients[other]) * gradients[other]
        left.append(projected)
    return np.sum(left, axis=0)


@given(seed=st.integers(0, 2**16), num_languages=st.integers(1, 6), size=st.integers(1, 8))
def test_it_is_the_algorithm_on_vectors(seed, num_languages, size):
    gradients = np.random.default_rng(seed).normal(size=(num_languages, size))

    weights = weights_without_conflicts(gradients @ gradients.T, np.random.default_rng(seed))

    np.testing.assert_allclose(
        weights @ gradients, surgery_on_vectors(gradients, np.random.default_rng(seed)), rtol=1e-6, atol=1e-9
    )


def without_dropout(make_model=tiny_byte_crf):
    return lambda: make_model(**no_dropout(make_model))


def trained(folder, make_model=tiny_byte_crf, train=CORPORA, **settings):
    trainer = trainer_of(without_dropout(make_model), folder, train=train, **ONE_STEP | settings)
    trainer.train()
    return trainer


@pytest.mark.parametrize("make_model", TINY_MODELS.values(), ids=TINY_MODELS)
@pytest.mark.parametrize("accumulation", [1, 2])
def test_without_a_conflict_nothing_changes(make_model, accumulation, tmp_path, monkeypatch):
    monkeypatch.setattr(gradient_surgery, "weights_without_conflicts", lambda products, random: np.ones(len(products)))
    settings = {"per_device_train_batch_size": 4, "max_steps": 2, "gradient_accumulation_steps": accumulation}
    plain = trained(tmp_path, make_model, **settings)

    surgical = trained(tmp_path, make_model, **settings, gradient_surgery=True)

    for name, weights in plain.model.named_parameters():
        torch.testing.assert_close(surgical.model.get_parameter(name), weights, rtol=0, atol=1e-5, msg=name)
    losses = [[log["loss"] for log in trainer.state.log_history if "loss" in log] for trainer in (plain, surgical)]
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)


def test_byte_to_span_has_segments_of_its_languages(tmp_path, monkeypatch):
    monkeypatch.setattr(gradient_surgery, "weights_without_conflicts", lambda products, random: np.ones(len(products)))
    plain, surgical = (
        test_segment_trainer.trainer_of(tmp_path, **ONE_STEP, gradient_surgery=surgery) for surgery in (False, True)
    )

    plain.train()
    surgical.train()

    for name, weights in plain.model.named_parameters():
        torch.testing.assert_close(surgical.model.get_parameter(name), weights, rtol=0, atol=1e-5, msg=name)


def contradiction():
    """The same sentences in two languages, whose words are all O in one and all of another label in the other."""
    rows = CORPORA["swa"].select_columns(["tokens", "ner_tags"])
    return {
        language: rows.map(lambda row, label=label: {"ner_tags": [label] * len(row["tokens"])})
        for label, language in enumerate(["swa", "yor"])
    }


def test_what_is_frozen_decides_no_conflict(tmp_path):
    settings = {"train": contradiction(), "gradient_surgery": True, "unfrozen_layers_per_epoch": 1}
    one = trained(tmp_path, tiny_encoder_crf, **settings)

    several = trainer_of(without_dropout(tiny_encoder_crf), tmp_path, **ONE_STEP | settings)
    callback = next(callback for callback in several.callback_handler.callbacks if hasattr(callback, "unfreezing"))
    callback.has_replicas = True  # as where processes share gradients
    several.train()

    assert one.state.log_history[0]["conflicts_percent"] == 100
    for name, weights in one.model.named_parameters():
        torch.testing.assert_close(several.model.get_parameter(name), weights, rtol=0, atol=1e-6, msg=name)


@pytest.mark.parametrize("settings", [{"train": {"swa": CORPORA["swa"]}}, {"batch_languages": "single"}])
def test_updates_of_one_language_have_nothing_to_operate_on(settings, tmp_path):
    with pytest.raises(ValueError, match="each update has sentences of one language only; expected several"):
        trained(tmp_path, gradient_surgery=True, **settings)


def test_of_contradicting_languages_each_keeps_what_the_other_does_not_mind(tmp_path):
    corpora = contradiction()
    start = without_dropout()()[0]

    def step_of(**settings):
        model = trained(tmp_path, **settings).model
        return torch.cat([
            (weights - start.get_parameter(name)).flatten() / -0.1 for name, weights in model.named_parameters()
        ])

    of_language = [step_of(train={language: rows}) / 2 for language, rows in corpora.items()]
    assert of_language[0] @ of_language[1] < 0
    surgical = step_of(train=corpora, gradient_surgery=True)

    expected = surgery_on_vectors([gradient.detach().double().numpy() for gradient in of_language],
                                  np.random.default_rng(0))  # fmt: skip
    torch.testing.assert_close(surgical.double(), torch.tensor(expected), rtol=1e-3, atol=1e-4)
    # Neither language is made worse, to first order.
    assert all(surgical @ gradient >= -1e-4 for gradient in of_language)


def test_conflicts_are_logged_each_epoch(tmp_path):
    trainer = trained(tmp_path, train=contradiction(), gradient_surgery=True, max_steps=-1, num_train_epochs=2)

    shares = [log["conflicts_percent"] for log in trainer.state.log_history if "conflicts_percent" in log]
    assert len(shares) == 2
    assert 0 < max(shares) <= 100


def test_a_resumed_run_ends_as_the_undisturbed_one(tmp_path):
    settings = {
        "max_steps": 4, "gradient_surgery": True, "optim": "adamw_torch", "per_device_train_batch_size": 4,
        "save_strategy": "steps", "save_steps": 1, "save_total_limit": None,
    }  # fmt: skip
    undisturbed = trained(tmp_path / "run", **settings)
    resumed = trainer_of(without_dropout(), tmp_path / "run", **ONE_STEP | settings)

    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))

    for name, weights in undisturbed.model.named_parameters():
        torch.testing.assert_close(resumed.model.get_parameter(name), weights, rtol=0, atol=0)


def test_a_loss_that_is_no_number_stops_with_the_batch_of_its_language(tmp_path):
    trainer = trainer_of(without_dropout(), tmp_path, **ONE_STEP, gradient_surgery=True)
    with torch.no_grad():
        trainer.model.classifier.bias.fill_(float("nan"))

    with pytest.raises(FloatingPointError, match="The batch is in"):
        trainer.train()


def test_the_order_follows_from_seed_and_step_alone():
    gradients = np.random.default_rng(0).normal(size=(5, 3))  # in three dimensions, many of five conflict

    def given_back(seed, step):
        model = torch.nn.Linear(3, 1, bias=False)
        surgery = GradientSurgery("abcde", seed)
        for language, gradient in zip("abcde", gradients, strict=True):
            model.weight.grad = torch.tensor(gradient, dtype=torch.float32)[None]
            surgery.take(language, model)
            assert model.weight.grad is None
        surgery.give_back(model, step, lambda tensor: tensor)
        assert surgery.gradients is None
        return model.weight.grad[0]

    expected = surgery_on_vectors(gradients, np.random.default_rng([7, 3]))
    torch.testing.assert_close(given_back(7, 3), torch.tensor(expected, dtype=torch.float32))
    assert torch.equal(given_back(7, 3), given_back(7, 3))
    assert not torch.equal(given_back(7, 3), given_back(7, 4))
