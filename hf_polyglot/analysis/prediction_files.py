"""Counts of spans from column files of predicted tags, such as other tools write."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from hf_polyglot.data.conll import read_conll
from hf_polyglot.data.tagged_sentences import TaggedSentence, shown
from hf_polyglot.sentence_counts import SentenceCounts
from hf_polyglot.span_metrics import sentence_span_counts

# The language of a file: it names none.
ALL_SENTENCES = "all sentences"


def counts_of_prediction_files(
    predictions: Sequence[str | Path],
    *,
    gold_file: str | Path | None = None,
    gold_column: int | None = None,
    tag_column: int | None = None,
    split: str = "test",
) -> list[SentenceCounts]:
    """
    Counts of each of several files with predictions for the same words, any of the column formats and tag schemes.

    Args:
        predictions (`Sequence[str | Path]`):
            The files.
        gold_file (`str` or `Path`, *optional*):
            Column file of the same words with the gold tags.
        gold_column (`int`, *optional*):
            Or else the column of the gold tags in the files themselves, from 0, or negative from the end.
        tag_column (`int`, *optional*):
            Column of the predicted tags in the files, likewise; found if not given.
        split (`str`, *optional*, defaults to `"test"`):
            What to call the data.

    Raises:
        ValueError: if the gold tags are given twice or not at all, if they stand in the column of the predicted ones,
            or if files differ in a word or in a gold tag.
    """
    if (gold_file is None) == (gold_column is None):
        raise ValueError(
            f"`gold_file` is {gold_file!r} and `gold_column` {gold_column!r}. Expected one of them: a column file "
            "with the gold tags, or their column in the files of predictions."
        )
    gold_path = predictions[0] if gold_file is None else gold_file
    gold = read_conll(gold_path, tag_column=gold_column).sentences
    fingerprint = hashlib.sha256(json.dumps([[row.tokens, row.tags] for row in gold]).encode()).hexdigest()
    of_files = []
    for path in predictions:
        predicted = read_conll(path, tag_column=tag_column)
        _check_same("words", gold_path, gold, path, predicted.sentences)
        if gold_column is not None:
            own = read_conll(path, tag_column=gold_column)
            if own.layout.tag_column == predicted.layout.tag_column:
                raise ValueError(
                    f"`{path}`: gold and predicted tags are both read from column {own.layout.tag_column}. Expected "
                    "two columns; give `tag_column`, that of the predicted tags, counted from 0."
                )
            _check_same("gold tags", gold_path, gold, path, own.sentences)
        counts = sentence_span_counts([row.tags for row in gold], [row.tags for row in predicted.sentences])
        of_files.append(
            SentenceCounts(
                Path(path).stem, {split: {ALL_SENTENCES: counts[None]}}, {split: {ALL_SENTENCES: fingerprint}}
            )
        )
    return of_files


def _check_same(
    what: str,
    path: str | Path,
    sentences: Sequence[TaggedSentence],
    other_path: str | Path,
    others: Sequence[TaggedSentence],
) -> None:
    """
    Refuse files that differ in the words or in the tags of a sentence.

    Raises:
        ValueError: if they do.
    """
    for number, (sentence, other) in enumerate(zip(sentences, others, strict=False), 1):
        # Side by side, up to the first word that differs or is missing.
        pairs = [
            [*(of_one.tokens if what == "words" else of_one.tags), "(end of sentence)"] for of_one in (sentence, other)
        ]
        if pairs[0] != pairs[1]:
            position = next(index for index, (one, two) in enumerate(zip(*pairs, strict=False)) if one != two)
            places = [
                f"{shown(of_one[position])} at {file}:{row.lines[min(position, len(row.lines) - 1)]}"
                for of_one, file, row in zip(pairs, (path, other_path), (sentence, other), strict=True)
            ]
            raise ValueError(
                f"The {what} of sentence {number} differ: {places[0]}, {places[1]}. Expected the same {what} in both "
                "files; predict for the file that holds the gold tags."
            )
    if len(sentences) != len(others):
        raise ValueError(
            f"{path} has {len(sentences)} sentences and {other_path} has {len(others)}. Expected the same ones; "
            "predict for the file that holds the gold tags."
        )
