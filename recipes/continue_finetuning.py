"""
Train a polyglot model further on one of its languages, or on a new one, with the Adam state it was trained with
(Mueller et al. 2020).

    accelerate launch recipes/continue_finetuning.py --model runs/byte_crf --language yor
    accelerate launch recipes/continue_finetuning.py --model runs/byte_crf --languages all --compare runs/monolingual
    accelerate launch recipes/continue_finetuning.py --model runs/byte_crf --language twi --corpora twi=my_corpora/twi

Needs the folder or Hub id of a model that a recipe trained. What is not given on the command line, the corpora
included, is as in the run that trained it: its results.json says so.
"""

import argparse
from dataclasses import dataclass, field, replace
from typing import Any

from transformers import AutoConfig, AutoTokenizer

import hf_polyglot  # noqa: F401  registers the models
from hf_polyglot.result_tables import differences_table, of_languages, results_table
from hf_polyglot.results import aggregate_scores, read_results
from hf_polyglot.training.arguments import PolyglotTrainingArguments, parse_recipe
from hf_polyglot.training.continuation import arguments_of_run, load_to_continue, results_of, trainer_to_continue
from hf_polyglot.training.language_runs import train_each_language
from hf_polyglot.training.optimizer_state import load_adam_state
from hf_polyglot.training.publishing import train_and_publish
from hf_polyglot.training.recipe_corpora import CorpusArguments, RecipeCorpora, load_recipe_corpora, named_sources
from hf_polyglot.training.runs import score_corpora
from hf_polyglot.training.trainer import PolyglotTrainer


@dataclass
class ContinueArguments(CorpusArguments):
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
    compare: list[str] = field(
        default_factory=list,
        metadata={"help": "Runs to show beside, such as the monolingual ones: folders, or results.json files."},
    )
    freeze_embeddings: bool = field(
        default=False, metadata={"help": "Leave the word embeddings of a pretrained encoder as they are."}
    )
    stride: int = field(
        default=1, metadata={"help": "Byte-to-Span: a training segment begins at every so many bytes."}
    )


def load_languages(arguments: ContinueArguments) -> RecipeCorpora:
    """
    The corpora of the chosen languages, and no others read; their labels begin with the model's own.

    Raises:
        ValueError: if no language is chosen.
    """
    sources = named_sources(arguments.corpora)
    chosen = arguments.languages
    if not chosen:
        raise ValueError(f"`languages` is empty; expected all, or some of {', '.join(sources)}. Use --language yor.")
    if set(chosen) <= set(sources):
        arguments = replace(arguments, corpora=[f"{language}={sources[language]}" for language in chosen])
    config: Any = AutoConfig.from_pretrained(arguments.model)
    own_labels = [config.id2label[index] for index in range(config.num_labels)]
    corpora = load_recipe_corpora(arguments, scheme=config.label_scheme, known_labels=own_labels)
    return corpora if chosen == ["all"] else corpora.of_languages(chosen)


def main(arguments: ContinueArguments, training: PolyglotTrainingArguments) -> dict[str, Any]:
    corpora = load_languages(arguments)
    training.print(corpora.report)
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    adam_state = load_adam_state(arguments.model) if arguments.adam_state == "carry" else None

    def train(corpora: RecipeCorpora, training: PolyglotTrainingArguments) -> dict[str, Any]:
        def make_trainer(args: PolyglotTrainingArguments) -> PolyglotTrainer:
            model = load_to_continue(arguments.model, corpora.labels, list(corpora.train))
            if arguments.freeze_embeddings:
                model.get_input_embeddings().requires_grad_(False)
            return trainer_to_continue(
                model,
                args,
                stride=arguments.stride,
                processing_class=tokenizer,
                train_dataset=corpora.train,
                eval_dataset=corpora.source_validation,
                adam_state=adam_state,
            )

        trainer = make_trainer(training)
        before = {
            split: aggregate_scores([score_corpora(trainer, datasets)[0]])
            for split, datasets in corpora.evaluation.items()
        }
        trainer.create_optimizer()
        carried = trainer.carried_adam_state
        training.print(carried or "Adam begins with a fresh state.")
        return train_and_publish(
            make_trainer,
            arguments,
            training,
            corpora,
            regime="continued",
            base_model=arguments.model,
            before=before,
            adam_state=None if carried is None else {"carried": carried.carried, "fresh": carried.fresh},
        )

    if len(corpora.train) > 1:
        results = train_each_language(train, arguments, training, corpora)
    else:
        results = train(corpora, training)
    before = results | {"name": "before", "scores": results["before"], "seeds": results["seeds"][:1]}
    compared = [of_languages(read_results(run), list(corpora.train)) for run in arguments.compare]
    runs = [*compared, before, results]
    training.print("\n" + results_table(runs))
    training.print("\n" + differences_table(runs[0], runs[1:]))
    training.print(f"\nModel, results.json and card: {training.output_dir}")
    return results


if __name__ == "__main__":
    # The defaults of all other arguments are those of the model's run, so the model has to be known first.
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--model")
    model = parser.parse_known_args()[0].model
    defaults = arguments_of_run(results_of(model), ContinueArguments, PolyglotTrainingArguments) if model else {}
    main(*parse_recipe(ContinueArguments, PolyglotTrainingArguments, **{"output_dir": "runs/continued"} | defaults))
