"""What every tagger must do, whatever its architecture."""

import pytest
import torch
from transformers import get_constant_schedule

from hf_polyglot.data.collators import collator_for
from hf_polyglot.inference.tagging import tag_words
from hf_polyglot.span_metrics import span_scores

from .tiny_models import EXAMPLES, LABELS, SENTENCES, TINY_MODELS


@pytest.fixture(params=TINY_MODELS)
def model_and_tokenizer(request):
    return TINY_MODELS[request.param]()


def test_padding_changes_no_output(model_and_tokenizer):
    model, tokenizer = model_and_tokenizer
    model.eval()
    collate = collator_for(model, tokenizer)
    longer = {
        "tokens": [f"{word}zzzzzzz" for word, _ in zip("abcdefghijkl" * 2, range(20), strict=False)],
        "ner_tags": [0] * 20,
    }

    for example in EXAMPLES[::5]:
        words = len(example["tokens"])
        alone = model(**collate([example]))
        among = model(**collate([longer, example, {"tokens": ["x"], "ner_tags": [0]}]))
        torch.testing.assert_close(among.logits[1, :words], alone.logits[0, :words], rtol=0, atol=1e-5)


def test_order_of_sentences_does_not_change_the_loss(model_and_tokenizer):
    model, tokenizer = model_and_tokenizer
    model.eval()
    collate = collator_for(model, tokenizer)

    torch.testing.assert_close(model(**collate(EXAMPLES)).loss, model(**collate(EXAMPLES[::-1])).loss)


def test_loss_of_a_batch_is_the_mean_over_its_words(model_and_tokenizer):
    model, tokenizer = model_and_tokenizer
    model.eval()
    collate = collator_for(model, tokenizer)
    words = sum(len(example["tokens"]) for example in EXAMPLES)

    parts = sum(model(**collate([example]), num_items_in_batch=words).loss for example in EXAMPLES)

    torch.testing.assert_close(parts, model(**collate(EXAMPLES)).loss)


def test_every_parameter_gets_a_gradient(model_and_tokenizer):
    model, tokenizer = model_and_tokenizer

    model(**collator_for(model, tokenizer)(EXAMPLES)).loss.backward()

    without = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any())
    ]
    # Keys' biases add one number to all scores of a query, so softmax makes their gradient zero, up to rounding.
    assert [name for name in without if "key.bias" not in name and "position" not in name] == []


def test_overfits_twenty_sentences(model_and_tokenizer):
    model, tokenizer = model_and_tokenizer
    model.train()
    batch = collator_for(model, tokenizer)(EXAMPLES)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    schedule = get_constant_schedule(optimizer)

    for _ in range(150):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
        schedule.step()

    predicted = [list(tagged.tags) for tagged in tag_words(model, tokenizer, [words for words, _ in SENTENCES])]
    gold = [[LABELS[label] for label in labels] for _, labels in SENTENCES]
    assert len(SENTENCES) == 20
    assert span_scores(gold, predicted).f1 == 100


def test_autocast_in_bfloat16_gives_a_finite_loss_near_that_of_float32(model_and_tokenizer):
    model, tokenizer = model_and_tokenizer
    model.eval()
    batch = collator_for(model, tokenizer)(EXAMPLES)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(**batch)
    output.loss.backward()

    assert output.loss.dtype == torch.float32
    torch.testing.assert_close(output.loss, model(**batch).loss, rtol=0.02, atol=0)
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)


def test_probabilities_of_labels_sum_to_one_on_words_and_to_zero_on_padding(model_and_tokenizer):
    model, tokenizer = model_and_tokenizer
    model.eval()
    batch = collator_for(model, tokenizer)(EXAMPLES[:1] + EXAMPLES[-1:])
    mask = batch["labels"] != -100

    total = model.label_probabilities(model(**batch), mask).sum(2)

    torch.testing.assert_close(total, mask.float())


def test_decoding_marks_padding(model_and_tokenizer):
    model, tokenizer = model_and_tokenizer
    batch = collator_for(model, tokenizer)(EXAMPLES[:1] + EXAMPLES[-1:])
    mask = batch["labels"] != -100

    decoded = model.decode(model(**batch), mask)

    assert torch.equal(decoded == -100, ~mask)


def test_a_model_without_labels_gives_no_loss(model_and_tokenizer):
    model, tokenizer = model_and_tokenizer
    batch = collator_for(model, tokenizer)([{"tokens": ["a", "b"]}])

    assert "labels" not in batch
    assert model(**batch).loss is None
