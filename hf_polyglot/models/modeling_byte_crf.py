"""Byte-CRF and char-CRF: words are spelled, sentences are read, labels are decoded jointly; nothing is pretrained.

Axes:
    distinct  the distinct words of a batch, each spelled once
    units     bytes or characters of the longest distinct word
    batch     sentences
    words     positions of the longest sentence in the batch
    labels    label ids
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from .configuration_byte_crf import ByteCRFConfig
from .crf import LinearChainCRF
from .crf_tagger import CRFTagger, CRFTaggerOutput
from .length_groups import groups_of_like_length
from .recurrent import BiLSTM, initialise_for_lstm
from .tokenization_bytes import SpellingTokenizer
from .word_cache import WordVectorCache

# Words that are spelled at once.
MOST_ROWS = 256


class ByteCRFPreTrainedModel(PreTrainedModel):
    """What the encoder of words and the tagger share."""

    config_class = ByteCRFConfig
    base_model_prefix = "byte_crf"
    main_input_name = "input_ids"
    input_form = "spelled_words"
    _keep_in_fp32_modules_strict = {r"^crf\.", r"^further_heads\.\w+\.crf\."}

    def _init_weights(self, module):
        if isinstance(module, LinearChainCRF):
            module.reset_parameters()
        else:
            initialise_for_lstm(module)

    def prepare_words(self, tokenizer: SpellingTokenizer, sentences: Sequence[Sequence[str]]) -> dict[str, Tensor]:
        """`input_ids (distinct, units)` and `word_indices (batch, words)`, which `forward` reads."""
        return tokenizer.encode_words(sentences, self.config.max_units_per_word)


class ByteCRFModel(ByteCRFPreTrainedModel):
    """Word vectors in the context of their sentence, from the spelling of the words alone."""

    _keys_to_ignore_on_load_unexpected = [r"classifier\.", r"crf\."]

    def __init__(self, config: ByteCRFConfig):
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size, padding_idx=config.pad_token_id)
        self.embedding_dropout = nn.Dropout(config.embedding_dropout)
        self.spelling = BiLSTM(config.embedding_size, config.unit_hidden_size, config.num_unit_layers)
        self.word_dropout = nn.Dropout(config.word_dropout)
        self.reading = BiLSTM(2 * config.unit_hidden_size, config.hidden_size, config.num_hidden_layers)
        self.word_cache = WordVectorCache()
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The embeddings of the units."""
        return self.embedding

    def forward(self, input_ids: Tensor, word_indices: Tensor, **kwargs) -> BaseModelOutput:
        """
        Vector of every word in its sentence.

        Args:
            input_ids (`LongTensor` of shape `(distinct, units)`):
                Units of each distinct word of the batch, 0 on padding. Longest words first is fastest.
            word_indices (`LongTensor` of shape `(batch, words)`):
                Row of `input_ids` that spells each word, -1 on padding.
            kwargs:
                Ignored; what transformers hands to every model.

        Returns:
            `BaseModelOutput`: `last_hidden_state` of shape `(batch, words, 2 * hidden)`.
        """
        words = nn.functional.embedding(word_indices.clamp(min=0), self._vectors(input_ids))
        return BaseModelOutput(last_hidden_state=self.reading(self.word_dropout(words), word_indices >= 0))

    def spell_ahead(self, tokenizer: SpellingTokenizer, sentences: Sequence[Sequence[str]]) -> None:
        """
        Spell the words of many sentences for the batches of them that are predicted next.

        Words of all lengths that are spelled at once leave little padding and large matrix products. Where no vectors
        are kept, this does nothing.

        Args:
            tokenizer ([`SpellingTokenizer`]):
                That of the model.
            sentences (`Sequence[Sequence[str]]`):
                Words of each sentence.
        """
        if self._may_cache(self.embedding.weight):
            words = list(dict.fromkeys(word for sentence in sentences for word in sentence))
            # More than the cache has room for would be spelled in vain.
            room = self.word_cache.max_bytes // (2 * self.config.unit_hidden_size * self.embedding.weight.itemsize)
            if words[:room]:
                self._vectors(self.prepare_words(tokenizer, [words[:room]])["input_ids"])

    def _vectors(self, input_ids: Tensor) -> Tensor:
        """Vector of each distinct word, `(distinct, 2 * unit_hidden)`, spelled or remembered."""
        if not self._may_cache(input_ids):
            return self._spell_by_length(input_ids)
        weights = [*self.embedding.parameters(), *self.spelling.parameters()]
        return self.word_cache.vectors(input_ids, weights, self._spell_by_length)

    def _may_cache(self, input_ids: Tensor) -> bool:
        # A GPU would have to wait for the words, and spells them in that time. A graph that is made for export or by a
        # compiler must hold the spelling itself.
        if self.training or torch.is_grad_enabled() or not input_ids.is_cpu or self.embedding.weight.is_inference():
            return False
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return False
        # What pruning, adapters and quantisation do to these modules does not show in their weights alone.
        modules = [self.embedding, self.embedding_dropout, *self.spelling.modules()]
        plain = (nn.Embedding, nn.Dropout, nn.LSTM, nn.ModuleList, BiLSTM)
        return all(
            (type(module) in plain or getattr(module, "has_constant_weights", False))
            and not (module.training or module._forward_pre_hooks or module._forward_hooks)
            for module in modules
        )

    def _spell_by_length(self, input_ids: Tensor) -> Tensor:
        """Vector of each distinct word, `(distinct, 2 * unit_hidden)`, read with little padding."""
        return torch.cat([self._spell(rows) for rows in _rows_of_like_length(input_ids, self.config.pad_token_id)])

    def _spell(self, input_ids: Tensor) -> Tensor:
        """Vector of each distinct word: the last state of each direction, `(distinct, 2 * unit_hidden)`."""
        mask = input_ids != self.config.pad_token_id
        if read_rows := getattr(self.spelling, "last_states_of_rows", None):  # an LSTM of 8 bits
            return read_rows(self.embedding.weight, input_ids, mask)
        embedded = self.embedding_dropout(self.embedding(input_ids))  # (distinct, units, embedding)
        return self.spelling.last_states(embedded, mask)


class ByteCRFForTokenClassification(CRFTagger, ByteCRFPreTrainedModel):
    """
    [`ByteCRFModel`] with a linear-chain CRF over its words, or without one.

    Reference:
        Mueller, Andrews and Dredze (2020), section 4.1. https://aclanthology.org/2020.acl-main.720
    """

    # The loss is divided by `num_items_in_batch`, the labelled words of all accumulated batches on all processes, so
    # that gradient accumulation and several processes give the gradient of one big batch.
    accepts_loss_kwargs = True

    def __init__(self, config: ByteCRFConfig):
        super().__init__(config)
        # Saving notes the class that is saved, and no other; the base model is to load from the folder too.
        config.auto_map = {"AutoModel": "modeling_byte_crf.ByteCRFModel"} | (getattr(config, "auto_map", None) or {})
        self.byte_crf = ByteCRFModel(config)
        self.sentence_dropout = nn.Dropout(config.sentence_dropout)
        self.classifier = nn.Linear(2 * config.hidden_size, config.num_labels)
        if config.use_crf:
            self.crf = self.crf_of(config)
        if config.further_labels:
            self.further_heads = self.further_heads_of(config, 2 * config.hidden_size)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        word_indices: Tensor,
        labels: Tensor | None = None,
        language_ids: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs,
    ) -> CRFTaggerOutput:
        """
        Emission scores of every label, and the loss when the labels are given.

        Args:
            input_ids (`LongTensor` of shape `(distinct, units)`):
                Units of each distinct word of the batch, 0 on padding.
            word_indices (`LongTensor` of shape `(batch, words)`):
                Row of `input_ids` that spells each word, -1 on padding.
            labels (`LongTensor` of shape `(batch, words)`, *optional*):
                Label ids, -100 on padding; of several tasks `(batch, words, tasks)`.
            language_ids (`LongTensor` of shape `(batch,)`, *optional*):
                Index of each sentence's language in `config.languages`, -1 if it is not there. Read only by a model
                with such languages, which takes all as unknown by default.
            num_items_in_batch (`int` or `Tensor` of shape `()`, *optional*):
                Labels that the loss is averaged over, defaults to those of this batch.
            kwargs:
                Ignored; what transformers hands to every model.

        Returns:
            [`CRFTaggerOutput`]: `loss` in nats per label is the negative log-likelihood, or without CRF the
            cross-entropy; `logits` are emission scores of shape `(batch, words, labels)`, to be read with `decode`.
        """
        states = self.byte_crf(input_ids, word_indices).last_hidden_state
        words = self.sentence_dropout(states)  # (batch, words, 2 * hidden)
        emissions = self.classifier(words)  # (batch, words, labels)
        mask, further_logits = word_indices >= 0, self.further_logits(words)
        return self.crf_output(emissions, mask, labels, language_ids, num_items_in_batch, further_logits)


def _rows_of_like_length(input_ids: Tensor, padding: int) -> list[Tensor]:
    """Rows of the batch in consecutive groups, each cut to its longest row, so that little padding is read."""
    if not input_ids.is_cpu:
        # The lengths would have to be waited for; a GPU reads the padding in that time.
        return [input_ids]
    lengths = torch.ne(input_ids, padding).sum(1).tolist()
    # Both limits were measured on MasakhaNER batches: 0.75 reads 13 % of padding, 0.85 reads 5 %, and is faster.
    groups = groups_of_like_length(lengths, min_rows=16, ratio=0.85)
    # More rows at once are no faster, and need memory.
    parts = [(first, min(first + MOST_ROWS, end)) for start, end in groups for first in range(start, end, MOST_ROWS)]
    return [input_ids[start:end, : max(1, *lengths[start:end])] for start, end in parts]


ByteCRFModel.register_for_auto_class("AutoModel")
ByteCRFForTokenClassification.register_for_auto_class("AutoModelForTokenClassification")
