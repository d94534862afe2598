"""Meta-LSTM: one BiLSTM reads the characters of a sentence, one its words, and a third what these two say.

Axes:
    batch     sentences
    units     characters or bytes of the longest sentence in the batch, with the spaces between words
    words     words of the longest sentence in the batch
    unknown   distinct words of the batch that are known by their n-grams only
    labels    label ids
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput

from .configuration_meta_lstm import MetaLSTMConfig
from .label_loss import mean_over_labels
from .label_scheme import labels_by_scheme
from .recurrent import BiLSTM, initialise_for_lstm
from .tokenization_words import WordSpellingTokenizer
from .word_tagger import WordTagger, WordTaggerOutput, new_further_heads

# In the order in which they are trained.
PARTS = ("characters", "words", "joint")


def word_bounds(unit_words: Tensor, num_words: int) -> tuple[Tensor, Tensor]:
    """
    Where the first and the last unit of each word stand, both `(batch, words)`; what stands on padding is not defined.

    Args:
        unit_words (`LongTensor` of shape `(batch, units)`):
            Index of each unit's word, negative on what belongs to none.
        num_words (`int`):
            Of the longest sentence.

    Example:
        >>> [bound.tolist() for bound in word_bounds(torch.tensor([[0, 0, -2, 1]]), 2)]
        [[[0, 3]], [[1, 3]]]
    """
    positions = torch.arange(unit_words.shape[1], device=unit_words.device).expand_as(unit_words)
    # Units of no word go to a column behind the words, which is cut off.
    owners = unit_words.where(unit_words >= 0, num_words)
    empty = positions.new_zeros(len(unit_words), num_words + 1)
    first = empty.scatter_reduce(1, owners, positions, "amin", include_self=False)
    last = empty.scatter_reduce(1, owners, positions, "amax", include_self=False)
    return first[:, :num_words], last[:, :num_words]


class ZeroEmbedding(nn.Embedding):
    """Vectors that begin at zero, or are set when the model is made."""


class _Projection(nn.Sequential):
    """What a BiLSTM hands on: a layer of its states."""

    def __init__(self, input_size: int, config: MetaLSTMConfig):
        super().__init__(nn.Dropout(config.mlp_dropout), nn.Linear(input_size, config.mlp_size), nn.ELU())


class CharacterReader(nn.Module):
    """Vectors of words from the units of the whole sentence: the states at a word's first and at its last unit."""

    def __init__(self, config: MetaLSTMConfig):
        super().__init__()
        self.padding = config.pad_token_id
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size, padding_idx=config.pad_token_id)
        self.dropout = nn.Dropout1d(config.unit_dropout)  # of rows: whole units
        self.reading = BiLSTM(
            config.embedding_size, config.unit_hidden_size, config.num_unit_layers, dropout=config.layer_dropout
        )
        self.projection = _Projection(4 * config.unit_hidden_size, config)

    def forward(self, input_ids: Tensor, unit_words: Tensor, num_words: int) -> Tensor:
        """
        Vector of every word, `(batch, words, mlp)`.

        Args:
            input_ids (`LongTensor` of shape `(batch, units)`):
                Units of each sentence, 0 on padding.
            unit_words (`LongTensor` of shape `(batch, units)`):
                Index of each unit's word, negative on what belongs to none.
            num_words (`int`):
                Of the longest sentence.
        """
        states = self.reading(self.dropout(self.embedding(input_ids)), input_ids != self.padding)
        ends = [
            states.gather(1, bound[:, :, None].expand(-1, -1, states.shape[2]))
            for bound in word_bounds(unit_words, num_words)
        ]
        return self.projection(torch.cat(ends, 2))


class WordReader(nn.Module):
    """Vectors of words from the words of the whole sentence: each the sum of a trained and of a pretrained vector."""

    def __init__(self, config: MetaLSTMConfig):
        super().__init__()
        size = config.word_vector_size
        # Beside pretrained vectors, trained ones begin at zero, as in the published code.
        of_trained = nn.Embedding if config.pretrained_vectors == "none" else ZeroEmbedding
        self.embedding = of_trained(config.num_trained_words, size)
        has_pretrained, has_subwords = config.pretrained_vectors != "none", config.num_subwords > 0
        self.pretrained = ZeroEmbedding(config.num_words, size) if has_pretrained else None
        self.subwords = ZeroEmbedding(config.num_subwords, size) if has_subwords else None
        self.dropout = nn.Dropout1d(config.word_dropout)  # of rows: whole words
        self.reading = BiLSTM(
            config.word_vector_size, config.word_hidden_size, config.num_word_layers, dropout=config.layer_dropout
        )
        self.projection = _Projection(2 * config.word_hidden_size, config)
        self.trains_pretrained = config.pretrained_vectors == "trained"
        self.let_learn(True)

    def forward(self, word_ids: Tensor, subword_ids: Tensor | None = None) -> Tensor:
        """
        Vector of every word, `(batch, words, mlp)`.

        Args:
            word_ids (`LongTensor` of shape `(batch, words)`):
                Row of each word, 0 for unknown words, -1 on padding; from `num_words` on, that of `subword_ids`.
            subword_ids (`LongTensor` of shape `(unknown, n-grams)`, *optional*):
                Rows of the n-grams of unknown words, -1 on padding.
        """
        trained = word_ids.where(word_ids < self.embedding.num_embeddings, 0).clamp(min=0)
        vectors = self.dropout(self.embedding(trained))  # (batch, words, vector)
        if self.pretrained is not None:
            vectors = vectors + self.dropout(self._pretrained_vectors(self.pretrained, word_ids, subword_ids))
        return self.projection(self.reading(vectors, word_ids >= 0))

    def let_learn(self, learns: bool) -> None:
        """
        Let it learn, or not; pretrained vectors that are to stay as they are never do.

        Args:
            learns (`bool`):
                Whether the rest does.
        """
        self.requires_grad_(learns)
        if self.pretrained is not None:
            self.pretrained.requires_grad_(learns and self.trains_pretrained)
        if self.subwords is not None:
            self.subwords.requires_grad_(False)

    def _pretrained_vectors(self, table: nn.Embedding, word_ids: Tensor, subword_ids: Tensor | None) -> Tensor:
        vectors = table(word_ids.clamp(0, table.num_embeddings - 1))  # (batch, words, vector)
        if subword_ids is None or self.subwords is None:
            return vectors
        is_subword = subword_ids >= 0
        summed = (self.subwords(subword_ids.clamp(min=0)) * is_subword[:, :, None]).sum(1)  # (unknown, vector)
        means = summed / is_subword.sum(1, keepdim=True).clamp(min=1)
        row = word_ids - table.num_embeddings
        return torch.where((row >= 0)[:, :, None], nn.functional.embedding(row.clamp(min=0), means), vectors)


class MetaLSTMPreTrainedModel(PreTrainedModel):
    """What the reader of sentences and the tagger share."""

    config_class = MetaLSTMConfig
    base_model_prefix = "meta_lstm"
    main_input_name = "input_ids"
    input_form = "spelled_sentences"

    def _init_weights(self, module):
        if isinstance(module, ZeroEmbedding):
            init.zeros_(module.weight)
        else:
            initialise_for_lstm(module)

    def prepare_words(self, tokenizer: WordSpellingTokenizer, sentences: Sequence[Sequence[str]]) -> dict[str, Tensor]:
        """
        `input_ids` and `unit_words`, both `(batch, units)`, and `word_ids (batch, words)`, which `forward` reads; of a
        model with n-grams, `subword_ids (unknown, n-grams)` too.
        """
        return tokenizer.encode_sentences(sentences, self.config.max_units_per_word)


class MetaLSTMModel(MetaLSTMPreTrainedModel):
    """Word vectors in the context of their sentence, by its characters and its words."""

    _keys_to_ignore_on_load_unexpected = [r"classifier\."]

    def __init__(self, config: MetaLSTMConfig):
        super().__init__(config)
        self.characters = CharacterReader(config)
        self.words = WordReader(config)
        self.dropout = nn.Dropout1d(config.mlp_dropout)  # of rows: whole words
        self.reading = BiLSTM(
            2 * config.mlp_size, config.hidden_size, config.num_hidden_layers, dropout=config.layer_dropout
        )
        self.projection = _Projection(2 * config.hidden_size, config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The embeddings of the units."""
        return self.characters.embedding

    def forward(
        self, input_ids: Tensor, unit_words: Tensor, word_ids: Tensor, subword_ids: Tensor | None = None, **kwargs
    ) -> BaseModelOutput:
        """
        Vector of every word in its sentence.

        Args:
            input_ids (`LongTensor` of shape `(batch, units)`):
                Units of each sentence, 0 on padding.
            unit_words (`LongTensor` of shape `(batch, units)`):
                Index of each unit's word, -2 on the space between two words, -1 on padding.
            word_ids (`LongTensor` of shape `(batch, words)`):
                Row of each word, 0 for unknown words, -1 on padding.
            subword_ids (`LongTensor` of shape `(unknown, n-grams)`, *optional*):
                Rows of the n-grams of unknown words, as the tokenizer makes them.
            kwargs:
                Ignored; what transformers hands to every model.

        Returns:
            `BaseModelOutput`: `last_hidden_state` of shape `(batch, words, mlp)`.
        """
        characters = self.characters(input_ids, unit_words, word_ids.shape[1])
        words = self.words(word_ids, subword_ids)
        return BaseModelOutput(last_hidden_state=self.join(characters, words, word_ids >= 0))

    def join(self, characters: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        """
        What the joint BiLSTM makes of both, `(batch, words, mlp)`.

        Args:
            characters (`Tensor` of shape `(batch, words, mlp)`):
                By the characters of the sentence.
            words (`Tensor` of shape `(batch, words, mlp)`):
                By its words.
            mask (`BoolTensor` of shape `(batch, words)`):
                True on real words.
        """
        both = torch.cat([self.dropout(characters), self.dropout(words)], 2)  # (batch, words, 2 * mlp)
        return self.projection(self.reading(both, mask))


def _add_classifiers(head: Any, num_labels: int, config: MetaLSTMConfig) -> None:
    """Give a head of one task the classifiers of the three parts, of which that of the joint one decides."""
    head.character_classifier = nn.Linear(config.mlp_size, num_labels)
    head.word_classifier = nn.Linear(config.mlp_size, num_labels)
    head.classifier = nn.Linear(config.mlp_size, num_labels)


def _classifiers_of(head: Any) -> dict[str, nn.Module]:
    """Those of a head, by their part."""
    return dict(zip(PARTS, (head.character_classifier, head.word_classifier, head.classifier), strict=True))


class MetaLSTMTaskHead(nn.Module):
    """
    What a further task adds to a Meta-LSTM: a classifier of each of its parts.

    Args:
        num_labels (`int`):
            Of the task.
        config ([`MetaLSTMConfig`]):
            Of the model.
    """

    def __init__(self, num_labels: int, config: MetaLSTMConfig):
        super().__init__()
        _add_classifiers(self, num_labels, config)


class MetaLSTMForTokenClassification(WordTagger, MetaLSTMPreTrainedModel):
    """
    [`MetaLSTMModel`] with a classifier of each of its three parts, of which the joint one decides; of several tasks,
    with one for each.

    Each part has its own loss, and no gradient of the joint one reaches the two others. `train_part` says which is
    trained; all three at once, if none is.

    Reference:
        Bohnet, McDonald, Simões, Andor, Pitler and Maynez (2018). https://aclanthology.org/P18-1246
        Unlike the published code (https://github.com/google/meta_tagger), dropout within an LSTM is between its
        layers only, one mask for each feature, and the joint part has a classifier behind its layer of states.
    """

    # See ByteCRFForTokenClassification: the loss is a sum over the words of all accumulated batches on all processes.
    accepts_loss_kwargs = True

    def __init__(self, config: MetaLSTMConfig):
        super().__init__(config)
        # Saving notes the class that is saved, and no other; the base model is to load from the folder too.
        config.auto_map = {"AutoModel": "modeling_meta_lstm.MetaLSTMModel"} | (getattr(config, "auto_map", None) or {})
        self.meta_lstm = MetaLSTMModel(config)
        self.dropout = nn.Dropout(config.mlp_dropout)
        _add_classifiers(self, config.num_labels, config)
        if config.further_labels:
            self.further_heads = new_further_heads(
                config, lambda scheme, labels: MetaLSTMTaskHead(len(labels), config)
            )
        self.part: str | None = None
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        unit_words: Tensor,
        word_ids: Tensor,
        subword_ids: Tensor | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs,
    ) -> WordTaggerOutput:
        """
        Scores of every label, and the loss when the labels are given.

        Args:
            input_ids (`LongTensor` of shape `(batch, units)`):
                Units of each sentence, 0 on padding.
            unit_words (`LongTensor` of shape `(batch, units)`):
                Index of each unit's word, -2 on the space between two words, -1 on padding.
            word_ids (`LongTensor` of shape `(batch, words)`):
                Row of each word, 0 for unknown words, -1 on padding.
            subword_ids (`LongTensor` of shape `(unknown, n-grams)`, *optional*):
                Rows of the n-grams of unknown words, as the tokenizer makes them.
            labels (`LongTensor` of shape `(batch, words)`, *optional*):
                Label ids, -100 on padding; of several tasks `(batch, words, tasks)`.
            num_items_in_batch (`int` or `Tensor` of shape `()`, *optional*):
                Labels that the loss is averaged over, defaults to those of this batch.
            kwargs:
                Ignored; what transformers hands to every model.

        Returns:
            [`WordTaggerOutput`]: `logits` of shape `(batch, words, labels)` are those of the joint part, or of the one
            that is trained; `loss` is the cross-entropy in nats per label of that part, or of all three, summed.
        """
        logits = self._logits_of_parts(input_ids, unit_words, word_ids, subword_ids)
        loss = None
        if labels is not None:
            trained = [logits[self.part]] if self.part else logits.values()
            total = torch.stack([self.total_loss(of_tasks, labels, word_ids >= 0) for of_tasks in trained]).sum()
            loss = mean_over_labels(total, labels, num_items_in_batch)
        first, *further = logits[self.part or "joint"]
        return WordTaggerOutput(loss=loss, logits=first, further_logits=tuple(further) or None)

    def _logits_of_parts(
        self, input_ids: Tensor, unit_words: Tensor, word_ids: Tensor, subword_ids: Tensor | None
    ) -> dict[str, list[Tensor]]:
        """Scores by each part that is trained, or by all, of each task, `(batch, words, labels)`."""
        read = self.meta_lstm
        states = {}
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.part != "joint"):
            if self.part != "words":
                states["characters"] = read.characters(input_ids, unit_words, word_ids.shape[1])
            if self.part != "characters":
                states["words"] = read.words(word_ids, subword_ids)
        if self.part in (None, "joint"):
            states["joint"] = read.join(states["characters"].detach(), states["words"].detach(), word_ids >= 0)
        if self.part is not None:
            states = {self.part: states[self.part]}
        classifiers = [_classifiers_of(head) for head in self._heads()]
        shown = {part: self.dropout(vectors) for part, vectors in states.items()}
        return {part: [of_task[part](vectors) for of_task in classifiers] for part, vectors in shown.items()}

    def _heads(self) -> list[nn.Module]:
        """What holds the classifiers of each task: the model itself those of the first."""
        return [self.head_of_task(scheme) for scheme in labels_by_scheme(self.config)]

    def train_part(self, part: str | None) -> None:
        """
        Let one part learn and decide, the others as they are: `"characters"`, `"words"` or `"joint"`.

        Args:
            part (`str`, *optional*):
                By default all learn, each by its own loss, and the joint one decides. This is how a model begins.

        Raises:
            ValueError: if there is no such part.
        """
        if part not in (None, *PARTS):
            raise ValueError(f"`part` is {part!r}; expected {', '.join(PARTS)} or None, which is all of them.")
        self.part = part
        read = self.meta_lstm
        read.words.let_learn(part in (None, "words"))
        others: list[tuple[str, nn.Module]] = [
            ("characters", read.characters), ("joint", read.reading), ("joint", read.projection),
        ]  # fmt: skip
        for head in self._heads():
            others += _classifiers_of(head).items()
        for owner, module in others:
            module.requires_grad_(part in (None, owner))
        self.train(self.training)

    def train(self, mode: bool = True) -> "MetaLSTMForTokenClassification":
        """
        Switch to training or evaluation.

        Args:
            mode (`bool`, *optional*, defaults to `True`):
                True for training. While the joint part is trained, the two others stay in evaluation, as they will be
                when it is used.
        """
        super().train(mode)
        if self.part == "joint":
            self.meta_lstm.characters.eval()
            self.meta_lstm.words.eval()
        return self

    @torch.no_grad()
    def set_word_vectors(self, vectors: Tensor, subword_vectors: Tensor | None = None) -> None:
        """
        Write the pretrained vectors into a new model.

        Args:
            vectors (`Tensor` of shape `(num_words, word_vector)`):
                Of each word; of those without one, zero.
            subword_vectors (`Tensor` of shape `(num_subwords, word_vector)`, *optional*):
                Of each n-gram.
        """
        read = self.meta_lstm.words
        for table, given in ((read.pretrained, vectors), (read.subwords, subword_vectors)):
            if table is not None and given is not None:
                table.weight.copy_(given)


MetaLSTMModel.register_for_auto_class("AutoModel")
MetaLSTMForTokenClassification.register_for_auto_class("AutoModelForTokenClassification")
