"""
Time of a SLICER training step over that of the encoder's stock token-classification class, in one process.

    python benchmarks/slicer_step.py

Needs no download: a randomly initialised encoder of 12 layers, 384 wide. The goal is a ratio of at most 1.03.
"""

import argparse
import platform
from statistics import median
from time import perf_counter

import torch
import transformers
from transformers import BertConfig, BertForTokenClassification

from hf_polyglot import SlicerConfig, SlicerForTokenClassification


def step_seconds(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> float:
    """Seconds of one forward and backward pass."""
    model.zero_grad()
    started = perf_counter()
    model(**batch).loss.backward()
    if batch["input_ids"].is_cuda:
        torch.cuda.synchronize()
    return perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--pieces", type=int, default=32)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    encoder = BertConfig(
        vocab_size=10_000,
        hidden_size=384,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=1536,
        num_labels=7,
    )
    labels = {"id2label": dict(enumerate("ABCDEFG")), "label2id": {name: n for n, name in enumerate("ABCDEFG")}}
    contestants = {"stock": BertForTokenClassification(encoder)} | {
        f"slices of {width}": SlicerForTokenClassification(
            SlicerConfig(encoder_config=encoder, slice_width=width, **labels)
        )
        for width in (8, 2, 1)
    }
    shape = (arguments.batch_size, arguments.pieces)
    batch = {
        "input_ids": torch.randint(5, 10_000, shape, device=arguments.device),
        "labels": torch.randint(7, shape, device=arguments.device),
    }
    # Every piece is a word here, so that SLICER takes the way that the trainer's batches take.
    word_positions = torch.arange(batch["input_ids"].numel(), device=arguments.device).view(shape)
    batches = {name: batch | ({} if name == "stock" else {"word_positions": word_positions}) for name in contestants}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for name, model in contestants.items():
        step_seconds(model.to(arguments.device).train(), batches[name])
    for _ in range(arguments.steps):
        for name, model in contestants.items():  # in turns, so that a slow moment of the machine hits all alike
            seconds[name].append(step_seconds(model, batches[name]))
    print(
        f"{shape[0]} x {shape[1]} pieces, {arguments.device}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, transformers {transformers.__version__}, Python {platform.python_version()}"
    )
    stock = median(seconds["stock"])
    for name, of_steps in seconds.items():
        print(f"{name:12} {1000 * median(of_steps):8.1f} ms   {median(of_steps) / stock:.3f} of stock")


if __name__ == "__main__":
    main()
