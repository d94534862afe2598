"""The end of a recipe: results.json, sentence_counts.json, the card, the table on the terminal, and the Hub."""

import dataclasses
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from transformers import PreTrainedModel

from hf_polyglot.data.corpora import fingerprint
from hf_polyglot.model_card import write_model_card
from hf_polyglot.result_tables import differences_table, results_table, selection_table
from hf_polyglot.results import run_environment, write_results
from hf_polyglot.sentence_counts import SentenceCounts, file_name_of_task, write_sentence_counts
from hf_polyglot.training.arguments import PolyglotTrainingArguments
from hf_polyglot.training.command_line import without_tokens
from hf_polyglot.training.epoch_weights import EPOCH_WEIGHTS, EpochWeights
from hf_polyglot.training.optimizer_state import ADAM_STATE_FILE
from hf_polyglot.training.recipe_corpora import CorpusArguments, RecipeCorpora
from hf_polyglot.training.runs import SeedRuns, seed_folder, train_over_seeds
from hf_polyglot.training.trainer import PolyglotTrainer

# Of a run's folder, what is no part of the model: the runs of the single seeds with their checkpoints, and the encoder
# that it began with, if the recipe made it.
KEPT_AT_HOME = ["seed-*", "checkpoint-*", "_*", "*.bin", "student", "student/*", "encoder", "encoder/*"]


def train_and_publish(
    make_trainer: Callable[[PolyglotTrainingArguments], PolyglotTrainer],
    arguments: CorpusArguments,
    training: PolyglotTrainingArguments,
    corpora: RecipeCorpora,
    *,
    regime: str | None = None,
    **described: Any,
) -> dict[str, Any]:
    """
    Train over all seeds, score every run, and publish the best.

    Args:
        make_trainer (`Callable`):
            Makes the trainer of one seed, as for [`train_over_seeds`].
        arguments ([`CorpusArguments`]):
            Of the recipe.
        training ([`PolyglotTrainingArguments`]):
            How to train, and where to.
        corpora ([`RecipeCorpora`]):
            What to train and test on.
        regime (`str`, *optional*):
            Defaults to `"polyglot"`, or to `"monolingual"` if there is but one language to train on.
        described:
            What else `results.json` says, see [`run_results`].

    Returns:
        What `results.json` says.
    """
    if not corpora.source_validation:
        training = training.without_dev_set()
    runs = train_over_seeds(make_trainer, training, arguments.seeds, corpora.evaluation, corpora.zero_shot_languages)
    if regime is None:
        regime = "polyglot" if len(corpora.train) > 1 else "monolingual"
    return publish_run(runs, arguments, training, corpora, regime=regime, **described)


def run_results(
    runs: SeedRuns,
    arguments: CorpusArguments,
    training: PolyglotTrainingArguments,
    corpora: RecipeCorpora,
    *,
    regime: str,
    name: str | None = None,
    base_model: str | None = None,
    **others: Any,
) -> dict[str, Any]:
    """
    What `results.json` says of a run.

    Args:
        runs ([`SeedRuns`]):
            What came out.
        arguments ([`CorpusArguments`]):
            Of the recipe.
        training ([`PolyglotTrainingArguments`]):
            Of the trainer; those that differ from the defaults are kept.
        corpora ([`RecipeCorpora`]):
            What was trained and tested on.
        regime (`str`):
            `"polyglot"` or another of the regimes.
        name (`str`, *optional*):
            Defaults to the name of the output folder.
        base_model (`str`, *optional*):
            What training started from.
        others:
            Further keys.
    """
    return {
        "name": name or Path(training.output_dir).name,
        "command": command_line(training),
        "model_type": runs.trainer.model.config.model_type,
        "regime": regime,
        "base_model": base_model,
        "arguments": run_arguments(arguments, training),
        "data": corpora.to_dict(),
        "seeds": runs.seeds,
        "best_seed": runs.best_seed,
        "examples_drawn": runs.examples_drawn,
        **run_environment(training.device),
        "seconds": round(runs.seconds, 1),
        "peak_memory_bytes": runs.peak_memory_bytes,
        "size": model_size(runs.trainer.model, training.output_dir),
        "scores": runs.scores,
        **({"selection": runs.selection} if runs.selection else {}),
        **runs.trainer.described,
        **others,
    }


def model_size(model: PreTrainedModel, folder: str | Path) -> dict[str, int]:
    """
    How large a model is: `trained_parameters`, numbers that were learned, and `bytes` of its weights on disk.

    Args:
        model (`PreTrainedModel`):
            As it was trained.
        folder (`str` or `Path`):
            Where it was saved.
    """
    weights = [path for path in Path(folder).glob("*.safetensors") if path.name != ADAM_STATE_FILE]
    return {
        "trained_parameters": sum(weight.numel() for weight in model.parameters() if weight.requires_grad),
        "bytes": sum(path.stat().st_size for path in weights),
    }


def publish_run(
    runs: SeedRuns,
    arguments: CorpusArguments,
    training: PolyglotTrainingArguments,
    corpora: RecipeCorpora,
    **described: Any,
) -> dict[str, Any]:
    """
    Write results.json, sentence_counts.json and the card beside the model, and upload the folder if `--push_to_hub`
    says so.

    Args:
        runs ([`SeedRuns`]):
            What came out.
        arguments ([`CorpusArguments`]):
            Of the recipe.
        training ([`PolyglotTrainingArguments`]):
            Of the trainer. `hub_model_id` and `hub_private_repo` say where to.
        corpora ([`RecipeCorpora`]):
            What was trained and tested on.
        described:
            Further arguments of [`run_results`].

    Returns:
        What `results.json` says.
    """
    results = run_results(runs, arguments, training, corpora, **described)
    if runs.trainer.is_world_process_zero():
        folder = Path(training.output_dir)
        if corpora.further_labels:
            _write_counts_of_tasks(folder, results["name"], runs, corpora)
        else:
            fingerprints = {
                split: {language: results["data"][language][split]["fingerprint"] for language in counts}
                for split, counts in runs.sentence_counts.items()
            }
            write_sentence_counts(folder, SentenceCounts(results["name"], runs.sentence_counts, fingerprints))
        write_model_card(folder, results, repo_id=training.hub_model_id if training.push_to_hub else None)
        write_results(folder, results)  # last: it says that the run has ended
        for seed in runs.seeds:  # without them, a run that was killed before could not be resumed
            for weights in list(seed_folder(folder, seed).rglob(EPOCH_WEIGHTS)):  # parts of a Meta-LSTM have their own
                EpochWeights(weights.parent).remove()
        if training.push_to_hub:
            api = HfApi(token=training.hub_token)
            repository = api.create_repo(
                training.hub_model_id or folder.name, private=training.hub_private_repo, exist_ok=True
            ).repo_id
            write_model_card(folder, results, repo_id=repository)
            api.upload_folder(repo_id=repository, folder_path=folder, ignore_patterns=KEPT_AT_HOME)
    return results


def _write_counts_of_tasks(folder: Path, name: str, runs: SeedRuns, corpora: RecipeCorpora) -> None:
    """A file of sentence counts for each task, of the languages that have it."""
    for index, task in enumerate(corpora.tasks):
        of_task = {
            split: {language: counts[:, index] for language, counts in of_split.items() if counts[:, index].any()}
            for split, of_split in runs.sentence_counts.items()
        }
        fingerprints = {
            split: {
                language: fingerprint(corpora.evaluation[split][language], task.label_column) for language in of_split
            }
            for split, of_split in of_task.items()
        }
        write_sentence_counts(folder / file_name_of_task(task.name), SentenceCounts(name, of_task, fingerprints))


def results_summary(results: Mapping[str, Any] | Mapping[str, Mapping[str, Any]], folder: str | Path) -> str:
    """
    Table of the test scores, by how much several runs differ from the first, what rules of model selection give, and
    where the models lie.

    Args:
        results (`Mapping`):
            As in `results.json`; or several runs, to stand side by side, by the name of their folder below `folder`.
        folder (`str` or `Path`):
            Where they were written.
    """
    runs = [results] if "scores" in results else list(results.values())
    if "scores" in results:
        tables, folders = [results_table(results)], model_folders(results, folder)
    else:
        tables = [results_table(runs), *([differences_table(runs[0], runs[1:])] if len(runs) > 1 else [])]
        folders = [Path(folder) / name for name in results]
    if all("selection" in run for run in runs):
        tables.append(selection_table(runs))
    places = "\n".join(f"Model, results.json and card: {place}" for place in folders)
    return "\n" + "\n\n".join([*tables, places])


def model_folders(results: Mapping[str, Any], folder: str | Path) -> list[Path]:
    """
    Where the models of a run lie: in its folder, or, one for each language, in folders below.

    Args:
        results (`Mapping[str, Any]`):
            Of the run.
        folder (`str` or `Path`):
            Where it was written.
    """
    return (
        [Path(folder, name) for name in results["data"]] if results.get("one_model_per_language") else [Path(folder)]
    )


def run_arguments(arguments: CorpusArguments, training: PolyglotTrainingArguments) -> dict[str, Any]:
    """
    The arguments of a run as `results.json` keeps them.

    Args:
        arguments ([`CorpusArguments`]):
            Of the recipe.
        training ([`PolyglotTrainingArguments`]):
            Of the trainer; those that differ from the defaults are kept.
    """
    return dataclasses.asdict(arguments) | changed_arguments(training)


def changed_arguments(training: PolyglotTrainingArguments) -> dict[str, Any]:
    """
    Those arguments of the trainer that differ from their defaults, tokens left out.

    Args:
        training ([`PolyglotTrainingArguments`]):
            Of the run.
    """
    # Not from a second instance: to make one resets the state of accelerate, and with it the choice of the device.
    defaults = {setting.name: _default(setting) for setting in dataclasses.fields(training)}
    return {
        key: value
        for key, value in training.to_dict().items()
        if value != defaults.get(key) and "token" not in key and "logging" not in key
    }


def _default(setting: dataclasses.Field) -> Any:
    return setting.default if setting.default_factory is dataclasses.MISSING else setting.default_factory()


def command_line(training: PolyglotTrainingArguments) -> str:
    """
    The command that repeats this run, without the place of this checkout.

    Args:
        training ([`PolyglotTrainingArguments`]):
            Of the run; on several processes, the command says how many.
    """
    program = Path(sys.argv[0])
    if program.is_absolute() and program.is_relative_to(Path.cwd()):
        program = program.relative_to(Path.cwd())
    processes = ["--multi_gpu", "--num_processes", str(training.world_size)] if training.world_size > 1 else []
    return shlex.join(["accelerate", "launch", *processes, str(program), *without_tokens(sys.argv[1:])])
