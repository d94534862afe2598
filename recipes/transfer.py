"""
Score the model of each language on every language: what continuing on one costs on the others, what one carries over.

    python recipes/transfer.py --runs runs/continued --corpora ../shared/data/masakhaner1/* --output_file transfer.json

Needs the folder of a run with one model for each language, as continue_finetuning.py and --monolingual leave it; or of
a polyglot run, for comparison. Several runs that differ in their seeds are averaged. Tests on the test split unless
--split says otherwise.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accelerate import Accelerator

import hf_polyglot  # noqa: F401  registers the models
from hf_polyglot.analysis.language_transfer import ALL, transfer_report
from hf_polyglot.data.corpora import SPLIT_OF_NAME, load_corpora
from hf_polyglot.inference.adapters import load_tagger
from hf_polyglot.inference.tagging import tag_words
from hf_polyglot.models.label_scheme import WORD_CLASSES, labels_by_scheme, with_types_mapped
from hf_polyglot.result_tables import transfer_matrix_table, transfer_table
from hf_polyglot.results import read_results
from hf_polyglot.span_metrics import scores_with_average, with_stray_spans
from hf_polyglot.tasks import task_of
from hf_polyglot.training.command_line import parse_recipe, write_json
from hf_polyglot.training.publishing import model_folders
from hf_polyglot.training.recipe_corpora import named_sources, parsed_type_map


@dataclass
class TransferArguments:
    """What is scored, and on what."""

    runs: list[str] = field(metadata={"help": "Folders of runs that differ in their seeds."})
    corpora: list[str] = field(
        metadata={"help": "Corpora, each LANGUAGE=SOURCE or a folder named after its language."}
    )
    type_map: list[str] = field(
        default_factory=list, metadata={"help": "Entity types to rename in files and predictions, as DATE=O."}
    )
    split: str = field(default="test", metadata={"help": "Split to score on: train, validation (or dev) or test."})
    name: str | None = field(default=None, metadata={"help": "Of the runs together. Default: that of the first."})
    batch_size: int = field(default=64, metadata={"help": "Sentences read at once."})
    output_file: str | None = field(default=None, metadata={"help": "JSON file for the scores."})


def main(arguments: TransferArguments) -> dict[str, Any]:
    if len({Path(run).name for run in arguments.runs}) < len(arguments.runs):
        raise ValueError(
            f"`runs` is {', '.join(arguments.runs)}; expected folders of different names, by which the scores are "
            "told apart. Rename one."
        )
    results = [read_results(run) for run in arguments.runs]
    corpora: dict[str, Any] | None = None
    matrices = {}
    for run, of_run in zip(arguments.runs, results, strict=True):
        matrix = {}
        for folder in model_folders(of_run, run):
            model, tokenizer = load_tagger(str(folder))
            model.to(Accelerator().device)
            if len(labels_by_scheme(model.config)) > 1:
                raise ValueError(
                    f"The model in {folder} has heads for several tasks; expected one task. Score the models of one "
                    "task each."
                )
            if corpora is None:
                corpora = load_test_corpora(arguments, model.config.label_scheme)
            name = folder.name if of_run.get("one_model_per_language") else ALL
            matrix[name] = {
                language: score_of(model, tokenizer, dataset, language, arguments)
                for language, dataset in corpora.items()
            }
        matrices[Path(run).name] = matrix

    report = {
        "name": arguments.name or results[0]["name"],
        "metric": task_of(model.config.label_scheme).metric,
        "split": arguments.split,
        **transfer_report(matrices),
    }
    print(transfer_matrix_table(report) + "\n\n" + transfer_table([report]))
    if arguments.output_file is not None:
        write_json(arguments.output_file, report)
    return report


def load_test_corpora(arguments: TransferArguments, scheme: str) -> dict[str, Any]:
    """
    The data set of each language.

    Raises:
        ValueError: if a corpus lacks the split.
    """
    split = SPLIT_OF_NAME.get(arguments.split, arguments.split)
    loaded = load_corpora(
        named_sources(arguments.corpora),
        type_map=parsed_type_map(arguments.type_map),
        scheme="IOB2" if scheme in WORD_CLASSES else scheme,
        task=task_of(scheme).label_column,
    )
    print(loaded.report)
    for language, splits in loaded.corpora.items():
        if split not in splits:
            raise ValueError(
                f"The corpus of {language} has no {split} split, but {', '.join(splits)}. Choose one of them, or "
                "leave the corpus out."
            )
    return {language: splits[split] for language, splits in loaded.corpora.items()}


def score_of(model, tokenizer, dataset, language: str, arguments: TransferArguments) -> float:
    """F1 (or accuracy) of a model on one language, in percent."""
    scheme, type_map = model.config.label_scheme, parsed_type_map(arguments.type_map)
    task = task_of(scheme)
    tags = dataset.features[task.label_column].feature.names
    tagged = tag_words(model, tokenizer, dataset["tokens"][:], arguments.batch_size, languages=dataset["language"][:])
    gold, predicted = [], []
    for labels, sentence in zip(dataset[task.label_column], tagged, strict=True):
        found = with_types_mapped(sentence.tags, type_map, scheme) if type_map else sentence.tags
        counted = with_stray_spans([tags[label] for label in labels], found, sentence.stray_types, scheme)
        gold.append(counted[0])
        predicted.append(counted[1])
    scores = scores_with_average(task.scores_by_language(gold, predicted, [language] * len(gold), scheme))
    return scores[language][task.metric]


if __name__ == "__main__":
    main(*parse_recipe(TransferArguments))
