"""The embedded corpus is what its data card says, and the tiny encoder loads like any other."""

import os
import subprocess
import sys
import unicodedata
from collections import Counter, defaultdict
from functools import cache
from itertools import pairwise
from random import Random

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from hf_polyglot.data.demo import DEMO_FOLDER, SOURCE_LANGUAGES, ZERO_SHOT_LANGUAGES, demo_corpora
from hf_polyglot.data.demo.generate import (
    HELD_OUT_FRAMES,
    HELD_OUT_NAMES,
    Entry,
    Language,
    Writer,
    generate,
    is_held_out,
)
from hf_polyglot.data.demo.tiny_encoder import build_tiny_encoder, train_piece_tokenizer

LANGUAGES = (*SOURCE_LANGUAGES, *ZERO_SHOT_LANGUAGES)
SPLITS = ("train", "validation", "test")
SCRIPTS = {"arb": "ARABIC", "hin": "DEVANAGARI", "mar": "DEVANAGARI", "rus": "CYRILLIC", "ukr": "CYRILLIC"}
NEAREST_SOURCE = {"mar": "hin", "nld": "deu", "por": "spa", "ukr": "rus"}


@cache
def sentences_of(language, split):
    """Words and tags of each sentence, read without the project's own reader."""
    text = (DEMO_FOLDER / language / f"{split}.txt").read_text(encoding="utf-8")
    return [[tuple(line.split(" ")) for line in block.splitlines()] for block in text.strip().split("\n\n")]


def entities_of(sentences):
    """Type and surface of every entity, repeated as often as it occurs."""
    entities = []
    for sentence in sentences:
        for word, tag in sentence:
            if tag.startswith("B-"):
                entities.append((tag[2:], word))
            elif tag != "O":
                entities[-1] = (entities[-1][0], f"{entities[-1][1]} {word}")
    return entities


def text_of(sentence):
    return " ".join(word for word, _ in sentence)


def corpus_files(folder):
    return {
        f"{language}/{split}": (folder / language / f"{split}.txt").read_bytes()
        for language in LANGUAGES
        for split in SPLITS
    }


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_the_script_writes_the_embedded_files_byte_for_byte(hash_seed, tmp_path):
    command = [sys.executable, "-S", str(DEMO_FOLDER / "generate.py"), "--folder", str(tmp_path)]
    # Without site-packages: the script needs nothing but Python.
    subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": hash_seed, "LC_ALL": "C"})

    assert corpus_files(tmp_path) == corpus_files(DEMO_FOLDER)


def test_another_seed_writes_other_sentences_with_the_same_names_held_out(tmp_path):
    generate(tmp_path, seed=3)

    assert all(text != corpus_files(DEMO_FOLDER)[name] for name, text in corpus_files(tmp_path).items())
    words = {line.split(" ")[0] for line in (tmp_path / "swa/train.txt").read_text(encoding="utf-8").split("\n")}
    assert "Onyango" not in words and "Wekesa" in words


def test_ten_languages_in_four_scripts_have_450_sentences_each_in_less_than_a_megabyte():
    files = corpus_files(DEMO_FOLDER)

    sizes = {(language, split): len(sentences_of(language, split)) for language in LANGUAGES for split in SPLITS}
    assert sizes == {
        (language, split): size
        for language in LANGUAGES
        for split, size in {"train": 300, "validation": 50, "test": 100}.items()
    }
    assert sum(map(len, files.values())) < 1_000_000
    assert len({SCRIPTS.get(language, "LATIN") for language in LANGUAGES}) == 4


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_letter_belongs_to_the_languages_script_and_every_text_is_composed(language):
    texts = [text_of(sentence) for split in SPLITS for sentence in sentences_of(language, split)]

    scripts = Counter(unicodedata.name(letter).split()[0] for text in texts for letter in text if letter.isalpha())
    assert set(scripts) == {SCRIPTS.get(language, "LATIN")}
    assert all(unicodedata.is_normalized("NFC", text) for text in texts)


@pytest.mark.parametrize("language", LANGUAGES)
def test_tags_are_iob2_and_each_split_has_all_types_and_sentences_without_any(language):
    for split in SPLITS:
        sentences = sentences_of(language, split)

        for sentence in sentences:
            tags = ["O", *(tag for _, tag in sentence)]
            assert all(tag == "O" or tag[:2] == "B-" or before[2:] == tag[2:] for before, tag in pairwise(tags))
        assert {entity_type for entity_type, _ in entities_of(sentences)} == {"PER", "LOC", "ORG"}
        assert any(all(tag == "O" for _, tag in sentence) for sentence in sentences)


def test_no_sentence_occurs_twice():
    texts = [
        text_of(sentence) for language in LANGUAGES for split in SPLITS for sentence in sentences_of(language, split)
    ]

    assert len(texts) == len(set(texts))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_third_of_the_test_entities_is_in_no_training_split_of_any_language(language):
    trained = {
        surface for other in LANGUAGES for _, surface in entities_of(sentences_of(other, "train"))
    }  # whatever their type
    tested = [surface for _, surface in entities_of(sentences_of(language, "test"))]

    assert sum(surface not in trained for surface in tested) > len(tested) / 3
    assert len(set(tested) - trained) > len(set(tested)) / 3


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_quarter_of_the_test_entities_has_a_word_that_no_training_sentence_of_the_language_has(language):
    trained = {word for sentence in sentences_of(language, "train") for word, _ in sentence}
    tested = [surface for _, surface in entities_of(sentences_of(language, "test"))]

    assert sum(not trained.issuperset(surface.split()) for surface in tested) > len(tested) / 4


@pytest.mark.parametrize("language", LANGUAGES)
def test_some_words_carry_several_tags(language):
    tags = defaultdict(set)
    for split in SPLITS:
        for sentence in sentences_of(language, split):
            for word, tag in sentence:
                tags[word].add(tag[2:])

    assert sum({"PER", "ORG"} <= types for types in tags.values()) > 3
    assert sum({"LOC", "ORG"} <= types for types in tags.values()) > 3
    assert any({"", "PER"} <= types or {"", "LOC"} <= types or {"", "ORG"} <= types for types in tags.values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_some_frames_occur_in_no_training_split(language):
    described = Language.read(DEMO_FOLDER / "frames" / f"{language}.txt")
    frames = [entry.text for entry in described.entries("frames")]
    # The words of a frame up to its second slot, where it begins with words of its own, tell it from the others.
    held_out = {frame.split("{")[0] for frame in frames if is_held_out(frame, HELD_OUT_FRAMES)} - {""}
    held_out -= {frame.split("{")[0] for frame in frames if not is_held_out(frame, HELD_OUT_FRAMES)}

    def begins(split):
        texts = [text_of(sentence) for sentence in sentences_of(language, split)]
        return sum(text.startswith(tuple(held_out)) for text in texts)

    assert begins("train") == 0
    assert begins("test") > 0


@pytest.mark.parametrize("language", ZERO_SHOT_LANGUAGES)
def test_a_zero_shot_language_shares_names_with_its_nearest_source_language(language):
    trained = {
        word for _, name in entities_of(sentences_of(NEAREST_SOURCE[language], "train")) for word in name.split()
    }
    tested = [word for _, name in entities_of(sentences_of(language, "test")) for word in name.split()]

    assert 0.1 < sum(word in trained for word in tested) / len(tested) < 0.6


def test_the_reader_loads_all_of_it_and_has_nothing_to_repair():
    corpora, report = demo_corpora()

    assert list(corpora) == list(LANGUAGES)
    for language, splits in corpora.items():
        for split, dataset in splits.items():
            names = dataset.features["ner_tags"].feature.names
            tags = [[names[label] for label in sentence] for sentence in dataset["ner_tags"]]
            read = [list(zip(*columns, strict=True)) for columns in zip(dataset["tokens"], tags, strict=True)]
            assert read == sentences_of(language, split)
            assert report.languages[language][split].repaired.count == 0
            assert not report.languages[language][split].left_out


def test_an_ending_that_is_missing_is_refused():
    language = Language({}, {})

    with pytest.raises(ValueError, match=r"'Тул~а/ы' has 2 endings. Expected one for each of \('nom', 'gen', 'acc'\)"):
        language.inflected(Entry("Тул~а/ы", ("nom", "gen", "acc")))


def test_a_form_that_the_section_has_not_is_refused():
    language = Language({}, {})

    with pytest.raises(ValueError, match=r"has the forms \('nom', 'gen'\), not 'ins'. Correct the slot"):
        language.inflected(Entry("Тул~а/ы", ("nom", "gen")), "ins")


def test_a_slot_without_a_section_is_refused():
    writer = Writer(Language({"frames": []}, {}), Random(0), 0.0, 0.0)

    with pytest.raises(ValueError, match=r"no section \[month\]. Expected one of \['frames'\]"):
        writer.sentence("In {month} .")


def test_a_list_that_is_too_short_to_hold_names_out_is_refused():
    lists = {"place": [Entry("Kassel", ())]}
    writer = Writer(Language(lists, {}), Random(0), 0.0, 0.0)

    with pytest.raises(ValueError, match=r"no held-out entry, or no other. Expected some of both"):
        writer.name("place", not is_held_out("Kassel", HELD_OUT_NAMES))


def test_too_few_frames_for_the_sentences_wanted_are_refused():
    frame = next(text for text in ("One .", "Two .", "Three .", "Four .") if not is_held_out(text, HELD_OUT_FRAMES))
    writer = Writer(Language({"frames": [Entry(frame, ())]}, {}), Random(0), 0.0, 0.0)

    with pytest.raises(ValueError, match=r"^1 different sentences came of 2000 draws. Expected 2; add frames"):
        writer.split(2, set())


def test_the_words_that_touch_a_slot_become_part_of_the_name():
    lists = {"place": [Entry("नवी मुंबई~/त", ("nom", "loc"))]}
    is_unseen = is_held_out("नवी मुंबई", HELD_OUT_NAMES)
    writer = Writer(Language(lists, {}), Random(0), float(is_unseen), 0.0)

    assert writer.sentence("{LOC}हून") == [("नवी", "B-LOC"), ("मुंबईहून", "I-LOC")]
    assert writer.sentence("{LOC:loc} .") == [("नवी", "B-LOC"), ("मुंबईत", "I-LOC"), (".", "O")]


@pytest.fixture(scope="module")
def texts():
    return [text_of(sentence) for language in SOURCE_LANGUAGES for sentence in sentences_of(language, "train")]


@pytest.fixture(scope="module")
def encoder_folder(texts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    build_tiny_encoder(folder, texts, seed=1)
    return folder


def test_the_tiny_encoder_loads_with_the_auto_classes(encoder_folder):
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder)
    encoder = AutoModel.from_pretrained(encoder_folder)

    batch = tokenizer(
        [["Kassel", "liegt", "hier"], ["ja"]], is_split_into_words=True, padding=True, return_tensors="pt"
    )
    assert encoder(**batch).last_hidden_state.shape == (*batch["input_ids"].shape, encoder.config.hidden_size)
    assert tokenizer.is_fast
    assert encoder.config.vocab_size == len(tokenizer)
    assert encoder.config.pad_token_id == tokenizer.pad_token_id
    assert sum(parameter.numel() for parameter in encoder.parameters()) < 1_000_000


def test_every_word_of_every_language_has_a_piece_and_offsets_cover_the_text(encoder_folder):
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder)

    for language in LANGUAGES:
        for sentence in sentences_of(language, "test"):
            words = [word for word, _ in sentence]
            encoding = tokenizer(words, is_split_into_words=True, return_offsets_mapping=True)
            covered = [set() for _ in words]
            for word, (start, end) in zip(encoding.word_ids(), encoding["offset_mapping"], strict=True):
                if word is not None:
                    covered[word].update(range(start, end))
            assert covered == [set(range(len(word))) for word in words]


def test_no_character_of_the_training_texts_is_unknown(texts, encoder_folder):
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder)

    assert not any(tokenizer.unk_token_id in row for row in tokenizer(texts)["input_ids"])
    assert tokenizer.tokenize("☃") == ["▁", tokenizer.unk_token]


def test_the_same_texts_make_the_same_tokenizer(texts):
    # The trainer counts words in hash tables, which are seeded anew each time.
    first, *others = (train_piece_tokenizer(texts).backend_tokenizer.to_str() for _ in range(3))

    assert others == [first, first]


def test_the_seed_alone_determines_the_weights(texts, encoder_folder, tmp_path):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    build_tiny_encoder(tmp_path / "same", texts, seed=1)
    build_tiny_encoder(tmp_path / "other", texts, seed=2)

    assert torch.equal(torch.get_rng_state(), before)
    same, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("same", "other"))
    assert same == (encoder_folder / "model.safetensors").read_bytes()
    assert other != same
