"""
How long corpora take to load the first time, and once they lie in the cache.

    python benchmarks/load_corpora.py ../shared/data/masakhaner1/*

The cache is a new folder. Peer: reading the same files with `datasets`' own text loader, which splits no columns.
Goal: the ten corpora of MasakhaNER in under 2 s the second time.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import datasets
from datasets import load_dataset

from hf_polyglot.data.corpora import load_corpora


def seconds_of(action) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="+", help="Folders of languages.")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    sources = {Path(folder).name: folder for folder in arguments.corpora if Path(folder).is_dir()}
    files = [str(path) for folder in sources.values() for path in sorted(Path(folder).glob("*.txt"))]
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as cache:
        datasets.config.HF_DATASETS_CACHE = Path(cache)
        times = {
            "first": [seconds_of(lambda: load_corpora(sources))],
            "again": [seconds_of(lambda: load_corpora(sources)) for _ in range(arguments.runs)],
            "text loader, first": [seconds_of(lambda: load_dataset("text", data_files=files, cache_dir=cache))],
            "text loader, again": [
                seconds_of(lambda: load_dataset("text", data_files=files, cache_dir=cache))
                for _ in range(arguments.runs)
            ],
        }
    print(f"{len(sources)} corpora, {len(files)} files, datasets {datasets.__version__}, medians of {arguments.runs}")
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, seconds in medians.items():
        print(f"{name:20} {seconds:7.3f} s")
    print(f"again, over the text loader again: {medians['again'] / medians['text loader, again']:.2f}")


if __name__ == "__main__":
    main()
