"""Encoder-CRF: a pretrained encoder, a BiLSTM over words and a CRF over words, the latter two as options.

Axes:
    batch     sentences
    words     positions of the longest sentence in the batch
    windows   rows of pieces that the encoder reads
    pieces    positions of the longest window in the batch
    hidden    features of the encoder's vectors
    labels    label ids
"""

import torch
from torch import Tensor, nn

from .configuration_encoder_crf import EncoderCRFConfig
from .crf import LinearChainCRF
from .crf_tagger import CRFTagger, CRFTaggerOutput
from .piece_encoder import PieceEncoderModel, PieceEncoderPreTrainedModel, encode_by_length, new_encoder, vectors_at
from .recurrent import BiLSTM, initialise_for_lstm


class EncoderCRFPreTrainedModel(PieceEncoderPreTrainedModel):
    """What the encoder alone and the tagger share."""

    config_class = EncoderCRFConfig
    _keep_in_fp32_modules_strict = {r"^crf\.", r"^further_heads\.\w+\.crf\."}

    def _init_weights(self, module):
        if isinstance(module, LinearChainCRF):
            module.reset_parameters()
        elif isinstance(module, nn.LSTM):
            initialise_for_lstm(module)
        else:
            super()._init_weights(module)


class EncoderCRFModel(PieceEncoderModel, EncoderCRFPreTrainedModel):
    """The encoder of an encoder-CRF: a vector of every piece."""


class EncoderCRFForTokenClassification(CRFTagger, EncoderCRFPreTrainedModel):
    """
    Encoder whose vectors of words, which are those of their first pieces, are labelled jointly.

    Reference:
        Mueller, Andrews and Dredze (2020), section 4.1. https://aclanthology.org/2020.acl-main.720
    """

    # See ByteCRFForTokenClassification: the loss is a sum over the words of all accumulated batches on all processes.
    accepts_loss_kwargs = True

    def __init__(self, config: EncoderCRFConfig):
        super().__init__(config)
        # Saving notes the class that is saved, and no other; the base model is to load from the folder too.
        config.auto_map = {"AutoModel": "modeling_encoder_crf.EncoderCRFModel"} | (
            getattr(config, "auto_map", None) or {}
        )
        self.encoder = new_encoder(config.encoder_config)
        width = config.num_concatenated_layers * self.encoder.config.hidden_size
        self.word_dropout = nn.Dropout(config.word_dropout)
        if config.num_hidden_layers > 0:
            self.reading = BiLSTM(width, config.hidden_size, config.num_hidden_layers)
            self.sentence_dropout = nn.Dropout(config.sentence_dropout)
            width = 2 * config.hidden_size
        self.classifier = nn.Linear(width, config.num_labels)
        if config.use_crf:
            self.crf = self.crf_of(config)
        if config.further_labels:
            self.further_heads = self.further_heads_of(config, width)
        # Without a BiLSTM or a CRF over words, a piece is labelled by itself.
        self.classifies_pieces = config.num_hidden_layers == 0 and not config.use_crf
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        word_positions: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        language_ids: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs,
    ) -> CRFTaggerOutput:
        """
        Scores of the labels of every word, and the loss when the labels are given.

        Args:
            input_ids (`LongTensor` of shape `(windows, pieces)`):
                Pieces.
            word_positions (`LongTensor` of shape `(batch, words)`):
                Index of each word's first piece in the flattened `input_ids`, -1 on padding.
            attention_mask (`LongTensor` of shape `(windows, pieces)`, *optional*):
                1 on real pieces.
            labels (`LongTensor` of shape `(batch, words)`, *optional*):
                Label ids, -100 on padding; of several tasks `(batch, words, tasks)`.
            language_ids (`LongTensor` of shape `(batch,)`, *optional*):
                Index of each sentence's language in `config.languages`, -1 if it is not there. Read only by a model
                with such languages, which takes all as unknown by default.
            num_items_in_batch (`int` or `Tensor` of shape `()`, *optional*):
                Labels that the loss is averaged over, defaults to those of this batch.
            kwargs:
                Further arguments of the encoder.

        Returns:
            [`CRFTaggerOutput`]: `loss` in nats per label is the negative log-likelihood, or without CRF the
            cross-entropy; `logits` of shape `(batch, words, labels)` are to be read with `decode`.
        """
        mask = word_positions >= 0
        num_layers = self.config.num_concatenated_layers
        is_asked = bool(kwargs.get("output_hidden_states"))
        kwargs["output_hidden_states"] = is_asked or num_layers > 1
        outputs = encode_by_length(self.encoder, input_ids, attention_mask, **kwargs)
        # The last layer is taken from the output itself: some encoders normalise it once more.
        earlier = outputs.hidden_states[-num_layers:-1] if num_layers > 1 else ()
        layers = (*earlier, outputs[0])
        words = torch.cat(
            [vectors_at(layer, word_positions) for layer in layers], 2
        )  # (batch, words, layers * hidden)
        words = self.word_dropout(words)
        if self.config.num_hidden_layers > 0:
            words = self.sentence_dropout(self.reading(words, mask))  # (batch, words, 2 * hidden)
        scores = self.classifier(words)  # (batch, words, labels)
        return self.crf_output(
            scores,
            mask,
            labels,
            language_ids,
            num_items_in_batch,
            hidden_states=outputs.hidden_states if is_asked else None,
            attentions=getattr(outputs, "attentions", None),
            further_logits=self.further_logits(words),
        )


EncoderCRFModel.register_for_auto_class("AutoModel")
EncoderCRFForTokenClassification.register_for_auto_class("AutoModelForTokenClassification")
