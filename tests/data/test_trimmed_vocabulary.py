"""Trimmed vocabularies: nothing that is kept is cut otherwise than before, whatever kind of tokenizer it is."""

import json
import lzma
import shutil
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from hf_polyglot.data.demo.tiny_encoder import train_piece_tokenizer
from hf_polyglot.data.trimmed_vocabulary import trim_vocabulary
from hf_polyglot.models.word_pieces import load_piece_tokenizer
from tests.models.tiny_models import SENTENCES

TEXTS = [" ".join(words) for words, _ in SENTENCES] + ["Ségou-Touba (Kano), 1976", "Lagosian Lagosians lagos livres"]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
NAMES = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"}


def around(backend, processor):
    start, end = (backend.token_to_id(piece) for piece in ("<s>", "</s>"))
    backend.post_processor = (
        processors.RobertaProcessing(("</s>", end), ("<s>", start))
        if processor == "pair"
        else processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", start), ("</s>", end)])
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=77, **NAMES)


def unigram(processor="template"):
    """As XLM-R's: scores, a mark at the start of words, a mask piece that was added behind the others."""
    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=150, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)
    backend.train_from_iterator(TEXTS * 5, trainer)
    return around(backend, processor)


def word_pieces(processor="template"):
    """As mBERT's: the longest piece first, `##` inside words."""
    backend = Tokenizer(models.WordPiece(unk_token="<unk>"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=False)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=250, special_tokens=[*SPECIAL, "<mask>"], show_progress=False)
    backend.train_from_iterator(TEXTS * 5, trainer)
    return around(backend, processor)


def byte_pairs(processor="template"):
    """As RoBERTa's: merges of bytes."""
    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(TEXTS * 5, trainer)
    return around(backend, processor)


def demo_pieces(processor="template"):
    """Those of the tiny encoder."""
    return train_piece_tokenizer(TEXTS * 5, vocab_size=200)


KINDS = [unigram, word_pieces, byte_pairs, demo_pieces]


def pieces(tokenizer, text):
    encoded = tokenizer(text, is_split_into_words=not isinstance(text, str))
    return tokenizer.convert_ids_to_tokens(encoded["input_ids"]), encoded.word_ids()


@pytest.mark.parametrize("keep_characters", [True, False])
@pytest.mark.parametrize("processor", ["template", "pair"])
@pytest.mark.parametrize("kind", KINDS)
def test_kept_texts_are_cut_as_before_and_ids_are_those_of_the_same_pieces(kind, processor, keep_characters):
    tokenizer = kind(processor)
    texts = [*TEXTS[:4], *(text.split() for text in TEXTS[4:8])]

    trimmed = trim_vocabulary(tokenizer, texts, keep_characters=keep_characters)

    for text in texts:
        assert pieces(trimmed.tokenizer, text) == pieces(tokenizer, text)
    assert len(trimmed.kept_ids) == len(trimmed.tokenizer) < len(tokenizer)
    assert sorted(trimmed.tokenizer.get_vocab().values()) == [*range(len(trimmed.tokenizer))]
    new_pieces = trimmed.tokenizer.convert_ids_to_tokens(range(len(trimmed.tokenizer)))
    assert new_pieces == tokenizer.convert_ids_to_tokens(trimmed.kept_ids)
    assert trimmed.tokenizer.special_tokens_map == tokenizer.special_tokens_map
    assert trimmed.tokenizer.model_max_length == tokenizer.model_max_length


@pytest.mark.parametrize("kind", KINDS)
def test_other_text_is_read_by_its_characters(kind):
    tokenizer = kind()

    trimmed = trim_vocabulary(tokenizer, TEXTS[:1]).tokenizer

    found, _ = pieces(trimmed, TEXTS[-1])
    assert len(found) > len(pieces(tokenizer, TEXTS[-1])[0])
    assert trimmed.unk_token not in found


@pytest.mark.parametrize("kind", KINDS)
def test_rare_pieces_are_left_out_where_few_are_wanted(kind):
    tokenizer = kind()
    counts = Counter(piece for text in TEXTS for piece in pieces(tokenizer, text)[0])

    trimmed = trim_vocabulary(tokenizer, TEXTS, min_count=3)

    kept = set(trimmed.tokenizer.get_vocab())
    long = {piece: count for piece, count in counts.items() if len(piece.removeprefix("##").strip("▁Ġ")) > 1}
    assert {piece for piece, count in long.items() if count >= 3} <= kept
    # What a kept piece of BPE is merged from stays too.
    rare = {piece for piece, count in long.items() if count < 3}
    assert not rare & kept if kind is not byte_pairs else rare - kept
    assert all(trimmed.tokenizer.unk_token not in pieces(trimmed.tokenizer, text)[0] for text in TEXTS)


def test_a_text_that_is_given_as_words_too_counts_once():
    tokenizer = word_pieces()
    counts = Counter(piece for text in TEXTS for piece in pieces(tokenizer, text)[0])
    piece, count = next((piece, count) for piece, count in counts.items() if len(piece) > 3 and piece.isalpha())
    read = [*TEXTS, *(text.split() for text in TEXTS)]

    kept, left_out = (
        trim_vocabulary(tokenizer, read, min_count=least, keep_characters=False).tokenizer.get_vocab()
        for least in (count, count + 1)
    )

    assert piece in kept and piece not in left_out


def test_scripts_of_thousands_of_characters_may_be_left_out():
    tokenizer = train_piece_tokenizer([*TEXTS, "한국 東京 ዓለም"] * 5, vocab_size=300)

    every, fewer = (
        set(trim_vocabulary(tokenizer, TEXTS[:1], keep_ideographs=keep).tokenizer.get_vocab())
        for keep in (True, False)
    )

    assert {piece.strip("▁#Ġ") for piece in every - fewer} == set("한국東京")


def test_the_most_probable_pieces_of_a_unigram_may_stay():
    tokenizer = unigram()
    scores = dict(json.loads(tokenizer.backend_tokenizer.to_str())["model"]["vocab"])
    probable = sorted(scores, key=scores.get, reverse=True)[:60]

    few, more = (
        set(trim_vocabulary(tokenizer, TEXTS[:1], num_probable=number).tokenizer.get_vocab()) for number in (0, 60)
    )

    assert set(probable) <= more and not set(probable) <= few
    assert len(more) <= len(few) + 60
    with pytest.raises(ValueError, match="`num_probable` is 60 and the tokenizer is of kind WordPiece; expected 0"):
        trim_vocabulary(word_pieces(), TEXTS[:1], num_probable=60)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_cuts_alike(kind, tmp_path):
    trimmed = trim_vocabulary(kind(), TEXTS[:3]).tokenizer

    trimmed.save_pretrained(tmp_path)

    for loaded in (AutoTokenizer.from_pretrained(tmp_path), load_piece_tokenizer(str(tmp_path))):
        assert [pieces(loaded, text) for text in TEXTS] == [pieces(trimmed, text) for text in TEXTS]
        assert loaded.mask_token_id == trimmed.mask_token_id


@given(texts=st.lists(st.text(alphabet="LagosivrenKt ", min_size=1, max_size=20), min_size=1, max_size=4))
def test_any_text_can_be_kept(texts):
    for kind in KINDS:
        tokenizer = TOKENIZERS.setdefault(kind, kind())

        trimmed = trim_vocabulary(tokenizer, texts, keep_characters=False)

        assert [pieces(trimmed.tokenizer, text) for text in texts] == [pieces(tokenizer, text) for text in texts]


TOKENIZERS = {}


def test_a_word_that_was_unknown_stays_unknown():
    # With "ab" taken first nothing fits behind it; without "ab", "a" and "##bc" would.
    vocabulary = ["<pad>", "<unk>", "<s>", "</s>", "a", "ab", "##bc", "x"]
    backend = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(vocabulary)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>")

    trimmed = trim_vocabulary(tokenizer, ["abc", "a", "xbc"], keep_characters=True)

    assert pieces(trimmed.tokenizer, "abc")[0] == ["<unk>"]
    assert pieces(trimmed.tokenizer, "xbc")[0] == ["x", "##bc"]


def test_a_word_of_any_length_is_trimmed_for_in_no_time():
    trimmed = trim_vocabulary(word_pieces(), [*TEXTS, "ab" * 20_000])

    assert pieces(trimmed.tokenizer, "ab" * 20_000)[0] == pieces(word_pieces(), "ab" * 20_000)[0]


def byte_pairs_of_characters(*, byte_fallback=False, **marks):
    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=byte_fallback, **marks))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=SPECIAL + bytes_, show_progress=False, **marks)
    backend.train_from_iterator(TEXTS * 5, trainer)
    return around(backend, "template")


def test_byte_pairs_keep_the_bytes_and_the_ends_of_words_by_which_other_text_is_read():
    of_bytes, of_ends = (
        byte_pairs_of_characters(byte_fallback=True),
        byte_pairs_of_characters(end_of_word_suffix="</w>"),
    )

    for tokenizer, text in ((of_bytes, "bako 中"), (of_ends, TEXTS[-1])):
        kept = trim_vocabulary(tokenizer, TEXTS[:1]).tokenizer
        assert "<unk>" not in pieces(tokenizer, text)[0]
        assert "<unk>" not in pieces(kept, text)[0]


@pytest.mark.parametrize("processor", ["template", "pair"])
def test_special_pieces_may_stand_anywhere(processor):
    vocabulary = ["a", "b", "c", "<pad>", "d", "<unk>", "e", "<s>", "f", "</s>"]
    backend = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(vocabulary)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = around(backend, processor)

    trimmed = trim_vocabulary(tokenizer, ["f d", "d ?"], keep_characters=False)

    assert trimmed.tokenizer("f d ?")["input_ids"] == [3, 4, 1, 2, 5]
    assert trimmed.kept_ids == [3, 4, 5, 7, 8, 9, 10]
    assert (trimmed.tokenizer.pad_token_id, trimmed.tokenizer.mask_token_id) == (0, 6)


def test_an_unknown_character_of_unigram_stays_as_dear():
    # Its score is 10 below the lowest of all pieces: without "zz", "<unk>b" would be cheaper than "a" and "b" alone.
    scores = [("<unk>", 0.0), ("▁", -1.0), ("▁a", -24.0), ("b", -1.0), ("zz", -30.0), ("a", -26.0), ("▁ab", -26.0)]
    backend = Tokenizer(models.Unigram(scores, unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", pad_token="<unk>")

    trimmed = trim_vocabulary(tokenizer, ["a", "ab", "b"], keep_characters=False)

    assert "zz" in trimmed.tokenizer.get_vocab()
    assert json.loads(trimmed.tokenizer.backend_tokenizer.to_str())["model"]["unk_id"] == 0


def test_tokenizers_of_whole_words_are_refused():
    backend = Tokenizer(models.WordLevel({"a": 0, "<unk>": 1}, unk_token="<unk>"))

    with pytest.raises(ValueError, match=r"is of kind WordLevel; expected Unigram, WordPiece, BPE\. Leave its"):
        trim_vocabulary(PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>"), ["a"])


def test_text_that_would_be_cut_otherwise_is_refused(monkeypatch):
    monkeypatch.setattr("hf_polyglot.data.trimmed_vocabulary._used_ids", lambda *given: set())

    with pytest.raises(ValueError, match=r"With the trimmed vocabulary, .* is cut into .* and before into"):
        trim_vocabulary(unigram(), TEXTS[:2])


@pytest.mark.slow
def test_the_real_vocabulary_of_xlm_r_keeps_real_sentences(shared_models, shared_data, tmp_path):
    with lzma.open(shared_models / "e5-small" / "tokenizer.json.xz") as packed:
        (tmp_path / "tokenizer.json").write_bytes(packed.read())
    shutil.copy(shared_models / "e5-small" / "tokenizer_config.json", tmp_path)
    tokenizer = load_piece_tokenizer(str(tmp_path))
    lines = (shared_data / "masakhaner1" / "yor" / "dev.txt").read_text(encoding="utf-8").split("\n")
    words = [line.split()[0] for line in lines if line.strip()]
    sentences = [words[start : start + 20] for start in range(0, len(words), 20)]

    trimmed = trim_vocabulary(tokenizer, sentences)

    assert len(trimmed.tokenizer) < 25_000 < 100_000 < len(tokenizer)
    assert all(pieces(trimmed.tokenizer, sentence) == pieces(tokenizer, sentence) for sentence in sentences[:50])
