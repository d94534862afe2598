"""What taggers on a pretrained encoder of sub-word pieces share.

Axes:
    batch     sentences
    words     positions of the longest sentence in the batch
    windows   rows of pieces that the encoder reads
    pieces    positions of the longest window in the batch
    hidden    features of a vector
"""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import MODEL_MAPPING, AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from .length_groups import groups_of_like_length
from .word_pieces import encode_pieces

# Pieces that are read at once where no gradients are kept: 64 windows of 512.
MOST_PIECES = 2**15


class PieceEncoderPreTrainedModel(PreTrainedModel):
    """A model around `encoder`, which is any model that `AutoModel` loads; its configuration has `encoder_config`."""

    base_model_prefix = "encoder"
    main_input_name = "input_ids"
    input_form = "pieces"
    classifies_pieces = True
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True

    def get_input_embeddings(self) -> nn.Module:
        """The embeddings of the encoder's pieces."""
        return self.encoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the embeddings of the encoder's pieces."""
        self.encoder.set_input_embeddings(value)

    def prepare_words(self, tokenizer, sentences: Sequence[Sequence[str]]) -> dict[str, Tensor]:
        """`input_ids`, `attention_mask` `(windows, pieces)` and `word_positions (batch, words)` for `forward`."""
        return encode_pieces(tokenizer, sentences, self.config.max_pieces)

    @classmethod
    def from_encoder_pretrained(
        cls,
        encoder: str,
        *,
        labels: Sequence[str],
        tokenizer=None,
        num_layers: int | None = None,
        dtype: torch.dtype = torch.float32,
        **settings,
    ) -> "PieceEncoderPreTrainedModel":
        """
        A model with a pretrained encoder and all else new.

        Args:
            encoder (`str`):
                Folder or Hub id of any model that `AutoModel` loads.
            labels (`Sequence[str]`):
                Tags, in the order of their ids.
            tokenizer (`PreTrainedTokenizerFast`, *optional*):
                Its maximum length bounds `max_pieces`.
            num_layers (`int`, *optional*):
                Keep only this many of the encoder's layers, the lowest (Sajjad et al. 2023, "On the effect of dropping
                layers of pre-trained transformer models", whose top-layer dropping this is). Defaults to all.
            dtype (`torch.dtype`, *optional*, defaults to `torch.float32`):
                Type of the weights.
            settings:
                Further fields of the model's configuration.

        Returns:
            A model of this class, in training mode.
        """
        encoder_config = AutoConfig.from_pretrained(encoder)
        loaded = AutoModel.from_pretrained(encoder, dtype=dtype, **without_pooler(encoder_config))
        if num_layers is not None:
            keep_lowest_layers(loaded, num_layers)
            encoder_config = loaded.config
        settings.setdefault("max_pieces", max_pieces_of(encoder_config, tokenizer))
        for special in ("pad_token_id", "bos_token_id", "eos_token_id"):
            settings.setdefault(special, getattr(tokenizer or encoder_config, special, None))
        model = cls(
            cls.config_class(
                encoder_config=encoder_config,
                id2label=dict(enumerate(labels)),
                label2id={label: index for index, label in enumerate(labels)},
                **settings,
            )
        )
        model.encoder = loaded
        return model.to(dtype).train()


class PieceEncoderModel(PieceEncoderPreTrainedModel):
    """The encoder alone: a vector of every piece. What the folder holds beside it is not loaded."""

    def __init__(self, config: PreTrainedConfig):
        super().__init__(config)
        self.encoder = new_encoder(config.encoder_config)
        # Whatever a tagger adds is unexpected here; the encoder itself must be there, and `from_pretrained` says so.
        self._keys_to_ignore_on_load_unexpected = [rf"^(?!{self.base_model_prefix}\.)"]
        self.post_init()

    def forward(
        self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None, **kwargs
    ) -> BaseModelOutput:
        """
        Vectors of the pieces.

        Args:
            input_ids (`LongTensor` of shape `(windows, pieces)`, *optional*):
                Pieces.
            attention_mask (`LongTensor` of shape `(windows, pieces)`, *optional*):
                1 on real pieces.
            kwargs:
                Further arguments of the encoder.

        Returns:
            The encoder's own output; `last_hidden_state` has shape `(windows, pieces, hidden)`.
        """
        return self.encoder(input_ids=input_ids, attention_mask=attention_mask, **kwargs)


def new_encoder(encoder_config: PreTrainedConfig) -> PreTrainedModel:
    """
    An encoder without weights that are worth anything yet.

    Args:
        encoder_config (`PreTrainedConfig`):
            Of any model that `AutoModel` loads.
    """
    return AutoModel.from_config(encoder_config, **without_pooler(encoder_config))


def encoder_layers(encoder: PreTrainedModel) -> nn.ModuleList:
    """
    The list of an encoder's layers, lowest first.

    Args:
        encoder (`PreTrainedModel`):
            Any that `AutoModel` loads.

    Raises:
        ValueError: if it has none, as ALBERT, all of whose layers are one.
    """
    num_layers = getattr(encoder.config, "num_hidden_layers", None)
    for module in encoder.modules():
        if isinstance(module, nn.ModuleList) and len(module) == num_layers:
            return module
    raise ValueError(
        f"The encoder is a {type(encoder).__name__}, without a list of its {num_layers} layers; expected one such as "
        "BERT's. Train all of it alike, or take another encoder."
    )


def keep_lowest_layers(encoder: PreTrainedModel, num_layers: int) -> None:
    """
    Cut an encoder down to its lowest layers.

    Args:
        encoder (`PreTrainedModel`):
            Any that `AutoModel` loads.
        num_layers (`int`):
            How many of them.

    Raises:
        ValueError: if it has not so many, or no list of them.
    """
    layers = encoder_layers(encoder)
    if not 1 <= num_layers <= len(layers):
        raise ValueError(
            f"`num_layers` is {num_layers}; expected 1 to {len(layers)}, the layers of the encoder. Correct it."
        )
    del layers[num_layers:]
    config: Any = encoder.config
    config.num_hidden_layers = num_layers
    if getattr(config, "layer_types", None) is not None:  # ModernBERT's, one for each layer
        config.layer_types = list(config.layer_types[:num_layers])


def encode_by_length(
    encoder: PreTrainedModel, input_ids: Tensor | None, attention_mask: Tensor | None, **kwargs
) -> BaseModelOutput:
    """
    The encoder's output, computed with little padding.

    On a CPU, windows of like length are read together, each group cut to its longest: one long sentence would
    otherwise make all of its batch as long as itself. A GPU would have to wait for the lengths, and reads the padding
    in that time. Without gradients, no more than `MOST_PIECES` are read at once, so that a text of any length fits
    into memory.

    Args:
        encoder (`PreTrainedModel`):
            Any that `AutoModel` loads.
        input_ids (`LongTensor` of shape `(windows, pieces)`, *optional*):
            Pieces, padded on the right.
        attention_mask (`LongTensor` of shape `(windows, pieces)`, *optional*):
            1 on real pieces. Without it all windows are read as they are.
        kwargs:
            Further arguments of the encoder.

    Returns:
        The encoder's own output if it reads all windows at once, else `BaseModelOutput` with `last_hidden_state` and,
        if asked for, `hidden_states`; zero on padding.
    """
    is_divisible = not kwargs.get("output_attentions") and not any(torch.is_tensor(value) for value in kwargs.values())
    fits = torch.is_grad_enabled() or input_ids is None or input_ids.numel() <= MOST_PIECES
    if input_ids is None or attention_mask is None or not is_divisible or (fits and not input_ids.is_cpu):
        return encoder(input_ids=input_ids, attention_mask=attention_mask, **kwargs)
    windows, width = input_ids.shape
    if input_ids.is_cpu:
        lengths = attention_mask.sum(1)
        order = lengths.argsort(descending=True)
        # Shorter by a fifth, or by half for a few windows: smaller groups lose more in matrix products than they save.
        groups = groups_of_like_length(lengths[order].tolist(), min_rows=8, ratio=0.8, ratio_of_few=0.5)
    else:
        order, groups = torch.arange(windows, device=input_ids.device), [(0, windows)]
    if not fits:
        most = max(1, MOST_PIECES // width)
        groups = [(row, min(row + most, end)) for start, end in groups for row in range(start, end, most)]
    if len(groups) == 1:
        return encoder(input_ids=input_ids, attention_mask=attention_mask, **kwargs)

    outputs = []
    for start, end in groups:
        rows, longest = order[start:end], int(lengths[order[start]]) if input_ids.is_cpu else width
        outputs.append(
            encoder(input_ids=input_ids[rows, :longest], attention_mask=attention_mask[rows, :longest], **kwargs)
        )
    back = order.argsort()

    def together(of_groups: Sequence[Tensor]) -> Tensor:
        padded = [nn.functional.pad(part, (0, 0, 0, input_ids.shape[1] - part.shape[1])) for part in of_groups]
        return torch.cat(padded)[back]  # (windows, pieces, hidden)

    layers = None
    if kwargs.get("output_hidden_states"):
        layers = tuple(map(together, zip(*(output.hidden_states for output in outputs), strict=True)))
    return BaseModelOutput(last_hidden_state=together([output[0] for output in outputs]), hidden_states=layers)


def vectors_at(vectors: Tensor, word_positions: Tensor) -> Tensor:
    """
    The vector of each word, which is that of its first piece.

    Args:
        vectors (`Tensor` of shape `(windows, pieces, hidden)`):
            Vectors of the pieces.
        word_positions (`LongTensor` of shape `(batch, words)`):
            Index of each word's first piece in the flattened windows, -1 on padding.

    Returns:
        `Tensor` of shape `(batch, words, hidden)`; what stands on padding is not defined.
    """
    return vectors.flatten(0, 1)[word_positions.clamp(min=0)]


def without_pooler(encoder_config: PreTrainedConfig) -> dict[str, bool]:
    """Argument of an encoder that leaves out the layer that pools a sentence, whose weights would get no gradient."""
    encoder = MODEL_MAPPING.get(type(encoder_config), None)
    accepts = encoder is not None and "add_pooling_layer" in inspect.signature(encoder).parameters
    return {"add_pooling_layer": False} if accepts else {}


def max_pieces_of(encoder_config: PreTrainedConfig, tokenizer) -> int:
    """
    Pieces that an encoder reads at once.

    Args:
        encoder_config (`PreTrainedConfig`):
            Of the encoder.
        tokenizer (`PreTrainedTokenizerFast`, *optional*):
            Its maximum length is a bound too.
    """
    positions = getattr(encoder_config, "max_position_embeddings", None) or 0
    if positions <= 0:  # XLNet has -1: any number
        positions = 512
    positions -= unread_positions(getattr(encoder_config, "pad_token_id", None))
    return min(positions, getattr(tokenizer, "model_max_length", positions))


def unread_positions(pad_token_id: int | None) -> int:
    """
    Positions that an encoder with this padding may leave out.

    Args:
        pad_token_id (`int`, *optional*):
            Of its configuration.
    """
    # RoBERTa and its kin number positions from the padding id plus 1, which is 1 or 2; the few that others lose by
    # this count do not matter, while one too many fails on the device. Others have paddings with large ids.
    padding = pad_token_id or 0
    return padding + 1 if padding <= 2 else 0
