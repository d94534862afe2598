"""The pretrained encoder of a recipe: which one its command line names, and how it is loaded."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedTokenizerFast, TrainingArguments

from hf_polyglot.compact_encoder import BUILT_IN_ENCODER, BUILT_IN_NAME, unpack_encoder
from hf_polyglot.data.demo.tiny_encoder import build_tiny_encoder
from hf_polyglot.model_files import checked_model_name
from hf_polyglot.models.piece_encoder import PieceEncoderPreTrainedModel
from hf_polyglot.models.word_pieces import load_piece_tokenizer
from hf_polyglot.training.arguments import PolyglotTrainingArguments
from hf_polyglot.training.encoder_layers import freeze_lowest_layers
from hf_polyglot.training.recipe_corpora import CorpusArguments, RecipeCorpora

TINY = "tiny"


@dataclass
class EncoderChoice:
    """Which encoder a recipe trains, and how much of it."""

    encoder: str | None = field(
        default=None,
        metadata={
            "help": "Folder or Hub id of a pretrained encoder; tiny: a new one, small enough to train from scratch. "
            "Default: the small multilingual one that comes with this package."
        },
    )
    freeze_embeddings: bool = field(
        default=False, metadata={"help": "Leave the encoder's word embeddings as they are: faster, and less memory."}
    )
    num_encoder_layers: int | None = field(
        default=None, metadata={"help": "Keep only this many of the encoder's layers, the lowest. Default: all."}
    )
    num_frozen_layers: int = field(
        default=0,
        metadata={"help": "Leave the encoder's embeddings and this many of its lowest layers as they are: faster."},
    )


@dataclass
class EncoderArguments(CorpusArguments, EncoderChoice):
    """Which encoder a recipe fine-tunes, shared by all that do."""

    base_model: str | None = field(
        default=None, metadata={"help": "Hub id for the card, if --encoder is a folder that came from there."}
    )

    @property
    def named_base_model(self) -> str | None:
        """What the card names as the source of the encoder: a Hub id, if one was given; none for the tiny one."""
        known = {None: BUILT_IN_NAME, TINY: None}
        return self.base_model or known.get(self.encoder, self.encoder)


@dataclass
class RecipeEncoder:
    """
    An encoder to put models around.

    Args:
        name (`str`):
            Folder or Hub id.
        tokenizer (`PreTrainedTokenizerFast`):
            Its tokenizer.
        freeze_embeddings (`bool`):
            Whether its word embeddings stay as they are.
        num_frozen_layers (`int`):
            How many of its lowest layers do, and all of its embeddings with them.
        kept_layers (`int`, *optional*):
            How many of its lowest layers are kept, by default all.
    """

    name: str
    tokenizer: PreTrainedTokenizerFast
    freeze_embeddings: bool = False
    num_frozen_layers: int = 0
    kept_layers: int | None = None

    @property
    def num_layers(self) -> int:
        """Layers of the encoder that are kept, its embeddings not counted."""
        return self.kept_layers or AutoConfig.from_pretrained(self.name).num_hidden_layers

    def new_model(
        self, model_class: type[PieceEncoderPreTrainedModel], labels: list[str], **settings: Any
    ) -> PieceEncoderPreTrainedModel:
        """
        A model with this encoder and all else new.

        Args:
            model_class (`type`):
                A tagger on an encoder.
            labels (`list[str]`):
                Tags, in the order of their ids.
            settings:
                Further fields of its configuration.
        """
        model = model_class.from_encoder_pretrained(
            self.name, labels=labels, tokenizer=self.tokenizer, num_layers=self.kept_layers, **settings
        )
        model.get_input_embeddings().requires_grad_(not self.freeze_embeddings)
        freeze_lowest_layers(model.encoder, self.num_frozen_layers)
        return model


def chosen_encoder(
    arguments: EncoderChoice, training: TrainingArguments, texts: Iterable[str], folder: str = "encoder"
) -> str:
    """
    Folder or Hub id of the encoder that the command line names, by default of the built-in one.

    Args:
        arguments ([`EncoderChoice`]):
            Of the recipe.
        training (`TrainingArguments`):
            The built-in encoder is unpacked below its `output_dir`, and a tiny one written there; on each node with
            `save_on_each_node`, as where nodes share no disk.
        texts (`Iterable[str]`):
            What a tiny encoder's tokenizer is trained on.
        folder (`str`, *optional*, defaults to `"encoder"`):
            Name of the folder for that.
    """
    if arguments.encoder not in (None, TINY):
        return checked_model_name(arguments.encoder)
    name = str(Path(training.output_dir) / folder)
    with training.main_process_first(local=training.save_on_each_node):
        if training.should_save and arguments.encoder == TINY:
            build_tiny_encoder(name, list(texts), seed=0)
        elif training.should_save:
            unpack_encoder(BUILT_IN_ENCODER, name)
    return name


def load_recipe_encoder(
    arguments: EncoderArguments, training: PolyglotTrainingArguments, corpora: RecipeCorpora
) -> RecipeEncoder:
    """
    The encoder that the command line names, by default the built-in one.

    Args:
        arguments ([`EncoderArguments`]):
            Of the recipe.
        training ([`PolyglotTrainingArguments`]):
            The built-in encoder is unpacked below its `output_dir`, and a tiny one written there.
        corpora ([`RecipeCorpora`]):
            What a tiny encoder's tokenizer is trained on.
    """
    texts = (" ".join(words) for dataset in corpora.train.values() for words in dataset["tokens"])
    name = chosen_encoder(arguments, training, texts)
    return RecipeEncoder(
        name,
        load_piece_tokenizer(name),
        arguments.freeze_embeddings,
        arguments.num_frozen_layers,
        arguments.num_encoder_layers,
    )
