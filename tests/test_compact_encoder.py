import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

from hf_polyglot.compact_encoder import PACKED_WEIGHTS, pack_encoder, unpack_encoder
from tests.models.tiny_models import saved_encoder


@pytest.fixture
def folders(tmp_path):
    encoder = tmp_path / "encoder"
    saved_encoder(encoder)
    pack_encoder(encoder, tmp_path / "packed")
    unpack_encoder(tmp_path / "packed", tmp_path / "unpacked")
    return encoder, tmp_path / "packed", tmp_path / "unpacked"


def test_every_weight_comes_back_within_half_a_step_of_its_row(folders):
    encoder, unpacked = (
        AutoModel.from_pretrained(folder, add_pooling_layer=False).state_dict() for folder in folders[::2]
    )

    assert encoder.keys() == unpacked.keys()
    for name, weight in encoder.items():
        largest = weight.abs().amax(-1, keepdim=True) if weight.dim() == 2 else weight.abs()
        # Half a step of 127, and what 16 bits make of the scale (or of the number itself).
        assert ((weight - unpacked[name]).abs() <= largest * (0.5 / 127 + 2**-10) + 1e-7).all(), name


def test_matrices_take_a_byte_a_weight(folders):
    packed = load_file(folders[1] / PACKED_WEIGHTS)

    assert {weight.dtype for name, weight in packed.items() if name + ":scale" in packed} == {torch.int8}
    assert sum(weight.nbytes for weight in packed.values()) < 0.4 * (folders[0] / "model.safetensors").stat().st_size


def test_an_unpacked_folder_is_an_ordinary_one(folders):
    encoder, packed, unpacked = folders
    text = "Amina Bako alifika Dar es Salaam."

    assert AutoTokenizer.from_pretrained(unpacked)(text) == AutoTokenizer.from_pretrained(encoder)(text)
    assert (unpacked / "model.safetensors").is_file()
    assert not (packed / "model.safetensors").exists()
    sizes = [json.loads((folder / "config.json").read_text())["hidden_size"] for folder in folders]
    assert len(set(sizes)) == 1


def test_packing_what_was_unpacked_gives_the_same_file(folders, tmp_path):
    pack_encoder(folders[2], tmp_path / "again")

    first, again = (load_file(folder / PACKED_WEIGHTS) for folder in (folders[1], tmp_path / "again"))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_an_encoder_of_16_bits_is_unpacked_to_32(folders, tmp_path):
    AutoModel.from_pretrained(folders[0]).half().save_pretrained(folders[0])
    pack_encoder(folders[0], tmp_path / "half")
    unpack_encoder(tmp_path / "half", tmp_path / "half-unpacked")

    assert {weight.dtype for weight in load_file(tmp_path / "half-unpacked/model.safetensors").values()} == {
        torch.float32
    }


def test_embeddings_of_4_bits_come_back_within_a_step_of_their_block(folders, tmp_path):
    pack_encoder(folders[0], tmp_path / "small", embedding_bits=4)
    unpack_encoder(tmp_path / "small", tmp_path / "small-unpacked")
    pack_encoder(tmp_path / "small-unpacked", tmp_path / "again", embedding_bits=4)

    before, after = (AutoModel.from_pretrained(folder) for folder in (folders[0], tmp_path / "small-unpacked"))
    weight, found = (model.get_input_embeddings().weight.detach().view(-1, 32) for model in (before, after))
    largest, places = weight.abs().max(1)
    # Half a step of an eighth of the largest; a whole one where the largest is met by its opposite.
    assert ((weight - found).abs() <= largest[:, None] / 8 * 1.01).all()
    assert ((weight - found).abs().mean(1) <= largest / 8 * 0.4).all()
    rows = torch.arange(len(weight))
    torch.testing.assert_close(found[rows, places], weight[rows, places], rtol=1e-3, atol=0)
    first, again = (load_file(tmp_path / name / PACKED_WEIGHTS) for name in ("small", "again"))
    of_pieces = "embeddings.word_embeddings.weight"
    assert all(torch.equal(first[name], again[name]) for name in (of_pieces, of_pieces + ":scale"))
    assert first[of_pieces].shape == (len(before.get_input_embeddings().weight), 16)
    with pytest.raises(ValueError, match=r"`embedding_bits` is 5 and embeddings are 32 wide; expected 8, or 4 and a"):
        pack_encoder(folders[0], tmp_path / "other", embedding_bits=5)


@pytest.mark.parametrize("embedding_bits", [4, 8])
def test_rows_of_zeros_stay_zero(embedding_bits, folders, tmp_path):
    model = AutoModel.from_pretrained(folders[0])
    model.get_input_embeddings().weight.data[1] = 0
    model.save_pretrained(folders[0])
    pack_encoder(folders[0], tmp_path / "zero", embedding_bits)
    unpack_encoder(tmp_path / "zero", tmp_path / "zero-unpacked")

    assert not AutoModel.from_pretrained(tmp_path / "zero-unpacked").get_input_embeddings().weight[1].any()


def test_weights_that_are_not_finite_are_refused(folders, tmp_path):
    model = AutoModel.from_pretrained(folders[0])
    model.get_input_embeddings().weight.data[1, 0] = float("nan")
    model.save_pretrained(folders[0])

    with pytest.raises(ValueError, match=r"The weight embeddings.word_embeddings.weight of .+ is not finite"):
        pack_encoder(folders[0], tmp_path / "packed-nan")


def test_a_pooler_is_not_drawn_to_be_packed(folders, tmp_path):
    AutoModel.from_pretrained(folders[0], add_pooling_layer=False).save_pretrained(folders[0])
    for name in "ab":
        pack_encoder(folders[0], tmp_path / name)

    first, second = ((tmp_path / name / PACKED_WEIGHTS).read_bytes() for name in "ab")
    assert first == second
    assert b"pooler" not in first


def test_an_encoder_without_a_tokenizer_is_refused(folders, tmp_path):
    (folders[0] / "tokenizer.json").unlink()

    with pytest.raises(ValueError, match=r"has no file tokenizer.json; expected the folder of an encoder with a fast"):
        pack_encoder(folders[0], tmp_path / "packed-alone")


def test_a_folder_that_is_not_packed_is_refused(folders, tmp_path):
    with pytest.raises(ValueError, match=r"has no file weights.safetensors; expected a packed encoder. Make one with"):
        unpack_encoder(folders[0], tmp_path / "nothing")
