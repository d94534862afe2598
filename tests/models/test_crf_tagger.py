"""What all taggers with a CRF share: languages with transition scores of their own."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoModelForTokenClassification

from hf_polyglot.data.collators import collator_for
from hf_polyglot.inference.tagging import tag_words

from .tiny_models import EXAMPLES, tiny_byte_crf, tiny_encoder_crf


@pytest.fixture(params=[tiny_byte_crf, tiny_encoder_crf])
def model_and_tokenizer(request):
    """A model of two languages, of which the second one starts every sentence with an I-PER."""
    model, tokenizer = request.param(languages=["eng", "swa"], label_scheme="plain")
    with torch.no_grad():
        model.crf.start_scores[1, 4] = 100.0
    return model.eval(), tokenizer


def test_the_language_of_an_example_chooses_its_transitions(model_and_tokenizer):
    model, tokenizer = model_and_tokenizer
    words = [["Amina", "lives"]] * 3

    tagged = tag_words(model, tokenizer, words, languages=["swa", "eng", "yor"])

    # What no one knows is read with the mean, in which 50 are left of the 100.
    assert [sentence.tags[0] == "I-PER" for sentence in tagged] == [True, False, True]


def test_the_collator_names_the_language_of_each_sentence(model_and_tokenizer):
    model, tokenizer = model_and_tokenizer
    examples = [{"tokens": ["a"], "language": language} for language in ("swa", "yor", "eng")]

    batch = collator_for(model, tokenizer)([*examples, {"tokens": ["a"]}])

    assert batch["language_ids"].tolist() == [1, -1, 0, -1]


def test_a_language_that_is_added_is_saved_and_learned(model_and_tokenizer, tmp_path):
    model, tokenizer = model_and_tokenizer

    model.add_languages(["yor"])
    model.save_pretrained(tmp_path)
    loaded = AutoModelForTokenClassification.from_pretrained(tmp_path)

    assert loaded.config.languages == ["eng", "swa", "yor"]
    torch.testing.assert_close(loaded.crf.start_scores[2], model.crf.start_scores[:2].mean(0))
    loaded(**collator_for(loaded, tokenizer)([EXAMPLES[0] | {"language": "yor"}])).loss.backward()
    touched = loaded.crf.start_scores.grad.abs().sum(1) > 0
    assert touched.tolist() == [False, False, True]


def test_a_language_is_added_only_once(model_and_tokenizer):
    model, _ = model_and_tokenizer

    with pytest.raises(ValueError, match=r"`languages` is \['yor', 'swa'\].*The model knows eng, swa"):
        model.add_languages(["yor", "swa"])


def test_a_model_without_languages_gets_none():
    model, _ = tiny_byte_crf()

    with pytest.raises(ValueError, match="one set of transition scores"):
        model.add_languages(["yor"])


@pytest.mark.parametrize("languages", [[], ["eng", "eng"]])
@pytest.mark.parametrize("make_model", [tiny_byte_crf, tiny_encoder_crf])
def test_languages_without_sense_are_refused(make_model, languages):
    with pytest.raises(StrictDataclassError, match="expected one or more, each once"):
        make_model(languages=languages)
