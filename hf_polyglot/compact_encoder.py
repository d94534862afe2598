"""
An encoder in a quarter of its size, to travel inside this package: 8 bits a weight of a matrix, 16 for the rest.

A packed folder holds config.json, the tokenizer's files, and weights.safetensors. That is not the file that
`from_pretrained` looks for, since it must be unpacked first; what is unpacked is an ordinary folder.
"""

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModel

PACKED_WEIGHTS = "weights.safetensors"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_SCALE = ":scale"
_LARGEST = 127  # of a signed byte, so that 0 stays 0 and both signs reach as far


def pack_encoder(folder: str | Path, output: str | Path) -> None:
    """
    Write an encoder with 8 bits a weight: each row of a matrix is a scale of 16 bits and whole numbers up to 127.

    Args:
        folder (`str` or `Path`):
            Of an encoder, as `save_pretrained` has left it, with its tokenizer.
        output (`str` or `Path`):
            Folder to write.

    Raises:
        ValueError: if a weight is not finite.
    """
    model = AutoModel.from_pretrained(folder)
    packed: dict[str, Tensor] = {}
    for name, weight in model.state_dict().items():
        if not weight.isfinite().all():
            raise ValueError(
                f"The weight {name} of {folder} holds a number that is not finite; expected numbers. Train it anew."
            )
        if weight.dim() == 2:
            scales = (weight.abs().amax(1) / _LARGEST).half().clamp(min=torch.finfo(torch.float16).tiny)
            packed[name] = (weight / scales.float()[:, None]).round().clamp(-_LARGEST, _LARGEST).to(torch.int8)
            packed[name + _SCALE] = scales
        else:
            packed[name] = weight.half() if weight.is_floating_point() else weight
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    save_file(packed, output / PACKED_WEIGHTS)
    model.config.to_json_file(output / "config.json")
    for name in TOKENIZER_FILES:
        if (source := Path(folder, name)).is_file():
            shutil.copyfile(source, output / name)


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
    state = {name: _unpacked(name, weights) for name in weights if not name.endswith(_SCALE)}
    model = AutoModel.from_config(AutoConfig.from_pretrained(packed), dtype=torch.float32)
    model.load_state_dict(state)
    model.save_pretrained(output)
    for name in TOKENIZER_FILES:
        if (source := Path(packed, name)).is_file():
            shutil.copyfile(source, Path(output, name))


def _unpacked(name: str, weights: dict[str, Tensor]) -> Tensor:
    weight, scales = weights[name], weights.get(name + _SCALE)
    if scales is not None:
        return weight.float() * scales.float()[:, None]
    return weight.float() if weight.is_floating_point() else weight
