"""Batches that the collators make."""

import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoTokenizer, GPT2Tokenizer, PreTrainedTokenizerFast, RobertaTokenizer

from hf_polyglot import SpellingTokenizer
from hf_polyglot.data.collators import PieceCollator, SentenceSpellingCollator, SpellingCollator, collator_for
from hf_polyglot.models.input_rows import piece_rows
from hf_polyglot.models.word_pieces import encode_pieces, load_piece_tokenizer
from tests.models.tiny_models import (
    EXAMPLES,
    character_pieces,
    tiny_byte_crf,
    tiny_charner,
    tiny_meta_lstm,
    tiny_slicer,
)


def pieces_of_the_docstring():
    """A tokenizer with the ids that the docstring of PieceCollator names."""
    vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "##": 4, "no": 5, "a": 6, "##men": 7}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>")


def test_the_piece_collator_makes_the_batch_of_its_docstring():
    collate = PieceCollator(pieces_of_the_docstring(), 512)

    batch = collate([{"tokens": ["no", "amen"], "ner_tags": [0, 3]}, {"tokens": ["a"], "ner_tags": [1]}])

    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        "labels": [[0, 3], [1, -100]],
        "input_ids": [[1, 5, 6, 7, 2], [1, 6, 2, 0, 0]],
        "attention_mask": [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]],
        "word_positions": [[1, 2], [6, -1]],
    }


def test_the_sentence_collator_makes_the_batch_of_its_docstring():
    collate = SentenceSpellingCollator(SpellingTokenizer.of_bytes())

    batch = collate([{"tokens": ["no", "a"], "ner_tags": [0, 1]}, {"tokens": ["a"], "ner_tags": [2]}])

    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        "labels": [[0, 1], [2, -100]],
        "input_ids": [[112, 113, 34, 99], [99, 0, 0, 0]],
        "unit_words": [[0, 0, -2, 1], [0, -1, -1, -1]],
    }


def test_the_sentence_collator_cuts_long_words():
    tokenizer = SpellingTokenizer.of_bytes()

    batch = SentenceSpellingCollator(tokenizer, max_units_per_word=3)([{"tokens": ["abcdef", "ab"]}])

    assert tokenizer.decode(batch["input_ids"][0]) == "abf ab"
    assert batch["unit_words"].tolist() == [[0, 0, 0, -2, 1, 1]]


def test_a_word_that_the_tokenizer_maps_to_nothing_gets_the_unknown_piece():
    tokenizer = character_pieces()
    batch = encode_pieces(tokenizer, [[" ", "Amina", "\u3000", " "]], 60)

    assert tokenizer.convert_ids_to_tokens(batch["input_ids"].flatten()[batch["word_positions"][0]].tolist()) == [
        "<unk>", "A", "<unk>", "<unk>",
    ]  # fmt: skip


@given(
    sentences=st.lists(st.lists(st.text("Amino", min_size=1, max_size=7), max_size=30), min_size=1, max_size=4),
    max_pieces=st.integers(4, 40),
)
@settings(max_examples=100, deadline=None)
def test_every_word_stands_at_its_first_piece_in_windows_of_any_size(sentences, max_pieces):
    tokenizer = character_pieces()

    batch = encode_pieces(tokenizer, sentences, max_pieces)

    assert batch["input_ids"].shape[1] <= max_pieces
    assert (batch["input_ids"][:, 0] == tokenizer.bos_token_id).all()
    flat = batch["input_ids"].flatten()
    for words, positions in zip(sentences, batch["word_positions"].tolist(), strict=True):
        real = [position for position in positions if position >= 0]
        assert len(real) == len(words)
        assert tokenizer.convert_ids_to_tokens(flat[real].tolist()) == [word[0] for word in words]


def test_words_of_a_long_sentence_count_where_they_are_far_from_a_cut():
    tokenizer = character_pieces()
    words = ["A"] * 100

    batch = encode_pieces(tokenizer, [words], 22)

    columns = batch["word_positions"][0] % 22
    rows = batch["word_positions"][0] // 22
    inner = (rows > 0) & (rows < rows.max())
    # Windows of 20 words overlap by 10, so no word of an inner one need be nearer than 4 to a cut.
    assert columns[inner].min() >= 1 + 4
    assert columns[inner].max() <= 20 - 4


def test_byte_level_encoders_get_a_space_before_each_word(tmp_path):
    vocabulary = {symbol: index for index, symbol in enumerate(["<unk>", "Ġ", "a", "b", "Ġa"])}
    backend = Tokenizer(models.BPE(vocabulary, merges=[("Ġ", "a")], unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", pad_token="<unk>").save_pretrained(tmp_path)

    load_piece_tokenizer(str(tmp_path)).save_pretrained(tmp_path / "saved")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "saved")

    batch = encode_pieces(tokenizer, [["a", "a"]], 10)
    assert tokenizer.convert_ids_to_tokens(batch["input_ids"][0].tolist()) == ["Ġa", "Ġa"]


@pytest.mark.parametrize("tokenizer_class", [RobertaTokenizer, GPT2Tokenizer])
def test_a_tokenizer_that_is_made_anew_when_it_loads_keeps_that_space(tokenizer_class, tmp_path):
    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "<|endoftext|>", "Ġ", "a", "b", "Ġa"]
    ids = {piece: index for index, piece in enumerate(vocabulary)}
    tokenizer_class(vocab=ids, merges=[("Ġ", "a")], pad_token="<pad>").save_pretrained(tmp_path)
    assert not AutoTokenizer.from_pretrained(tmp_path).add_prefix_space

    load_piece_tokenizer(str(tmp_path)).save_pretrained(tmp_path / "saved")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "saved")

    batch = encode_pieces(tokenizer, [["a", "a"]], 10)
    assert tokenizer.convert_ids_to_tokens(batch["input_ids"][0].tolist()).count("Ġa") == 2


@given(st.integers(2, 9), st.integers(1, 60))
def test_each_word_is_read_in_the_window_that_has_most_on_its_nearer_side(room, length):
    rows, _, positions = piece_rows(
        [list(range(length))], [list(range(length))], [length], max_pieces=room, before=[], after=[], padding=-1,
        unknown=-2,
    )  # fmt: skip
    width = len(rows[0])

    def nearer_side(row, piece):
        read = [given for given in row if given >= 0]
        ahead, behind = read.index(piece), len(read) - 1 - read.index(piece)
        return min(ahead if read[0] > 0 else length, behind if read[-1] < length - 1 else length)

    for piece, position in enumerate(positions[0]):
        chosen = rows[position // width]
        assert chosen[position % width] == piece
        assert nearer_side(chosen, piece) == max(nearer_side(row, piece) for row in rows if piece in row)


def test_each_model_gets_its_collator():
    assert type(collator_for(*tiny_byte_crf())) is SpellingCollator
    assert type(collator_for(*tiny_charner())) is SentenceSpellingCollator
    assert type(collator_for(*tiny_meta_lstm())) is SentenceSpellingCollator
    assert type(collator_for(*tiny_slicer())) is PieceCollator


def test_the_tokenizer_of_another_model_is_refused():
    model, _ = tiny_slicer()
    with pytest.raises(ValueError, match="SlicerForTokenClassification does not read what SpellingTokenizer makes"):
        collator_for(model, SpellingTokenizer.of_bytes())


@pytest.mark.parametrize(
    "examples",
    [
        [{"tokens": ["a", "b"], "ner_tags": [0]}],
        [{"tokens": ["a"], "ner_tags": [0]}, {"tokens": ["b"]}],
    ],
)
def test_a_word_without_its_label_is_refused(examples):
    with pytest.raises(ValueError, match="Every word needs one label"):
        SpellingCollator(SpellingTokenizer.of_bytes())(examples)


def test_other_label_columns_can_be_read():
    collate = SpellingCollator(SpellingTokenizer.of_bytes(), label_column="upos")

    assert torch.equal(collate([{"tokens": ["a"], "upos": [3]}])["labels"], torch.tensor([[3]]))


def test_an_encoder_without_room_for_words_is_refused():
    with pytest.raises(ValueError, match="`max_pieces` is 3, of which 2 are special"):
        encode_pieces(character_pieces(), [["a"]], 3)


def test_the_length_of_a_sentence_is_what_its_row_has():
    model, tokenizer = tiny_slicer()
    sentences = [example["tokens"] for example in EXAMPLES] * 60

    lengths = collator_for(model, tokenizer).lengths(pa.array(sentences))

    rows = collator_for(model, tokenizer)([{"tokens": words} for words in sentences])["attention_mask"].sum(1)
    assert lengths.tolist() == (rows - 2).tolist()
    words = pa.array([["x"], ["a", "bc"], [], ["д"]])[1:]  # a part, as data sets give
    assert collator_for(*tiny_byte_crf()).lengths(words).tolist() == [2, 0, 1]
    assert SentenceSpellingCollator(SpellingTokenizer.of_bytes()).lengths(words).tolist() == [5, 0, 3]


def test_the_label_of_padding_on_a_word_is_refused():
    with pytest.raises(ValueError, match="has the label -100 on a word of 'a b'"):
        collator_for(*tiny_byte_crf())([{"tokens": ["a", "b"], "ner_tags": [0, -100]}])
