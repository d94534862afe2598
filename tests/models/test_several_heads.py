"""Models of several tasks: a head for each, one loss, and folders that bring them all back."""

import json
import subprocess
import sys

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoModelForTokenClassification

from hf_polyglot.data.collators import collator_for, padded_labels
from hf_polyglot.inference.tagging import tag_words
from hf_polyglot.models.label_scheme import labels_by_scheme
from hf_polyglot.models.modeling_meta_lstm import PARTS

from .joint_models import COLUMNS, FURTHER_LABELS, JOINT_EXAMPLES, JOINT_MODELS
from .tiny_models import EXAMPLES, LABELS, tiny_byte_crf, tiny_encoder_crf, tiny_meta_lstm, tiny_slicer

SCHEMES = ["IOB2", "upos", "feats"]


@pytest.fixture(params=JOINT_MODELS)
def model_and_tokenizer(request):
    model, tokenizer = JOINT_MODELS[request.param]()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "crf" in name.split("."):  # scores as if they were learned
                parameter.normal_(generator=generator)
    return model.eval(), tokenizer


def head(model, scheme):
    return model if scheme == "IOB2" else model.further_heads[scheme]


def loss_of_a_sentence(model, vectors, labels, scheme, language_ids):
    """Loss of one task of one sentence without padding, from the vectors of its words."""
    emissions = head(model, scheme).classifier(vectors)[None]
    if getattr(model.config, "use_crf", False):
        mask = torch.ones(1, len(labels), dtype=torch.bool)
        return -head(model, scheme).crf.log_likelihood(emissions, labels[None], mask, language_ids)[0]
    if width := getattr(model.config, "slice_width", None):
        classifier = head(model, scheme).classifier
        of_slices = [
            (part @ weight.T + classifier.bias).log_softmax(1)[torch.arange(len(labels)), labels]
            for part, weight in zip(vectors.split(width, 1), classifier.weight.split(width, 1), strict=True)
        ]
        return -torch.stack(of_slices).mean(0).sum()
    return -emissions[0].log_softmax(1)[torch.arange(len(labels)), labels].sum()


@pytest.mark.parametrize("weights", [None, {"upos": 2.0, "IOB2": 0.5}])
def test_the_loss_is_the_weighted_sum_over_all_labels_of_all_tasks(model_and_tokenizer, weights):
    model, tokenizer = model_and_tokenizer
    model.config.loss_weights = weights
    if model.config.model_type == "meta_lstm":
        model.train_part("joint")
    examples = [*JOINT_EXAMPLES[:6], JOINT_EXAMPLES[-1]]
    batch = collator_for(model, tokenizer, COLUMNS)(examples)
    vectors = []
    model.classifier.register_forward_pre_hook(lambda module, inputs: vectors.append(inputs[0]))

    loss = model(**batch).loss

    total, num_labels = 0.0, 0
    for row, example in enumerate(examples):
        for scheme, column in zip(SCHEMES, COLUMNS, strict=True):
            labels = torch.tensor(example[column], dtype=torch.long)
            if len(labels):
                ids = batch["language_ids"][row : row + 1] if "language_ids" in batch else None
                of_task = loss_of_a_sentence(model, vectors[0][row, : len(labels)], labels, scheme, ids)
                total += (weights or {}).get(scheme, 1.0) * of_task
                num_labels += len(labels)
    torch.testing.assert_close(loss, total / num_labels)
    torch.testing.assert_close(model(**batch, num_items_in_batch=7).loss, total / 7)


def test_the_loss_of_a_meta_lstm_is_that_of_all_its_parts_until_one_is_trained():
    model, tokenizer = JOINT_MODELS["meta_lstm"]()
    model.eval()
    batch = collator_for(model, tokenizer, COLUMNS)(JOINT_EXAMPLES)

    of_parts = {}
    for part in PARTS:
        model.train_part(part)
        of_parts[part] = model(**batch)
    model.train_part(None)
    together = model(**batch)

    torch.testing.assert_close(together.loss, sum(outputs.loss for outputs in of_parts.values()))
    for ours, joint in zip(together.further_logits, of_parts["joint"].further_logits, strict=True):
        torch.testing.assert_close(ours, joint)
    assert not torch.equal(together.further_logits[0], of_parts["words"].further_logits[0])


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_a_meta_lstm_learns_with_its_classifiers_of_all_tasks(part):
    model, tokenizer = JOINT_MODELS["meta_lstm"]()
    model.train_part(part)

    model(**collator_for(model, tokenizer, COLUMNS)(JOINT_EXAMPLES)).loss.backward()

    learning = {name for name, weight in model.named_parameters() if weight.grad is not None and weight.grad.any()}
    name = {"characters": "character_classifier", "words": "word_classifier", "joint": "classifier"}[part]
    heads = {name.removesuffix(".weight") for name in learning if "classifier.weight" in name}
    assert heads == {name, f"further_heads.upos.{name}", f"further_heads.feats.{name}"}


def test_a_task_without_labels_learns_nothing(model_and_tokenizer):
    model, tokenizer = model_and_tokenizer
    examples = [example | {"upos": []} for example in JOINT_EXAMPLES[:1]]

    model(**collator_for(model, tokenizer, COLUMNS)(examples)).loss.backward()

    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    untouched = [name for name, gradient in gradients.items() if gradient is None or not gradient.any()]
    assert untouched
    assert {name.split(".")[1] for name in untouched if name.startswith("further_heads")} == {"upos"}


def test_all_tasks_are_learnt_saved_and_tagged_in_one_pass(model_and_tokenizer, tmp_path):
    model, tokenizer = model_and_tokenizer
    batch = collator_for(model, tokenizer, COLUMNS)(JOINT_EXAMPLES)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    for _ in range(80):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    model.save_pretrained(tmp_path)
    loaded = AutoModelForTokenClassification.from_pretrained(tmp_path)

    assert list(labels_by_scheme(loaded.config)) == SCHEMES
    full = [example for example in JOINT_EXAMPLES if all(example[column] for column in COLUMNS)]
    languages = [example["language"] for example in full]
    tagged = tag_words(loaded, tokenizer, [example["tokens"] for example in full], languages=languages)
    for scheme, column in zip(SCHEMES, COLUMNS, strict=True):
        names = LABELS if scheme == "IOB2" else FURTHER_LABELS[scheme]
        gold = [tuple(names[label] for label in example[column]) for example in full]
        found = [sentence.of_task(scheme) for sentence in tagged]
        assert [sentence.tags for sentence in found] == gold
        assert min(min(sentence.probabilities) for sentence in found) > 0.5


@pytest.mark.parametrize("make_model", [tiny_byte_crf, tiny_encoder_crf, tiny_meta_lstm, tiny_slicer])
def test_a_model_of_one_task_is_what_it_was(make_model, tmp_path):
    model, _ = make_model()

    model.save_pretrained(tmp_path)

    written = json.loads((tmp_path / "config.json").read_text())
    assert not {"further_labels", "loss_weights"} & set(written)
    assert not [name for name in model.state_dict() if "further" in name]


def test_scores_of_transitions_stay_in_float32_in_every_head(tmp_path):
    model, _ = JOINT_MODELS["byte_crf"]()
    model.save_pretrained(tmp_path)

    loaded = AutoModelForTokenClassification.from_pretrained(tmp_path, dtype=torch.bfloat16)

    assert loaded.further_heads["upos"].classifier.weight.dtype == torch.bfloat16
    assert loaded.further_heads["upos"].crf.transition_scores.dtype == torch.float32


def test_a_language_is_added_to_every_head():
    model, _ = JOINT_MODELS["byte_crf_of_languages"]()

    model.add_languages(["yor"])

    assert [len(head(model, scheme).crf.start_scores) for scheme in SCHEMES] == [3, 3, 3]


WITHOUT_THE_PACKAGE = """
import json, sys
sys.modules["hf_polyglot"] = None
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer
for folder in sys.argv[1:]:
    model = AutoModelForTokenClassification.from_pretrained(folder, trust_remote_code=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    outputs = model(**model.prepare_words(tokenizer, [["Amina", "lives"]]))
    mask = torch.ones(1, 2, dtype=torch.bool)
    labels = [model.decode(outputs, mask, scheme).tolist() for scheme in ("IOB2", "upos", "feats")]
    print("found", json.dumps([labels, [logits.tolist() for logits in outputs.further_logits]]))
"""


def test_every_head_loads_where_the_package_is_not_installed(tmp_path):
    models = {name: JOINT_MODELS[name]() for name in ("byte_crf", "linear_tagger", "meta_lstm", "slicer")}
    for name, (model, tokenizer) in models.items():
        model.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)

    program = [sys.executable, "-c", WITHOUT_THE_PACKAGE, *(str(tmp_path / name) for name in models)]
    run = subprocess.run(program, capture_output=True, text=True)

    assert run.returncode == 0, run.stderr
    found = [json.loads(line.removeprefix("found")) for line in run.stdout.splitlines() if line.startswith("found")]
    for (model, tokenizer), (labels, further_logits) in zip(models.values(), found, strict=True):
        outputs = model.eval()(**model.prepare_words(tokenizer, [["Amina", "lives"]]))
        mask = torch.ones(1, 2, dtype=torch.bool)
        assert labels == [model.decode(outputs, mask, scheme).tolist() for scheme in SCHEMES]
        for ours, theirs in zip(outputs.further_logits, further_logits, strict=True):
            torch.testing.assert_close(torch.tensor(theirs), ours)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"further_labels": {"ner": ["O"]}},
            r"`further_labels` has ner \(1 labels\) beside the scheme IOB2; expected",
        ),
        ({"further_labels": {"upos": []}}, r"`further_labels` has upos \(0 labels\) beside the scheme IOB2"),
        (
            {"further_labels": {"upos": ["X"]}, "label_scheme": "upos"},
            "beside the scheme upos; expected some of feats",
        ),
        ({"loss_weights": {"upos": 1.0}}, r"`loss_weights` is {'upos': 1.0}; expected positive numbers for .* IOB2\."),
        ({"loss_weights": {"IOB2": 0}}, r"`loss_weights` is {'IOB2': 0}; expected positive numbers"),
    ],
)
@pytest.mark.parametrize("make_model", [tiny_byte_crf, tiny_encoder_crf, tiny_meta_lstm, tiny_slicer])
def test_heads_without_sense_are_refused(make_model, settings, message):
    with pytest.raises(StrictDataclassError, match=message):
        make_model(**settings)


@pytest.mark.parametrize("name", ["byte_crf", "meta_lstm", "slicer"])
def test_labels_of_one_task_are_refused_by_a_model_of_several(name):
    model, tokenizer = JOINT_MODELS[name]()
    batch = collator_for(model, tokenizer)(EXAMPLES[:2])

    with pytest.raises(ValueError, match=r"`labels` has shape \(2, 5\); expected \(batch, words, 3\), one label for"):
        model(**batch)


@pytest.mark.parametrize("words", [slice(4, None), slice(2, 3), slice(0, None)])
@pytest.mark.parametrize("make_model", [tiny_byte_crf, JOINT_MODELS["byte_crf"]], ids=["one task", "several"])
def test_words_without_a_label_are_refused_by_a_crf(make_model, words):
    model, tokenizer = make_model()
    columns = COLUMNS if model.config.further_labels else COLUMNS[:1]
    batch = collator_for(model, tokenizer, columns if len(columns) > 1 else columns[0])([
        JOINT_EXAMPLES[0],
        JOINT_EXAMPLES[0],
    ])
    of_first = batch["labels"][..., 0] if model.config.further_labels else batch["labels"]
    assert of_first.shape[1] == 5 and (of_first >= 0).all()

    of_first[0, words] = -100

    if model.config.further_labels and words == slice(0, None):
        assert model(**batch).loss.isfinite()  # a sentence without the task
    else:
        with pytest.raises(ValueError, match="`labels` of words are "):
            model(**batch)


def test_a_batch_without_labels_for_a_crf_teaches_the_other_tasks():
    model, tokenizer = JOINT_MODELS["byte_crf"]()
    batch = collator_for(model, tokenizer, COLUMNS)([example | {"ner_tags": []} for example in JOINT_EXAMPLES[:1]])

    model(**batch).loss.backward()

    # Other processes wait for the gradients of all of them, of those too to which this batch says nothing.
    assert all(weights.grad is not None for weights in model.parameters())
    assert not model.classifier.weight.grad.any() and not model.crf.transition_scores.grad.any()
    assert model.further_heads["upos"].classifier.weight.grad.any()


@pytest.mark.parametrize("name", JOINT_MODELS)
def test_a_batch_without_any_label_has_the_loss_zero(name):
    model, tokenizer = JOINT_MODELS[name]()
    batch = collator_for(model, tokenizer, COLUMNS)(JOINT_EXAMPLES)

    assert model(**batch | {"labels": torch.full_like(batch["labels"], -100)}).loss == 0


def test_a_task_that_a_model_has_not_is_named():
    model, tokenizer = JOINT_MODELS["byte_crf"]()
    outputs = model(**model.prepare_words(tokenizer, [["a"]]))

    with pytest.raises(ValueError, match="`scheme` is 'xpos'; the model has heads for IOB2, upos, feats"):
        model.decode(outputs, torch.ones(1, 1, dtype=torch.bool), "xpos")


def test_a_sentence_has_all_labels_of_a_task_or_none():
    rows = [{"tokens": ["a", "b"], "upos": [0], "feats": []}]

    with pytest.raises(ValueError, match=r"2 words with 1 labels in `upos`: 'a b'\. Every word needs one label"):
        padded_labels(rows, ["upos", "feats"])
    with pytest.raises(ValueError, match="2 words with 0 labels in `feats`"):
        padded_labels(rows, "feats")


def test_slicer_of_several_tasks_is_no_stock_model():
    model, _ = JOINT_MODELS["slicer"]()

    with pytest.raises(ValueError, match="This model has heads for IOB2, upos, feats; expected one task, as a stock"):
        model.to_standard_model()


def test_classifiers_that_are_not_trained_stay_so_in_every_head():
    model, tokenizer = JOINT_MODELS["slicer"](train_classifier=False)

    model(**collator_for(model, tokenizer, COLUMNS)(JOINT_EXAMPLES)).loss.backward()

    for scheme in SCHEMES:
        classifier = head(model, scheme).classifier
        assert classifier.weight.grad is None and classifier.bias.grad.any()
