"""The encoder that comes with the package: small enough to travel in it, and one that the recipes start from."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel

from hf_polyglot.compact_encoder import BUILT_IN_ENCODER, PACKED_WEIGHTS, unpack_encoder
from hf_polyglot.models.word_pieces import load_piece_tokenizer

ROOT = Path(__file__).parents[1]
# What may be redistributed under the terms of the teacher: CC BY-SA.
ALLOWED = ("wikiann/", "uner/", *(f"ud/{name}_" for name in ("af", "kk", "lt", "mr", "te", "ug", "vi", "wo")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    unpack_encoder(BUILT_IN_ENCODER, folder)
    return folder


def test_it_has_room_in_the_package():
    sizes = {path.name: path.stat().st_size for path in BUILT_IN_ENCODER.iterdir()}

    assert {"config.json", "README.md", "LICENSE", "distillation_results.json"} <= sizes.keys()
    assert sum(sizes.values()) <= 12e6
    weights = load_file(BUILT_IN_ENCODER / PACKED_WEIGHTS)
    assert max(weight.element_size() for weight in weights.values()) <= 2


def test_it_learned_from_text_that_may_be_used():
    results = json.loads((BUILT_IN_ENCODER / "distillation_results.json").read_text())
    (preset,) = [Path(word) for word in results["command"].split() if word.endswith(".args")]

    words = (ROOT / preset).read_text().split()
    sources = dict(word.split("=../shared/data/") for word in words if "=../shared" in word)

    assert set(sources) == set(results["sentences"])
    assert not [source for source in sources.values() if not source.startswith(ALLOWED)]


def test_it_reads_all_alphabets(folder):
    tokenizer = load_piece_tokenizer(str(folder))
    model = AutoModel.from_pretrained(folder).eval()
    words = [
        "Amina",
        "alifika",
        "ọmọdé",
        "Привет",
        "κόσμε",
        "नमस्ते",
        "مرحبا",
        "שלום",
        "ሰላም",
        "გამარჯობა",
        "บ้าน",
        "தமிழ்",
        "中国",
        "?!",
    ]

    encoded = tokenizer([words], is_split_into_words=True, return_tensors="pt")
    with torch.no_grad():
        vectors = model(**encoded).last_hidden_state

    assert tokenizer.unk_token_id not in encoded["input_ids"]
    assert vectors.shape == (1, encoded["input_ids"].shape[1], 384)
    assert vectors.isfinite().all()
    assert model.config.num_hidden_layers == 3
