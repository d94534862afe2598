"""
Write an encoder in a quarter of its size or less, or a packed one as an ordinary folder again.

    python recipes/pack_encoder.py --encoder runs/mini --output_dir packed --embedding_bits 4
    python recipes/pack_encoder.py --packed packed --output_dir runs/mini-again

The encoder that comes with this package was packed so: 8 bits for each weight of a matrix, 4 for the embeddings of
pieces, 16 for the rest.
"""

from dataclasses import dataclass, field
from pathlib import Path

from hf_polyglot.compact_encoder import pack_encoder, unpack_encoder
from hf_polyglot.training.command_line import parse_recipe


@dataclass
class PackArguments:
    """What is packed or unpacked, and where to."""

    output_dir: str = field(metadata={"help": "Folder to write."})
    encoder: str | None = field(default=None, metadata={"help": "Folder of an encoder to pack."})
    embedding_bits: int = field(
        default=8, metadata={"help": "Bits of each weight in the embeddings of pieces.", "choices": [4, 8]}
    )
    packed: str | None = field(default=None, metadata={"help": "Folder of a packed encoder to unpack."})


def main(arguments: PackArguments) -> None:
    if (arguments.encoder is None) == (arguments.packed is None):
        raise ValueError(
            f"`encoder` is {arguments.encoder!r} and `packed` {arguments.packed!r}; expected one of them. Name the "
            "folder to pack with --encoder, or the one to unpack with --packed."
        )
    if arguments.encoder is not None:
        pack_encoder(arguments.encoder, arguments.output_dir, arguments.embedding_bits)
    else:
        unpack_encoder(arguments.packed, arguments.output_dir)
    files = sorted(file for file in Path(arguments.output_dir).iterdir() if file.is_file())
    print("\n".join(f"{file}: {file.stat().st_size / 1e6:.2f} MB" for file in files))


if __name__ == "__main__":
    main(*parse_recipe(PackArguments))
