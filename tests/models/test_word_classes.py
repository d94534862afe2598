"""Models whose labels are classes of single words, such as parts of speech."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoModelForTokenClassification

from hf_polyglot import ByteToSpanConfig
from hf_polyglot.data.collators import collator_for
from hf_polyglot.inference.tagging import tag_words
from hf_polyglot.models.label_scheme import convert_tags, legal_transitions, spans_from_tags, types_of_labels
from hf_polyglot.models.unit_agreement import ClassAgreement

from .tiny_models import (
    SENTENCES,
    label_settings,
    tiny_byte_crf,
    tiny_charner,
    tiny_encoder_crf,
    tiny_linear_tagger,
    tiny_meta_lstm,
    tiny_slicer,
)

# No `O` among them, and one that looks like a tag of another scheme.
CLASSES = ["B-X", "Case=Nom|Number=Sing", "_"]
EXAMPLES = [
    {"tokens": words, "feats": [1 if word[0].isupper() else 2 * (word == ".") for word in words], "language": "eng"}
    for words, _ in SENTENCES
]
MODELS = {
    "byte_crf": tiny_byte_crf,
    "byte tagger without CRF": lambda **settings: tiny_byte_crf(use_crf=False, **settings),
    "charner": tiny_charner,
    "encoder_crf": tiny_encoder_crf,
    "linear_tagger": tiny_linear_tagger,
    "meta_lstm": tiny_meta_lstm,
    "slicer": tiny_slicer,
}


@pytest.fixture(params=MODELS)
def model_and_tokenizer(request):
    return MODELS[request.param](label_scheme="feats", **label_settings(CLASSES))


def test_classes_of_words_are_learnt_and_saved(model_and_tokenizer, tmp_path):
    model, tokenizer = model_and_tokenizer
    batch = collator_for(model, tokenizer, "feats")(EXAMPLES)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    for _ in range(60):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    model.save_pretrained(tmp_path)
    loaded = AutoModelForTokenClassification.from_pretrained(tmp_path)

    tagged = tag_words(loaded, tokenizer, [example["tokens"] for example in EXAMPLES])
    gold = [tuple(CLASSES[label] for label in example["feats"]) for example in EXAMPLES]
    assert [sentence.tags for sentence in tagged] == gold
    assert min(min(sentence.probabilities) for sentence in tagged) > 0.5


def test_probabilities_are_those_of_the_labels_of_each_word(model_and_tokenizer):
    model, tokenizer = model_and_tokenizer
    model.eval()
    batch = collator_for(model, tokenizer, "feats")(EXAMPLES[:1] + EXAMPLES[-1:])
    mask = batch["labels"] != -100

    with torch.no_grad():
        outputs = model(**batch)
        probabilities = model.label_probabilities(outputs, mask)

    assert probabilities.shape == (*mask.shape, 3)
    torch.testing.assert_close(probabilities.sum(2), mask.float())
    if not hasattr(model, "crf"):  # a CRF decodes a whole path
        assert torch.equal(model.decode(outputs, mask)[mask], probabilities.argmax(2)[mask])


@pytest.mark.parametrize("make_model", [tiny_byte_crf, tiny_linear_tagger, tiny_charner, tiny_meta_lstm])
def test_the_second_best_class_stands_in_for_one_that_is_passed_over(make_model):
    model, tokenizer = make_model(label_scheme="feats", **label_settings(CLASSES))
    sentences = [example["tokens"] for example in EXAMPLES]
    model.eval()

    first, passed_over = (tag_words(model, tokenizer, sentences, second_best_for=names) for names in ([], ["_"]))

    outputs = [model(**model.prepare_words(tokenizer, [words])) for words in sentences]
    with torch.no_grad():
        best = [
            model.label_probabilities(one, torch.ones(1, len(words), dtype=torch.bool))[0, :, :2].argmax(1).tolist()
            for one, words in zip(outputs, sentences, strict=True)
        ]
    assert {tag for sentence in first for tag in sentence.tags} > {"_"}
    for before, after, others in zip(first, passed_over, best, strict=True):
        expected = [CLASSES[other] if tag == "_" else tag for tag, other in zip(before.tags, others, strict=True)]
        assert list(after.tags) == expected


@pytest.mark.parametrize(
    ("settings", "names", "message"),
    [
        ({"label_scheme": "feats", **label_settings(CLASSES)}, ["X"], "`second_best_for` is X, and the labels"),
        ({"label_scheme": "feats", **label_settings(CLASSES)}, CLASSES, "Expected some of them"),
        ({}, ["B-PER"], "of scheme IOB2.*an entity's tag means nothing without those beside it"),
    ],
)
def test_only_some_classes_of_words_can_be_passed_over(settings, names, message):
    model, tokenizer = tiny_byte_crf(**settings)

    with pytest.raises(ValueError, match=message):
        tag_words(model, tokenizer, [["a"]], second_best_for=names)


def test_units_have_the_class_of_their_word_and_spaces_none():
    unit_words = torch.tensor([[0, 0, -2, 1, -2, 2], [0, -2, 1, -1, -1, -1]])
    labels = torch.tensor([[2, 0, 1], [1, 1, -100]])

    types = ClassAgreement(CLASSES).unit_types(labels, unit_words)

    assert types.tolist() == [[3, 3, 0, 1, 0, 2], [2, 0, 2, -100, -100, -100]]


def test_all_units_of_a_word_decide_its_class():
    unit_words = torch.tensor([[0, 0, 0, -2, 1]])
    probabilities = torch.tensor([[
        [0.1, 0.5, 0.2, 0.2], [0.1, 0.5, 0.3, 0.1], [0.0, 0.01, 0.59, 0.4], [0.97, 0.01, 0.01, 0.01],
        [0.9, 0.02, 0.03, 0.05],
    ]])  # fmt: skip
    mask = torch.ones(1, 2, dtype=torch.bool)

    agreement = ClassAgreement(CLASSES)
    found = agreement.label_probabilities(probabilities.log(), unit_words, mask)[0]

    products = torch.tensor([[0.5 * 0.5 * 0.01, 0.2 * 0.3 * 0.59, 0.2 * 0.1 * 0.4], [0.02, 0.03, 0.05]])
    torch.testing.assert_close(found, products / products.sum(1, keepdim=True))
    assert agreement.decode(probabilities.log(), unit_words, mask).tolist() == [[1, 2]]


def test_each_word_is_a_span_and_any_class_may_follow_any():
    assert spans_from_tags(["_", "_", "B-X"], "feats") == [(0, 1, "_"), (1, 2, "_"), (2, 3, "B-X")]
    assert types_of_labels(CLASSES, "upos") == CLASSES
    assert legal_transitions(CLASSES, "upos") == ([True] * 3, [[True] * 3] * 3, [True] * 3)
    with pytest.raises(ValueError, match=r"Unknown tag scheme `upos`. Expected one of IOB1"):
        convert_tags(["B-X"], "IOB2", "upos")


def test_languages_with_transitions_need_a_crf():
    with pytest.raises(StrictDataclassError, match="only a CRF has transition scores"):
        tiny_byte_crf(use_crf=False, languages=["eng"])


def test_byte_to_span_writes_no_classes_of_words():
    with pytest.raises(StrictDataclassError, match="`label_scheme` is 'upos'; expected a scheme of spans"):
        ByteToSpanConfig(label_scheme="upos")
