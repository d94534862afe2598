"""sentence_counts.json: what each sentence contributes to the scores of a run, for tests of significance.

It lies beside results.json, of kept results as `sentence_counts/<name>.json` beside `<name>.json`, and holds numbers
only, no text, so that it can be passed on where the corpus may not:

    name                 name of the run, as in results.json
    counts               {split: {language: {fingerprint, gold, predicted, correct}}}

Of a task without spans, all words of a sentence count as gold and as predicted spans, so that F1 is accuracy.
A model of several tasks has a file for each, `sentence_counts-upos.json` and so on, in the same form, which can be
compared with one another and with that of a model of this task alone. A sentence without the task counts nothing.

`fingerprint` is that of the data set in results.json. `gold` is a list with the number of gold spans of each sentence;
`predicted` and `correct` are lists of such lists, one a run, in the order of the seeds of results.json.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hf_polyglot.results import main_metric, read_results, results_file
from hf_polyglot.span_metrics import f1_of_counts
from hf_polyglot.tasks import TASKS

FILE_NAME = "sentence_counts.json"


def file_name_of_task(task: str) -> str:
    """
    Name of the counts of one task of a model of several, beside its results.

    Args:
        task (`str`):
            Its name.

    Example:
        >>> file_name_of_task("upos")
        'sentence_counts-upos.json'
    """
    return FILE_NAME.replace(".json", f"-{task}.json")


@dataclass(frozen=True)
class SentenceCounts:
    """
    What each sentence contributes to the scores of a run.

    Args:
        name (`str`):
            Name of the run.
        counts (`dict[str, dict[str, np.ndarray]]`):
            `{split: {language: counts}}`: numbers of correct, predicted and gold spans, of shape `(runs, sentences,
            3)`.
        fingerprints (`dict[str, dict[str, str]]`):
            `{split: {language: fingerprint}}` of the data sets.
    """

    name: str
    counts: dict[str, dict[str, np.ndarray]]
    fingerprints: dict[str, dict[str, str]]


def write_sentence_counts(path: str | Path, sentence_counts: SentenceCounts) -> None:
    """
    Write the counts to a JSON file.

    Args:
        path (`str` or `Path`):
            File to write, or the folder in which to write `sentence_counts.json`.
        sentence_counts ([`SentenceCounts`]):
            The counts.
    """
    path = Path(path) / FILE_NAME if Path(path).is_dir() else Path(path)
    counts = {
        split: {
            language: {
                "fingerprint": sentence_counts.fingerprints[split][language],
                "gold": of_language[0, :, 2].tolist(),
                "predicted": of_language[:, :, 1].tolist(),
                "correct": of_language[:, :, 0].tolist(),
            }
            for language, of_language in of_split.items()
        }
        for split, of_split in sentence_counts.counts.items()
    }
    text = json.dumps({"name": sentence_counts.name, "counts": counts}, ensure_ascii=False, separators=(",", ":"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")


def joined_sentence_counts(runs: Sequence[SentenceCounts], name: str) -> SentenceCounts:
    """
    The counts of runs on different languages, as those of one run.

    Args:
        runs (`Sequence[SentenceCounts]`):
            The counts of each.
        name (`str`):
            Of all of them together.
    """
    splits = list(dict.fromkeys(split for run in runs for split in run.counts))
    counts, fingerprints = (
        {
            split: {language: of_one for run in runs for language, of_one in getattr(run, kind).get(split, {}).items()}
            for split in splits
        }
        for kind in ("counts", "fingerprints")
    )
    return SentenceCounts(name, counts, fingerprints)


def joined_seed_counts(runs: Sequence[SentenceCounts], name: str) -> SentenceCounts:
    """
    The counts of runs that differ in their seeds, as those of one run over all these seeds.

    Args:
        runs (`Sequence[SentenceCounts]`):
            The counts of each, of the same data.
        name (`str`):
            Of all of them together.

    Raises:
        ValueError: if they are of different data.
    """
    if any(run.fingerprints != runs[0].fingerprints for run in runs):
        raise ValueError(
            f"The counts of {', '.join(run.name for run in runs)} are of different data; expected the same languages "
            "and sentences. Score them on the same corpora."
        )
    counts = {
        split: {language: np.concatenate([run.counts[split][language] for run in runs]) for language in of_split}
        for split, of_split in runs[0].counts.items()
    }
    return SentenceCounts(name, counts, runs[0].fingerprints)


def read_sentence_counts(path: str | Path) -> SentenceCounts:
    """
    The counts of a run, found by its results and checked against them.

    Args:
        path (`str` or `Path`):
            Folder of a run, its results, or a file of counts itself; of one task of several, it is checked too where
            the results lie beside it.

    Raises:
        ValueError: if the file is neither, if the results have no counts beside them, or if the two do not agree.
    """
    file = results_file(path)
    document = _read_json(file)
    if "scores" not in document:
        sentence_counts = _checked_counts(document, file)
        beside = file.with_name("results.json")
        metrics = {file_name_of_task(task.name): task.metric_beside_others for task in TASKS.values()}
        if (metric := metrics.get(file.name)) is not None and beside.is_file():
            _check_agreement(sentence_counts, file, read_results(beside), beside, metric)
        return sentence_counts
    results = read_results(file)
    places = (file.with_name(FILE_NAME), file.parent / "sentence_counts" / file.name)
    found = next((place for place in places if place.is_file()), None)
    of_tasks = sorted(file.parent.glob(file_name_of_task("*")))
    if found is None and of_tasks:
        raise ValueError(
            f"`{file}` is of several tasks, whose counts are in {', '.join(path.name for path in of_tasks)}. Expected "
            f"those of one; give {of_tasks[0]}, for example."
        )
    if found is None:
        raise ValueError(
            f"`{file}` has no sentence counts, and scores alone cannot be tested. Expected them in {places[0]} or "
            f"{places[1]}. Train again, which writes them; or, if the model is there, write those of its data with "
            "`python recipes/evaluate.py --model MODEL --corpora ... --sentence_counts FILE`, and give FILE instead."
        )
    sentence_counts = _checked_counts(_read_json(found), found)
    _check_agreement(sentence_counts, found, results, file)
    return sentence_counts


def _read_json(file: Path) -> dict[str, Any]:
    """
    The object in a JSON file.

    Raises:
        ValueError: if there is none.
    """
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"`{file}` is no JSON: {error}. Expected the results or the sentence counts of a run."
        ) from error
    if not isinstance(document, dict):
        raise ValueError(f"`{file}` holds a {type(document).__name__}. Expected results or sentence counts of a run.")
    return document


def _checked_counts(document: dict[str, Any], file: Path) -> SentenceCounts:
    """
    The counts that a file holds.

    Raises:
        ValueError: if they are not made as described at the top of this module.
    """
    try:
        return SentenceCounts(
            name=str(document["name"]),
            counts={
                split: {language: _counts_of_language(columns) for language, columns in of_split.items()}
                for split, of_split in document["counts"].items()
            },
            fingerprints={
                split: {language: str(columns["fingerprint"]) for language, columns in of_split.items()}
                for split, of_split in document["counts"].items()
            },
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"`{file}` holds no sentence counts: {type(error).__name__}: {error}. Expected `name` and `counts`, as a "
            "recipe writes them; let it write them again."
        ) from error


def _counts_of_language(columns: dict[str, Any]) -> np.ndarray:
    """
    Counts of shape `(runs, sentences, 3)`.

    Raises:
        ValueError: if they are no whole numbers, or more spans are correct than were predicted or are there.
    """
    predicted, correct = (np.array(columns[key]) for key in ("predicted", "correct"))
    gold = np.broadcast_to(np.array(columns["gold"]), predicted.shape)
    counts = np.stack([correct, predicted, gold], axis=-1)
    if counts.ndim != 3 or not counts.size or counts.dtype.kind != "i":
        raise ValueError(f"counts of shape {counts.shape} and type {counts.dtype}, not integers (runs, sentences, 3)")
    if (correct < 0).any() or (correct > np.minimum(predicted, gold)).any():
        raise ValueError("more correct spans than predicted or gold ones, or fewer than none")
    return counts


def _check_agreement(
    sentence_counts: SentenceCounts, found: Path, results: dict[str, Any], file: Path, metric: str | None = None
) -> None:
    """
    Refuse counts that are not those of the results; of several tasks, `metric` is that of the counts.

    Raises:
        ValueError: if a fingerprint, the number of runs or an F1 differs.
    """
    for split, of_split in sentence_counts.counts.items():
        for language, counts in of_split.items():
            scores = results["scores"].get(split, {}).get(language, {})
            score = scores.get(metric or main_metric(scores), {"mean": float("nan")})["mean"]
            data_set = results["data"].get(language, {}).get(split, {"fingerprint": None})
            f1 = float(f1_of_counts(counts.sum(1)).mean())
            given = (sentence_counts.fingerprints[split][language], len(counts))
            # The fingerprint of one task of several is that of its tags alone, which the results do not have.
            fingerprint = data_set["fingerprint"] if metric is None else given[0]
            expected = (fingerprint, len(results["seeds"]))
            if given != expected or not abs(f1 - score) < 1e-6:
                raise ValueError(
                    f"`{found}` is not of the run of `{file}`: fingerprint, runs and F1 of {language} on {split} are "
                    f"{given} and {f1:.4f}; expected {expected} and {score:.4f}. Keep the files of a run together."
                )
