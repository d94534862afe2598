"""
Cost of drawing batches by language from many sentences, over that of torch's RandomSampler, in one process.

All times are of the processor, so that other programs on the machine do not count.

    python benchmarks/language_sampling.py

Makes the languages and the words of 10 million sentences in 200 languages, in memory. The goal is a set-up in under 2
seconds, which needs no more memory than some arrays of one number a sentence.
"""

import argparse
import platform
import tracemalloc
from collections.abc import Callable, Iterable
from statistics import median
from time import process_time

import datasets
import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from torch.utils.data import BatchSampler, RandomSampler

from hf_polyglot.data.collators import word_counts
from hf_polyglot.data.language_sampling import PolyglotBatchSampler, languages_and_lengths

MIB = 2**20


def made_sentences(num_sentences: int, num_languages: int) -> Dataset:
    """Sentences of 1 to 9 words of one letter, in languages whose sizes fall as 1 / rank, in random order."""
    random = np.random.default_rng(0)
    sizes = 1 / np.arange(1, num_languages + 1)
    language_ids = random.choice(num_languages, num_sentences, p=sizes / sizes.sum()).astype(np.int16)
    names = [f"language-{place:03}" for place in range(num_languages)]
    ends = np.cumsum(random.integers(1, 10, num_sentences), dtype=np.int32)
    letters = pa.py_buffer(b"a" * int(ends[-1]))
    starts = pa.py_buffer(np.arange(ends[-1] + 1, dtype=np.int32))
    words = pa.StringArray.from_buffers(int(ends[-1]), starts, letters)
    table = {
        "language": pa.DictionaryArray.from_arrays(language_ids, names).cast(pa.string()),
        "tokens": pa.ListArray.from_arrays(np.append(np.int32(0), ends), words),
    }
    return Dataset(pa.table(table))


def measured(action: Callable[[], object]) -> tuple[float, float]:
    """Median seconds of three turns, and the most memory that numpy and Python take in another one, in MiB."""
    seconds = []
    for _ in range(3):
        started = process_time()
        action()
        seconds.append(process_time() - started)
    tracemalloc.start()
    action()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return median(seconds), peak / MIB


def epoch_costs(sampler: Iterable[list[int]], batches: int) -> tuple[float, float]:
    """Seconds until the first batch, and microseconds of each of the next ones."""
    started = process_time()
    iterator = iter(sampler)
    next(iterator)
    first = process_time()
    for _ in range(batches):
        next(iterator)
    return first - started, 1e6 * (process_time() - first) / batches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=10_000_000)
    parser.add_argument("--languages", type=int, default=200)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--batches", type=int, default=100_000, help="Batches that are timed.")
    arguments = parser.parse_args()
    print(
        f"{arguments.sentences:,} sentences, {arguments.languages} languages, batches of {arguments.batch_size}, "
        f"torch {torch.__version__}, datasets {datasets.__version__}, pyarrow {pa.__version__}, numpy "
        f"{np.__version__}, Python {platform.python_version()}"
    )
    dataset = made_sentences(arguments.sentences, arguments.languages)

    def set_up(**options) -> PolyglotBatchSampler:
        metadata = languages_and_lengths(dataset, word_counts)
        return PolyglotBatchSampler(*metadata, batch_size=arguments.batch_size, alpha=0.3, **options)

    mixed = set_up()
    arrays = [mixed.language_ids, mixed.negative_lengths, *mixed.indices.values()]
    kept = sum(array.nbytes for array in arrays) / MIB
    seconds, peak = measured(set_up)
    print(
        f"set-up               {seconds:8.2f} s   peak {peak:6.0f} MiB, {peak / kept:.2f} of the {kept:.0f} MiB kept"
    )

    contestants = {
        "RandomSampler": BatchSampler(
            RandomSampler(range(arguments.sentences)), arguments.batch_size, drop_last=False
        ),
        "mixed languages": mixed,
        "single languages": set_up(batch_languages="single"),
    }
    costs: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for _ in range(3):
        for name, sampler in contestants.items():  # in turns, so that a slow moment of the machine hits all alike
            costs[name].append(epoch_costs(sampler, arguments.batches))
    peaks = {}
    for name, sampler in contestants.items():
        tracemalloc.start()
        next(iter(sampler))
        peaks[name] = tracemalloc.get_traced_memory()[1] / MIB
        tracemalloc.stop()
    first, each = ({name: median(pair[part] for pair in pairs) for name, pairs in costs.items()} for part in range(2))
    for name in contestants:
        print(
            f"{name:20} {first[name]:8.2f} s to begin an epoch, {first[name] / first['RandomSampler']:.2f} of "
            f"RandomSampler   {each[name]:6.1f} us a batch, {each[name] / each['RandomSampler']:.2f} of it   peak "
            f"{peaks[name]:6.0f} MiB, {peaks[name] / peaks['RandomSampler']:.2f} of it"
        )


if __name__ == "__main__":
    main()
