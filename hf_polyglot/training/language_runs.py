"""One model for each language: the same run for every language by itself, and what came out of all of them."""

import copy
import json
import math
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from hf_polyglot.joined_results import CHANGE_NOTHING_LEARNED, LATER_ARGUMENTS, joined_results
from hf_polyglot.model_card import write_model_card
from hf_polyglot.results import (
    DESCRIPTIONS,
    differing_keys,
    read_results,
    write_results,
)
from hf_polyglot.sentence_counts import (
    file_name_of_task,
    joined_sentence_counts,
    read_sentence_counts,
    write_sentence_counts,
)
from hf_polyglot.training.arguments import PolyglotTrainingArguments
from hf_polyglot.training.publishing import command_line, run_arguments
from hf_polyglot.training.recipe_corpora import CorpusArguments, RecipeCorpora

Train = Callable[[RecipeCorpora, PolyglotTrainingArguments], dict[str, Any]]


@dataclass
class MonolingualArguments:
    """Whether the languages are trained together."""

    monolingual: bool = field(
        default=False,
        metadata={"help": "Train one model for each language, in a folder of its name, not one for all of them."},
    )
    monolingual_min_sentences: int = field(
        default=0,
        metadata={
            "help": "With monolingual: train each language on at least so many sentences, each counted whenever it "
            "comes, in as many epochs as that takes; for a language of which num_train_epochs are only a few steps."
        },
    )


def train_together_or_apart(
    train: Train, arguments: Any, training: PolyglotTrainingArguments, corpora: RecipeCorpora
) -> dict[str, Any]:
    """
    One model for all languages, or with `--monolingual true` one for each.

    Args:
        train (`Callable`):
            Trains on such corpora, with such arguments, and returns what `results.json` says.
        arguments ([`CorpusArguments`] and [`MonolingualArguments`]):
            Of the recipe.
        training ([`PolyglotTrainingArguments`]):
            How to train, and where to.
        corpora ([`RecipeCorpora`]):
            All of them.

    Raises:
        ValueError: if languages are to be trained apart and others to be zero-shot, or if `monolingual_min_sentences`
            has nothing to say.
    """
    if not arguments.monolingual:
        if arguments.monolingual_min_sentences:
            raise ValueError(
                f"`monolingual_min_sentences` is {arguments.monolingual_min_sentences}, and `monolingual` is false; "
                "expected it to be true. For one model of all languages, give `num_train_epochs`, and `alpha` to draw "
                "small corpora more often."
            )
        return train(corpora, training)
    if corpora.zero_shot_languages and not corpora.is_demo:
        raise ValueError(
            f"`zero_shot_corpora` names {', '.join(corpora.zero_shot_languages)}, and `monolingual` is true; expected "
            "one of the two. Leave `zero_shot_corpora` out: each model is tested on its own language."
        )
    if training.max_steps > 0 and arguments.monolingual_min_sentences:
        raise ValueError(
            f"`monolingual_min_sentences` is {arguments.monolingual_min_sentences}, which asks for more epochs, and "
            f"`max_steps` is {training.max_steps}, which ends a run whatever its epochs; expected one of the two. "
            "Leave one out."
        )
    return train_each_language(train, arguments, training, corpora)


def train_each_language(
    train: Train, arguments: CorpusArguments, training: PolyglotTrainingArguments, corpora: RecipeCorpora
) -> dict[str, Any]:
    """
    A run for each language by itself, in a folder of its name, and the results of all of them in one file.

    A language whose run has ended is not trained again, so that the same command goes on where it was interrupted;
    with `--resume_from_checkpoint true`, from the last checkpoint of the language that it was at.

    Args:
        train (`Callable`):
            Trains on such corpora, with such arguments, and returns what `results.json` says.
        arguments ([`CorpusArguments`]):
            Of the recipe.
        training ([`PolyglotTrainingArguments`]):
            How to train; the languages' folders lie in its `output_dir`.
        corpora ([`RecipeCorpora`]):
            Of all languages. Their labels are those of each model.

    Returns:
        What the `results.json` of all languages says.
    """
    folder = Path(training.output_dir)
    runs: dict[str, dict[str, Any]] = {}
    # Of all before the first is trained: what has no sense for one of them is refused at once.
    trainings = {
        language: copy.copy(training) if language in corpora.source_validation else training.without_dev_set()
        for language in corpora.train
    }
    for language, own_training in trainings.items():
        own_corpora = corpora.of_languages([language])
        own_training.output_dir = str(folder / language)
        if least := getattr(arguments, "monolingual_min_sentences", 0):  # continued runs have no such argument
            epochs = math.ceil(least / max(1, len(corpora.train[language])))
            own_training.num_train_epochs = max(own_training.num_train_epochs, epochs)
        if training.push_to_hub:
            own_training.hub_model_id = f"{training.hub_model_id or folder.name}-{language}"
        training.print(f"\n{language}, {len(runs) + 1} of {len(corpora.train)}")
        if (folder / language / "results.json").is_file():
            defaults = {setting.name: setting.default for setting in fields(arguments)}
            expected = run_arguments(arguments, own_training)
            runs[language] = _ended_run(folder / language, expected, own_corpora, defaults)
            training.print(f"Its run has ended already: {folder / language}")
        else:
            runs[language] = train(own_corpora, own_training)
    results = joined_results(
        runs, name=folder.name, command=command_line(training), arguments=run_arguments(arguments, training)
    )
    if training.process_index == 0:
        names = [file_name_of_task(task.name) for task in corpora.tasks] if corpora.further_labels else [""]
        for name in names:
            of_runs = [folder / language / name for language in runs]
            counts = [read_sentence_counts(path) for path in of_runs]
            write_sentence_counts(folder / name, joined_sentence_counts(counts, folder.name))
        write_model_card(folder, results)
        write_results(folder, results)
    return results


def _ended_run(
    folder: Path, expected: dict[str, Any], corpora: RecipeCorpora, defaults: dict[str, Any]
) -> dict[str, Any]:
    """
    The results of a language's run. Arguments that its version did not have are taken to be at their defaults.

    Raises:
        ValueError: if it had other arguments, or other data.
    """
    results = read_results(folder)
    known = LATER_ARGUMENTS | {name: value for name, value in defaults.items() if value is not MISSING}
    later = {name: value for name, value in known.items() if name in expected}
    found = {**later, **results["arguments"], "data": results["data"]}
    # As they are after a way through JSON, where tuples are lists.
    wanted = json.loads(json.dumps({**expected, "data": corpora.to_dict()}))
    for data in (found, wanted):
        data["data"] = {
            language: {split: value for split, value in splits.items() if split not in DESCRIPTIONS}
            for language, splits in data["data"].items()
        }
    different = [key for key in differing_keys(found, wanted) if key not in CHANGE_NOTHING_LEARNED]
    if different:
        raise ValueError(
            f"`{folder}` holds a run with other {', '.join(different)}; expected one of this command. Give another "
            "`output_dir`, or remove that folder to train its language again."
        )
    return results
