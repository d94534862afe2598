"""The tagger with an adapter for each language: what it says in a batch of many is what each would say alone."""

import pytest
import torch
from transformers import AutoModelForTokenClassification, pipeline

import hf_polyglot.inference.pipeline  # noqa: F401  registers the task
from hf_polyglot.adapters import merge_adapter
from hf_polyglot.data.collators import collator_for
from hf_polyglot.inference.adapters import load_language_adapters, load_tagger
from hf_polyglot.inference.onnx_runtime import SETTINGS_FILE
from hf_polyglot.inference.tagging import tag_words
from tests.models.tiny_models import EXAMPLES, LABELS, character_pieces
from tests.tiny_adapters import BASES, saved_adapter, saved_base

# Some sentences are longer than the encoder reads at once, so that they have several windows.
SENTENCES = [
    words * (1 + 3 * (index % 5 == 0)) for index, words in enumerate(example["tokens"] for example in EXAMPLES)
]
# `pop` is a language, and what dictionaries call a method.
LANGUAGES = ["swa", "pop", "eng", None, "deu"]
OF_SENTENCES = [LANGUAGES[index % len(LANGUAGES)] for index in range(len(SENTENCES))]


def taggers(folder, make_model, **of_pop):
    """The tagger with all adapters, and the plain model of each language."""
    base = saved_base(folder / "base", make_model)
    adapters = {
        "swa": saved_adapter(folder / "swa", base, seed=3),
        "pop": saved_adapter(
            folder / "pop", base, seed=4, **{"languages": ["pop"], "rank": 2, "num_frozen": 1} | of_pop
        ),
    }
    plain = {language: AutoModelForTokenClassification.from_pretrained(base) for language in LANGUAGES}
    plain |= {language: merge_adapter(adapter) for language, adapter in adapters.items()}
    return load_language_adapters(base, adapters), plain


def assert_alike(found, expected):
    assert [of_one.words for of_one in found] == [of_one.words for of_one in expected]
    assert [of_one.tags for of_one in found] == [of_one.tags for of_one in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.probabilities == pytest.approx(theirs.probabilities, abs=1e-5)


@pytest.mark.parametrize("batch_size", [1, 7, 32])
@pytest.mark.parametrize("make_model", BASES.values(), ids=BASES)
def test_sentences_of_many_languages_are_tagged_as_by_the_plain_model_of_each(make_model, batch_size, tmp_path):
    model, plain = taggers(tmp_path, make_model)
    tokenizer = character_pieces()

    found = tag_words(model, tokenizer, SENTENCES, batch_size, OF_SENTENCES)

    expected = [
        tag_words(plain[language], tokenizer, [words], languages=[language])[0]
        for words, language in zip(SENTENCES, OF_SENTENCES, strict=True)
    ]
    assert_alike(found, expected)
    of_others = [tag_words(plain[None], tokenizer, [words])[0].tags for words in SENTENCES]
    assert [of_one.tags for of_one in found] != of_others  # the adapters say something of their own


@pytest.mark.parametrize("make_model", BASES.values(), ids=BASES)
def test_a_mixed_batch_is_scored_and_decoded_as_its_parts_are(make_model, tmp_path):
    model, plain = taggers(tmp_path, make_model)
    examples = [
        {"tokens": words, "language": language} for words, language in zip(SENTENCES, OF_SENTENCES, strict=True)
    ]
    batch = collator_for(model, character_pieces())(examples)
    mask = batch["word_positions"] >= 0

    with torch.no_grad():
        outputs = model(**batch)
        labels, probabilities = model.decode(outputs, mask), model.label_probabilities(outputs, mask)

    for row, example in enumerate(examples):
        own = plain[example["language"]]
        alone = collator_for(own, character_pieces())([example])
        words = torch.ones(1, len(example["tokens"]), dtype=torch.bool)
        with torch.no_grad():
            expected = own(**alone)
            assert labels[row, mask[row]].tolist() == own.decode(expected, words)[0].tolist()
            of_labels = own.label_probabilities(expected, words)[0]
        # In 32 bits: a batch is added up in another order than a sentence, on some CPUs by 2e-5.
        torch.testing.assert_close(outputs.logits[row, mask[row]], expected.logits[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(probabilities[row, mask[row]], of_labels, rtol=1e-4, atol=1e-4)
    assert (labels[~mask] == -100).all()
    assert (probabilities[~mask] == 0).all()


def test_a_language_may_have_labels_of_its_own(tmp_path):
    new = [*LABELS, "B-DATE", "I-DATE"]
    model, plain = taggers(tmp_path, BASES["encoder_crf"], labels=new)
    tokenizer = character_pieces()
    with torch.no_grad():
        for of_pop in (model.taggers[2], plain["pop"]):
            of_pop.classifier.bias[5] += 9

    found = tag_words(model, tokenizer, SENTENCES, 7, OF_SENTENCES)

    expected = [
        tag_words(plain[language], tokenizer, [words])[0]
        for words, language in zip(SENTENCES, OF_SENTENCES, strict=True)
    ]
    assert_alike(found, expected)
    tags = {language: set() for language in LANGUAGES}
    for of_one, language in zip(found, OF_SENTENCES, strict=True):
        tags[language] |= set(of_one.tags)
    assert "B-DATE" in tags["pop"]
    assert not {tag for language in LANGUAGES if language != "pop" for tag in tags[language]} & {"B-DATE", "I-DATE"}


def test_adapters_whose_own_labels_differ_are_refused(tmp_path):
    base = saved_base(tmp_path / "base")
    adapters = {
        name: saved_adapter(tmp_path / name, base, 3, labels=[*LABELS, *(f"{place}-{name}" for place in "BI")])
        for name in ("DATE", "TIME")
    }

    with pytest.raises(
        ValueError, match=r"TIME` has the labels .*, I-TIME; expected those of the others first, .*DATE"
    ):
        load_language_adapters(base, adapters)
    with pytest.raises(ValueError, match="There is no adapter; expected one language with an adapter at least"):
        load_language_adapters(base, {})


def test_the_pipeline_reads_the_language_that_it_is_told(tmp_path):
    model, plain = taggers(tmp_path, BASES["encoder_crf"])
    tokenizer = character_pieces()
    task = "polyglot-token-classification"
    text = "New Kano , says Bako Bako"

    tag = pipeline(task, model=model, tokenizer=tokenizer)

    for language in ("swa", "pop"):
        of_one = next(tag.read([text], language=language))
        alone = next(pipeline(task, model=plain[language], tokenizer=tokenizer).read([text]))
        assert of_one["tags"] == alone["tags"]
    with pytest.warns(UserWarning, match="knows swa, pop, and reads any other with the base that the adapters are of"):
        of_one = next(tag.read([text], language="deu"))
    assert of_one["tags"] == next(pipeline(task, model=plain[None], tokenizer=tokenizer).read([text]))["tags"]


def test_a_tagger_is_loaded_whether_it_is_whole_or_an_adapter(tmp_path):
    base = saved_base(tmp_path / "base")
    adapter = saved_adapter(tmp_path / "swa", base, seed=3)

    whole, tokenizer = load_tagger(base)
    merged, same = load_tagger(adapter)

    words = SENTENCES[:3]
    assert tokenizer.get_vocab() == same.get_vocab()
    assert tag_words(merged, same, words) == tag_words(merge_adapter(adapter), tokenizer, words)
    assert tag_words(whole, tokenizer, words) != tag_words(merged, tokenizer, words)


def test_the_whole_is_not_saved_as_one(tmp_path):
    model, _ = taggers(tmp_path, BASES["slicer"])

    with pytest.raises(ValueError, match="A tagger with adapters for swa, pop is not saved as one model"):
        model.save_pretrained(tmp_path / "all")


def test_a_folder_of_something_else_says_what_it_has(tmp_path):
    (tmp_path / "swa").mkdir()
    with pytest.raises(ValueError, match=r"swa` has no config\.json; expected the folder of a model"):
        load_tagger(str(tmp_path / "swa"))

    (tmp_path / "swa" / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="has the models swa, one to a folder; expected the folder of a model"):
        load_tagger(str(tmp_path))

    (tmp_path / "swa" / "config.json").unlink()
    (tmp_path / "swa" / SETTINGS_FILE).write_text("{}")
    with pytest.raises(ValueError, match=r"swa` has an ONNX graph, which predict\.py and OnnxTagger read; expected"):
        load_tagger(str(tmp_path / "swa"))
