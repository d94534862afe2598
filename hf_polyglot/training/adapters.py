"""Training of adapters: which are made, and how the trainer saves and loads them in place of whole models."""

import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_NAME, cached_file

from hf_polyglot.adapters import (
    TRAINED,
    add_adapter,
    is_adapter,
    is_of_encoder,
    load_adapter_weights,
    merge_adapter,
    read_adapter,
    save_adapter,
)
from hf_polyglot.model_card import write_model_card
from hf_polyglot.model_files import weights_digest, weights_file
from hf_polyglot.models.word_pieces import load_tokenizer_of
from hf_polyglot.results import read_results, write_results
from hf_polyglot.sentence_counts import FILE_NAME as SENTENCE_COUNTS_FILE
from hf_polyglot.training.arguments import PolyglotTrainingArguments
from hf_polyglot.training.optimizer_state import ADAM_STATE_FILE, load_adam_state, save_adam_state
from hf_polyglot.training.trainer import PolyglotTrainer


@dataclass
class AdapterArguments:
    """Whether an adapter is trained, and how large."""

    adapter: str = field(
        default="none",
        metadata={
            "help": "none: train all weights. lora: leave the encoder as it is, and train updates of low rank for its "
            "linear layers, with all that is not the encoder; a folder then holds these alone. Layers that "
            "num_frozen_layers names get no update.",
            "choices": ["none", "lora"],
        },
    )
    lora_rank: int = field(default=8, metadata={"help": "Rank of an adapter's updates."})
    lora_alpha: float = field(
        default=16, metadata={"help": "An adapter's updates are multiplied by this over the rank."}
    )
    lora_dropout: float = field(
        default=0.0, metadata={"help": "Probability of zeroing a feature that an adapter's update reads."}
    )


class AdapterTrainer(PolyglotTrainer):
    """
    A [`PolyglotTrainer`] of an adapter: checkpoints and the folder of the model hold the adapter, and not its base.

    Args:
        model (`PreTrainedModel`):
            A tagger with an adapter, see [`add_adapter`].
        args ([`PolyglotTrainingArguments`]):
            How to train.
        base_model (`str`):
            Folder or Hub id of the tagger without it.
        base_sha256 (`str`, *optional*):
            Digest of the base's weights, if it is known already.
        options:
            Further arguments of [`PolyglotTrainer`].
    """

    def __init__(
        self,
        model: PreTrainedModel,
        args: PolyglotTrainingArguments,
        *,
        base_model: str,
        base_sha256: str | None = None,
        **options: Any,
    ):
        super().__init__(model, args, **options)
        self._check_whole_parameters("adapter")
        self.base_model = base_model
        self.base_sha256 = base_sha256 or weights_digest(base_model)

    def create_optimizer(self, model=None) -> Any:
        """
        As the [`PolyglotTrainer`]'s; what is said of Adam's state leaves out the base, which is not trained.

        Args:
            model (`nn.Module`, *optional*):
                Defaults to the trainer's own.
        """
        optimizer = super().create_optimizer(model)
        if self.carried_adam_state is not None:
            trained = {name for name, parameter in self.model.named_parameters() if parameter.requires_grad}
            fresh = tuple(name for name in self.carried_adam_state.fresh if name in trained)
            self.carried_adam_state = replace(self.carried_adam_state, fresh=fresh)
        return optimizer

    def _course(self) -> dict[str, str]:
        config = self.model.peft_config[TRAINED]
        lora = f"lora, rank {config.r}, alpha {config.lora_alpha}, dropout {config.lora_dropout}"
        return super()._course() | {"adapter": f"{lora}, of {self.base_sha256}"}

    def _save_model(self, output_dir: str | None, state_dict: dict | None) -> None:
        if self.args.should_save:
            folder = output_dir or self.args.output_dir
            save_adapter(folder, self.model, base_model=self.base_model, base_sha256=self.base_sha256)

    def _load_best_weights(self) -> None:
        load_adapter_weights(self.model, read_adapter(self.state.best_model_checkpoint))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model=None) -> None:
        load_adapter_weights(self.model, read_adapter(resume_from_checkpoint))


def adapter_trainer(
    model: PreTrainedModel,
    args: PolyglotTrainingArguments,
    arguments: AdapterArguments,
    base_model: str,
    **options: Any,
) -> AdapterTrainer:
    """
    The trainer of an adapter that a model is given.

    Args:
        model (`PreTrainedModel`):
            The base, which the adapter is put into. What is frozen in it stays so, and gets no update.
        args ([`PolyglotTrainingArguments`]):
            How to train.
        arguments ([`AdapterArguments`]):
            Which adapter.
        base_model (`str`):
            Folder or Hub id of the base.
        options:
            Further arguments of [`AdapterTrainer`].
    """
    add_adapter(model, rank=arguments.lora_rank, alpha=arguments.lora_alpha, dropout=arguments.lora_dropout)
    return AdapterTrainer(model, args, base_model=base_model, **options)


def adapter_description(arguments: AdapterArguments, base_model: str) -> dict[str, Any] | None:
    """
    What `results.json` says of an adapter; None if a whole model is trained.

    Args:
        arguments ([`AdapterArguments`]):
            Which.
        base_model (`str`):
            Folder or Hub id of its base.
    """
    if arguments.adapter == "none":
        return None
    weights = weights_file(base_model)
    return {
        "method": arguments.adapter,
        "rank": arguments.lora_rank,
        "alpha": arguments.lora_alpha,
        "dropout": arguments.lora_dropout,
        "base_bytes": None if weights is None else weights.stat().st_size,
    }


def refuse_adapter(model_name: str) -> None:
    """
    Refuse to continue an adapter, which has no weights of its own to continue.

    Args:
        model_name (`str`):
            Folder or Hub id.

    Raises:
        ValueError: if it is one.
    """
    if is_adapter(model_name):
        raise ValueError(
            f"`{model_name}` is an adapter; expected a whole model. Merge it with its base first: python "
            f"recipes/merge_adapter.py --model {model_name} --output_dir {Path(model_name).name}-merged."
        )


def save_merged(name: str, output_dir: str | Path, base_model: str | None = None) -> Path:
    """
    Write an adapter and its base as one plain model, with tokenizer, and with card and results if it has these.

    Args:
        name (`str`):
            Folder or Hub id of the adapter.
        output_dir (`str` or `Path`):
            Folder of the model.
        base_model (`str`, *optional*):
            Folder or Hub id of the base. Defaults to what it was called when the adapter was trained.

    Returns:
        `Path` of the folder.

    Raises:
        ValueError: if there are files in it already.
    """
    folder = Path(output_dir)
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"`output_dir` {folder} is not empty; expected a new folder. Give another one.")
    base_model = base_model or read_adapter(name).config.base_model_name_or_path
    model = merge_adapter(name, base_model)
    model.save_pretrained(folder)
    load_tokenizer_of(model, base_model).save_pretrained(folder)
    for file in ("results.json", SENTENCE_COUNTS_FILE, ADAM_STATE_FILE):
        if (path := cached_file(name, file, _raise_exceptions_for_missing_entries=False)) is not None:
            shutil.copyfile(path, folder / file)
    if (folder / ADAM_STATE_FILE).is_file():
        # What there is for the encoder is the state of updates that are no longer there.
        head = {key: state for key, state in load_adam_state(folder).items() if not is_of_encoder(model, key)}
        save_adam_state(folder, head, next(iter(head.values()))["exp_avg"].dtype)
    if (folder / "results.json").is_file():
        results = read_results(folder)
        results["adapter"] = {**results["adapter"], "merged": True, "base_bytes": None}
        results["size"]["bytes"] = (folder / SAFE_WEIGHTS_NAME).stat().st_size
        write_model_card(folder, results)
        write_results(folder, results)
    return folder
