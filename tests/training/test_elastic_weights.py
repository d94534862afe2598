"""Elastic weight consolidation on cases whose answer is known."""

import pytest
import torch

from hf_polyglot.training.elastic_weights import ElasticWeights
from tests.models.tiny_models import tiny_byte_crf
from tests.training.test_trainer import trainer_of

QUIET = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}


def elastic(model, strength, fisher=1.0):
    return ElasticWeights.of_model(
        model, {name: torch.full_like(weights, fisher) for name, weights in model.named_parameters()}, strength
    )


def without_dropout():
    return tiny_byte_crf(embedding_dropout=0, word_dropout=0, sentence_dropout=0)


def trained(tmp_path, held=None, **settings):
    trainer = trainer_of(without_dropout, tmp_path, **QUIET | settings)
    trainer.elastic_weights = held
    trainer.train()
    return trainer.model


def test_the_gradient_is_that_of_the_penalty():
    model, _ = tiny_byte_crf()
    held = elastic(model, strength=3.0, fisher=0.5)
    with torch.no_grad():
        for weights in model.parameters():
            weights += torch.randn_like(weights)

    held.penalty(model).backward()
    expected = {name: weights.grad.clone() for name, weights in model.named_parameters()}
    for weights in model.parameters():
        weights.grad.zero_()
    held.add_gradients(model)

    for name, weights in model.named_parameters():
        torch.testing.assert_close(weights.grad, expected[name])


def test_a_step_goes_down_the_loss_and_back_to_the_anchor(tmp_path):
    settings = {"optim": "sgd", "learning_rate": 0.1, "max_steps": 1, "lr_scheduler_type": "constant",
                "max_grad_norm": 0.0}  # fmt: skip
    start, _ = tiny_byte_crf()
    free = trained(tmp_path, **settings)
    held = elastic(start, strength=0.5)
    held = ElasticWeights({name: anchor - 1 for name, anchor in held.anchors.items()}, held.fisher, 0.5)

    found = trained(tmp_path, held, **settings)

    for name, weights in start.named_parameters():
        expected = free.get_parameter(name) - 0.1 * 0.5 * 1.0
        torch.testing.assert_close(found.get_parameter(name), expected, msg=name)
        assert not torch.equal(free.get_parameter(name), weights) or name.startswith("embedding")


def test_weights_stay_where_they_matter_and_move_where_they_do_not(tmp_path):
    start, _ = tiny_byte_crf()
    fisher = {
        name: torch.full_like(weights, 100.0 if name.startswith("byte_crf.") else 0.0)
        for name, weights in start.named_parameters()
    }
    settings = {"optim": "sgd", "learning_rate": 1e-3, "num_train_epochs": 20, "max_grad_norm": 0.0,
                "lr_scheduler_type": "constant"}  # fmt: skip

    found = trained(tmp_path, ElasticWeights.of_model(start, fisher, 1.0), **settings)
    free = trained(tmp_path, **settings)

    for name, weights in start.named_parameters():
        moved = (found.get_parameter(name) - weights).abs().max()
        moved_freely = (free.get_parameter(name) - weights).abs().max()
        if name.startswith("byte_crf."):
            assert moved <= 0.3 * moved_freely
        else:
            torch.testing.assert_close(moved, moved_freely, rtol=0.3, atol=1e-4)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_accumulation_does_not_change_it(accumulation, tmp_path):
    start, _ = tiny_byte_crf()
    held = elastic(start, strength=2.0)
    held = ElasticWeights({name: anchor + 0.1 for name, anchor in held.anchors.items()}, held.fisher, 2.0)

    # Adam's steps are of one size wherever gradients are tiny, so that rounding would show.
    settings = {"max_steps": 3, "optim": "sgd", "learning_rate": 0.1}
    expected = trained(tmp_path, held, **settings)
    found = trained(
        tmp_path, held, **settings,
        per_device_train_batch_size=4 // accumulation, gradient_accumulation_steps=accumulation,
    )  # fmt: skip

    for name, weights in expected.named_parameters():
        torch.testing.assert_close(found.get_parameter(name), weights, rtol=0, atol=1e-5)


def test_new_labels_move_freely():
    model, _ = tiny_byte_crf()
    held = elastic(model, 1.0)
    grown = ElasticWeights({**held.anchors, "classifier.weight": torch.zeros(1, 1)}, held.fisher, 1.0)
    for weights in model.parameters():
        weights.grad = torch.zeros_like(weights)
        weights.data += 1

    grown.add_gradients(model)

    assert not model.classifier.weight.grad.any()
    assert model.classifier.bias.grad.eq(1).all()
