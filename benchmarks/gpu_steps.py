"""
Training steps of every model on a GPU: words a second in float32 and bfloat16, how much of the time kernels run, how
often the host waits for the device, and what collating takes.

    pip install pytorch-crf
    python -m benchmarks.gpu_steps --corpora ../shared/data/masakhaner1/* --output gpu_steps.json

`packed` is the byte-CRF with packed LSTMs and pytorch-crf, `flair` flair's BiLSTM-CRF with a character LSTM, left out
where it is not installed (see `benchmarks/byte_crf.py`). A step is forward and backward pass, clipping and AdamW, on
batches that lie on the device; the encoders have 12 layers of 768 and random weights. `kernels` is the time of the
kernels of a step, as torch's profiler has it, over that of a step without profiler. `input` is the time in which one
process draws and collates a batch, over that of a step. Goals: kernels at least 80 % at a batch of 64, no wait, input
below 5 %. `--device cpu` tries the script where there is no GPU.
"""

import argparse
import importlib.util
import json
import platform
import warnings
from collections.abc import Callable
from importlib.metadata import version
from itertools import cycle
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import torch
from datasets import Dataset
from torch.autograd import DeviceType
from transformers import BertConfig

from benchmarks.byte_crf import drawn_batches, load, tagger
from benchmarks.peers import PackedByteCRF, flair_tagger
from benchmarks.recurrent_training import BYTE_TO_SPAN_SIZES, CHARNER_SIZES
from hf_polyglot import (
    ByteToSpanConfig,
    ByteToSpanForConditionalGeneration,
    CharNERConfig,
    CharNERForTokenClassification,
    EncoderCRFConfig,
    EncoderCRFForTokenClassification,
    MetaLSTMConfig,
    MetaLSTMForTokenClassification,
    SlicerConfig,
    SlicerForTokenClassification,
    SpellingTokenizer,
    WordSpellingTokenizer,
)
from hf_polyglot.data.byte_segments import SentenceSegments
from hf_polyglot.data.collators import collator_for
from hf_polyglot.data.demo import DEMO_FOLDER

PIECES = 64


class Contestant(NamedTuple):
    """A model and what it learns from: the loss of each batch, its words, and seconds of collating one."""

    module: torch.nn.Module
    loss: Callable[[int], torch.Tensor]
    words: list[int]
    input_seconds: float | None = None


def contestants(rows: list[dict[str, Any]], tags: list[str], arguments) -> dict[str, Contestant]:
    """All of them, with their batches on the device."""
    device, batch_size = arguments.device, arguments.batch_size
    labels = {"id2label": dict(enumerate(tags)), "label2id": {tag: index for index, tag in enumerate(tags)}}
    started = perf_counter()
    drawn = drawn_batches(rows, batch_size, arguments.batches)
    drawing_seconds = (perf_counter() - started) / len(drawn)
    words = [sum(len(row["tokens"]) for row in batch) for batch in drawn]
    spelling = SpellingTokenizer.of_bytes()

    def on_device(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: values.to(device) for name, values in batch.items()}

    def collated(model: torch.nn.Module, tokenizer, examples: list, words: list[int]) -> Contestant:
        collate = collator_for(model, tokenizer)
        started = perf_counter()
        batches = [collate(batch) for batch in examples]
        seconds = (perf_counter() - started) / len(batches)
        batches = [on_device(batch) for batch in batches]
        model.to(device)
        return Contestant(model, lambda index: model(**batches[index]).loss, words, drawing_seconds + seconds)

    byte_crf = tagger("paper", tags)
    found = {"byte_crf": collated(byte_crf, spelling, drawn, words)}
    packed = PackedByteCRF(byte_crf.config).to(device)
    batches = [on_device(collator_for(byte_crf, spelling)(batch)) for batch in drawn]
    found["packed"] = Contestant(packed, lambda index: packed.loss(batches[index]), words)
    if importlib.util.find_spec("flair") is not None:
        # Its character LSTM has one layer, so the sizes are equal with one layer only.
        found["byte_crf, one layer"] = collated(tagger("one_layer", tags), spelling, drawn, words)
        together = [row for batch in drawn for row in batch]
        named = [[tags[label] for label in row["ner_tags"]] for row in together]
        peer, sentences = flair_tagger(byte_crf.config, [row["tokens"] for row in together], named)
        ends = [sum(map(len, drawn[: index + 1])) for index in range(len(drawn))]

        def flair_loss(index: int) -> torch.Tensor:
            own = sentences[ends[index] - len(drawn[index]) : ends[index]]
            for sentence in own:
                sentence.clear_embeddings()
            loss, count = peer.forward_loss(own)
            return loss / count

        found["flair"] = Contestant(peer.to(device), flair_loss, words)

    charner = CharNERForTokenClassification(CharNERConfig(**CHARNER_SIZES["paper"], **labels))
    found["charner"] = collated(charner, spelling, drawn, words)
    characters = SpellingTokenizer.of_characters(" ".join(row["tokens"]) for row in rows)
    vocabulary = sorted({word for row in rows for word in row["tokens"]})
    known = WordSpellingTokenizer.with_words(characters, vocabulary)
    sizes = {"num_words": len(vocabulary) + 1, "num_trained_words": len(vocabulary) + 1, "vocab_size": len(known)}
    meta_lstm = MetaLSTMForTokenClassification(MetaLSTMConfig(**sizes, **labels))
    found["meta_lstm"] = collated(meta_lstm, known, drawn, words)

    byte_to_span = ByteToSpanForConditionalGeneration(ByteToSpanConfig(**BYTE_TO_SPAN_SIZES["paper"], **labels))
    sentences = SentenceSegments(
        Dataset.from_list(rows[: 8 * batch_size]), tags, byte_to_span.config.symbols, scheme="IOB2", context="document"
    )
    segments = sentences.for_training(stride=8)
    order = torch.randperm(len(segments))[: batch_size * arguments.batches].split(batch_size)
    examples = [[segments[int(index)] for index in batch] for batch in order]
    # Segments overlap, so the words of a batch are told by its bytes.
    bytes_of_word = sum(len(" ".join(row["tokens"]).encode()) + 1 for row in rows) / sum(
        len(row["tokens"]) for row in rows
    )
    read = [int(sum(len(segment["input_ids"]) for segment in batch) / bytes_of_word) for batch in examples]
    found["byte_to_span"] = collated(byte_to_span, spelling, examples, read)

    encoder = BertConfig(vocab_size=30_000, num_labels=len(tags), attn_implementation="sdpa")
    shape = (batch_size, PIECES)
    pieces = {
        "input_ids": torch.randint(5, 30_000, shape, device=device),
        "attention_mask": torch.ones(shape, dtype=torch.long, device=device),
        "word_positions": torch.arange(batch_size * PIECES, device=device).view(shape),
        "labels": torch.randint(len(tags), shape, device=device),
    }
    for name, model in {
        "encoder_crf": EncoderCRFForTokenClassification(EncoderCRFConfig(encoder_config=encoder, **labels)),
        "slicer": SlicerForTokenClassification(SlicerConfig(encoder_config=encoder, slice_width=8, **labels)),
    }.items():
        model.to(device)
        found[name] = Contestant(
            model, lambda _, model=model: model(**pieces).loss, [batch_size * PIECES] * arguments.batches
        )
    return found


def measure(contestant: Contestant, arguments, is_bfloat16: bool) -> dict[str, float]:
    """Figures of one model in one precision."""
    device, module = arguments.device, contestant.module.train()
    on_gpu = device == "cuda"
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4, fused=on_gpu)
    wait = torch.cuda.synchronize if on_gpu else lambda: None
    order = list(zip(range(arguments.steps), cycle(range(len(contestant.words))), strict=False))

    def step(index: int) -> None:
        with torch.autocast(device, torch.bfloat16, enabled=is_bfloat16):
            loss = contestant.loss(index)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    for index in range(len(contestant.words)):  # all shapes once
        step(index)
    wait()
    started = perf_counter()
    for _, index in order:
        step(index)
    wait()
    seconds = perf_counter() - started
    figures = {"words_per_second": sum(contestant.words[index] for _, index in order) / seconds}
    if contestant.input_seconds is not None:
        figures["input_percent"] = 100 * contestant.input_seconds * len(order) / seconds
    if on_gpu:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            step(0)
            torch.cuda.set_sync_debug_mode("default")
        figures["waits"] = sum("called a synchronizing" in str(warning.message) for warning in caught)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            for _, index in order:
                step(index)
            wait()
        busy = sum(event.device_time_total for event in profile.events() if event.device_type == DeviceType.CUDA)
        figures["kernels_percent"] = 100 * busy / 1e6 / seconds
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", nargs="+", default=[str(DEMO_FOLDER / "swa"), str(DEMO_FOLDER / "spa")])
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--batches", type=int, default=8, help="Different ones.")
    parser.add_argument("--steps", type=int, default=40, help="Of each measurement.")
    parser.add_argument("--models", nargs="+", help="Of these alone; by default of all.")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--output", type=Path, help="File to keep the figures in.")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    packages = ("torch", "transformers", "pytorch-crf", "triton", "flair")
    versions = {}
    for name in packages:
        if importlib.util.find_spec(name.replace("pytorch-crf", "torchcrf")) is not None:
            versions[name] = version(name)
    machine = torch.cuda.get_device_name() if arguments.device == "cuda" else platform.processor() or "CPU"
    print(f"{machine}, Python {platform.python_version()}, {versions}")
    figures: dict[str, dict[str, dict[str, float]]] = {}
    print("| Model | precision | words/s | kernels | waits a step | input |\n|:--|:--|--:|--:|--:|--:|")
    for name, contestant in contestants(*load(arguments.corpora, "train"), arguments).items():
        if arguments.models and name not in arguments.models:
            continue
        figures[name] = {}
        for precision in ("float32", "bfloat16"):
            row = figures[name][precision] = measure(contestant, arguments, precision == "bfloat16")
            kernels = f"{row['kernels_percent']:.0f} %" if "kernels_percent" in row else "–"
            given = f"{row['input_percent']:.1f} %" if "input_percent" in row else "–"
            print(
                f"| {name} | {precision} | {row['words_per_second']:,.0f} | {kernels} | {row.get('waits', '–')} | "
                f"{given} |",
                flush=True,
            )
        contestant.module.to("cpu")
    if arguments.output is not None:
        settings = {"batch_size": arguments.batch_size, "steps": arguments.steps}
        arguments.output.write_text(
            json.dumps({"device": machine, "versions": versions, **settings, "figures": figures}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
