"""
Corpora that were read before: Arrow files that are mapped into memory, kept by the content that they were read from.

Reading column files means splitting, checking and converting every line. What came of it is kept below the cache of
`datasets` (`HF_DATASETS_CACHE`), under the digest of the files, of the arguments and of the code that read them, so
that nothing stale is ever found. Removing the folder is safe.
"""

import dataclasses
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from datasets import Dataset, DatasetDict
from huggingface_hub.utils.sha import sha_fileobj

from hf_polyglot.data import column_layout, conll, corpus_report, tagged_sentences
from hf_polyglot.data.corpus_report import CorpusReport, SplitReport
from hf_polyglot.data.tagged_sentences import Occurrences
from hf_polyglot.models import label_scheme

REPORT = "report.json"
READERS = (column_layout, conll, corpus_report, label_scheme, tagged_sentences)


def cache_folder(files: Iterable[Path], arguments: list[Any], reader: Path) -> Path:
    """
    Where the corpora that are read from these files, with these arguments, are kept.

    Args:
        files (`Iterable[Path]`):
            All that is read.
        arguments (`list`):
            What else the corpora and their report depend on, the names of the files included.
        reader (`Path`):
            The module that reads, beside those that it uses.
    """
    sources = [reader, *(Path(str(module.__file__)) for module in READERS)]
    digests = [_digest(path) for path in (*files, *sources)]
    key = json.dumps([digests, datasets.__version__, arguments], sort_keys=True)
    return Path(datasets.config.HF_DATASETS_CACHE) / "hf_polyglot" / hashlib.sha256(key.encode()).hexdigest()


def write_corpora(folder: Path, corpora: Mapping[str, DatasetDict], report: CorpusReport) -> None:
    """
    Keep corpora in this folder; without effect where nothing can be written, or where another process was first.

    Args:
        folder (`Path`):
            As [`cache_folder`] names it.
        corpora (`Mapping[str, DatasetDict]`):
            The splits of each language.
        report (`CorpusReport`):
            What reading them found.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, ignore_cleanup_errors=True) as unfinished:
            for path, dataset in zip(_paths(Path(unfinished), report), _datasets(corpora), strict=True):
                table = dataset.data.table
                with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
                    writer.write_table(table)
            text = json.dumps(dataclasses.asdict(report), ensure_ascii=False)
            (Path(unfinished) / REPORT).write_text(text, encoding="utf-8")
            Path(unfinished).rename(folder)  # what is there under this name is whole
    except OSError:
        return


def read_corpora(folder: Path) -> tuple[dict[str, DatasetDict], CorpusReport] | None:
    """
    The corpora that are kept in this folder, None if there are none.

    Args:
        folder (`Path`):
            As [`cache_folder`] names it. If what is in it is damaged, it is removed.
    """
    if not folder.is_dir():
        return None
    try:
        report = _report(json.loads((folder / REPORT).read_text(encoding="utf-8")))
        paths = iter(_paths(folder, report))
        corpora = {
            language: DatasetDict({split: Dataset.from_file(str(next(paths))) for split in splits})
            for language, splits in report.languages.items()
        }
    except (OSError, ValueError, TypeError, KeyError, pa.ArrowException):
        shutil.rmtree(folder, ignore_errors=True)
        return None
    return corpora, report


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return sha_fileobj(file).hex()


def _datasets(corpora: Mapping[str, DatasetDict]) -> Iterable[Dataset]:
    return (dataset for splits in corpora.values() for dataset in splits.values())


def _paths(folder: Path, report: CorpusReport) -> list[Path]:
    """One file for each split of each language; numbers, for a language may be called anything."""
    return [folder / f"{number}.arrow" for number in range(sum(map(len, report.languages.values())))]


def _report(kept: dict[str, Any]) -> CorpusReport:
    """The report that `dataclasses.asdict` took apart."""

    def split_report(values: dict[str, Any]) -> SplitReport:
        for name in ("repaired", "converted"):
            values[name] = Occurrences(**values[name])
        for name in ("left_out", "mapped"):
            values[name] = {kind: Occurrences(**found) for kind, found in values[name].items()}
        return SplitReport(**values)

    languages = {
        language: {name: split_report(values) for name, values in splits.items()}
        for language, splits in kept["languages"].items()
    }
    return CorpusReport(**{**kept, "languages": languages})
