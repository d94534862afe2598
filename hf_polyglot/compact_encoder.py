"""
An encoder in a fraction of its size, to travel inside this package: 8 bits a weight of a matrix, 4 of the embeddings
of pieces if wanted, 16 for the rest.

A packed folder holds config.json, the tokenizer's files, tokenizer.json compressed, and weights.safetensors. That is
not the file that `from_pretrained` looks for, since it must be unpacked first; what is unpacked is an ordinary folder.
"""

import lzma
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModel

from hf_polyglot.models.piece_encoder import without_pooler

# The encoder that comes with this package, packed, and what cards call it.
BUILT_IN_ENCODER = Path(__file__).parent / "encoder"
BUILT_IN_NAME = "the encoder of hf_polyglot"

PACKED_WEIGHTS = "weights.safetensors"
PACKED_TOKENIZER = "tokenizer.json.xz"
TOKENIZER_FILES = ("tokenizer_config.json", "special_tokens_map.json")
_SCALE = ":scale"
_LARGEST = 127  # of a signed byte, so that 0 stays 0 and both signs reach as far
_BLOCK = 32  # neighbouring weights of a row with one scale, where a weight has 4 bits


def pack_encoder(folder: str | Path, output: str | Path, embedding_bits: int = 8) -> None:
    """
    Write an encoder with 8 bits a weight: each row of a matrix is a scale of 16 bits and whole numbers up to 127.

    Args:
        folder (`str` or `Path`):
            Of an encoder, as `save_pretrained` has left it, with its tokenizer.
        output (`str` or `Path`):
            Folder to write.
        embedding_bits (`int`, *optional*, defaults to 8):
            Bits of a weight in the embeddings of pieces, 8 or 4: then 32 weights have one scale, a sixteenth of minus
            twice the largest, and are whole numbers from -8 to 7. This is the form Q4_0 of llama.cpp; weights that
            were rounded so before do not change.

    Raises:
        ValueError: if the folder has no tokenizer, if a weight is not finite, or if embeddings are to have other bits,
            or 4 and cannot be divided into blocks of 32.
    """
    tokenizer_file = Path(folder, "tokenizer.json")
    if not tokenizer_file.is_file():
        raise ValueError(
            f"{folder} has no file tokenizer.json; expected the folder of an encoder with a fast tokenizer. Load both "
            "and save them in a folder first."
        )
    # What `save_pretrained` left without a pooler would get one, drawn at random.
    model = AutoModel.from_pretrained(folder, **without_pooler(AutoConfig.from_pretrained(folder)))
    of_pieces = model.get_input_embeddings().weight
    if embedding_bits not in (4, 8) or (embedding_bits == 4 and of_pieces.shape[1] % _BLOCK):
        raise ValueError(
            f"`embedding_bits` is {embedding_bits} and embeddings are {of_pieces.shape[1]} wide; expected 8, or 4 and "
            f"a multiple of {_BLOCK}. Leave it out."
        )
    packed: dict[str, Tensor] = {}
    for name, weight in model.state_dict(keep_vars=True).items():
        is_small = weight is of_pieces and embedding_bits == 4
        weight = weight.detach()
        if not weight.isfinite().all():
            raise ValueError(
                f"The weight {name} of {folder} holds a number that is not finite; expected numbers. Train it anew."
            )
        if weight.dim() == 2:
            packed[name], packed[name + _SCALE] = _in_4_bits(weight) if is_small else _in_8_bits(weight)
        else:
            packed[name] = weight.half() if weight.is_floating_point() else weight
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    save_file(packed, output / PACKED_WEIGHTS)
    model.config.to_json_file(output / "config.json")
    (output / PACKED_TOKENIZER).write_bytes(lzma.compress(tokenizer_file.read_bytes(), preset=9))
    _copy_tokenizer_files(folder, output)


def unpack_encoder(packed: str | Path, output: str | Path) -> None:
    """
    Write a packed encoder as an ordinary folder with 32 bits a weight, which `AutoModel.from_pretrained` loads.

    Args:
        packed (`str` or `Path`):
            What [`pack_encoder`] wrote.
        output (`str` or `Path`):
            Folder to write.

    Raises:
        ValueError: if the folder holds no packed encoder.
    """
    weights_file = Path(packed, PACKED_WEIGHTS)
    if not weights_file.is_file():
        raise ValueError(
            f"{packed} has no file {PACKED_WEIGHTS}; expected a packed encoder. Make one with pack_encoder.py."
        )
    weights = load_file(weights_file)
    state = {name: _unpacked(weight, weights.get(name + _SCALE)) for name, weight in weights.items()
             if not name.endswith(_SCALE)}  # fmt: skip
    config = AutoConfig.from_pretrained(packed)
    model = AutoModel.from_config(config, dtype=torch.float32, **without_pooler(config))
    model.load_state_dict(state)
    model.save_pretrained(output)
    Path(output, "tokenizer.json").write_bytes(lzma.decompress(Path(packed, PACKED_TOKENIZER).read_bytes()))
    _copy_tokenizer_files(packed, output)


def _copy_tokenizer_files(source: str | Path, target: str | Path) -> None:
    for name in TOKENIZER_FILES:
        if (file := Path(source, name)).is_file():
            shutil.copyfile(file, Path(target, name))


def _in_8_bits(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers as int8, and the scale of each row."""
    scales = (weight.abs().amax(1) / _LARGEST).half().clamp(min=torch.finfo(torch.float16).tiny)
    return (weight / scales.float()[:, None]).round().clamp(-_LARGEST, _LARGEST).to(torch.int8), scales


def _in_4_bits(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers plus 8, two in a byte, `(rows, columns / 2)`, and the scale of each block, `(rows, blocks)`."""
    blocks = weight.float().view(len(weight), -1, _BLOCK)
    largest = blocks.gather(2, blocks.abs().argmax(2, keepdim=True)).squeeze(2)
    scales = (largest / -8).half()
    divisors = scales.float()[:, :, None]
    codes = torch.where(divisors == 0, 8, blocks / divisors + 8).round().clamp(0, 15).to(torch.uint8)
    codes = codes.view(len(weight), -1)
    return codes[:, ::2] | codes[:, 1::2] << 4, scales


def _unpacked(weight: Tensor, scales: Tensor | None) -> Tensor:
    if scales is None:
        return weight.float() if weight.is_floating_point() else weight
    if weight.dtype == torch.int8:
        return weight.float() * scales.float()[:, None]
    codes = torch.stack([weight & 15, weight >> 4], 2).float() - 8  # (rows, columns / 2, 2)
    return (codes.view(*scales.shape, _BLOCK) * scales.float()[:, :, None]).view(len(weight), -1)
