"""Models that go on with more labels and languages than they were trained with."""

from dataclasses import replace

import pytest
import torch

from hf_polyglot.inference.tagging import tag_words
from hf_polyglot.models.label_scheme import labels_for_types
from hf_polyglot.training.arguments import PolyglotTrainingArguments
from hf_polyglot.training.continuation import arguments_of_run, load_to_continue, results_of, with_known_descriptions
from hf_polyglot.training.recipe_corpora import CorpusArguments, load_recipe_corpora
from tests.models.joint_models import FURTHER_LABELS, JOINT_MODELS
from tests.models.tiny_byte_to_span import tiny_byte_to_span
from tests.models.tiny_models import EXAMPLES, LABELS, TINY_MODELS

MODELS = TINY_MODELS | {"byte_to_span": tiny_byte_to_span}
NEW_LABELS = [*LABELS, *labels_for_types(["DATE"], "IOB2")[1:]]
SENTENCES = [example["tokens"] for example in EXAMPLES[:4]]


@pytest.mark.parametrize("make_model", MODELS.values(), ids=MODELS)
def test_with_the_labels_it_knows_a_model_stays_as_it_is(make_model, tmp_path):
    model, tokenizer = make_model()
    model.save_pretrained(tmp_path)

    loaded = load_to_continue(str(tmp_path), LABELS, ["eng"])

    assert tag_words(loaded, tokenizer, SENTENCES) == tag_words(model, tokenizer, SENTENCES)
    assert all(torch.equal(loaded.get_parameter(name), value) for name, value in model.named_parameters())


@pytest.mark.parametrize("make_model", MODELS.values(), ids=MODELS)
def test_new_labels_leave_the_weights_of_the_old_ones(make_model, tmp_path):
    model, _ = make_model()
    model.save_pretrained(tmp_path)

    grown = load_to_continue(str(tmp_path), NEW_LABELS, ["eng"])

    assert [grown.config.id2label[index] for index in range(grown.config.num_labels)] == NEW_LABELS
    larger = []
    for name, old in model.named_parameters():
        new = grown.get_parameter(name)
        torch.testing.assert_close(new[tuple(slice(size) for size in old.shape)], old, rtol=0, atol=0)
        assert torch.isfinite(new).all()
        if new.shape != old.shape:
            larger.append(name)
    assert larger
    assert len(larger) <= 6
    if model.can_generate():
        assert grown.generation_config.to_dict() == model.generation_config.to_dict()


@pytest.mark.parametrize("name", JOINT_MODELS)
def test_new_labels_of_a_further_task_leave_the_weights_of_the_old_ones(name, tmp_path):
    model, tokenizer = JOINT_MODELS[name]()
    model.save_pretrained(tmp_path)
    further = FURTHER_LABELS | {"upos": [*FURTHER_LABELS["upos"], "VERB", "X"]}

    same = load_to_continue(str(tmp_path), LABELS, ["eng"], FURTHER_LABELS)
    grown = load_to_continue(str(tmp_path), LABELS, ["eng"], further)

    assert all(torch.equal(same.get_parameter(name), value) for name, value in model.named_parameters())
    assert grown.config.further_labels == further
    larger = set()
    for name, old in model.named_parameters():
        new = grown.get_parameter(name)
        torch.testing.assert_close(new[tuple(slice(size) for size in old.shape)], old, rtol=0, atol=0)
        if new.shape != old.shape:
            larger.add(".".join(name.split(".")[:2]))
    assert larger == {"further_heads.upos"}
    tag_words(grown, tokenizer, SENTENCES)
    with pytest.raises(ValueError, match=r"The labels are X; expected those of .* first, NOUN, PROPN, PUNCT"):
        load_to_continue(str(tmp_path), LABELS, ["eng"], further | {"upos": ["X"]})
    with pytest.raises(
        ValueError, match=r"labels of the further tasks upos, and .* has upos, feats; expected the tas"
    ):
        load_to_continue(str(tmp_path), LABELS, ["eng"], {"upos": further["upos"]})


@pytest.mark.parametrize("make_model", TINY_MODELS.values(), ids=TINY_MODELS)
def test_a_label_that_never_wins_changes_no_tag(make_model, tmp_path):
    # The old labels keep their order among the new ones, whatever a model makes of them inside.
    model, tokenizer = make_model()
    model.save_pretrained(tmp_path)
    grown = load_to_continue(str(tmp_path), NEW_LABELS, ["eng"]).eval()
    with torch.no_grad():
        for name, old in model.named_parameters():
            new = grown.get_parameter(name)
            if new.shape != old.shape and new.dim() == 1:
                new[len(old) :] = -100.0

    expected = tag_words(model, tokenizer, SENTENCES)
    assert [found.tags for found in tag_words(grown, tokenizer, SENTENCES)] == [found.tags for found in expected]


def test_a_new_language_begins_with_the_mean_transitions(tmp_path):
    model, _ = TINY_MODELS["byte_crf_of_languages"]()
    torch.nn.init.normal_(model.crf.transition_scores)
    model.save_pretrained(tmp_path)

    loaded = load_to_continue(str(tmp_path), LABELS, ["yor", "swa"])

    assert loaded.config.languages == ["eng", "swa", "yor"]
    torch.testing.assert_close(loaded.crf.transition_scores[2], model.crf.transition_scores.mean(0))
    torch.testing.assert_close(loaded.crf.transition_scores[:2], model.crf.transition_scores)


def test_labels_in_another_order_are_refused(tmp_path):
    TINY_MODELS["byte_crf"]()[0].save_pretrained(tmp_path)

    with pytest.raises(ValueError, match=r"expected those of .* first, O, B-LOC, I-LOC, B-PER, I-PER"):
        load_to_continue(str(tmp_path), ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"], ["eng"])


def test_a_model_without_results_says_what_is_needed(tmp_path):
    with pytest.raises(ValueError, match=r"has no results.json; expected the folder or Hub id of a model"):
        results_of(str(tmp_path))


def test_a_run_hands_on_how_it_learned_and_not_where_it_went():
    arguments = {
        "corpora": ["data/*"], "type_map": ["DATE=O"], "hidden_size": 3, "learning_rate": 0.1,
        "output_dir": "runs/old", "seeds": [7], "push_to_hub": True, "sampling": "dynamic", "adam_state": "fresh",
    }  # fmt: skip

    handed_on = arguments_of_run({"arguments": arguments}, CorpusArguments, PolyglotTrainingArguments)

    assert handed_on == {"corpora": ["data/*"], "type_map": ["DATE=O"], "learning_rate": 0.1}


def test_source_and_licence_are_those_of_the_run_that_had_the_same_corpus():
    corpora = load_recipe_corpora(CorpusArguments(max_train_sentences=3)).of_languages(["swa", "spa"])
    corpora = replace(corpora, descriptions={"swa": {}, "spa": {"license": "mine"}})
    described = {language: {"source": "news", "license": "CC0"} for language in ("swa", "spa")}
    before = {language: splits | described[language] for language, splits in corpora.to_dict().items()}

    known = with_known_descriptions(corpora, {"data": before})
    before["swa"]["train"] = {"sentences": 3, "fingerprint": "other"}
    of_another = with_known_descriptions(corpora, {"data": before})

    assert known.descriptions == {
        "swa": {"source": "news", "license": "CC0"},
        "spa": {"source": "news", "license": "mine"},
    }
    assert of_another.descriptions["swa"] == {}
