"""Tags of several tasks from one pass: functions and pipeline."""

import pytest
import torch
from transformers import pipeline

import hf_polyglot.inference.pipeline  # noqa: F401  registers the task
from hf_polyglot.inference.tagging import tag_words
from tests.models.joint_models import FURTHER_LABELS, JOINT_MODELS, tiny_byte_tagger
from tests.models.tiny_models import label_settings

WORDS = [["Amina", "lives", "."], [], ["Kano"]]


@pytest.fixture(scope="module", params=["byte_crf", "linear_tagger"])
def tagger(request):
    model, tokenizer = JOINT_MODELS[request.param]()
    return pipeline("polyglot-token-classification", model=model.eval(), tokenizer=tokenizer)


def test_every_reading_has_the_tags_of_every_task(tagger):
    tagged = tag_words(tagger.model, tagger.tokenizer, WORDS)

    readings = list(tagger.read(WORDS, is_split_into_words=True))

    for reading, sentence in zip(readings, tagged, strict=True):
        assert reading["tags_by_task"] == {
            "ner": list(sentence.tags),
            "upos": list(sentence.of_task("upos").tags),
            "feats": list(sentence.of_task("feats").tags),
        }
        assert reading["tags"] == reading["tags_by_task"]["ner"]
    assert len(readings[0]["tags_by_task"]["upos"]) == 3
    assert set(readings[0]["tags_by_task"]["feats"]) <= set(FURTHER_LABELS["feats"])


def test_a_task_is_chosen_by_its_name(tagger):
    (reading,) = tagger.read(WORDS[:1], is_split_into_words=True)

    words = tagger(WORDS[0], is_split_into_words=True, task="upos")

    assert [word["word"] for word in words] == WORDS[0]
    assert [word["entity_group"] for word in words] == reading["tags_by_task"]["upos"]
    assert tagger(WORDS[0], is_split_into_words=True) == tagger(WORDS[0], is_split_into_words=True, task="ner")
    with pytest.raises(ValueError, match="`task` is 'xpos'; expected a task of the model, ner or upos or feats"):
        tagger(WORDS[0], is_split_into_words=True, task="xpos")


def test_the_second_best_is_taken_in_the_task_that_has_the_class():
    settings = label_settings(FURTHER_LABELS["upos"])
    model, tokenizer = tiny_byte_tagger(
        label_scheme="upos", further_labels={"feats": FURTHER_LABELS["feats"]}, **settings
    )
    with torch.no_grad():
        for classifier in (model.classifier, model.further_heads["feats"].classifier):
            classifier.bias[0] += 100.0

    (tagged,) = tag_words(model, tokenizer, WORDS[:1], second_best_for=["_"])

    # The class with this id is passed over in its own task alone.
    assert tagged.tags == ("NOUN",) * 3
    assert "_" not in tagged.of_task("feats").tags
    with pytest.raises(ValueError, match="of scheme upos, are NOUN, PROPN, PUNCT; of scheme feats, are _, Case=Nom"):
        tag_words(model, tokenizer, WORDS, second_best_for=["NOUN", "_"])
