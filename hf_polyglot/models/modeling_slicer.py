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

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import AutoModelForTokenClassification, PreTrainedModel

from .configuration_slicer import SlicerConfig
from .label_loss import mean_over_labels
from .label_scheme import PADDING_LABEL, labels_by_scheme
from .piece_encoder import PieceEncoderModel, PieceEncoderPreTrainedModel, encode_by_length, new_encoder, vectors_at
from .word_tagger import ClassifierHead, WordTagger, WordTaggerOutput, new_further_heads


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
    dtype = torch.promote_types(vectors.dtype, torch.float32)
    vectors, weight, bias = vectors.to(dtype), weight.to(dtype), bias.to(dtype)
    with torch.autocast(vectors.device.type, enabled=False):
        log_normalisers = _MeanLogNormaliser.apply(vectors, weight, bias, slice_width)  # (tokens,)
        # The mean over slices of the gold label's score needs no slices: it is the whole classifier's, without bias,
        # over their number.
        gold = (vectors * weight[labels]).sum(1) * slice_width / vectors.shape[1] + bias[labels]  # (tokens,)
    return log_normalisers - gold


class _MeanLogNormaliser(torch.autograd.Function):
    """
    `1/K sum_k log sum_y exp((v_k W_k + b)[y])` of each token, `(tokens,)`, with its gradient in closed form.

    The gradient is made of the slices' probabilities, the one large tensor that is kept; autograd would keep several,
    and take twice the time.
    """

    @staticmethod
    def forward(ctx, vectors: Tensor, weight: Tensor, bias: Tensor, slice_width: int) -> Tensor:
        of_slices = vectors.unflatten(1, (-1, slice_width)).transpose(0, 1)  # (slices, tokens, width)
        weights = weight.unflatten(1, (-1, slice_width)).transpose(0, 1)  # (slices, labels, width)
        # Labels come before tokens: sums over labels then run over whole rows.
        scores = torch.matmul(weights, of_slices.mT) + bias[:, None]  # (slices, labels, tokens)
        highest = scores.amax(1, keepdim=True)
        probabilities = scores.sub_(highest).exp_()
        totals = probabilities.sum(1, keepdim=True)
        probabilities /= totals
        ctx.save_for_backward(vectors, weight, probabilities)
        ctx.slice_width = slice_width
        return (highest + totals.log()).mean(0).squeeze(0)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        vectors, weight, probabilities = ctx.saved_tensors
        of_slices = vectors.unflatten(1, (-1, ctx.slice_width)).transpose(0, 1)  # (slices, tokens, width)
        weights = weight.unflatten(1, (-1, ctx.slice_width)).transpose(0, 1)  # (slices, labels, width)
        of_scores = probabilities * (gradient / len(of_slices))  # (slices, labels, tokens)
        of_vectors = torch.matmul(of_scores.mT, weights).transpose(0, 1).flatten(1)  # (tokens, hidden)
        of_weight = torch.matmul(of_scores, of_slices).transpose(0, 1).flatten(1)  # (labels, hidden)
        return of_vectors, of_weight, of_scores.sum((0, 2)), None


class SlicerPreTrainedModel(PieceEncoderPreTrainedModel):
    """What the encoder alone and the tagger share."""

    config_class = SlicerConfig


class SlicerModel(PieceEncoderModel, SlicerPreTrainedModel):
    """The encoder of a SLICER model: a vector of every piece."""


class SlicerForTokenClassification(WordTagger, SlicerPreTrainedModel):
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
        self.encoder = new_encoder(config.encoder_config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        width = self.encoder.config.hidden_size
        self.classifier = nn.Linear(width, config.num_labels)
        if config.further_labels:
            self.further_heads = new_further_heads(config, lambda scheme, labels: ClassifierHead(width, len(labels)))
        if not config.train_classifier:
            for scheme in labels_by_scheme(config):
                self.head_of_task(scheme).classifier.weight.requires_grad_(False)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        word_positions: Tensor | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs,
    ) -> WordTaggerOutput:
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
                Label ids, -100 on padding; of several tasks `(batch, words, tasks)`.
            num_items_in_batch (`int` or `Tensor` of shape `()`, *optional*):
                Labels that the loss is averaged over, defaults to those of this batch.
            kwargs:
                Further arguments of the encoder.

        Returns:
            [`WordTaggerOutput`]: `loss` is the sliced cross-entropy in nats per label; `logits` have shape
            `(batch, words, labels)`.
        """
        if word_positions is None:
            outputs = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **kwargs)
            vectors = outputs[0]  # (windows, pieces, hidden)
        else:
            outputs = encode_by_length(self.encoder, input_ids, attention_mask, **kwargs)
            vectors = vectors_at(outputs[0], word_positions)  # (batch, words, hidden)
        vectors = self.dropout(vectors)
        logits = self.classifier(vectors)  # (batch, words, labels)

        loss = None
        if labels is not None:
            # The loss of a task is made of the vectors, and not of its scores.
            of_tasks = [vectors] * len(labels_by_scheme(self.config))
            total = self.total_loss(of_tasks, labels, labels != PADDING_LABEL)
            loss = mean_over_labels(total, labels, num_items_in_batch)
        return WordTaggerOutput(
            loss=loss,
            logits=logits,
            further_logits=self.further_logits(vectors),
            hidden_states=getattr(outputs, "hidden_states", None),
            attentions=getattr(outputs, "attentions", None),
        )

    def _loss_of_task(
        self, scheme: str, scores: Tensor, labels: Tensor, mask: Tensor, language_ids: Tensor | None
    ) -> Tensor:
        vectors, classifier = scores, self.head_of_task(scheme).classifier  # (batch, words, hidden)
        # Padding takes label 0 and weight 0: to leave it out by indexing would make the GPU wait for the count.
        losses = sliced_cross_entropy(
            vectors.flatten(0, 1),
            classifier.weight if self.config.train_classifier else classifier.weight.detach(),
            classifier.bias,
            labels.clamp(min=0).flatten(),
            self.config.slice_width or vectors.shape[-1],
        )
        return (losses * (labels != PADDING_LABEL).flatten()).sum()

    def to_standard_model(self) -> PreTrainedModel:
        """
        The same tagger as the encoder's stock `...ForTokenClassification`, which needs nothing of ours to load.

        Returns:
            `PreTrainedModel` in evaluation mode, with equal logits on every piece.

        Raises:
            ValueError: if the stock class does more than one linear layer, so that it cannot be equal, or if this
                model has several tasks.
        """
        if self.config.further_labels:
            raise ValueError(
                f"This model has heads for {', '.join(labels_by_scheme(self.config))}; expected one task, as a stock "
                "model has. Use the SLICER model itself."
            )
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


SlicerModel.register_for_auto_class("AutoModel")
SlicerForTokenClassification.register_for_auto_class("AutoModelForTokenClassification")
