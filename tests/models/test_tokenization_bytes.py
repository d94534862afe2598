"""Bytes and characters of words: round trips, offsets, and what is refused."""

import copy
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from hf_polyglot import SpellingTokenizer
from hf_polyglot.models import tokenization_bytes

# A character of every Unicode plane that has any, a combining mark, right-to-left letters, joined emoji, a zero
# width joiner.
ODD_TEXTS = [
    "Ọmọ̀wé",
    "አዲስ አበባ",
    "الدار البيضاء",
    "שָׁלוֹם",
    "दिल्ली",
    "日本語",
    "𐍈𝒳",  # plane 1
    "👩\u200d👩\u200d👧🏽",
    "𠀀𪚥",  # plane 2
    "\U00030000",  # plane 3
    "\U000e0041",  # plane 14
    "\U000f0000\U0010fffd",  # planes 15 and 16, private use
    "a\u00a0b\u200b\tc\n\r\x00d",
    "<pad><unk> </s>",
]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@pytest.fixture(scope="module")
def bytes_tokenizer():
    return SpellingTokenizer.of_bytes()


@given(text=st.one_of(TEXTS, st.sampled_from(ODD_TEXTS)))
@settings(max_examples=200, deadline=None)
def test_tokens_are_the_utf8_bytes_of_the_text(bytes_tokenizer, text):
    assert bytes_tokenizer(text)["input_ids"] == [byte + 2 for byte in text.encode()]
    assert bytes_tokenizer.decode(bytes_tokenizer(text)["input_ids"]) == text


@given(text=st.one_of(TEXTS, st.sampled_from(ODD_TEXTS)))
@settings(max_examples=200, deadline=None)
def test_offsets_of_bytes_are_those_of_their_character(bytes_tokenizer, text):
    offsets = bytes_tokenizer(text, return_offsets_mapping=True)["offset_mapping"]

    assert offsets == [(at, at + 1) for at, character in enumerate(text) for _ in character.encode()]


@given(text=st.one_of(TEXTS, st.sampled_from(ODD_TEXTS)))
@settings(max_examples=200, deadline=None)
def test_tokens_are_the_characters_of_the_text(text):
    tokenizer = SpellingTokenizer.of_characters([text])

    encoded = tokenizer(text, return_offsets_mapping=True)

    assert len(tokenizer) == len(set(text)) + 2
    assert encoded["offset_mapping"] == [(at, at + 1) for at in range(len(text))]
    assert tokenizer.decode(encoded["input_ids"]) == text


def test_characters_that_were_not_seen_often_are_unknown():
    tokenizer = SpellingTokenizer.of_characters(["aab"], min_count=2)

    assert tokenizer("abz")["input_ids"] == [2, tokenizer.unk_token_id, tokenizer.unk_token_id]


@given(words=st.lists(TEXTS.filter(bool), min_size=1, max_size=6))
@settings(max_examples=100, deadline=None)
def test_words_keep_their_bytes(bytes_tokenizer, words):
    encoded = bytes_tokenizer(words, is_split_into_words=True)

    assert [
        bytes_tokenizer.decode([
            unit for unit, word in zip(encoded["input_ids"], encoded.word_ids(), strict=True) if word == n
        ])
        for n in range(len(words))
    ] == words


@given(sentences=st.lists(st.lists(TEXTS.filter(bool), max_size=5), min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_every_word_of_a_batch_finds_its_spelling(bytes_tokenizer, sentences):
    batch = bytes_tokenizer.encode_words(sentences)

    rows = [bytes_tokenizer.decode([unit for unit in row if unit != 0]) for row in batch["input_ids"].tolist()]
    for words, indices in zip(sentences, batch["word_indices"].tolist(), strict=True):
        assert [rows[index] for index in indices if index >= 0] == words
        assert indices[len(words) :] == [-1] * (len(indices) - len(words))
    if any(sentences):
        assert len(rows) == len({word for words in sentences for word in words})


@given(sentences=st.lists(st.lists(TEXTS.filter(bool), max_size=5), min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_every_unit_of_a_sentence_knows_its_word(bytes_tokenizer, sentences):
    batch = bytes_tokenizer.encode_sentences(sentences)

    for words, units, owners in zip(sentences, batch["input_ids"], batch["unit_words"], strict=True):
        assert bytes_tokenizer.decode(units[owners != -1]) == " ".join(words)
        assert [bytes_tokenizer.decode(units[owners == word]) for word in range(len(words))] == words
        assert (units[owners == -1] == 0).all()
        assert bytes_tokenizer.decode(units[owners == -2]) == " " * (len(words) - 1)


def test_a_vocabulary_without_the_space_is_refused_for_sentences():
    with pytest.raises(ValueError, match=r"The space between words is not in the vocabulary .* Make it of sentences"):
        SpellingTokenizer.of_characters(["ab"]).encode_sentences([["a", "b"]])


def test_distinct_words_come_longest_first(bytes_tokenizer):
    batch = bytes_tokenizer.encode_words([["a", "abc", "ab"]])

    assert batch["word_indices"].tolist() == [[2, 0, 1]]


def test_long_words_keep_their_beginning_and_end(bytes_tokenizer):
    batch = bytes_tokenizer.encode_words([["abcdefgh"]], max_units_per_word=5)

    assert bytes_tokenizer.decode(batch["input_ids"][0]) == "abcgh"


def batches_as_lists(tokenizer, sentences, limit=None):
    return [
        {name: rows.tolist() for name, rows in tokenizer.encode_words(words, limit).items()} for words in sentences
    ]


def test_words_that_were_spelled_before_are_spelled_the_same():
    sentences = [[["abcdefg", "b"], ["b"]], [["b", "abcdefg", "cd"]], [["abcdefg"]]]
    fresh = [batches_as_lists(SpellingTokenizer.of_bytes(), [one], limit) for limit in (4, None) for one in sentences]
    tokenizer = SpellingTokenizer.of_bytes()

    again = [batches_as_lists(tokenizer, [one], limit) for limit in (4, None) for one in sentences]

    assert again == fresh


def test_a_tokenizer_keeps_the_units_of_a_bounded_number_of_words(monkeypatch):
    monkeypatch.setattr(tokenization_bytes, "MOST_WORDS_KEPT", 3)
    tokenizer, kept = SpellingTokenizer.of_bytes(), []
    batches = [["a", "b"], ["c"], ["a", "d"], ["a", "d", "e", "f", "g"]]

    for words in batches:
        assert tokenizer.encode_words([words])["input_ids"].flatten().tolist() == [2 + ord(word) for word in words]
        kept.append(set(tokenizer._kept))

    assert kept == [{"a", "b"}, {"a", "b", "c"}, {"d"}, {"a", "e", "f", "g"}]


def test_tokens_that_are_added_are_found_in_words_that_were_spelled_before():
    tokenizer = SpellingTokenizer.of_bytes()
    tokenizer.encode_words([["abc"]])

    tokenizer.add_tokens("bc")

    assert tokenizer.encode_words([["abc"]])["input_ids"].tolist() == [tokenizer("abc")["input_ids"]]


def test_a_copy_knows_nothing_of_the_words_that_were_spelled():
    tokenizer = SpellingTokenizer.of_bytes()
    tokenizer.encode_words([["a"]])
    before = pickle.dumps(tokenizer)

    tokenizer.encode_words([["abc", "de"]])

    assert len(pickle.dumps(tokenizer)) == len(before)
    assert copy.deepcopy(tokenizer).encode_words([["abc"]])["input_ids"].shape == (1, 3)


@pytest.mark.parametrize("given", ["a\ud800", ["good", "\udfffbad"], [["good"], ["\ud800"]]])
def test_lone_surrogates_are_refused(bytes_tokenizer, given):
    with pytest.raises(ValueError, match=r"lone surrogate U\+D(800|FFF)"):
        bytes_tokenizer(given, is_split_into_words=not isinstance(given, str))


def test_lone_surrogates_in_words_are_refused(bytes_tokenizer):
    with pytest.raises(ValueError, match=r"Character 1 of 'a\\ud800' is the lone surrogate"):
        bytes_tokenizer.encode_words([["fine", "a\ud800"]])


def test_empty_words_are_refused(bytes_tokenizer):
    with pytest.raises(ValueError, match="empty string"):
        bytes_tokenizer.encode_words([["a", ""]])


@pytest.mark.parametrize("tokenizer", [SpellingTokenizer.of_bytes(), SpellingTokenizer.of_characters(["abc"])])
def test_a_saved_tokenizer_comes_back_the_same(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)

    loaded = AutoTokenizer.from_pretrained(tmp_path)

    assert type(loaded) is SpellingTokenizer
    assert loaded("abc <pad>")["input_ids"] == tokenizer("abc <pad>")["input_ids"]


def test_long_texts_can_be_read_in_windows(bytes_tokenizer):
    windows = bytes_tokenizer("abcdef", max_length=4, stride=2, truncation=True, return_overflowing_tokens=True)

    assert [bytes_tokenizer.decode(window) for window in windows["input_ids"]] == ["abcd", "cdef"]
