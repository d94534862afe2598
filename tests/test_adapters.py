"""Adapters: what they change, what their folders hold, and the plain models that they merge into."""

import json
import subprocess
import sys

import peft
import pytest
import torch
import transformers
from packaging.version import Version
from transformers import AutoModelForTokenClassification

from hf_polyglot.adapters import (
    adapter_parameters,
    add_adapter,
    is_adapter,
    load_adapter_weights,
    merge_adapter,
    read_adapter,
    save_adapter,
)
from hf_polyglot.data.collators import collator_for
from hf_polyglot.inference.tagging import tag_words
from hf_polyglot.training.continuation import load_to_continue
from tests.models.joint_models import JOINT_MODELS
from tests.models.tiny_byte_to_span import tiny_byte_to_span
from tests.models.tiny_models import EXAMPLES, LABELS, character_pieces, tiny_byte_crf, tiny_charner, tiny_encoder_crf
from tests.tiny_adapters import BASES, moved, saved_adapter, saved_base

# peft asks transformers for it by its old name.
OLD_NAME = "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
SENTENCES = [example["tokens"] for example in EXAMPLES[:4] + EXAMPLES[10:13]]
NEW_LABELS = [*LABELS, "B-DATE", "I-DATE"]


def logits_of(model):
    batch = collator_for(model, character_pieces())(EXAMPLES)
    with torch.no_grad():
        return model.eval()(**batch).logits


@pytest.mark.parametrize("make_model", BASES.values(), ids=BASES)
def test_a_new_adapter_changes_nothing_and_trains_all_but_the_encoder(make_model):
    model, _ = make_model()
    before, head = logits_of(model), [name for name, _ in model.named_parameters() if not name.startswith("encoder.")]

    add_adapter(model, rank=4)

    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert torch.equal(logits_of(model), before)
    assert {name for name in trained if not name.startswith("encoder.")} == set(head)
    updated = {name.partition(".lora_")[0] for name in trained if name.startswith("encoder.")}
    assert len(updated) == 2 * 6  # query, key, value and three others of both layers
    assert not [name for name in trained if "base_layer" in name]


def test_layers_that_are_frozen_get_no_update():
    model, _ = tiny_encoder_crf()
    model.encoder.encoder.layer[0].requires_grad_(False)

    add_adapter(model)

    names = [name for name in adapter_parameters(model) if name.startswith("encoder.")]
    assert names
    assert all(".layer.1." in name for name in names)


@pytest.mark.filterwarnings(OLD_NAME)
@pytest.mark.parametrize("make_model", BASES.values(), ids=BASES)
def test_the_merged_model_is_what_peft_itself_makes_of_base_and_adapter(make_model, tmp_path):
    base = saved_base(tmp_path / "base", make_model)
    adapter = saved_adapter(tmp_path / "swa", base, seed=3)

    merged = merge_adapter(adapter)

    plain = AutoModelForTokenClassification.from_pretrained(base)
    assert type(merged) is type(plain)
    assert [name for name, _ in merged.named_parameters()] == [name for name, _ in plain.named_parameters()]
    by_peft = peft.PeftModel.from_pretrained(plain, adapter).merge_and_unload()
    others = [by_peft]
    if Version(transformers.__version__) >= Version("5.23"):  # 5.17 leaves head and CRF of an adapter's folder unread
        others.append(AutoModelForTokenClassification.from_pretrained(adapter))
    plain = AutoModelForTokenClassification.from_pretrained(base)
    for other in others:
        torch.testing.assert_close(logits_of(merged), logits_of(other), rtol=1e-4, atol=1e-4)
    assert (logits_of(merged) - logits_of(plain)).abs().max() > 0.1


LOAD_WITHOUT_PEFT = """
import sys
sys.modules["peft"] = None
import torch
import transformers
from packaging.version import Version
from transformers import AutoModelForTokenClassification
import hf_polyglot
model = AutoModelForTokenClassification.from_pretrained(sys.argv[1])
assert type(model).__name__ == "EncoderCRFForTokenClassification"
print(sum(parameter.double().sum().item() for parameter in model.parameters()))
"""


def test_a_merged_model_loads_without_peft(tmp_path):
    base = saved_base(tmp_path / "base")
    merged = merge_adapter(saved_adapter(tmp_path / "swa", base, seed=3))
    merged.save_pretrained(tmp_path / "merged")

    run = subprocess.run(
        [sys.executable, "-c", LOAD_WITHOUT_PEFT, tmp_path / "merged"], capture_output=True, text=True
    )

    assert run.returncode == 0, run.stderr[-2000:]
    assert float(run.stdout) == pytest.approx(sum(weights.double().sum().item() for weights in merged.parameters()))
    assert not {"adapter_config.json", "adapter_model.safetensors"} & {
        path.name for path in (tmp_path / "merged").iterdir()
    }


@pytest.mark.parametrize("make_model", BASES.values(), ids=BASES)
def test_an_adapter_comes_back_from_its_folder(make_model, tmp_path):
    base = saved_base(tmp_path / "base", make_model)
    adapter = read_adapter(saved_adapter(tmp_path / "swa", base, seed=3))
    model = load_to_continue(base, LABELS, ["swa"])
    add_adapter(model, rank=4, alpha=8)

    load_adapter_weights(model, adapter)

    torch.testing.assert_close(logits_of(model), logits_of(merge_adapter(adapter.name)), rtol=1e-4, atol=1e-4)
    for name, parameter in adapter_parameters(model).items():
        assert torch.equal(parameter, adapter.tensors[name])
    assert is_adapter(adapter.name) and not is_adapter(base)
    files = {path.name for path in (tmp_path / "swa").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors"} <= files <= {
        "adapter_config.json", "adapter_model.safetensors", "README.md"
    }  # fmt: skip
    config = json.loads((tmp_path / "swa" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == base


def test_labels_and_languages_that_the_base_has_not_come_with_the_adapter(tmp_path):
    base = saved_base(tmp_path / "base", BASES["encoder_crf_of_languages"])
    adapter = saved_adapter(tmp_path / "twi", base, seed=3, labels=NEW_LABELS, languages=["twi"])

    merged = merge_adapter(adapter)

    assert [merged.config.id2label[index] for index in range(7)] == NEW_LABELS
    assert merged.config.languages == ["swa", "yor", "eng", "twi"]
    assert merged.crf.transition_scores.shape == (4, 7, 7)
    merged.save_pretrained(tmp_path / "merged")
    loaded = AutoModelForTokenClassification.from_pretrained(tmp_path / "merged")
    tokenizer = character_pieces()
    languages = ["twi"] * len(SENTENCES)
    expected = tag_words(merged, tokenizer, SENTENCES, languages=languages)
    assert tag_words(loaded, tokenizer, SENTENCES, languages=languages) == expected


def test_an_adapter_is_refused_by_another_base(tmp_path):
    base = saved_base(tmp_path / "base")
    adapter = saved_adapter(tmp_path / "swa", base, seed=3)
    other = AutoModelForTokenClassification.from_pretrained(base)
    moved([other.classifier.bias], seed=5)
    other.save_pretrained(tmp_path / "other")

    with pytest.raises(ValueError, match=r"is of a base whose weights have the SHA-256 \w+; those of .*other` have"):
        merge_adapter(adapter, str(tmp_path / "other"))
    with pytest.raises(ValueError, match=r"nowhere` does not exist; expected the folder of a model"):
        merge_adapter(adapter, str(tmp_path / "nowhere"))


@pytest.mark.filterwarnings(OLD_NAME)
def test_what_is_no_adapter_of_this_package_is_refused(tmp_path):
    base = saved_base(tmp_path / "base")
    model = AutoModelForTokenClassification.from_pretrained(base)
    config = peft.LoraConfig(target_modules=["query"], base_model_name_or_path=base)
    peft.PeftModel(model, config).save_pretrained(tmp_path / "foreign")

    with pytest.raises(ValueError, match=r"base` has no adapter_config.json and adapter_model.safetensors"):
        read_adapter(base)
    with pytest.raises(ValueError, match=r"foreign` does not say which base, labels and languages it is of"):
        read_adapter(str(tmp_path / "foreign"))


def test_an_adapter_of_another_rank_does_not_fit(tmp_path):
    base = saved_base(tmp_path / "base")
    adapter = read_adapter(saved_adapter(tmp_path / "swa", base, seed=3))
    model = load_to_continue(base, LABELS, ["swa"])
    add_adapter(model, rank=2)

    with pytest.raises(ValueError, match=r"does not fit the model: encoder.*lora_A.*\(4, 32\); expected \(2, 32\)"):
        load_adapter_weights(model, adapter)


@pytest.mark.parametrize(
    ("make_model", "name"),
    [
        (tiny_byte_crf, "ByteCRFForTokenClassification"),
        (tiny_charner, "CharNERForTokenClassification"),
        (tiny_byte_to_span, "ByteToSpanForConditionalGeneration"),
    ],
)
def test_a_model_without_a_pretrained_encoder_gets_no_adapter(make_model, name):
    with pytest.raises(ValueError, match=f"The model is a {name}, which has no pretrained encoder; .*--adapter none"):
        add_adapter(make_model()[0])


@pytest.mark.parametrize("name", ["encoder_crf", "slicer"])
def test_a_model_of_several_tasks_gets_no_adapter(name):
    with pytest.raises(ValueError, match="The model has a head for each of IOB2, upos, feats; expected one task"):
        add_adapter(JOINT_MODELS[name]()[0])


@pytest.mark.parametrize("settings", [{"rank": 0}, {"alpha": 0}, {"dropout": 1.0}])
def test_numbers_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match=r"`lora_rank` is \d+, `lora_alpha` \d+ and `lora_dropout` \d\.\d; expected"):
        add_adapter(tiny_encoder_crf()[0], **settings)


def test_an_encoder_that_is_frozen_leaves_nothing_to_change():
    model, _ = tiny_encoder_crf()
    model.encoder.requires_grad_(False)

    with pytest.raises(ValueError, match=r"All linear layers of the encoder are frozen.* Lower `num_frozen_layers`"):
        add_adapter(model)


def test_without_peft_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)

    with pytest.raises(ImportError, match=r"Adapters need the package peft, .* pip install 'hf_polyglot\[adapters\]'"):
        add_adapter(tiny_encoder_crf()[0])


def test_the_digest_of_the_base_is_that_of_its_file(tmp_path):
    base = saved_base(tmp_path / "base")
    model = load_to_continue(base, LABELS, ["swa"])
    add_adapter(model)

    save_adapter(tmp_path / "given", model, base_model="not/looked-at", base_sha256="ab")

    assert read_adapter(str(tmp_path / "given")).base_sha256 == "ab"
