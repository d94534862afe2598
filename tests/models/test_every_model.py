"""What every tagger must do, whatever its architecture."""

from contextlib import nullcontext

import pytest
import torch
from transformers import get_constant_schedule

from hf_polyglot import LinearChainCRF
from hf_polyglot.data.collators import collator_for
from hf_polyglot.inference.tagging import tag_words
from hf_polyglot.span_metrics import span_scores

from .joint_models import COLUMNS, JOINT_EXAMPLES, JOINT_MODELS
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


@pytest.mark.parametrize("name", [*TINY_MODELS, "joint"])
def test_a_training_step_looks_at_no_value_on_the_device(name, monkeypatch):
    # Tensors of the meta device have no values, so what looks at one fails here, where it would wait for a GPU.
    triton = pytest.importorskip("triton", reason="Triton is not installed")
    assert triton.knobs.runtime.interpret
    from hf_polyglot.models import crf_triton

    monkeypatch.setattr(crf_triton, "_launch", lambda *arguments, **constants: None)
    monkeypatch.setattr(LinearChainCRF, "implementation", "triton")
    # transformers looks whether there is padding in an encoder's batch: the one wait that is not ours.
    monkeypatch.setattr("transformers.masking_utils._ignore_bidirectional_mask_sdpa", lambda *_: False)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # knows no meta device
    model, tokenizer = JOINT_MODELS["byte_crf"]() if name == "joint" else TINY_MODELS[name]()
    columns = COLUMNS if name == "joint" else "ner_tags"
    examples = [JOINT_EXAMPLES[0], JOINT_EXAMPLES[1] | {"ner_tags": []}] if name == "joint" else EXAMPLES[8:12]
    batch = {part: values.to("meta") for part, values in collator_for(model, tokenizer, columns)(examples).items()}
    model.to("meta").train()

    output = model(**batch, num_items_in_batch=torch.tensor(20, device="meta"))
    output.loss.backward()
    mask = batch["labels"].flatten(2).ne(-100).any(2) if name == "joint" else batch["labels"] != -100
    labels = model.eval().decode(output, mask)

    assert output.loss.is_meta and labels.is_meta
    assert all(weight.grad.is_meta for weight in model.parameters() if weight.requires_grad)
