"""The Fisher matrix beside sums over all labellings, which are few enough for tiny sentences."""

import itertools

import pytest
import torch

from hf_polyglot.analysis.fisher import diagonal_fisher
from hf_polyglot.data.collators import collator_for
from tests.models.joint_models import JOINT_MODELS
from tests.models.tiny_models import EXAMPLES, tiny_byte_crf, tiny_charner, tiny_encoder_crf, tiny_linear_tagger

SENTENCES = [{**example, "tokens": example["tokens"][:3], "ner_tags": example["ner_tags"][:3]} for example in EXAMPLES]


def exact_fisher(model, collate, sentences):
    """By enumeration of all labellings."""
    parameters = dict(model.named_parameters())
    fisher = {name: torch.zeros_like(weights) for name, weights in parameters.items()}
    num_words = 0
    for sentence in sentences:
        batch = collate([sentence])
        num_words += len(sentence["tokens"])
        total = 0.0
        for labels in itertools.product(range(model.config.num_labels), repeat=len(sentence["tokens"])):
            batch["labels"] = torch.tensor([labels])
            log_probability = -model(**batch).loss * len(labels)
            gradients = torch.autograd.grad(log_probability, [*parameters.values()], materialize_grads=True)
            probability = log_probability.exp().item()
            total += probability
            for name, gradient in zip(parameters, gradients, strict=True):
                fisher[name] += probability * gradient.square()
        assert total == pytest.approx(1, abs=1e-4)
    return {name: squares / num_words for name, squares in fisher.items()}


@pytest.mark.parametrize("make_model", [tiny_byte_crf, tiny_linear_tagger])
def test_it_is_the_expectation_over_the_models_own_labellings(make_model):
    model, tokenizer = make_model()
    with torch.no_grad():
        model.classifier.weight.mul_(8)  # some labels more probable than others
    model.eval()
    collate = collator_for(model, tokenizer)
    expected = exact_fisher(model, collate, SENTENCES[:1])

    found = diagonal_fisher(model, collate, SENTENCES[:1], num_samples=1500)

    for name, squares in expected.items():
        scale = squares.max()
        torch.testing.assert_close(found[name], squares, rtol=0.2, atol=0.1 * scale.item() + 1e-9)


def test_several_sentences_are_summed_and_divided_by_their_words():
    model, tokenizer = tiny_byte_crf()
    collate = collator_for(model, tokenizer)
    twice = [SENTENCES[0], SENTENCES[0]]

    once, both = (diagonal_fisher(model, collate, rows, num_samples=400) for rows in (twice[:1], twice))

    for name, squares in once.items():
        torch.testing.assert_close(both[name], squares, rtol=0.5, atol=0.2 * squares.max().item() + 1e-9)
    assert model.training


def test_the_sentences_own_labels_are_not_read_and_a_seed_repeats_it():
    model, tokenizer = tiny_encoder_crf()
    model.get_input_embeddings().requires_grad_(False)
    collate = collator_for(model, tokenizer)
    other = [{**SENTENCES[0], "ner_tags": [0, 0, 0]}]

    found, again = (diagonal_fisher(model, collate, rows, num_samples=3) for rows in (SENTENCES[:1], other))

    for name, squares in found.items():
        assert torch.equal(again[name], squares)
    frozen = found["encoder.embeddings.word_embeddings.weight"]
    assert not frozen.any()
    assert found["classifier.weight"].any()


def test_a_model_whose_loss_is_no_log_probability_is_refused():
    model, tokenizer = tiny_charner()

    with pytest.raises(ValueError, match="CharNERForTokenClassification, whose loss is no log-probability"):
        diagonal_fisher(model, collator_for(model, tokenizer), SENTENCES)
    joint, tokenizer = JOINT_MODELS["byte_crf"]()
    with pytest.raises(ValueError, match="The model has a head for each of IOB2, upos, feats; expected one task"):
        diagonal_fisher(joint, collator_for(joint, tokenizer), SENTENCES)
    crf, tokenizer = tiny_byte_crf()
    with pytest.raises(ValueError, match="There are no sentences"):
        diagonal_fisher(crf, collator_for(crf, tokenizer), [])
