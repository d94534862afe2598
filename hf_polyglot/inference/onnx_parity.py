"""Whether an exported model tags as the model does, language by language; one that does not is never written."""

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hf_polyglot.inference.onnx_export import onnx_model, settings_of, write_exported
from hf_polyglot.inference.onnx_int8 import int8_model
from hf_polyglot.inference.onnx_runtime import MODEL_FILE, OnnxTagger
from hf_polyglot.inference.tagged_words import TaggedWords
from hf_polyglot.inference.tagging import check_tagger, tag_words
from hf_polyglot.models.label_scheme import labels_by_scheme
from hf_polyglot.tasks import task_of

PARITY_FILE = "parity.json"

Tags = list[tuple[str, ...]]


@dataclass(frozen=True)
class ParitySentences:
    """
    Sentences of one language that a model and its export both tag.

    Args:
        words (`Sequence[Sequence[str]]`):
            Words of each sentence.
        tags (`Mapping[str, Sequence[Sequence[str]]]`, *optional*):
            Their gold tags in each task, by the scheme of its labels; none of a sentence that has not the task. By
            default, and of a task that no language has, those that the model gives are taken for gold.
    """

    words: Sequence[Sequence[str]]
    tags: Mapping[str, Sequence[Sequence[str]]] | None = None


def export_tagger(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    output_dir: str | Path,
    sentences: Mapping[str, ParitySentences],
    *,
    int8: bool = False,
    max_f1_loss: float = 0.5,
    max_differing_labels: int = 0,
    batch_size: int = 32,
) -> dict[str, Any]:
    """
    Write a tagger as an ONNX graph, if it tags these sentences as the model does.

    Args:
        model (`PreTrainedModel`):
            A tagger of words of this package, on the CPU.
        tokenizer (`PreTrainedTokenizerBase`):
            Its tokenizer.
        output_dir (`str` or `Path`):
            Folder that [`OnnxTagger`] then reads; a new one.
        sentences (`Mapping[str, ParitySentences]`):
            By language.
        int8 (`bool`, *optional*, defaults to `False`):
            Whether the weights become 8-bit integers.
        max_f1_loss (`float`, *optional*, defaults to 0.5):
            Percentage points of F1 (of accuracy, where each word has a class) that the graph of integers may lose in a
            language.
        max_differing_labels (`int`, *optional*, defaults to 0):
            Labels of all words of all languages, in all tasks, that the graph of floats may give otherwise than the
            model does.
        batch_size (`int`, *optional*, defaults to 32):
            Sentences read at once.

    Returns:
        What was compared, as `parity.json` in the folder has it: for each language `sentences`, `words`, the scores
        and the numbers of differing labels of each form of the model; and their sizes in bytes. Of a model of several
        tasks this is the first one, and `further` has the same of each of the others, by the scheme of its labels.

    Raises:
        ValueError: if the folder is not empty, if there is nothing to compare, or if the export does not tag as the
            model does.
    """
    folder = Path(output_dir).resolve()  # `.` and links have no name to be given to another folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "not empty" if folder.is_dir() else "a file"
        raise ValueError(f"`output_dir` {output_dir} is {what}; expected a new folder. Give another one.")
    if not any(of_language.words for of_language in sentences.values()):
        raise ValueError("There is no sentence to compare the export on; expected some. Give other corpora.")
    check_tagger(model)
    graph = onnx_model(model)
    tagged = {
        "pytorch": {
            language: tag_words(model, tokenizer, of.words, batch_size, [language] * len(of.words))
            for language, of in sentences.items()
        }
    }
    sizes = {"pytorch": sum(weight.numel() * weight.element_size() for weight in model.parameters())}
    is_new = not folder.exists()
    folder.parent.mkdir(parents=True, exist_ok=True)
    # An empty folder may be a mounted volume, or in another that cannot be written to: it is filled, not replaced.
    place = folder.parent if is_new else folder
    with tempfile.TemporaryDirectory(dir=place, prefix=f".{folder.name}-") as scratch:
        for form in ("onnx", "int8") if int8 else ("onnx",):
            written = Path(scratch, form)
            if form == "int8":
                graph = int8_model(graph)
            write_exported(written, graph, tokenizer, settings_of(model, tokenizer, int8=form == "int8"))
            tagger = OnnxTagger(written, num_threads=1)
            tagged[form] = {
                language: tagger.tag_words(of.words, batch_size, [language] * len(of.words))
                for language, of in sentences.items()
            }
            sizes[form] = (written / MODEL_FILE).stat().st_size
        of_tasks = {scheme: _report(sentences, tagged, scheme) for scheme in labels_by_scheme(model.config)}
        _refuse_differing(of_tasks.values(), max_differing_labels)
        if int8:
            for of_task in of_tasks.values():
                _refuse_loss(of_task, max_f1_loss)
        report = of_tasks.pop(model.config.label_scheme) | {"bytes": sizes, "max_f1_loss": max_f1_loss}
        if of_tasks:
            report["further"] = of_tasks
        (written / PARITY_FILE).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        if is_new:
            written.rename(folder)
        else:
            for file in written.iterdir():
                file.rename(folder / file.name)
    return report


def _report(
    sentences: Mapping[str, ParitySentences], tagged: Mapping[str, Mapping[str, Sequence[TaggedWords]]], scheme: str
) -> dict[str, Any]:
    """What is compared of one task: all labels, and scores where there is gold."""
    task = task_of(scheme)
    tags = {
        form: {language: [words.of_task(scheme).tags for words in tagged[form][language]] for language in sentences}
        for form in tagged
    }
    rows: list[tuple[str, int]] = []
    gold: Tags = []
    has_gold = any(any(of.tags.get(scheme, [])) for of in sentences.values() if of.tags is not None)
    for language, of in sentences.items():
        own = None if of.tags is None else of.tags.get(scheme, [])
        of_language = tags["pytorch"][language] if own is None or not has_gold else own
        rows += [(language, index) for index, of_sentence in enumerate(of_language) if of_sentence]
        gold += [tuple(of_sentence) for of_sentence in of_language if of_sentence]
    languages = [language for language, _ in rows]
    scores = {}
    for form, of_languages in tags.items():
        predicted = [of_languages[language][index] for language, index in rows]
        scores[form] = task.scores_by_language(gold, predicted, languages, scheme) if rows else {}
    return {
        "task": task.name,
        "metric": task.metric,
        "gold": "corpora" if has_gold and all(of.tags is not None for of in sentences.values()) else "pytorch",
        "languages": {
            language: {
                "sentences": len(of.words),
                "words": sum(map(len, of.words)),
                "scores": {
                    form: scores[form][language].plain()[task.metric] for form in tags if language in scores[form]
                },
                "differing_labels": {
                    form: _num_differing(tags["pytorch"][language], tags[form][language])
                    for form in tags
                    if form != "pytorch"
                },
            }
            for language, of in sentences.items()
            if of.words
        },
    }


def _num_differing(left: Tags, right: Tags) -> int:
    return sum(a != b for one, other in zip(left, right, strict=True) for a, b in zip(one, other, strict=True))


def _refuse_differing(reports: Iterable[Mapping[str, Any]], max_differing_labels: int) -> None:
    differing: Counter[str] = Counter()
    num_labels = 0
    for report in reports:
        differing.update({language: of["differing_labels"]["onnx"] for language, of in report["languages"].items()})
        num_labels += sum(of["words"] for of in report["languages"].values())
    total = differing.total()
    if total > max_differing_labels:
        where = ", ".join(f"{language} {count}" for language, count in differing.items() if count)
        raise ValueError(
            f"The exported model gives {total} of {num_labels:,} labels otherwise than PyTorch does ({where}); "
            f"expected at most {max_differing_labels}. Nothing was written. One or two may be ties between labels, "
            "which `max_differing_labels` allows for; more are an error of the export."
        )


def _refuse_loss(report: Mapping[str, Any], max_f1_loss: float) -> None:
    metric = {"f1": "F1"}.get(report["metric"], report["metric"])
    losses = {
        language: of["scores"]["pytorch"] - of["scores"]["int8"]
        for language, of in report["languages"].items()
        if of["scores"]  # a language may lack a task
    }
    too_large = {language: loss for language, loss in losses.items() if loss > max_f1_loss}
    if too_large:
        named = ", ".join(f"{loss:.2f} on {language}" for language, loss in sorted(too_large.items()))
        raise ValueError(
            f"With 8-bit weights the model loses {metric}: {named}; expected at most {max_f1_loss} in every language "
            "(`max_f1_loss`). Nothing was written. Export it without `int8`, or allow for more."
        )
