"""Corpora that were read before come from the cache, and only where nothing has changed."""

import shutil

import datasets
import pytest

from hf_polyglot.data import corpora as corpora_module
from hf_polyglot.data.corpora import fingerprint, load_corpora
from hf_polyglot.data.demo import DEMO_FOLDER


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """Two corpora of their own, with a cache of their own."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(corpora_module, "CACHED_BYTES", 0)
    for language in ("swa", "yor/old"):
        shutil.copytree(DEMO_FOLDER / "swa", tmp_path / "corpora" / language)
    train = tmp_path / "corpora" / "swa" / "train.txt"
    train.write_text("# a comment\nDodoma I-LOC\n\n" + train.read_text())  # to be reported
    return {language: tmp_path / "corpora" / language for language in ("swa", "yor/old")}


@pytest.fixture
def read_files(monkeypatch):
    """The files that were read, not found in the cache."""
    read, reader = [], corpora_module._read_file
    monkeypatch.setattr(corpora_module, "_read_file", lambda path, reading: read.append(path) or reader(path, reading))
    return read


def contents(loaded):
    return {
        language: {split: (dataset.features, dataset[:]) for split, dataset in splits.items()}
        for language, splits in loaded.corpora.items()
    }


def test_the_second_time_nothing_is_read_and_all_is_equal(sources, read_files, monkeypatch):
    settings = {"type_map": {"ORG": "O"}, "scheme": "BIOES", "known_labels": ["O", "S-PER"]}
    with monkeypatch.context() as without_cache:
        without_cache.setattr(corpora_module, "CACHED_BYTES", 1e9)
        uncached = load_corpora(sources, **settings)
    first = load_corpora(sources, **settings)
    read_files.clear()

    second = load_corpora(sources, **settings)

    assert not read_files
    assert contents(second) == contents(first) == contents(uncached)
    assert second.report == first.report == uncached.report
    assert "repaired tags" in str(second.report)
    swa = second.corpora["swa"]["train"]
    assert swa.cache_files  # in a file, not in memory
    assert fingerprint(swa) == second.report.languages["swa"]["train"].fingerprint


@pytest.mark.parametrize(
    "change", ["content", "type_map", "scheme", "known_labels", "folder", "order", "source_scheme", "damage"]
)
def test_whatever_changes_is_read_again(change, sources, read_files, tmp_path):
    load_corpora(sources)
    read_files.clear()
    settings = {
        "type_map": {"type_map": {"PER": "HUM"}},
        "scheme": {"scheme": "BIOES"},
        "known_labels": {"known_labels": ["B-PER"]},
        "source_scheme": {"source_scheme": "IOB2"},
    }.get(change, {})
    if change == "content":
        with (sources["swa"] / "test.txt").open("a") as file:
            file.write("Amina B-PER\n")
    elif change == "folder":
        shutil.copytree(sources["swa"], tmp_path / "elsewhere")
        sources["swa"] = tmp_path / "elsewhere"
    elif change == "order":
        sources = dict(reversed(sources.items()))
    elif change == "damage":
        for number, path in enumerate(sorted((tmp_path / "cache").rglob("*.arrow"))):
            path.write_bytes(path.read_bytes()[: 100 * number])

    loaded = load_corpora(sources, **settings)

    assert len(read_files) == 6
    assert list(loaded.corpora) == list(sources)
    if change == "content":
        assert loaded.corpora["swa"]["test"][-1]["tokens"][-1] == "Amina"
    if change == "damage":
        read_files.clear()
        load_corpora(sources)
        assert not read_files  # it was mended


def test_a_cache_that_cannot_be_written_is_done_without(sources, read_files, tmp_path):
    (tmp_path / "cache").write_text("a file where a folder is wanted")

    loaded = [load_corpora(sources) for _ in range(2)]

    assert len(read_files) == 12
    assert contents(loaded[0]) == contents(loaded[1])
