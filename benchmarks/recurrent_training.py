"""
Time of a training step of CharNER and of Byte-to-Span, beside the same networks with packed LSTMs.

    python -m benchmarks.recurrent_training --corpora ../shared/data/masakhaner1/*

    pip install pytorch-crf

Contestants take turns, batch by batch; a step is a forward and a backward pass. Goal: twice the speed of packed LSTMs.
"""

import argparse
import platform
from collections.abc import Callable
from statistics import median
from time import perf_counter, process_time

import torch
from datasets import Dataset

from benchmarks.byte_crf import drawn_batches, load
from benchmarks.peers import PackedByteToSpan, PackedCharNER
from hf_polyglot import (
    ByteToSpanConfig,
    ByteToSpanForConditionalGeneration,
    CharNERConfig,
    CharNERForTokenClassification,
    SpellingTokenizer,
)
from hf_polyglot.data.byte_segments import SentenceSegments
from hf_polyglot.data.collators import collator_for
from hf_polyglot.data.demo import DEMO_FOLDER

CHARNER_SIZES = {
    "paper": {"embedding_size": 128, "hidden_size": 128, "num_hidden_layers": 5},
    "small": {"embedding_size": 64, "hidden_size": 64, "num_hidden_layers": 3},
}
BYTE_TO_SPAN_SIZES = {
    "paper": {"embedding_size": 320, "hidden_size": 320, "num_hidden_layers": 4, "segment_bytes": 60},
    "small": {
        "embedding_size": 32,
        "hidden_size": 128,
        "num_hidden_layers": 1,
        "segment_bytes": 30,
        "segment_overlap": 20,
    },
}

Clock = Callable[[], float]
Loss = Callable[[int], torch.Tensor]


def compare(title: str, clock: Clock, batches: int, losses: dict[str, Loss]) -> None:
    """Time forward and backward pass of both."""
    seconds: dict[str, list[float]] = {name: [] for name in losses}
    for loss in losses.values():
        loss(0).backward()
    for index in range(batches):
        for name, loss in losses.items():
            started = clock()
            loss(index).backward()
            seconds[name].append(clock() - started)
    ours, packed = (median(times) for times in seconds.values())
    print(f"{title:22} {1000 * ours:8.1f} ms, packed {1000 * packed:8.1f} ms, {packed / ours:.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", nargs="+", default=[str(DEMO_FOLDER / "swa"), str(DEMO_FOLDER / "spa")])
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    arguments = parser.parse_args()
    clock = perf_counter if arguments.clock == "wall" else process_time
    setting = f"{torch.get_num_threads()} threads, {arguments.clock} time, Python {platform.python_version()}"
    print(f"{setting}, torch {torch.__version__}")
    torch.manual_seed(0)
    rows, tags = load(arguments.corpora, "train")
    labels = {"id2label": dict(enumerate(tags)), "label2id": {tag: index for index, tag in enumerate(tags)}}

    for size, settings in CHARNER_SIZES.items():
        model = CharNERForTokenClassification(CharNERConfig(**settings, **labels))
        collate = collator_for(model, SpellingTokenizer.of_bytes())
        batches = [collate(batch) for batch in drawn_batches(rows, 32, arguments.batches)]
        peer = PackedCharNER(model.config, model.classifier.out_features)
        # What the peer is to learn makes no difference to its speed.
        units = [batch["input_ids"] for batch in batches]
        types = [torch.zeros_like(of_batch).masked_fill(of_batch.eq(0), -100) for of_batch in units]
        compare(
            f"CharNER, {size}", clock, len(batches),
            {
                "hf_polyglot": lambda index, model=model, batches=batches: model(**batches[index]).loss,
                "packed": lambda index, peer=peer, units=units, types=types: peer.loss(units[index], types[index]),
            },
        )  # fmt: skip

    for size, settings in BYTE_TO_SPAN_SIZES.items():
        model = ByteToSpanForConditionalGeneration(ByteToSpanConfig(**settings, **labels))
        sentences, symbols = Dataset.from_list(rows[:400]), model.config.symbols
        documents = SentenceSegments(sentences, tags, symbols, scheme="IOB2", context="document")
        segments = documents.for_training(stride=8)
        collate = collator_for(model, SpellingTokenizer.of_bytes())
        order = torch.randperm(len(segments))[: 128 * arguments.batches].split(128)
        batches = [collate([segments[int(index)] for index in of_batch]) for of_batch in order]
        peer = PackedByteToSpan(model.config, len(symbols))
        pairs = [(batch["input_ids"], batch["labels"]) for batch in batches]
        compare(
            f"Byte-to-Span, {size}", clock, len(batches),
            {
                "hf_polyglot": lambda index, model=model, batches=batches: model(**batches[index]).loss,
                "packed": lambda index, peer=peer, pairs=pairs: peer.loss(*pairs[index]),
            },
        )  # fmt: skip


if __name__ == "__main__":
    main()
