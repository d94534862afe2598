"""
Words a second of a byte-CRF in training and in prediction, beside the same network with packed LSTMs and pytorch-crf,
flair's BiLSTM-CRF with a character LSTM of equal sizes, and spaCy's blank CNN tagger.

    pip install pytorch-crf spacy
    python -m benchmarks.byte_crf train --corpora ../shared/data/masakhaner1/*
    python -m benchmarks.byte_crf predict --corpora ../shared/data/masakhaner1/*

flair and spaCy are left out where they are not installed. flair 0.15 wants transformers 4: install it, and what it
imports, with `pip install --no-deps --target FOLDER`, and add that folder to PYTHONPATH.

Contestants take turns, batch by batch in training, whole in prediction. Prediction is of all test sentences by models
that have learned nothing, which changes no speed but spaCy's: it is slower where it finds entities. `--memory NAME
--sizes SIZE` trains one contestant alone and prints the peak memory of the process.

flair's character LSTM has one layer, so that its sizes are equal with --sizes one_layer and small, not with paper.

Goals: training at 3 times the words a second of packed LSTMs and 5 times those of flair, with less than a tenth of
padding; prediction at those of spaCy.
"""

import argparse
import importlib.util
import platform
import resource
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch

from benchmarks.peers import PackedByteCRF, flair_tagger, spacy_tagger
from hf_polyglot import ByteCRFConfig, ByteCRFForTokenClassification, SpellingTokenizer
from hf_polyglot.data.collators import collator_for
from hf_polyglot.data.corpora import load_corpora
from hf_polyglot.data.demo import DEMO_FOLDER
from hf_polyglot.data.language_sampling import PolyglotBatchSampler
from hf_polyglot.inference.int8_lstm import with_int8_lstms
from hf_polyglot.inference.tagging import tag_words
from hf_polyglot.models.modeling_byte_crf import _rows_of_like_length

SIZES = {
    "paper": {"embedding_size": 256, "unit_hidden_size": 256, "num_unit_layers": 2, "hidden_size": 256},
    # flair's character LSTM has one layer.
    "one_layer": {"embedding_size": 256, "unit_hidden_size": 256, "num_unit_layers": 1, "hidden_size": 256},
    "small": {"embedding_size": 64, "unit_hidden_size": 128, "num_unit_layers": 1, "hidden_size": 128},
}


def load(corpora: list[str], split: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Sentences of all languages, and the tags."""
    sources = {Path(folder).name: folder for folder in corpora if Path(folder).is_dir()}
    loaded = load_corpora(sources).corpora
    rows = [row | {"language": language} for language, splits in loaded.items() for row in splits[split]]
    first = next(iter(loaded.values()))[split]
    return rows, first.features["ner_tags"].feature.names


def drawn_batches(rows: list[dict[str, Any]], batch_size: int, most: int) -> list[list[dict[str, Any]]]:
    """Batches as the trainer draws them: of like length, all languages mixed."""
    names = sorted({row["language"] for row in rows})
    languages = np.array([names.index(row["language"]) for row in rows])
    lengths = np.array([len(row["tokens"]) for row in rows])
    sampler = PolyglotBatchSampler(names, languages, lengths, batch_size=batch_size, seed=0)
    return [[rows[index] for index in batch] for _, batch in zip(range(most), sampler, strict=False)]


def tagger(size: str, tags: list[str]) -> ByteCRFForTokenClassification:
    labels = {"id2label": dict(enumerate(tags)), "label2id": {tag: index for index, tag in enumerate(tags)}}
    return ByteCRFForTokenClassification(ByteCRFConfig(**SIZES[size], **labels))


def training_steps(
    size: str, tags: list[str], batches: list[list[dict[str, Any]]], alone: str | None
) -> dict[str, Callable[[int], None]]:
    """A step on a batch for each contestant, what all of them leave to the loader done before."""
    model = tagger(size, tags)
    collate = collator_for(model, SpellingTokenizer.of_bytes())
    collated = [collate(batch) for batch in batches]

    def step(module: torch.nn.Module, loss: Callable[[int], torch.Tensor]) -> Callable[[int], None]:
        optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3)

        def run(index: int) -> None:
            module.train()
            loss(index).backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()

        return run

    steps = {}
    if alone in (None, "hf_polyglot"):
        steps["hf_polyglot"] = step(model, lambda index: model(**collated[index]).loss)
    if alone in (None, "packed"):
        packed = PackedByteCRF(model.config)
        steps["packed"] = step(packed, lambda index: packed.loss(collated[index]))
    if alone in (None, "flair") and importlib.util.find_spec("flair") is not None:
        rows = [row for batch in batches for row in batch]
        named = [[tags[label] for label in row["ner_tags"]] for row in rows]
        peer, sentences = flair_tagger(model.config, [row["tokens"] for row in rows], named)
        ends = np.cumsum([len(batch) for batch in batches])

        def flair_loss(index: int) -> torch.Tensor:
            drawn = sentences[ends[index] - len(batches[index]) : ends[index]]
            for sentence in drawn:
                sentence.clear_embeddings()
            loss, words = peer.forward_loss(drawn)
            return loss / words

        steps["flair"] = step(peer, flair_loss)
    return steps


def padding(model: ByteCRFForTokenClassification, batches: list[list[dict[str, Any]]]) -> dict[str, float]:
    """Share of what each LSTM reads that is padding."""
    collate = collator_for(model, SpellingTokenizer.of_bytes())
    read, real = {"units": 0, "words": 0}, {"units": 0, "words": 0}
    for batch in map(collate, batches):
        for rows in _rows_of_like_length(batch["input_ids"], 0):
            read["units"] += rows.numel()
            real["units"] += int(rows.ne(0).sum())
        read["words"] += batch["word_indices"].numel()
        real["words"] += int(batch["word_indices"].ge(0).sum())
    return {name: 1 - real[name] / read[name] for name in read}


def report(seconds: dict[str, list[float]], words: list[int]) -> None:
    """Words a second by the median over batches of the time a word takes, and the ratio of ours to each peer."""
    of_word = {name: median(np.array(times) / np.array(words)) for name, times in seconds.items()}
    for name, time in of_word.items():
        print(f"  {name:12} {1 / time:10,.0f} words/s   {time / of_word['hf_polyglot']:.2f}", flush=True)


def train(arguments, clock: Callable[[], float], size: str, rows: list[dict[str, Any]], tags: list[str]) -> None:
    """Time the steps of all contestants, or look at the memory of one."""
    batches = drawn_batches(rows, arguments.batch_size, arguments.batches)
    words = [sum(len(row["tokens"]) for row in batch) for batch in batches]
    steps = training_steps(size, tags, batches, arguments.memory)
    for run in steps.values():
        run(0)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for index in range(len(batches)):
        for name, run in steps.items():
            started = clock()
            run(index)
            seconds[name].append(clock() - started)
    if arguments.memory is not None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{size}: {arguments.memory}, peak memory of the process {peak:.0f} MiB")
        return
    shares = padding(tagger(size, tags), batches)
    print(f"{size}: training, padding {shares['units']:.1%} of the units, {shares['words']:.1%} of the words")
    report(seconds, words)


def predict(arguments, clock: Callable[[], float], size: str, rows: list[dict[str, Any]], tags: list[str]) -> None:
    """Time the tagging of all sentences."""
    sentences = [row["tokens"] for row in rows]
    model, tokenizer = tagger(size, tags), SpellingTokenizer.of_bytes()
    of_int8 = with_int8_lstms(model)
    contestants: dict[str, Callable[[], Any]] = {
        "hf_polyglot": lambda: tag_words(model, tokenizer, sentences, 64),
        "int8": lambda: tag_words(of_int8, tokenizer, sentences, 64),
    }
    if importlib.util.find_spec("spacy") is not None:
        run_spacy = spacy_tagger(sorted({tag[2:] for tag in tags if tag != "O"}))
        contestants["spacy"] = lambda: run_spacy(sentences, 64)
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for one in (model, of_int8):
        tag_words(one, tokenizer, sentences[:64], 64)  # compiles what an earlier process has not
    for _ in range(arguments.turns):
        # What an earlier turn has left is not to help.
        model.byte_crf.word_cache.clear()
        of_int8.byte_crf.word_cache.clear()
        for name, run_all in contestants.items():
            started = clock()
            run_all()
            seconds[name].append(clock() - started)
    print(f"{size}: prediction")
    report(seconds, [sum(map(len, sentences))] * arguments.turns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["train", "predict"])
    parser.add_argument("--corpora", nargs="+", default=[str(DEMO_FOLDER / "swa"), str(DEMO_FOLDER / "spa")])
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--batches", type=int, default=12, help="Of training.")
    parser.add_argument("--turns", type=int, default=3, help="Of prediction.")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--memory", choices=["hf_polyglot", "packed", "flair"], help="Peak memory of one alone.")
    arguments = parser.parse_args()
    clock = perf_counter if arguments.clock == "wall" else process_time
    packages = {"torch": "torch", "numba": "numba", "pytorch-crf": "torchcrf", "flair": "flair", "spacy": "spacy"}
    versions = ", ".join(f"{name} {version(name)}" for name in packages if importlib.util.find_spec(packages[name]))
    print(f"{torch.get_num_threads()} threads, {arguments.clock} time, Python {platform.python_version()}, {versions}")
    if arguments.memory is not None and len(arguments.sizes) > 1:
        parser.error("--memory wants one size, for the peak is that of the process: --sizes paper")
    torch.manual_seed(0)
    rows, tags = load(arguments.corpora, "train" if arguments.task == "train" else "test")
    for size in arguments.sizes:
        (train if arguments.task == "train" else predict)(arguments, clock, size, rows, tags)


if __name__ == "__main__":
    main()
