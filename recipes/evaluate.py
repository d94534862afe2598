"""
Score a trained model on annotated files: precision, recall and F1 of spans, for each language and type; of a model of
parts of speech or morphology, accuracy of words; of one with several heads, each of its tasks that a corpus has.

    python recipes/evaluate.py --model runs/byte_crf --corpora ../shared/data/masakhaner1/*

Needs the folder or Hub id of a model or an adapter of this package, or the folder of a run with one of these for each
language, which are then used each on its own. Tests on the test split unless --split says otherwise.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from transformers import PreTrainedModel, PreTrainedTokenizerBase

import hf_polyglot  # noqa: F401  registers the models
from hf_polyglot.adapters import is_adapter
from hf_polyglot.analysis.span_errors import error_report, total_errors
from hf_polyglot.data.corpora import SPLIT_OF_NAME, fingerprint
from hf_polyglot.inference.adapters import adapters_of_run, load_tagger
from hf_polyglot.inference.int8_lstm import with_int8_lstms
from hf_polyglot.inference.tagging import tag_words
from hf_polyglot.joint_tasks import joint_scores, joint_scores_with_average, task_of_model
from hf_polyglot.model_files import checked_model_name
from hf_polyglot.models.label_scheme import WORD_CLASSES, labels_by_scheme, types_of_labels, with_types_mapped
from hf_polyglot.result_tables import errors_table, scores_table
from hf_polyglot.results import read_results
from hf_polyglot.sentence_counts import SentenceCounts, write_sentence_counts
from hf_polyglot.span_metrics import scores_with_average, with_stray_spans
from hf_polyglot.tasks import task_of
from hf_polyglot.training.command_line import parse_recipe, write_json
from hf_polyglot.training.publishing import model_folders
from hf_polyglot.training.recipe_corpora import load_gold_corpora, named_sources, parsed_type_map


@dataclass
class EvaluateArguments:
    """What is scored, and on what."""

    model: str = field(metadata={"help": "Folder or Hub id of the model."})
    corpora: list[str] = field(
        metadata={"help": "Corpora, each LANGUAGE=SOURCE or a folder named after its language."}
    )
    base_model: str | None = field(
        default=None,
        metadata={"help": "Of adapters: folder or Hub id of their base. Default: as it was called in their training."},
    )
    type_map: list[str] = field(
        default_factory=list, metadata={"help": "Entity types to rename in files and predictions, as DATE=O."}
    )
    split: str = field(default="test", metadata={"help": "Split to score on: train, validation (or dev) or test."})
    mode: str = field(
        default="conlleval",
        metadata={"help": "How ill-formed tags are read.", "choices": ["conlleval", "strict"]},
    )
    second_best_for: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Classes of words that are passed over, such as X: where one comes out, the most probable other "
            "one is taken."
        },
    )
    int8_lstms: bool = field(
        default=False,
        metadata={
            "help": "Read with LSTMs of 8-bit weights on the CPU, as `predict.py --int8_lstms true` does, to see what "
            "they cost."
        },
    )
    batch_size: int = field(default=64, metadata={"help": "Sentences read at once."})
    output_file: str | None = field(default=None, metadata={"help": "JSON file for the scores."})
    error_file: str | None = field(
        default=None,
        metadata={"help": "JSON file for the errors by kind, which are then printed too: wrong types, boundaries."},
    )
    sentence_counts: str | None = field(
        default=None,
        metadata={
            "help": "JSON file for the counts of each sentence, which compare.py reads; of several tasks one for "
            "each, FILE-upos.json and so on."
        },
    )


def models_of_run(model: str, languages: list[str]) -> dict[str, str]:
    """
    Folder or Hub id of the model for each language: that of all, or that below a run's folder; adapters share one.

    Raises:
        ValueError: if a run of one model for each language has none for some of them.
    """
    results = Path(checked_model_name(model), "results.json")
    if adapters := adapters_of_run(model):
        if others := [language for language in languages if language not in adapters]:
            print(f"There is no adapter for {', '.join(others)}: read with the base alone.")
        return dict.fromkeys(languages, model)
    if is_adapter(model) or Path(model, "config.json").is_file() or not results.is_file():
        return dict.fromkeys(languages, model)
    below = {folder.name: str(folder) for folder in model_folders(read_results(results), model)}
    missing = sorted(set(languages) - set(below))
    if missing:
        raise ValueError(
            f"The run in {model} has models for {', '.join(below)}; expected one for {', '.join(missing)} too. Leave "
            "these corpora out."
        )
    return {language: below[language] for language in languages}


def load_for_prediction(name: str, arguments: EvaluateArguments) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A tagger, on the device that it is to predict on, and its tokenizer."""
    model, tokenizer = load_tagger(name, arguments.base_model)
    return with_int8_lstms(model) if arguments.int8_lstms else model.to(Accelerator().device), tokenizer


def print_unknown(known: list[str], labels: list[str], scheme: str, type_map: Mapping[str, str]) -> None:
    """Say what is in the corpora and not among the model's labels, which are called otherwise too if types are."""
    types = [type_map.get(of_model, of_model) for of_model in types_of_labels(known, scheme)]
    unknown = sorted(set(types_of_labels(labels, scheme)).difference(types))
    if unknown:
        ignored = "" if scheme in WORD_CLASSES else f" --type_map {unknown[0]}=O ignores one."
        more = f" and {len(unknown) - 10:,} more" if len(unknown) > 10 else ""
        print(f"The model knows no {', '.join(unknown[:10])}{more}: it cannot find these.{ignored}")


def main(arguments: EvaluateArguments) -> dict[str, dict[str, Any]]:
    arguments = replace(arguments, split=SPLIT_OF_NAME.get(arguments.split, arguments.split))
    type_map = parsed_type_map(arguments.type_map)
    sources = named_sources(arguments.corpora)
    folders = models_of_run(arguments.model, list(sources))
    loaded_from = folders[min(folders)]
    model, tokenizer = load_for_prediction(loaded_from, arguments)
    schemes = labels_by_scheme(model.config)
    entities = next((scheme for scheme in schemes if scheme not in WORD_CLASSES), None)
    if arguments.error_file is not None and entities is None:
        raise ValueError(
            f"`error_file` is {arguments.error_file!r}, and the model's task is {task_of_model(model.config).name!r}; "
            "expected entities, whose errors are of several kinds. Leave it out."
        )
    corpora, labels, report = load_gold_corpora(model.config, sources, type_map)
    print(report)
    columns = {scheme: column for scheme in schemes if (column := task_of(scheme).label_column) in labels}
    for scheme, column in columns.items():
        print_unknown(schemes[scheme], labels[column], scheme, type_map if scheme == entities else {})

    gold: dict[str, list[list[str]]] = {scheme: [] for scheme in columns}
    predicted: dict[str, list[list[str]]] = {scheme: [] for scheme in columns}
    languages, num_words = [], []
    for language, splits in corpora.items():
        if arguments.split not in splits:
            raise ValueError(
                f"The corpus of {language} has no {arguments.split} split, but {', '.join(splits)}. Name one of these "
                "(`--split`), or leave the corpus out."
            )
        if folders[language] != loaded_from:
            loaded_from = folders[language]
            model, tokenizer = load_for_prediction(loaded_from, arguments)
        dataset = splits[arguments.split]
        tagged = tag_words(
            model,
            tokenizer,
            dataset["tokens"][:],
            arguments.batch_size,
            languages=dataset["language"][:],
            second_best_for=arguments.second_best_for,
        )
        for scheme, column in columns.items():
            tags = dataset.features[column].feature.names
            mapped = type_map if scheme == entities else {}
            for ids, sentence in zip(dataset[column], tagged, strict=True):
                # A sentence that has not this task is not scored on it.
                of_task = sentence.of_task(scheme).tags if ids else ()
                found = with_types_mapped(of_task, mapped, scheme) if mapped else of_task
                counted = with_stray_spans([tags[label] for label in ids], found, sentence.stray_types, scheme)
                gold[scheme].append(counted[0])
                predicted[scheme].append(counted[1])
        num_words += [len(sentence.words) for sentence in tagged]
        languages += [language] * len(dataset)

    if len(schemes) > 1:
        scores = joint_scores_with_average(joint_scores(gold, predicted, languages, arguments.mode))
    else:
        ((scheme, tags_of_gold),) = gold.items()
        by_language = task_of(scheme).scores_by_language(
            tags_of_gold, predicted[scheme], languages, scheme, arguments.mode
        )
        scores = scores_with_average(by_language)
    print(scores_table(scores))
    if arguments.error_file is not None and entities in gold:
        errors = {}
        for language in corpora:
            rows = [row for row in np.flatnonzero(np.array(languages) == language) if gold[entities][row]]
            if rows:
                errors[language] = error_report(
                    [gold[entities][row] for row in rows],
                    [predicted[entities][row] for row in rows],
                    entities,
                    strict=arguments.mode == "strict",
                    num_words=[num_words[row] for row in rows],
                )
        errors |= {"all": total_errors(errors)} if len(errors) > 1 else {}
        print("\n" + errors_table(errors))
        write_json(arguments.error_file, {"name": Path(arguments.model).name, "errors": errors})
    if arguments.output_file is not None:
        write_json(arguments.output_file, scores)
    if arguments.sentence_counts is not None:
        for scheme, column in columns.items():
            task = task_of(scheme)
            counts = task.sentence_counts(gold[scheme], predicted[scheme], scheme, arguments.mode)
            # Only languages that have tags of the task: a language without spans has some, all of them O.
            has_tags = {language for language, tags in zip(languages, gold[scheme], strict=True) if tags}
            of_languages = {
                language: counts[np.array(languages) == language][None] for language in corpora if language in has_tags
            }
            fingerprints = {
                language: fingerprint(corpora[language][arguments.split], column) for language in of_languages
            }
            path = Path(arguments.sentence_counts)
            write_sentence_counts(
                path if len(schemes) == 1 else path.with_stem(f"{path.stem}-{task.name}"),
                SentenceCounts(
                    Path(arguments.model).name, {arguments.split: of_languages}, {arguments.split: fingerprints}
                ),
            )
    return scores


if __name__ == "__main__":
    main(*parse_recipe(EvaluateArguments))
