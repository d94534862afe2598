"""Saved folders come back through the auto classes, with this package and without it."""

import json
import subprocess
import sys

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForTokenClassification, AutoTokenizer

from hf_polyglot.data.collators import collator_for

from .tiny_models import EXAMPLES, TINY_MODELS

# Runs where the package cannot be imported: loads everything, and tags with what the folders themselves bring.
WITHOUT_THE_PACKAGE = """
import json, sys
sys.modules["hf_polyglot"] = None
import torch
from transformers import AutoConfig, AutoModel, AutoModelForTokenClassification, AutoTokenizer
sentences, *folders = json.loads(sys.argv[1])
for folder in folders:
    config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    model = AutoModelForTokenClassification.from_pretrained(folder, trust_remote_code=True)
    base = AutoModel.from_pretrained(folder, trust_remote_code=True)
    batch = model.prepare_words(tokenizer, sentences)
    with torch.no_grad():
        outputs = model(**batch)
        batch.pop("word_positions", None)
        vectors = base(**batch).last_hidden_state
    print("found", json.dumps({
        "type": config.model_type,
        "logits": outputs.logits.tolist(),
        "vectors": vectors.double().sum().item(),
        "labels": model.decode(outputs, torch.ones(len(sentences), 4, dtype=torch.bool)).tolist(),
    }))
"""
SENTENCES = [["Amina", "lives", "in", "Kano"], ["New", "Touba", ",", "Eze"]]


def save(name, folder):
    """A model in evaluation mode, and its tokenizer; saved."""
    model, tokenizer = TINY_MODELS[name]()
    # Scores that were learned, so that a CRF that is not loaded shows.
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if "crf." in parameter_name and "byte_crf" not in parameter_name:
                parameter.normal_(generator=generator)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model.eval(), tokenizer


@pytest.fixture(params=TINY_MODELS)
def saved(request, tmp_path):
    return *save(request.param, tmp_path), tmp_path


@pytest.fixture(scope="module")
def found_without_the_package(tmp_path_factory):
    """What a process that cannot import the package makes of each saved model; one for all, for it starts slowly."""
    folders = {name: str(tmp_path_factory.mktemp(name)) for name in TINY_MODELS}
    for name, folder in folders.items():
        save(name, folder)
    program = [sys.executable, "-c", WITHOUT_THE_PACKAGE, json.dumps([SENTENCES, *folders.values()])]
    run = subprocess.run(program, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    found = [json.loads(line.removeprefix("found")) for line in run.stdout.splitlines() if line.startswith("found")]
    return dict(zip(folders, found, strict=True))


def test_a_saved_model_comes_back_through_the_auto_classes(saved):
    model, tokenizer, folder = saved
    batch = collator_for(model, tokenizer)(EXAMPLES[:4])

    loaded = AutoModelForTokenClassification.from_pretrained(folder)
    loaded_tokenizer = AutoTokenizer.from_pretrained(folder)

    assert type(loaded) is type(model)
    assert type(AutoConfig.from_pretrained(folder)) is type(model.config)
    reread = collator_for(loaded, loaded_tokenizer)(EXAMPLES[:4])
    assert all(torch.equal(reread[name], batch[name]) for name in batch)
    output, expected = loaded(**reread), model(**batch)
    assert torch.equal(output.logits, expected.logits)
    assert torch.equal(output.loss, expected.loss)
    mask = batch["labels"] != -100
    assert torch.equal(loaded.decode(output, mask), model.decode(expected, mask))


def test_the_base_model_comes_back_through_auto_model(saved):
    model, tokenizer, folder = saved
    batch = model.prepare_words(tokenizer, [EXAMPLES[0]["tokens"]])
    batch.pop("word_positions", None)

    base = AutoModel.from_pretrained(folder)

    expected = model.base_model(**batch).last_hidden_state
    assert torch.equal(base(**batch).last_hidden_state, expected)


@pytest.mark.parametrize("name", TINY_MODELS)
def test_a_saved_model_loads_where_the_package_is_not_installed(name, found_without_the_package, tmp_path):
    model, tokenizer = save(name, tmp_path)

    found = found_without_the_package[name]

    batch = model.prepare_words(tokenizer, SENTENCES)
    outputs = model(**batch)
    assert found["type"] == model.config.model_type
    torch.testing.assert_close(torch.tensor(found["logits"]), outputs.logits)
    assert found["labels"] == model.decode(outputs, torch.ones(2, 4, dtype=torch.bool)).tolist()
    batch.pop("word_positions", None)
    assert found["vectors"] == pytest.approx(
        model.base_model(**batch).last_hidden_state.double().sum().item(), rel=1e-5
    )


def test_a_new_label_set_keeps_the_rest_of_the_model(saved):
    model, _, folder = saved

    loaded = AutoModelForTokenClassification.from_pretrained(
        folder,
        id2label={0: "O", 1: "B-ORG", 2: "I-ORG"},
        label2id={"O": 0, "B-ORG": 1, "I-ORG": 2},
        ignore_mismatched_sizes=True,
    )

    assert loaded.config.num_labels == 3
    ours, theirs = model.base_model.state_dict(), loaded.base_model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    if hasattr(loaded, "crf"):
        assert loaded.crf.transition_scores.shape[-2:] == (3, 3)
        assert not loaded.crf.transition_scores.any()
        assert loaded.crf.transition_penalty[0, 2] < 0


def test_weights_in_bfloat16_keep_the_crf_in_float32(saved):
    model, tokenizer, folder = saved

    loaded = AutoModelForTokenClassification.from_pretrained(folder, dtype=torch.bfloat16)

    assert loaded.classifier.weight.dtype == torch.bfloat16
    assert loaded.get_input_embeddings().weight.dtype == torch.bfloat16
    assert loaded(**collator_for(loaded, tokenizer)(EXAMPLES[:4])).loss.isfinite()
    if hasattr(loaded, "crf"):
        assert all(tensor.dtype == torch.float32 for tensor in loaded.crf.state_dict().values())
        assert torch.equal(loaded.crf.transition_penalty < -9_000, model.crf.transition_penalty < -9_000)


def test_no_pickle_is_written(saved):
    _, _, folder = saved

    assert {path.suffix for path in folder.iterdir()} <= {".json", ".safetensors", ".py"}
