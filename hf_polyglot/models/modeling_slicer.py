"""SLICER: token classification in which every slice of a token vector must know the label by itself.

Axes:
    batch     sentences
    words     positions of the longest sentence in the batch
    windows   rows of pieces that the encoder reads
    pieces    positions of the longest window in the batch
    hidden    features of a token vector, `slices * slice_width` of them
    labels    label ids
"""

import copy
import inspect
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import (
    MODEL_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForTokenClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import BaseModelOutput, TokenClassifierOutput

from .configuration_slicer import SlicerConfig
from .word_pieces import encode_pieces


def sliced_cross_entropy(vectors: Tensor, weight: Tensor, bias: Tensor, labels: Tensor, slice_width: int) -> Tensor:
    """
    Cross-entropy of each token, averaged over classifiers that each see one slice of its vector, in nats.

    `-1/K sum_k log softmax(v_k W_k + b)[y]`, with K slices. The largest tensor made has shape `(tokens, slices,
    labels)`.

    Args:
        vectors (`Tensor` of shape `(tokens, hidden)`):
            Token vectors.
        weight (`Tensor` of shape `(labels, hidden)`):
            Weight of the whole classifier.
        bias (`Tensor` of shape `(labels,)`):
            Bias, which all slices share.
        labels (`LongTensor` of shape `(tokens,)`):
            Label ids.
        slice_width (`int`):
            Width h of a slice, a divisor of the hidden size.

    Returns:
        `Tensor` of shape `(tokens,)`.

    Reference:
        Schmidt, Vulić and Glavaš (2022), section 2. https://aclanthology.org/2022.emnlp-main.740
    """
    num_slices = vectors.shape[1] // slice_width
    # n tokens, s slices, h slice_width, l labels
    logits = torch.einsum(
        "nsh,lsh->nsl", vectors.unflatten(1, (num_slices, -1)), weight.unflatten(1, (num_slices, -1))
    )
    log_normalisers = (logits + bias).float().logsumexp(2).mean(1)  # (tokens,)
    # The mean over slices of the gold label's score needs no slices: it is the whole classifier's, without bias,
    # over K.
    gold = (vectors * weight[labels]).float().sum(1) / num_slices + bias[labels]  # (tokens,)
    return log_normalisers - gold


class SlicerPreTrainedModel(PreTrainedModel):
    """What the encoder alone and the tagger share."""

    config_class = SlicerConfig
    base_model_prefix = "encoder"
    main_input_name = "input_ids"
    input_form = "pieces"
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


class SlicerModel(SlicerPreTrainedModel):
    """The encoder of a SLICER model: a vector of every piece."""

    _keys_to_ignore_on_load_unexpected = [r"classifier\."]

    def __init__(self, config: SlicerConfig):
        super().__init__(config)
        self.encoder = AutoModel.from_config(config.encoder_config, **_without_pooler(config.encoder_config))
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


class SlicerForTokenClassification(SlicerPreTrainedModel):
    """
    Encoder with a linear classifier that is trained slice by slice and used whole.

    Reference:
        Schmidt, Vulić and Glavaš (2022). https://aclanthology.org/2022.emnlp-main.740
    """

    # See ByteCRFForTokenClassification: the loss is a sum over the words of all accumulated batches on all processes.
    accepts_loss_kwargs = True

    def __init__(self, config: SlicerConfig):
        super().__init__(config)
        # Saving notes the class that is saved, and no other; the base model is to load from the folder too.
        config.auto_map = {"AutoModel": "modeling_slicer.SlicerModel"} | (getattr(config, "auto_map", None) or {})
        encoder_config: PreTrainedConfig = config.encoder_config
        self.encoder = AutoModel.from_config(encoder_config, **_without_pooler(encoder_config))
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(encoder_config.hidden_size, config.num_labels)
        if not config.train_classifier:
            self.classifier.weight.requires_grad_(False)
        self.post_init()

    @classmethod
    def from_encoder_pretrained(
        cls, encoder: str, *, labels: Sequence[str], tokenizer=None, dtype: torch.dtype = torch.float32, **settings
    ) -> "SlicerForTokenClassification":
        """
        A model with a pretrained encoder and a new classifier.

        Args:
            encoder (`str`):
                Folder or Hub id of any model that `AutoModel` loads.
            labels (`Sequence[str]`):
                Tags, in the order of their ids.
            tokenizer (`PreTrainedTokenizerFast`, *optional*):
                Its maximum length bounds `max_pieces`.
            dtype (`torch.dtype`, *optional*, defaults to `torch.float32`):
                Type of the weights.
            settings:
                Further fields of [`SlicerConfig`]. `slice_width=None` gives an ordinary head.

        Returns:
            [`SlicerForTokenClassification`], in training mode.
        """
        encoder_config = AutoConfig.from_pretrained(encoder)
        settings.setdefault("max_pieces", _max_pieces(encoder_config, tokenizer))
        for special in ("pad_token_id", "bos_token_id", "eos_token_id"):
            settings.setdefault(special, getattr(tokenizer or encoder_config, special, None))
        if settings.get("slice_width", 8) is None:
            settings["slice_width"] = encoder_config.hidden_size
        model = cls(
            SlicerConfig(
                encoder_config=encoder_config,
                id2label=dict(enumerate(labels)),
                label2id={label: index for index, label in enumerate(labels)},
                **settings,
            )
        )
        model.encoder = AutoModel.from_pretrained(encoder, dtype=dtype, **_without_pooler(encoder_config))
        return model.to(dtype).train()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        word_positions: Tensor | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs,
    ) -> TokenClassifierOutput:
        """
        Scores of the labels by the whole classifier, and the sliced loss when the labels are given.

        Args:
            input_ids (`LongTensor` of shape `(windows, pieces)`, *optional*):
                Pieces.
            attention_mask (`LongTensor` of shape `(windows, pieces)`, *optional*):
                1 on real pieces.
            word_positions (`LongTensor` of shape `(batch, words)`, *optional*):
                Index of each word's first piece in the flattened `input_ids`, -1 on padding. Without it, every
                piece is classified, as in a stock model: read `windows` for `batch` and `pieces` for `words` below.
            labels (`LongTensor` of shape `(batch, words)`, *optional*):
                Label ids, -100 on padding.
            num_items_in_batch (`int` or `Tensor` of shape `()`, *optional*):
                Words that the loss is averaged over, defaults to those of this batch.
            kwargs:
                Further arguments of the encoder.

        Returns:
            `TokenClassifierOutput`: `loss` is the sliced cross-entropy in nats per word; `logits` have shape
            `(batch, words, labels)`.
        """
        outputs = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **kwargs)
        vectors = outputs[0]  # (windows, pieces, hidden)
        if word_positions is not None:
            vectors = vectors.flatten(0, 1)[word_positions.clamp(min=0)]  # (batch, words, hidden)
        vectors = self.dropout(vectors)
        logits = self.classifier(vectors)  # (batch, words, labels)

        loss = None
        if labels is not None:
            is_labelled = labels != -100
            # Padding takes label 0 and weight 0: to leave it out by indexing would make the GPU wait for the count.
            losses = sliced_cross_entropy(
                vectors.flatten(0, 1),
                self.classifier.weight if self.config.train_classifier else self.classifier.weight.detach(),
                self.classifier.bias,
                labels.clamp(min=0).flatten(),
                self.config.slice_width,
            )
            total = (losses * is_labelled.flatten()).sum()
            loss = total / (is_labelled.sum() if num_items_in_batch is None else num_items_in_batch)
        return TokenClassifierOutput(
            loss=loss,
            logits=logits,
            hidden_states=getattr(outputs, "hidden_states", None),
            attentions=getattr(outputs, "attentions", None),
        )

    def decode(self, outputs: TokenClassifierOutput, mask: Tensor) -> Tensor:
        """Most probable label of each word, `(batch, words)`, -100 on padding."""
        return outputs.logits.argmax(2).masked_fill(~mask, -100)

    def label_probabilities(self, outputs: TokenClassifierOutput, mask: Tensor) -> Tensor:
        """Probability of each label at each word, `(batch, words, labels)`; zero on padding."""
        return outputs.logits.float().softmax(2) * mask[:, :, None]

    def to_standard_model(self) -> PreTrainedModel:
        """
        The same tagger as the encoder's stock `...ForTokenClassification`, which needs nothing of ours to load.

        Returns:
            `PreTrainedModel` in evaluation mode, with equal logits on every piece.

        Raises:
            ValueError: if the stock class does more than one linear layer, so that it cannot be equal.
        """
        config = copy.deepcopy(self.config.encoder_config)
        config.id2label, config.label2id = self.config.id2label, self.config.label2id
        standard = AutoModelForTokenClassification.from_config(config).to(self.dtype)
        standard.base_model.load_state_dict(self.encoder.state_dict())
        head = getattr(standard, "classifier", None)
        if not isinstance(head, nn.Linear):
            head = getattr(standard, "score", None)
        if not isinstance(head, nn.Linear):
            raise ValueError(
                f"{type(standard).__name__} has no linear `classifier` or `score`, so a SLICER head does not fit it. "
                "Use the SLICER model itself."
            )
        head.load_state_dict(self.classifier.state_dict())
        standard = standard.to(self.device).eval()
        self._refuse_unequal(standard)
        return standard

    @torch.no_grad()
    def _refuse_unequal(self, standard: PreTrainedModel) -> None:
        pieces = torch.arange(1, 9, device=self.device)[None] % self.config.encoder_config.vocab_size
        was_training, _ = self.training, self.eval()
        ours, theirs = self(pieces).logits, standard(pieces).logits
        self.train(was_training)
        if not torch.allclose(ours, theirs, atol=1e-4):
            raise ValueError(
                f"The logits of {type(standard).__name__} differ from SLICER's by {(ours - theirs).abs().max():.2g}: "
                "its head does more than one linear layer. Use the SLICER model itself."
            )


def _without_pooler(encoder_config: PreTrainedConfig) -> dict[str, bool]:
    """Argument of an encoder that leaves out the layer that pools a sentence, whose weights would get no gradient."""
    encoder = MODEL_MAPPING.get(type(encoder_config), None)
    accepts = encoder is not None and "add_pooling_layer" in inspect.signature(encoder).parameters
    return {"add_pooling_layer": False} if accepts else {}


def _max_pieces(encoder_config, tokenizer) -> int:
    """Pieces that an encoder reads at once."""
    # RoBERTa and its kin number positions from the padding id plus 1; the few positions that others lose by this
    # count do not matter, while one too many fails on the device.
    positions = getattr(encoder_config, "max_position_embeddings", None) or 512
    positions -= (getattr(encoder_config, "pad_token_id", None) or 0) + 1
    return min(positions, getattr(tokenizer, "model_max_length", positions))


SlicerModel.register_for_auto_class("AutoModel")
SlicerForTokenClassification.register_for_auto_class("AutoModelForTokenClassification")
