"""Model cards, made from results.json and from nothing else.

python -m hf_polyglot.model_card runs/byte_crf/results.json model_cards/byte_crf-masakhaner1-polyglot.md
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from hf_polyglot.result_tables import results_table, selection_table
from hf_polyglot.results import check_results, has_dev_set, languages_by_training, main_metric, read_results

# The first is where an installed wheel keeps its copy, the second the file itself, in a checkout.
TEMPLATES = (
    Path(__file__).with_name("model_card_template.md"),
    Path(__file__).parent.parent / "model_cards" / "template.md",
)

REGIME_MEANINGS = {
    "monolingual": "trained on one language",
    "polyglot": "one model trained on several languages at once",
    "continued": "a polyglot model trained further on its own language",
    "zero-shot": "trained on some languages, meant for others without training data",
    "distilled": "a small model taught by a larger one",
    "standard": "ordinary fine-tuning, the baseline",
}

# Keys of scores that the Hub is told of, with its own name of each and a title. Of several tasks, each by itself.
_METRICS = (
    ("f1", "f1", "Span F1"),
    ("accuracy", "accuracy", "Accuracy"),
    ("ner_f1", "f1", "Span F1"),
    ("upos_accuracy", "accuracy", "UPOS accuracy"),
    ("feats_accuracy", "accuracy", "FEATS accuracy"),
)

CITATIONS = {
    "byte_crf": """@inproceedings{mueller-etal-2020-sources,
    title = "Sources of Transfer in Multilingual Named Entity Recognition",
    author = "Mueller, David and Andrews, Nicholas and Dredze, Mark",
    booktitle = "Proceedings of the 58th Annual Meeting of the Association for Computational Linguistics",
    year = "2020",
    pages = "8093--8104",
    publisher = "Association for Computational Linguistics",
    url = "https://aclanthology.org/2020.acl-main.720",
}""",
    "byte_to_span": """@inproceedings{gillick-etal-2016-multilingual,
    title = "Multilingual Language Processing From Bytes",
    author = "Gillick, Dan and Brunk, Cliff and Vinyals, Oriol and Subramanya, Amarnag",
    booktitle = "Proceedings of the 2016 Conference of the North {A}merican Chapter of the Association for
        Computational Linguistics: Human Language Technologies",
    year = "2016",
    pages = "1296--1306",
    publisher = "Association for Computational Linguistics",
    url = "https://aclanthology.org/N16-1155",
}""",
    "charner": """@inproceedings{kuru-etal-2016-charner,
    title = "{C}har{NER}: Character-Level Named Entity Recognition",
    author = "Kuru, Onur and Can, Ozan Arkan and Yuret, Deniz",
    booktitle = "Proceedings of COLING 2016, the 26th International Conference on Computational Linguistics",
    year = "2016",
    pages = "911--921",
    publisher = "The COLING 2016 Organizing Committee",
    url = "https://aclanthology.org/C16-1087",
}""",
    "meta_lstm": """@inproceedings{bohnet-etal-2018-morphosyntactic,
    title = "Morphosyntactic Tagging with a Meta-{B}i{LSTM} Model over Context Sensitive Token Encodings",
    author = "Bohnet, Bernd and McDonald, Ryan and Sim{\\~o}es, Gon{\\c{c}}alo and Andor, Daniel and Pitler, Emily and
        Maynez, Joshua",
    booktitle = "Proceedings of the 56th Annual Meeting of the Association for Computational Linguistics (Volume 1)",
    year = "2018",
    pages = "2642--2652",
    publisher = "Association for Computational Linguistics",
    url = "https://aclanthology.org/P18-1246",
}""",
    "slicer": """@inproceedings{schmidt-etal-2022-slicer,
    title = "{SLICER}: Sliced Fine-Tuning for Low-Resource Cross-Lingual Transfer for Named Entity Recognition",
    author = "Schmidt, Fabian David and Vuli{\\'c}, Ivan and Glava{\\v{s}}, Goran",
    booktitle = "Proceedings of the 2022 Conference on Empirical Methods in Natural Language Processing",
    year = "2022",
    pages = "10775--10785",
    publisher = "Association for Computational Linguistics",
    url = "https://aclanthology.org/2022.emnlp-main.740",
}""",
}
CITATIONS["encoder_crf"] = CITATIONS["byte_crf"]  # systems of one paper


def model_card(results: Mapping[str, Any], *, repo_id: str | None = None) -> ModelCard:
    """
    The card of a trained model.

    Args:
        results (`Mapping[str, Any]`):
            What `results.json` holds, with scores on `test`.
        repo_id (`str`, *optional*):
            Repository on the Hub, for the code that the card shows. Defaults to the name of the run, with a line that
            says what it stands for.

    Returns:
        `ModelCard`: its `data.eval_results` has one result for each language of the test scores.
    """
    check_results(results)
    trained_on, unseen = languages_by_training(results)
    scores = {language: results["scores"]["test"][language] for language in trained_on + unseen}
    metric = _metric(results)
    per_language = results.get("one_model_per_language", False)
    weakest = min(scores, key=lambda language: scores[language][metric]["mean"])
    content = {
        "name": results["name"],
        # Of models that each have a folder, the code of the card loads the first.
        "model_id": f"{repo_id or results['name']}{f'/{next(iter(scores))}' if per_language else ''}",
        "one_model_per_language": per_language,
        "is_repository": repo_id is not None,
        "types": sorted({name for language in scores.values() for name in language.get("by_type", {})}),
        "regime": results["regime"],
        "regime_meaning": REGIME_MEANINGS[results["regime"]],
        "trained_on": trained_on,
        "unseen": unseen,
        "metric": metric,
        "tasks": results["arguments"].get("task", "ner").split(),
        "table": results_table(results),
        "selection_table": selection_table(results) if "selection" in results else None,
        "data": [_data_row(language, splits) for language, splits in results["data"].items()],
        **_averages(scores, metric),
        "weakest": weakest,
        "weakest_score": scores[weakest][metric]["mean"],
        "best_seed": results.get("best_seed"),
        "is_chosen": has_dev_set(results),
        "duration": _duration(results["seconds"]),
        "device": _device(results["device"]),
        "memory": f"{results['peak_memory_bytes'] / 2**30:.1f} GiB",
        "versions": [f"{package} {version}" for package, version in results["versions"].items()],
        "citation": CITATIONS.get(results["model_type"]),
        "model_name": repo_id or results["name"],
        **{
            key: results.get(key)
            for key in (
                "model_type",
                "teacher",
                "distilled_on",
                "base_model",
                "base_model_sha256",
                "adapter",
                "adam_state",
                "seeds",
                "command",
            )
        },
    }
    card: ModelCard = ModelCard.from_template(_card_data(results), template_str=_template(), **content)
    return card


def write_model_card(
    folder: str | Path, results: Mapping[str, Any] | None = None, *, repo_id: str | None = None
) -> Path:
    """
    Write the card of a trained model, `README.md`, into its folder.

    Args:
        folder (`str` or `Path`):
            Folder of the model.
        results (`Mapping[str, Any]`, *optional*):
            Defaults to those in the folder's `results.json`.
        repo_id (`str`, *optional*):
            Repository on the Hub to which the folder goes.

    Returns:
        `Path` of the card.
    """
    path = Path(folder) / "README.md"
    model_card(read_results(folder) if results is None else results, repo_id=repo_id).save(path)
    return path


def evaluation_results(results: Mapping[str, Any]) -> list[EvalResult]:
    """
    Test scores as the Hub's `model-index` keeps them: the mean over seeds, in percent, of each language.

    Args:
        results (`Mapping[str, Any]`):
            What `results.json` holds.
    """
    evaluations = []
    for language in _tested_languages(results):
        source = results["data"][language].get("source", f"data of {results['name']}")
        dataset, configuration = _hub_dataset(source)
        scores = results["scores"]["test"][language]
        for name, metric_type, title in _METRICS:
            if name in scores:
                evaluations.append(
                    EvalResult(
                        task_type="token-classification",
                        dataset_type=dataset or re.sub(r"[^\w.]+", "-", source).strip("-").lower(),
                        dataset_name=f"{source} ({language})",
                        dataset_config=configuration or language,
                        dataset_split="test",
                        metric_type=metric_type,
                        metric_name=f"{title} (percent)",
                        metric_value=round(scores[name]["mean"], 2),
                    )
                )
    return evaluations


def _card_data(results: Mapping[str, Any]) -> ModelCardData:
    trained_on, _ = languages_by_training(results)
    datasets = {_hub_dataset(splits.get("source", ""))[0] for splits in results["data"].values()}
    base_model = results.get("base_model") or ""
    adapter = results.get("adapter")
    is_adapter = adapter is not None and not adapter.get("merged", False)
    return ModelCardData(
        # The Hub accepts ISO 639 codes only, and for a base model only one of its own repositories.
        language=[language for language in trained_on if re.fullmatch(r"[a-z]{2,3}", language)] or None,
        base_model=base_model if _is_hub_id(base_model) else None,
        datasets=sorted(dataset for dataset in datasets if dataset) or None,
        library_name="peft" if is_adapter else "transformers",
        pipeline_tag="token-classification",
        tags=["hf_polyglot", results["model_type"], results["regime"], *(["lora"] if is_adapter else [])],
        metrics=_hub_metrics(results),
        model_name=results["name"],
        eval_results=evaluation_results(results),
    )


def _is_hub_id(name: str) -> bool:
    # What recipes leave lies below runs/, and is gone where a card is made of kept results.
    if name.startswith("runs/"):
        return False
    return re.fullmatch(r"\w[\w.-]*(/[\w.-]+)?", name) is not None and not Path(name).exists()


def _metric(results: Mapping[str, Any]) -> str:
    return main_metric(results["scores"]["test"][_tested_languages(results)[0]])


def _hub_metrics(results: Mapping[str, Any]) -> list[str]:
    """The Hub's names of the metrics of a run."""
    if _metric(results) == "f1":
        return ["precision", "recall", "f1"]
    present = {name for language in _tested_languages(results) for name in results["scores"]["test"][language]}
    return list(dict.fromkeys(metric_type for name, metric_type, _ in _METRICS if name in present))


def _tested_languages(results: Mapping[str, Any]) -> list[str]:
    trained_on, unseen = languages_by_training(results)
    return trained_on + unseen


def _averages(scores: Mapping[str, Any], metric: str) -> dict[str, float]:
    """Precision and recall averaged over the languages, for a task that has them."""
    return {
        f"average_{name}": fmean(language[name]["mean"] for language in scores.values())
        for name in ("precision", "recall")
        if metric == "f1"
    }


def _hub_dataset(source: str) -> tuple[str | None, str | None]:
    """Id and configuration of a data set on the Hub, written `owner/name:configuration`."""
    match = re.fullmatch(r"(\w[\w.-]*/[\w.-]+):([\w.-]+)", source)
    return (match[1], match[2]) if match else (None, None)


def _data_row(language: str, splits: Mapping[str, Any]) -> list[str]:
    counts = [
        f"{splits[split]['sentences']:,}" if split in splits else "" for split in ("train", "validation", "test")
    ]
    words = [splits.get(key, "not recorded").replace("|", "\\|") for key in ("source", "license")]
    return [language, *counts, *words]


def _duration(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{seconds:.0f} s"


def _device(device: Mapping[str, Any]) -> str:
    threads = f" ({device['cpu_threads']} CPU threads)" if "cpu_threads" in device else ""
    return f"{device.get('name', 'an unknown device')}{threads}"


def _template() -> str:
    return next(path for path in TEMPLATES if path.is_file()).read_text(encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """
    Write the card of a results.json.

    Args:
        arguments (`Sequence[str]`, *optional*):
            Defaults to the command line.
    """
    parser = argparse.ArgumentParser(prog="python -m hf_polyglot.model_card", description="Card of a results.json.")
    parser.add_argument("results", type=Path, help="results.json of a run.")
    parser.add_argument("card", type=Path, help="Markdown file to write.")
    parser.add_argument("--repo_id", help="Repository on the Hub that the code in the card loads from.")
    given = parser.parse_args(arguments)
    model_card(read_results(given.results), repo_id=given.repo_id).save(given.card)


if __name__ == "__main__":
    main()
