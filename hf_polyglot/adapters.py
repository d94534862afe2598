"""
LoRA adapters of a tagger with a pretrained encoder: one base, and for each language what differs from it.

An adapter has updates of low rank for linear layers of the encoder, and all that is not the encoder, such as
classifier, CRF and BiLSTM, whole. Its folder is one that peft writes and reads: `adapter_config.json`, and
`adapter_model.safetensors`, in whose metadata stands which base it is of (SHA-256 of the weights), and which labels
and languages it knows. There is no config.json in it: with one, transformers would look for the base in this folder.

peft, which `pip install hf_polyglot[adapters]` brings, is imported when an adapter is made or loaded, and not before.

References:
    Hu et al. (2022), "LoRA: Low-Rank Adaptation of Large Language Models". https://arxiv.org/abs/2106.09685
    Mueller, Andrews and Dredze (2020), whose models of one language start from the polyglot one.
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoModelForTokenClassification, PreTrainedModel
from transformers.utils import ADAPTER_CONFIG_NAME, ADAPTER_SAFE_WEIGHTS_NAME, cached_file, find_adapter_config_file

from hf_polyglot.model_files import checked_model_name, weights_digest
from hf_polyglot.models.label_scheme import labels_by_scheme, labels_of

# What peft calls the only adapter of a model, and what it writes before the names of a model's own parameters.
TRAINED = "default"
_PREFIX = "base_model.model."


@dataclass(frozen=True)
class Adapter:
    """
    What a folder with an adapter holds.

    Args:
        name (`str`):
            Folder or Hub id.
        config (`LoraConfig`):
            Of peft. `base_model_name_or_path` is the base as it was named when the adapter was trained.
        tensors (`dict[str, Tensor]`):
            By the name of the tagger's parameter; those of LoRA without the name that peft has for the adapter.
        labels (`list[str]`):
            Tags in the order of their ids, those of the base first.
        languages (`list[str]`, *optional*):
            Those with transition scores of their own, if the tagger has any.
        base_sha256 (`str`, *optional*):
            Digest of the base's weights; None if they lay in parts.
    """

    name: str
    config: Any
    tensors: dict[str, Tensor]
    labels: list[str]
    languages: list[str] | None
    base_sha256: str | None


def is_adapter(name: str) -> bool:
    """
    Whether a folder or a repository on the Hub holds an adapter.

    Args:
        name (`str`):
            Folder or Hub id.
    """
    return find_adapter_config_file(name) is not None


def is_of_encoder(model: PreTrainedModel, name: str) -> bool:
    """
    Whether a parameter or module is of a tagger's encoder, by its name.

    Args:
        model (`PreTrainedModel`):
            The tagger.
        name (`str`):
            The name.
    """
    return name.startswith(f"{model.base_model_prefix}.")


def add_adapter(model: PreTrainedModel, *, rank: int = 8, alpha: float = 16, dropout: float = 0.0) -> None:
    """
    Freeze a tagger's encoder, and let an adapter learn in its place, with all that is not the encoder.

    Every linear layer of the encoder gets an update of low rank, which is zero at first, but for those that are frozen
    already: the parts of an encoder that are to stay as they are stay so.

    Args:
        model (`PreTrainedModel`):
            A tagger of this package with a pretrained encoder, changed in place.
        rank (`int`, *optional*, defaults to 8):
            Rank of the updates.
        alpha (`float`, *optional*, defaults to 16):
            The updates are multiplied by this over the rank.
        dropout (`float`, *optional*, defaults to 0.0):
            Probability of zeroing what an update reads.

    Raises:
        ValueError: if the model has no pretrained encoder or several tasks, if no linear layer of it may learn, or if
            a number is out of its range.
    """
    if getattr(model, "input_form", None) != "pieces":
        raise ValueError(
            f"The model is a {type(model).__name__}, which has no pretrained encoder; expected one that has, such as "
            "an encoder-CRF or SLICER. Train all of its weights: --adapter none."
        )
    if model.config.further_labels:
        raise ValueError(
            f"The model has a head for each of {', '.join(labels_by_scheme(model.config))}; expected one task, of "
            "which an adapter says the labels. Train all of its weights: --adapter none."
        )
    if rank < 1 or alpha <= 0 or not 0 <= dropout < 1:
        raise ValueError(
            f"`lora_rank` is {rank}, `lora_alpha` {alpha} and `lora_dropout` {dropout}; expected at least 1, more "
            "than 0, and a probability in [0, 1). Correct them."
        )
    targets = [
        name
        for name, module in model.named_modules()
        if is_of_encoder(model, name) and isinstance(module, nn.Linear) and module.weight.requires_grad
    ]
    if not targets:
        raise ValueError(
            "All linear layers of the encoder are frozen, so there is none for an adapter to change; expected one at "
            "least. Lower `num_frozen_layers`."
        )
    head = [parameter for name, parameter in _head(model).items() if parameter.requires_grad]
    settings = {"r": rank, "lora_alpha": alpha, "lora_dropout": dropout, "target_modules": targets}
    _inject(model, {TRAINED: _peft().LoraConfig(**settings)})
    for parameter in head:
        parameter.requires_grad_(True)


def adapter_parameters(model: PreTrainedModel, adapter: str = TRAINED) -> dict[str, nn.Parameter]:
    """
    The parameters of an adapter in a tagger, by the names that they have in its folder.

    Args:
        model (`PreTrainedModel`):
            A tagger with an adapter.
        adapter (`str`, *optional*, defaults to `"default"`):
            What peft calls it.
    """
    ending = f".{adapter}.weight"
    of_encoder = {
        f"{name.removesuffix(ending)}.weight": parameter
        for name, parameter in model.named_parameters()
        if is_of_encoder(model, name) and name.endswith(ending)
    }
    return of_encoder | _head(model)


def save_adapter(
    folder: str | Path, model: PreTrainedModel, *, base_model: str, base_sha256: str | None = None
) -> None:
    """
    Write the folder of an adapter.

    Args:
        folder (`str` or `Path`):
            Made if it is not there.
        model (`PreTrainedModel`):
            A tagger with an adapter.
        base_model (`str`):
            Folder or Hub id of the tagger without it, which is written down as it is given.
        base_sha256 (`str`, *optional*):
            Digest of the base's weights. Defaults to that of what lies there now.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    parameters = adapter_parameters(model)
    metadata = {
        "format": "pt",
        "base_model_sha256": base_sha256 or weights_digest(base_model),
        "labels": labels_of(model.config),
        "languages": getattr(model.config, "languages", None),
    }
    save_file(
        {f"{_PREFIX}{name}": parameter.detach().contiguous() for name, parameter in parameters.items()},
        Path(folder) / ADAPTER_SAFE_WEIGHTS_NAME,
        metadata={key: value if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()},
    )
    config: Any = copy.copy(model.peft_config[TRAINED])
    config.base_model_name_or_path = base_model
    config.inference_mode = True
    config.modules_to_save = sorted({name.split(".")[0] for name in _head(model)})
    config.save_pretrained(folder)


def read_adapter(name: str) -> Adapter:
    """
    An adapter from its folder.

    Args:
        name (`str`):
            Folder or Hub id.

    Raises:
        ValueError: if there is none, or one that this package has not made.
    """
    weights = cached_file(name, ADAPTER_SAFE_WEIGHTS_NAME, _raise_exceptions_for_missing_entries=False)
    if weights is None or not is_adapter(name):
        raise ValueError(
            f"`{name}` has no {ADAPTER_CONFIG_NAME} and {ADAPTER_SAFE_WEIGHTS_NAME}; expected the folder or Hub id of "
            "an adapter, as recipes/continue_finetuning.py --adapter lora leaves it; of a run on several languages, "
            "that of one of them."
        )
    with safe_open(weights, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {key.removeprefix(_PREFIX): file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    if not {"base_model_sha256", "labels", "languages"} <= set(metadata):
        raise ValueError(
            f"The adapter `{name}` does not say which base, labels and languages it is of; expected one that "
            "recipes/continue_finetuning.py --adapter lora has made. Load others with peft."
        )
    digest = metadata["base_model_sha256"]
    return Adapter(
        name,
        _peft().LoraConfig.from_pretrained(name),
        tensors,
        json.loads(metadata["labels"]),
        json.loads(metadata["languages"]),
        None if digest == "null" else digest,
    )


def load_adapter_weights(model: PreTrainedModel, adapter: Adapter, name: str = TRAINED) -> None:
    """
    Give the adapter of a tagger the weights of another, which was made alike.

    Args:
        model (`PreTrainedModel`):
            A tagger with an adapter.
        adapter ([`Adapter`]):
            The weights.
        name (`str`, *optional*, defaults to `"default"`):
            What peft calls the tagger's adapter.

    Raises:
        ValueError: if it was made otherwise.
    """
    parameters = adapter_parameters(model, name)
    shapes, expected = (
        {key: tuple(tensor.shape) for key, tensor in of_one.items()} for of_one in (adapter.tensors, parameters)
    )
    if shapes != expected:
        different = sorted(key for key in {**shapes, **expected} if shapes.get(key) != expected.get(key))
        raise ValueError(
            f"The adapter `{adapter.name}` does not fit the model: {different[0]}, one of {len(different)} tensors, "
            f"has the shape {shapes.get(different[0])}; expected {expected.get(different[0])}. Load it on the base "
            "that it was trained on, with its own rank."
        )
    with torch.no_grad():
        for key, parameter in parameters.items():
            parameter.copy_(adapter.tensors[key])


def load_base(base_model: str, *adapters: Adapter) -> PreTrainedModel:
    """
    The tagger that adapters are of.

    Args:
        base_model (`str`):
            Folder or Hub id.
        adapters ([`Adapter`]):
            Checked to be of it.

    Raises:
        ValueError: if one of them is of another base. A folder that is not there is refused too.
    """
    digest = weights_digest(checked_model_name(base_model))
    for adapter in adapters:
        if adapter.base_sha256 != digest:
            raise ValueError(
                f"The adapter `{adapter.name}` is of a base whose weights have the SHA-256 {adapter.base_sha256}; "
                f"those of `{base_model}` have {digest}. Give the base that it was trained on, "
                f"`{adapter.config.base_model_name_or_path}`."
            )
    return AutoModelForTokenClassification.from_pretrained(base_model)


def attach_adapters(base: PreTrainedModel, adapters: Mapping[str, Adapter]) -> tuple[dict[str, PreTrainedModel], Any]:
    """
    A tagger for each adapter, all of which share the encoder of the base.

    Args:
        base (`PreTrainedModel`):
            Of [`load_base`]. Its encoder gets all adapters, of which one or none is in use at a time.
        adapters (`Mapping[str, Adapter]`):
            By what peft is to call them; one or more.

    Returns:
        `tuple` of the taggers, by the same names, and of peft's `LoraModel`, which switches and merges.
    """
    taggers = {name: _with_head_of(base, adapter) for name, adapter in adapters.items()}
    tuner = _inject(base, {name: adapter.config for name, adapter in adapters.items()})
    for name, adapter in adapters.items():
        load_adapter_weights(taggers[name], adapter, name)
        taggers[name].requires_grad_(False)
    return taggers, tuner


def merge_adapter(name: str, base_model: str | None = None) -> PreTrainedModel:
    """
    An adapter and its base as one plain model, which is saved, loaded and used without peft.

    Args:
        name (`str`):
            Folder or Hub id of the adapter.
        base_model (`str`, *optional*):
            Folder or Hub id of its base. Defaults to what it was called when the adapter was trained.

    Returns:
        `PreTrainedModel` of the base's class, in evaluation mode.
    """
    adapter = read_adapter(name)
    base = load_base(base_model or adapter.config.base_model_name_or_path, adapter)
    taggers, tuner = attach_adapters(base, {TRAINED: adapter})
    tuner.merge_and_unload()  # in place, in the encoder that all share
    return taggers[TRAINED].requires_grad_(True)


def _with_head_of(base: PreTrainedModel, adapter: Adapter) -> PreTrainedModel:
    """A tagger with the very encoder of the base, and with labels, languages and all else from an adapter."""
    config: Any = copy.deepcopy(base.config)
    config.id2label = dict(enumerate(adapter.labels))
    config.label2id = {label: index for index, label in enumerate(adapter.labels)}
    if adapter.languages is not None:
        config.languages = adapter.languages
    of_encoder = {name: tensor for name, tensor in base.state_dict().items() if is_of_encoder(base, name)}
    head = {name: tensor for name, tensor in adapter.tensors.items() if not is_of_encoder(base, name)}
    tagger = type(base).from_pretrained(None, config=config, state_dict=of_encoder | head, dtype=base.dtype)
    setattr(tagger, base.base_model_prefix, base.base_model)
    tagger.name_or_path = adapter.name
    return tagger


def _head(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """All parameters that are not the encoder's."""
    return {name: parameter for name, parameter in model.named_parameters() if not is_of_encoder(model, name)}


def _inject(model: PreTrainedModel, configs: dict[str, Any]) -> Any:
    """Put adapters into a model, whose other parameters peft freezes; returns peft's `LoraModel` around it."""
    first, *others = configs
    # The head is ours to train, save and load: peft's own wrapper for it would rename Adam's state.
    configs = {name: copy.copy(config) for name, config in configs.items()}
    for config in configs.values():
        config.modules_to_save = None
    tuner = _peft().LoraModel(model, configs, first)
    for name in others:
        tuner.inject_adapter(model, name)
    return tuner


def _peft() -> Any:
    """
    The package peft.

    Raises:
        ImportError: if it is not installed.
    """
    try:
        import peft
    except ImportError as error:
        raise ImportError(
            "Adapters need the package peft, which is not installed; install it: pip install 'hf_polyglot[adapters]'."
        ) from error
    return peft
