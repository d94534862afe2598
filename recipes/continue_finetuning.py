"""
Train a polyglot model further on one of its languages, or on a new one, with the Adam state it was trained with
(Mueller et al. 2020).

    accelerate launch recipes/continue_finetuning.py --model runs/byte_crf --language yor
    accelerate launch recipes/continue_finetuning.py --model runs/byte_crf --languages all --compare runs/monolingual
    accelerate launch recipes/continue_finetuning.py --model runs/byte_crf --language twi --corpora twi=my_corpora/twi
    accelerate launch recipes/continue_finetuning.py --model runs/encoder_crf --languages all --adapter lora

Needs the folder or Hub id of a model that a recipe trained. What is not given on the command line, the corpora
included, is as in the run that trained it: its results.json says so.
"""

import argparse
import sys
from dataclasses import dataclass, field, replace
from typing import Any

from transformers import AutoConfig, AutoTokenizer, set_seed

import hf_polyglot  # noqa: F401  registers the models
from hf_polyglot.analysis.fisher import diagonal_fisher
from hf_polyglot.data.collators import collator_for
from hf_polyglot.joint_tasks import JointTask, task_of_model
from hf_polyglot.model_files import checked_model_name, weights_digest
from hf_polyglot.models.label_scheme import labels_by_scheme, labels_of
from hf_polyglot.result_tables import progress_table, selection_table, sizes_table
from hf_polyglot.results import read_results
from hf_polyglot.training.adapters import (
    AdapterArguments,
    adapter_description,
    adapter_trainer,
    refuse_adapter,
)
from hf_polyglot.training.arguments import PolyglotTrainingArguments
from hf_polyglot.training.command_line import parse_recipe, print_error, with_preset
from hf_polyglot.training.continuation import (
    arguments_of_run,
    load_to_continue,
    results_of,
    state_before,
    trainer_to_continue,
    with_known_descriptions,
)
from hf_polyglot.training.elastic_weights import ElasticWeights
from hf_polyglot.training.encoder_layers import encoder_of, freeze_lowest_layers
from hf_polyglot.training.language_runs import train_each_language
from hf_polyglot.training.optimizer_state import load_adam_state
from hf_polyglot.training.publishing import model_folders, train_and_publish
from hf_polyglot.training.recipe_corpora import CorpusArguments, RecipeCorpora, load_recipe_corpora, named_sources
from hf_polyglot.training.trainer import PolyglotTrainer


@dataclass
class ContinueArguments(CorpusArguments, AdapterArguments):
    """What is continued, on what, and how it begins. Corpora are by default those of the model's own run."""

    model: str = field(default="", metadata={"help": "Folder or Hub id of the model, as a recipe has left it."})
    languages: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Language to continue on, such as yor; or several, or all, each from the same model, in a folder "
            "of its name.",
            "aliases": ["--language"],
        },
    )
    adam_state: str = field(
        default="carry",
        metadata={
            "help": "carry: begin with the moments and step counts of the model's run, as the paper does. fresh: with "
            "none.",
            "choices": ["carry", "fresh"],
        },
    )
    ewc_strength: float = field(
        default=0.0,
        metadata={
            "help": "Elastic weight consolidation: how strongly weights are held that matter to the languages "
            "that the model was trained on. 0: not at all."
        },
    )
    ewc_sentences: int = field(
        default=50, metadata={"help": "Training sentences of each of these languages by which that is found out."}
    )
    ewc_samples: int = field(default=10, metadata={"help": "Labels drawn for each of these sentences."})
    compare: list[str] = field(
        default_factory=list,
        metadata={"help": "Runs to show beside, such as the monolingual ones: folders, or results.json files."},
    )
    freeze_embeddings: bool = field(
        default=False, metadata={"help": "Leave the word embeddings of a pretrained encoder as they are."}
    )
    num_frozen_layers: int = field(
        default=0,
        metadata={"help": "Leave a pretrained encoder's embeddings and this many of its lowest layers as they are."},
    )
    stride: int = field(
        default=1, metadata={"help": "Byte-to-Span: a training segment begins at every so many bytes."}
    )


def load_languages(arguments: ContinueArguments, results: dict[str, Any]) -> RecipeCorpora:
    """
    The corpora of the chosen languages, and no others read; their labels begin with the model's own.

    Raises:
        ValueError: if no language is chosen, if there are zero-shot ones, or if the model has several tasks and is
            not to be continued as a whole.
    """
    sources = named_sources(arguments.corpora)
    chosen = arguments.languages
    if not chosen:
        known = ", ".join(sources or results["data"])
        raise ValueError(f"`languages` is empty; expected all, or some of {known}. Use --language.")
    if arguments.zero_shot_corpora:
        raise ValueError(
            f"`zero_shot_corpora` is {arguments.zero_shot_corpora}; expected none: a continued model is tested on its "
            "own language. Use evaluate.py for others."
        )
    if set(chosen) <= set(sources):
        arguments = replace(arguments, corpora=[f"{language}={sources[language]}" for language in chosen])
    config: Any = AutoConfig.from_pretrained(arguments.model)
    own_task = task_of_model(config)
    has_several = isinstance(own_task, JointTask)
    if (has_several or len(arguments.tasks) > 1) and arguments.task != own_task.name:
        raise ValueError(
            f"`task` is {arguments.task!r}, and the model was trained for {own_task.name!r}; expected its own "
            "tasks. Leave `task` out: a language that lacks one is trained on the others."
        )
    asked_for = {"adapter": arguments.adapter != "none", "ewc_strength": arguments.ewc_strength != 0}
    if has_several and (wrong := [name for name, is_asked_for in asked_for.items() if is_asked_for]):
        raise ValueError(
            f"`{wrong[0]}` is {getattr(arguments, wrong[0])}, and `{arguments.model}` has a head for each of "
            f"{', '.join(labels_by_scheme(config))}; expected a model of one task. Leave it out, or train a model for "
            "each task."
        )
    corpora = load_recipe_corpora(arguments, scheme=config.label_scheme, known_labels=labels_by_scheme(config))
    return with_known_descriptions(corpora.of_languages([*corpora.train] if chosen == ["all"] else chosen), results)


def elastic_weights_of(
    arguments: ContinueArguments, training: PolyglotTrainingArguments, results: dict[str, Any], tokenizer
) -> ElasticWeights | None:
    """
    What holds the model near where it is, by sentences of all languages that it was trained on; None if nothing does.

    Raises:
        ValueError: if the strength is below 0, or if an adapter leaves the weights as they are anyway.
    """
    if arguments.ewc_strength < 0:
        raise ValueError(f"`ewc_strength` is {arguments.ewc_strength}; expected 0 or more. Correct it.")
    if arguments.ewc_strength == 0:
        return None
    if arguments.adapter != "none":
        raise ValueError(
            f"`ewc_strength` is {arguments.ewc_strength} and `adapter` is {arguments.adapter}; expected one of the "
            "two: beside an adapter, the base forgets nothing. Leave `ewc_strength` out."
        )
    known = arguments_of_run(results, CorpusArguments)
    most = arguments.ewc_sentences
    read = CorpusArguments(**known | {"max_train_sentences": most, "max_test_sentences": 1})
    config: Any = AutoConfig.from_pretrained(arguments.model)
    corpora = load_recipe_corpora(read, scheme=config.label_scheme, known_labels=labels_by_scheme(config))
    model = load_to_continue(arguments.model, labels_of(config), list(corpora.train))
    sentences = [row for dataset in corpora.train.values() for row in dataset]
    fisher = diagonal_fisher(
        model, collator_for(model, tokenizer), sentences, num_samples=arguments.ewc_samples, seed=arguments.seeds[0]
    )
    training.print(f"Weights are held that matter to {len(sentences)} sentences of {', '.join(corpora.train)}.")
    return ElasticWeights.of_model(model, fisher, arguments.ewc_strength)


def main(arguments: ContinueArguments, training: PolyglotTrainingArguments) -> dict[str, Any]:
    if not arguments.model:
        raise ValueError("`model` is missing; expected the folder or Hub id of a trained model. Use --model.")
    refuse_adapter(checked_model_name(arguments.model))
    polyglot = results_of(arguments.model)
    compared = [read_results(run) for run in arguments.compare]
    corpora = load_languages(arguments, polyglot)
    training.print(corpora.report)
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    adam_state = load_adam_state(arguments.model) if arguments.adam_state == "carry" else None
    elastic_weights = elastic_weights_of(arguments, training, polyglot, tokenizer)

    base_sha256 = weights_digest(arguments.model)

    def train(corpora: RecipeCorpora, training: PolyglotTrainingArguments) -> dict[str, Any]:
        def make_trainer(args: PolyglotTrainingArguments) -> PolyglotTrainer:
            languages = list(corpora.train)
            model = load_to_continue(arguments.model, corpora.labels, languages, corpora.further_labels)
            if corpora.further_labels:
                model.config.loss_weights = corpora.loss_weights or None
            if arguments.freeze_embeddings:
                model.get_input_embeddings().requires_grad_(False)
            if arguments.num_frozen_layers:
                freeze_lowest_layers(encoder_of(model), arguments.num_frozen_layers)
            options: dict[str, Any] = {
                "processing_class": tokenizer,
                "train_dataset": corpora.train,
                "eval_dataset": corpora.source_validation,
                "adam_state": adam_state,
            }
            if arguments.adapter != "none":
                return adapter_trainer(model, args, arguments, arguments.model, base_sha256=base_sha256, **options)
            return trainer_to_continue(
                model, args, stride=arguments.stride, elastic_weights=elastic_weights, **options
            )

        set_seed(arguments.seeds[0])  # weights of new labels are drawn
        before, carried = state_before(make_trainer(training), corpora)
        training.print(carried or "Adam begins with a fresh state.")
        return train_and_publish(
            make_trainer,
            arguments,
            training,
            corpora,
            regime="continued",
            base_model=arguments.model,
            base_model_sha256=base_sha256,
            adapter=adapter_description(arguments, arguments.model),
            before=before,
            adam_state=None if carried is None else {"carried": carried.carried, "fresh": carried.fresh},
        )

    if len(corpora.train) > 1 or arguments.languages == ["all"]:
        results = train_each_language(train, arguments, training, corpora)
    else:
        results = train(corpora, training)
    before = results | {"name": polyglot["name"], "scores": results["before"], "seeds": results["seeds"][:1]}
    training.print("\n" + progress_table([*compared, before], results) + "\n")
    training.print(sizes_table([*compared, results]) + "\n")
    if "selection" in results:
        training.print(selection_table(results) + "\n")
    for folder in model_folders(results, training.output_dir):
        training.print(f"Model, results.json and card: {folder}")
    return results


if __name__ == "__main__":
    sys.excepthook = print_error
    # The defaults of all other arguments are those of the model's run, so the model has to be known first.
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--model")
    model = parser.parse_known_args(with_preset(sys.argv[1:]))[0].model
    defaults = (
        arguments_of_run(results_of(checked_model_name(model)), ContinueArguments, PolyglotTrainingArguments)
        if model
        else {}
    )
    main(*parse_recipe(ContinueArguments, PolyglotTrainingArguments, **{"output_dir": "runs/continued"} | defaults))
