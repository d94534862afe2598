"""CharNER: the bytes or characters of a whole sentence are read and typed one by one; their words make them agree.

Axes:
    batch     sentences
    units     bytes or characters of the longest sentence in the batch, with the spaces between words
    words     words of the longest sentence in the batch
    types     entity types, `O` first
    labels    label ids
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, TokenClassifierOutput

from .configuration_charner import CharNERConfig
from .input_rows import NO_WORD
from .label_loss import mean_over_labels
from .label_scheme import labels_of
from .recurrent import BiLSTM, initialise_for_lstm
from .tokenization_bytes import SpellingTokenizer
from .unit_agreement import new_agreement, owning_words


@dataclass
class CharNEROutput(TokenClassifierOutput):
    """
    Output of [`CharNERForTokenClassification`].

    Args:
        loss (`Tensor` of shape `()`, *optional*):
            Cross-entropy of the types of units in nats, the mean over words of the mean over a word's units.
        logits (`Tensor` of shape `(batch, units, types)`):
            Unnormalised log-probability of each type of a unit.
        unit_words (`LongTensor` of shape `(batch, units)`):
            Index of each unit's word, as it was given, which `decode` needs.
    """

    unit_words: Tensor | None = None


class CharNERPreTrainedModel(PreTrainedModel):
    """What the reader of units and the tagger share."""

    config_class = CharNERConfig
    base_model_prefix = "charner"
    main_input_name = "input_ids"
    input_form = "spelled_sentences"

    def _init_weights(self, module):
        initialise_for_lstm(module)

    def prepare_words(self, tokenizer: SpellingTokenizer, sentences: Sequence[Sequence[str]]) -> dict[str, Tensor]:
        """`input_ids` and `unit_words`, both `(batch, units)`, which `forward` reads."""
        return tokenizer.encode_sentences(sentences, self.config.max_units_per_word)


class CharNERModel(CharNERPreTrainedModel):
    """Vectors of the units of a sentence, each in the context of all."""

    _keys_to_ignore_on_load_unexpected = [r"classifier\."]

    def __init__(self, config: CharNERConfig):
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size, padding_idx=config.pad_token_id)
        # Drops rows of (batch, units, embedding): whole units, as Kuru et al.'s README and the code of Mueller et al.
        # have it. A model that misses letters now and then cannot learn names by heart.
        self.unit_dropout = nn.Dropout1d(config.unit_dropout)
        self.reading = BiLSTM(
            config.embedding_size, config.hidden_size, config.num_hidden_layers, dropout=config.layer_dropout
        )
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The embeddings of the units."""
        return self.embedding

    def forward(self, input_ids: Tensor, **kwargs) -> BaseModelOutput:
        """
        Vector of every unit in its sentence.

        Args:
            input_ids (`LongTensor` of shape `(batch, units)`):
                Units of each sentence, 0 on padding.
            kwargs:
                Ignored; what transformers hands to every model.

        Returns:
            `BaseModelOutput`: `last_hidden_state` of shape `(batch, units, 2 * hidden)`.
        """
        embedded = self.unit_dropout(self.embedding(input_ids))  # (batch, units, embedding)
        return BaseModelOutput(last_hidden_state=self.reading(embedded, input_ids != self.config.pad_token_id))


class CharNERForTokenClassification(CharNERPreTrainedModel):
    """
    [`CharNERModel`] with a classifier of each unit, decoded so that all units of a word agree.

    The classifier knows entity types and no `B-` or `I-`; see [`UnitAgreement`] for the way between its types and the
    labels of words.

    Reference:
        Kuru, Can and Yuret (2016). https://aclanthology.org/C16-1087
        Unlike the paper, bytes by default, as Mueller, Andrews and Dredze (2020) have it, and a loss in which every
        word weighs the same, not every unit. https://aclanthology.org/2020.acl-main.720
    """

    # See ByteCRFForTokenClassification: the loss is a sum over the words of all accumulated batches on all processes.
    accepts_loss_kwargs = True

    def __init__(self, config: CharNERConfig):
        super().__init__(config)
        # Saving notes the class that is saved, and no other; the base model is to load from the folder too.
        config.auto_map = {"AutoModel": "modeling_charner.CharNERModel"} | (getattr(config, "auto_map", None) or {})
        labels = labels_of(config)
        self.agreement = new_agreement(labels, config.label_scheme, config.boundaries)
        self.charner = CharNERModel(config)
        self.last_dropout = nn.Dropout(config.last_dropout)
        self.classifier = nn.Linear(2 * config.hidden_size, len(self.agreement.types))
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        unit_words: Tensor,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs,
    ) -> CharNEROutput:
        """
        Scores of the types of every unit, and the loss when the labels of words are given.

        Args:
            input_ids (`LongTensor` of shape `(batch, units)`):
                Units of each sentence, 0 on padding.
            unit_words (`LongTensor` of shape `(batch, units)`):
                Index of each unit's word, -2 on the space between two words, -1 on padding.
            labels (`LongTensor` of shape `(batch, words)`, *optional*):
                Label ids, -100 on padding.
            num_items_in_batch (`int` or `Tensor` of shape `()`, *optional*):
                Words that the loss is averaged over, defaults to those of this batch.
            kwargs:
                Ignored; what transformers hands to every model.

        Returns:
            [`CharNEROutput`]: `logits` have shape `(batch, units, types)`, to be read with `decode`. The loss of a
            word is the mean cross-entropy of its units, to which the space before it counts, so that it is of the
            size of the published loss, the mean over all units of a batch, and yet adds up over batches and processes
            as `num_items_in_batch`, a number of words, wants it.
        """
        states = self.charner(input_ids).last_hidden_state
        logits = self.classifier(self.last_dropout(states))  # (batch, units, types)

        loss = None
        if labels is not None:
            types = self.agreement.unit_types(labels, unit_words)
            losses = nn.functional.cross_entropy(logits.float().transpose(1, 2), types, reduction="none")
            total = (losses * _share_of_word(unit_words)).sum()
            loss = mean_over_labels(total, labels, num_items_in_batch)
        return CharNEROutput(loss=loss, logits=logits, unit_words=unit_words)

    def decode(self, outputs: TokenClassifierOutput, mask: Tensor) -> Tensor:
        """Label ids of the words in the most probable typing of the units, `(batch, words)`, -100 on padding."""
        return self.agreement.decode(outputs.logits, outputs.unit_words, mask)

    def label_probabilities(self, outputs: TokenClassifierOutput, mask: Tensor) -> Tensor:
        """Posterior probability of each label at each word, `(batch, words, labels)`; zero on padding."""
        return self.agreement.label_probabilities(outputs.logits, outputs.unit_words, mask)

    def label_log_probabilities(
        self, outputs: TokenClassifierOutput, mask: Tensor, temperature: float = 1.0, scheme: str | None = None
    ) -> Tensor:
        """
        Log of the posterior probability of each label at each word, `(batch, words, labels)`.

        Args:
            outputs (`TokenClassifierOutput`):
                Of this model.
            mask (`BoolTensor` of shape `(batch, words)`):
                True on real words; what stands on padding is not defined.
            temperature (`float`, *optional*, defaults to 1.0):
                What the scores of units are divided by.
            scheme (`str`, *optional*):
                Not used: there is one task.
        """
        probabilities = self.agreement.label_probabilities(outputs.logits / temperature, outputs.unit_words, mask)
        return probabilities.clamp(min=torch.finfo(probabilities.dtype).tiny).log()


def _share_of_word(unit_words: Tensor) -> Tensor:
    """One over the units of each unit's word, the space before it included, `(batch, units)`."""
    owners = owning_words(unit_words)
    counted = (owners != NO_WORD).float()
    index = owners.clamp(min=0)
    counts = torch.zeros_like(counted).scatter_add(1, index, counted)  # (batch, units), of which words are used
    return counted / counts.gather(1, index).clamp(min=1)


CharNERModel.register_for_auto_class("AutoModel")
CharNERForTokenClassification.register_for_auto_class("AutoModelForTokenClassification")
