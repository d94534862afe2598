"""Tags and entities of words and of raw text, through the functions and through the pipeline."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import pipeline

import hf_polyglot.inference.pipeline  # noqa: F401  registers the task
from hf_polyglot.data.collators import collator_for
from hf_polyglot.inference.tagged_words import segment_words
from hf_polyglot.inference.tagging import tag_words
from tests.models.tiny_models import EXAMPLES, TINY_MODELS, tiny_byte_crf, tiny_slicer

TASK = "polyglot-token-classification"
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def trained(make_model):
    model, tokenizer = make_model()
    batch = collator_for(model, tokenizer)(EXAMPLES)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    model.train()
    for _ in range(150):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    return model.eval(), tokenizer


@pytest.fixture(scope="module", params=TINY_MODELS)
def tagger(request):
    model, tokenizer = trained(TINY_MODELS[request.param])
    return pipeline(TASK, model=model, tokenizer=tokenizer)


@given(text=TEXTS)
@settings(max_examples=200, deadline=None)
def test_words_cover_all_of_a_text_but_its_white_space(text):
    offsets = segment_words(text)

    assert all(start < end for start, end in offsets)
    assert all(before[1] <= after[0] for before, after in pairwise(offsets))
    covered = {position for start, end in offsets for position in range(start, end)}
    assert all(position in covered or character.isspace() for position, character in enumerate(text))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Rais wa Kenya, (TZ).", ["Rais", "wa", "Kenya", ",", "(", "TZ", ")", "."]),
        ("ng'ombe l’eau e-mail -a", ["ng'ombe", "l’eau", "e-mail", "-", "a"]),
        ("我爱北京。", ["我", "爱", "北", "京", "。"]),
        ("नमस्ते दिल्ली।", ["नमस्ते", "दिल्ली", "।"]),
        ("Ọ̀yọ́ ní", ["Ọ̀yọ́", "ní"]),
        # Hyphens and apostrophes behind marks, which are letters' own or stand apart.
        ("बड़े-बड़े Ọ̀yọ́-Ilé", ["बड़े-बड़े", "Ọ̀yọ́-Ilé"]),
        ("Cafe\u0301-bar n\u0301'ka\u0301", ["Cafe\u0301-bar", "n\u0301'ka\u0301"]),
        ("አዲስ፡አበባ", ["አዲስ", "፡", "አበባ"]),
        ("", []),
    ],
)
def test_words_are_those_of_the_script(text, words):
    assert [text[start:end] for start, end in segment_words(text)] == words


def test_entities_are_exact_slices_of_the_text(tagger):
    text = "  Amina lives in Kano.\nNew Touba, says Eze Eze"

    entities = tagger(text)

    assert [(entity["entity_group"], entity["word"]) for entity in entities[:2]] == [("PER", "Amina"), ("LOC", "Kano")]
    for entity in entities:
        assert text[entity["start"] : entity["end"]] == entity["word"]
        assert 0 < entity["score"] <= 1


def test_words_can_be_given(tagger):
    words = ["Amina", "lives", "in", "Kano", "."]

    (person, place) = tagger(words, is_split_into_words=True)

    assert (person["word_start"], person["word_end"], place["word_start"]) == (0, 1, 3)
    assert " ".join(words)[place["start"] : place["end"]] == place["word"] == "Kano"
    assert tagger([words, words], is_split_into_words=True) == [[person, place]] * 2


def test_texts_alone_and_in_batches_give_the_same(tagger):
    texts = ["Amina lives in Kano .", "", "New Touba , says Eze Eze", "   ", "Bako"] * 3

    alone = [tagger(text) for text in texts]
    together = tagger(texts, batch_size=4)
    streamed = list(tagger(iter(texts), batch_size=4))

    def words(outcome):
        return [[entity["word"] for entity in entities] for entities in outcome]

    assert words(together) == words(alone)
    assert streamed == together
    assert tagger("") == []
    assert tagger([], is_split_into_words=True) == []


def test_texts_longer_than_the_window_are_tagged_to_the_end(tagger):
    sentence = "Amina lives in Kano . "

    entities = tagger(sentence * 60)

    assert len(entities) >= 110
    assert entities[-1]["start"] > len(sentence) * 59


def test_the_best_path_is_followed_and_not_the_best_label_of_each_word():
    model, tokenizer = tiny_byte_crf()
    labels = model.config.label2id
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.zero_()
        # Word for word I-PER is best; no path may start with it.
        model.classifier.bias[labels["I-PER"]] = 1.0

    (tagged,) = tag_words(model, tokenizer, [["a", "b", "c"]])

    assert tagged.tags == ("B-PER", "I-PER", "I-PER")


def test_tagging_leaves_the_model_in_its_mode():
    model, tokenizer = tiny_byte_crf()
    model.train()

    tag_words(model, tokenizer, [["a"]])

    assert model.training


def test_a_saved_model_makes_a_pipeline(tagger, tmp_path):
    tagger.model.save_pretrained(tmp_path)
    tagger.tokenizer.save_pretrained(tmp_path)

    loaded = pipeline(TASK, model=str(tmp_path))

    assert loaded("Amina lives in Kano .") == tagger("Amina lives in Kano .")


def test_what_is_no_text_is_refused(tagger):
    with pytest.raises(ValueError, match="is no text; expected a string"):
        tagger([["a", "b"]])
    with pytest.raises(ValueError, match="is no list of words"):
        tagger("a b", is_split_into_words=True)
    with pytest.raises(ValueError, match="Unknown to this pipeline: stride"):
        tagger("a", stride=3)


def test_a_stock_model_is_told_from_a_tagger_of_this_package():
    model, tokenizer = tiny_slicer()

    with pytest.raises(ValueError, match="is a BertForTokenClassification; expected a tagger of this package"):
        tag_words(model.to_standard_model(), tokenizer, [["a"]])


def test_reading_keeps_to_what_the_pipeline_was_told(tagger):
    tag = pipeline(TASK, model=tagger.model, tokenizer=tagger.tokenizer, is_split_into_words=True)

    (reading,) = tag.read([["Dar", "es Salaam"]])

    assert reading["words"] == ["Dar", "es Salaam"]
    assert next(tag.read(["Dar es"], is_split_into_words=False))["words"] == ["Dar", "es"]


def test_one_text_is_not_read_letter_by_letter_and_no_batch_is_empty(tagger):
    with pytest.raises(ValueError, match="'Amina' is one text; expected many"):
        next(tagger.read("Amina"))
    for batch_size in (0, -1):
        with pytest.raises(ValueError, match=f"`batch_size` is {batch_size}; expected 1 or more"):
            next(tagger.read(["Amina"], batch_size=batch_size))
        with pytest.raises(ValueError, match=f"`batch_size` is {batch_size}; expected 1 or more"):
            tag_words(tagger.model, tagger.tokenizer, [["Amina"]], batch_size)
