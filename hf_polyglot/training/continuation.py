"""Training that goes on from a trained model: on one of its languages, on a new one, with labels it has not seen."""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from transformers import AutoModelForTokenClassification, PreTrainedModel
from transformers.utils import cached_file

from hf_polyglot.data.corpora import fingerprint
from hf_polyglot.models.label_scheme import labels_by_scheme
from hf_polyglot.results import DESCRIPTIONS, aggregate_scores, check_results
from hf_polyglot.training.arguments import PolyglotTrainingArguments
from hf_polyglot.training.optimizer_state import CarriedAdamState
from hf_polyglot.training.recipe_corpora import RecipeCorpora
from hf_polyglot.training.runs import score_corpora
from hf_polyglot.training.segment_trainer import ByteToSpanTrainer
from hf_polyglot.training.trainer import PolyglotTrainer

# Arguments that are not handed on from the run that made a model: where it went and how it was run, what it was tested
# on besides, how it drew its languages, and what it was continued from itself.
_NOT_HANDED_ON = (
    "output_dir", "run_name", "seeds", "seed", "push_to_hub", "hub_model_id", "hub_private_repo", "disable_tqdm",
    "resume_from_checkpoint", "use_cpu", "bf16", "fp16", "dataloader_pin_memory", "dataloader_num_workers",
    "monolingual", "zero_shot_corpora", "data_source", "data_license", "alpha", "sampling", "unimax_max_epochs",
    "dynamic_strength", "dynamic_baselines", "batch_languages", "metric_for_best_model", "model", "languages",
    "adam_state", "compare", "selection", "compare_selection", "load_best_model_at_end", "gradient_surgery",
    "eval_strategy", "ewc_strength", "ewc_sentences", "ewc_samples", "adapter", "lora_rank", "lora_alpha",
    "lora_dropout",
)  # fmt: skip


def results_of(model_name: str) -> dict[str, Any]:
    """
    What `results.json` beside a model says of the run that made it.

    Args:
        model_name (`str`):
            Folder or Hub id of the model.

    Raises:
        ValueError: if there is no such file, or another one.
    """
    path = cached_file(model_name, "results.json", _raise_exceptions_for_missing_entries=False)
    if path is None:
        raise ValueError(
            f"`{model_name}` has no results.json; expected the folder or Hub id of a model that a recipe trained. "
            "Train one first, for example with recipes/byte_crf.py."
        )
    with open(path, encoding="utf-8") as file:  # noqa: PTH123
        results: dict[str, Any] = json.load(file)
    check_results(results)
    return results


def arguments_of_run(results: dict[str, Any], *argument_classes: type) -> dict[str, Any]:
    """
    The arguments with which a model was trained, as far as they are of use for training it further.

    Args:
        results (`dict[str, Any]`):
            Of the run that made it.
        argument_classes (`type`):
            Dataclasses whose fields are wanted.

    Returns:
        `dict[str, Any]`: which corpora, how they are read, and how the model learns.
    """
    wanted = {setting.name for of_class in argument_classes for setting in fields(of_class) if setting.init}
    return {name: value for name, value in results["arguments"].items() if name in wanted.difference(_NOT_HANDED_ON)}


def with_known_descriptions(corpora: RecipeCorpora, results: dict[str, Any]) -> RecipeCorpora:
    """
    Corpora with source and licence from an earlier run, of those that it was trained on too.

    Args:
        corpora ([`RecipeCorpora`]):
            What is trained on now.
        results (`dict[str, Any]`):
            Of the earlier run.
    """
    before = results["data"]
    known = {
        language: {key: before[language][key] for key in DESCRIPTIONS if key in before[language]}
        for language, dataset in corpora.train.items()
        if before.get(language, {}).get("train", {}).get("fingerprint") == fingerprint(dataset)
    }
    described = {language: known.get(language, {}) | own for language, own in corpora.descriptions.items()}
    return replace(corpora, descriptions=described)


def load_to_continue(
    model_name: str,
    labels: Sequence[str],
    languages: Sequence[str],
    further_labels: Mapping[str, Sequence[str]] | None = None,
) -> PreTrainedModel:
    """
    A trained model that knows these labels and languages, whatever it knew before.

    Labels that it has not seen come behind its own. The scores of its own labels stay as they are, those of new ones
    are initialised as in a new model. Where each language has transition scores of its own, those of new languages
    begin with the mean of the others.

    Args:
        model_name (`str`):
            Folder or Hub id of a tagger of this package.
        labels (`Sequence[str]`):
            Tags, the model's own ones first, in their order.
        languages (`Sequence[str]`):
            What it is to be trained on.
        further_labels (`Mapping[str, Sequence[str]]`, *optional*):
            Of a model of several tasks, the tags of those behind the first, likewise. Defaults to its own.

    Raises:
        ValueError: if the labels do not begin with the model's own, or are of other tasks.
    """
    model = AutoModelForTokenClassification.from_pretrained(model_name, dtype=torch.float32)
    known = labels_by_scheme(model.config)
    first, *further = known
    if further_labels and set(further_labels) != set(further):
        raise ValueError(
            f"There are labels of the further tasks {', '.join(further_labels)}, and `{model_name}` has "
            f"{', '.join(further) or 'none'}; expected the tasks that it was trained for. Leave the others out."
        )
    given = {first: list(labels)} | {name: list((further_labels or known)[name]) for name in further}
    for scheme, of_task in known.items():
        if given[scheme][: len(of_task)] != of_task:
            raise ValueError(
                f"The labels are {', '.join(given[scheme])}; expected those of `{model_name}` first, "
                f"{', '.join(of_task)}. Load the corpora with `known_labels`."
            )
    if any(len(given[scheme]) > len(of_task) for scheme, of_task in known.items()):
        model = _with_labels(model, labels, {name: given[name] for name in further})
    known_languages = getattr(model.config, "languages", None)
    if known_languages is not None and (new := [name for name in languages if name not in known_languages]):
        model.add_languages(new)
    return model


def _with_labels(
    model: PreTrainedModel, labels: Sequence[str], further_labels: Mapping[str, list[str]]
) -> PreTrainedModel:
    """A model with more labels behind those of another, and the weights of the other where it had them."""
    config = copy.deepcopy(model.config)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}
    if further_labels:
        config.further_labels = dict(further_labels)
    grown = type(model)(config)
    if model.can_generate():
        grown.generation_config = copy.deepcopy(model.generation_config)
    with torch.no_grad():
        for name, parameter in grown.named_parameters():
            old = model.get_parameter(name)
            # New labels, types and symbols have the last ids, so that the old weights are the first block of the new.
            parameter[tuple(slice(size) for size in old.shape)] = old
    return grown


def trainer_to_continue(
    model: PreTrainedModel, args: PolyglotTrainingArguments, *, stride: int, **options: Any
) -> PolyglotTrainer:
    """
    The trainer for a model of any kind.

    Args:
        model (`PreTrainedModel`):
            A tagger of this package.
        args ([`PolyglotTrainingArguments`]):
            How to train.
        stride (`int`):
            For a model that reads segments of bytes: bytes from the start of one to that of the next.
        options:
            Further arguments of [`PolyglotTrainer`].
    """
    if model.input_form == "byte_segments":
        return ByteToSpanTrainer(model, args, stride=stride, **options)
    return PolyglotTrainer(model, args, **options)


def state_before(
    trainer: PolyglotTrainer, corpora: RecipeCorpora
) -> tuple[dict[str, dict[str, Any]], CarriedAdamState | None]:
    """
    How a model is before it is trained further.

    Args:
        trainer ([`PolyglotTrainer`]):
            That has not trained.
        corpora ([`RecipeCorpora`]):
            What to test on.

    Returns:
        `tuple` of its scores, in the form of those of one seed, and of what it will begin with of Adam's state.
    """
    scores = {
        split: aggregate_scores([score_corpora(trainer, datasets)[0]])
        for split, datasets in corpora.evaluation.items()
    }
    trainer.create_optimizer()
    return scores, trainer.carried_adam_state
