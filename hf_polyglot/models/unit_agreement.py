"""
Labels of words from entity types of their bytes or characters, all of which must agree.

The units of a sentence are typed one by one, the space between two words included. The score of a typing of them all
is the sum of its units' log-probabilities, and these typings count: inside a word the type never changes; the space
behind a word has the word's type or is `O`; behind a space of type `X` comes a word of type `X`, behind one of type
`O` any word. So a typing is a type for each word and, for two neighbours of one type, whether their space joins them.
That is a chain over words, which is decoded here.

Where the labels are classes of single words, such as parts of speech, no two words are joined: every space is `O`, and
each word is decided by its own units.

Axes:
    batch     sentences
    units     bytes or characters of the longest sentence in the batch, with the spaces between words
    words     words of the longest sentence in the batch
    types     entity types, `O` first
    states    what is known of a word: its type, whether it is joined to its neighbours, whether it touches the entity
              before it
    labels    label ids

Reference:
    Kuru, Can and Yuret (2016), section 3.3. https://aclanthology.org/C16-1087
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .crf import LinearChainCRF
from .input_rows import NO_WORD, SPACE
from .label_scheme import (
    PADDING_LABEL,
    WORD_CLASSES,
    convert_tags,
    legal_transitions,
    spans_from_tags,
    split_tag,
    types_of_labels,
)


class UnitAgreement:
    """
    The way from the labels of words to the types of their units, for training, and back, for decoding.

    Args:
        labels (`Sequence[str]`):
            Tags, in the order of their ids.
        scheme (`str`):
            Their scheme.
        boundaries (`bool`):
            Whether a space of type `O` between two words of one type makes two entities of them. If not, all adjacent
            words of one type are one entity.

    Example:
        >>> agreement = UnitAgreement(["O", "B-PER", "I-PER"], "IOB2", boundaries=False)
        >>> unit_words = torch.tensor([[0, 0, -2, 1, -2, 2]])
        >>> agreement.unit_types(torch.tensor([[1, 2, 1]]), unit_words).tolist()  # the space before a B- is O
        [[1, 1, 1, 1, 0, 1]]
    """

    def __init__(self, labels: Sequence[str], scheme: str, boundaries: bool):
        self.types = ["O", *types_of_labels(labels, scheme)]
        self.num_labels = len(labels)
        self.boundaries = boundaries
        # Lists, no buffers: `from_pretrained` builds models on the meta device and would have to fill buffers again.
        self.label_types = [self.types.index(_type(label, scheme)) for label in labels]
        self.label_pairs_join = [
            [len(spans_from_tags([left, right], scheme)) == 1 and "O" not in (left, right) for right in labels]
            for left in labels
        ]
        # A word's state is its tag in BIOES, which says on which sides it is joined to its neighbours, and whether it
        # opens an entity right behind one of the same type, which decides between B- and I- in IOB1.
        states = [
            (tag, touches)
            for tag in ["O", *(f"{prefix}-{entity_type}" for entity_type in self.types[1:] for prefix in "BIES")]
            for touches in ([False, True] if boundaries and tag[0] in "BS" else [False])
            if _tag_of_state(tag, touches, scheme) in labels
        ]
        self.state_types = [self.types.index(_type(tag, "BIOES")) for tag, _ in states]
        self.state_is_joined = [tag[0] in "IE" for tag, _ in states]
        self.state_labels = [labels.index(_tag_of_state(tag, touches, scheme)) for tag, touches in states]
        starts, follows, ends = legal_transitions([tag for tag, _ in states], "BIOES")
        self.legal = (
            [may_start and not touches for may_start, (_, touches) in zip(starts, states, strict=True)],
            [
                [
                    may_follow and (tag[0] not in "BS" or touches == (previous[1:] == tag[1:]))
                    for may_follow, (tag, touches) in zip(row, states, strict=True)
                ]
                for row, (previous, _) in zip(follows, states, strict=True)
            ],
            ends,
        )

    def unit_types(self, labels: Tensor, unit_words: Tensor) -> Tensor:
        """
        The type of each unit that belongs to the labels of its sentence's words.

        Args:
            labels (`LongTensor` of shape `(batch, words)`):
                Label ids, -100 on padding.
            unit_words (`LongTensor` of shape `(batch, units)`):
                Index of each unit's word, -2 on the space between two words, -1 on padding.

        Returns:
            `LongTensor` of shape `(batch, units)`, -100 on padding. A space has the type of the entity that it lies
            in, else `O`.
        """
        owners = owning_words(unit_words)
        right = labels.gather(1, owners.clamp(min=0))  # (batch, units)
        left = labels.gather(1, (owners - 1).clamp(min=0))
        types = _constant(self.label_types, labels)[right.clamp(min=0)]
        joins = _constant(self.label_pairs_join, labels)[left.clamp(min=0), right.clamp(min=0)]
        types = types.masked_fill((unit_words == SPACE) & ~joins, 0)
        return types.masked_fill((owners == NO_WORD) | (right == PADDING_LABEL), PADDING_LABEL)

    def decode(self, logits: Tensor, unit_words: Tensor, mask: Tensor) -> Tensor:
        """
        Labels of the words in the most probable typing of the units of each sentence (Viterbi).

        Args:
            logits (`Tensor` of shape `(batch, units, types)`):
                Unnormalised log-probabilities.
            unit_words (`LongTensor` of shape `(batch, units)`):
                Index of each unit's word, -2 on the space between two words, -1 on padding.
            mask (`BoolTensor` of shape `(batch, words)`):
                True on real words.

        Returns:
            `LongTensor` of shape `(batch, words)`: label ids, -100 on padding.
        """
        chain, emissions = self._chain(logits, unit_words, mask, torch.maximum)
        states = chain.decode(emissions, mask)
        return _constant(self.state_labels, states)[states.clamp(min=0)].masked_fill(~mask, PADDING_LABEL)

    def label_probabilities(self, logits: Tensor, unit_words: Tensor, mask: Tensor) -> Tensor:
        """
        Summed probability of the typings that give a word a label, over that of all that count.

        Args:
            logits (`Tensor` of shape `(batch, units, types)`):
                Unnormalised log-probabilities.
            unit_words (`LongTensor` of shape `(batch, units)`):
                Index of each unit's word, -2 on the space between two words, -1 on padding.
            mask (`BoolTensor` of shape `(batch, words)`):
                True on real words.

        Returns:
            `Tensor` of shape `(batch, words, labels)`; zero on padding.
        """
        chain, emissions = self._chain(logits, unit_words, mask, torch.logaddexp)
        marginals = chain.marginals(emissions, mask)  # (batch, words, states)
        state_labels = _constant(self.state_labels, unit_words).expand(marginals.shape)
        return marginals.new_zeros(*mask.shape, self.num_labels).scatter_add(2, state_labels, marginals)

    def _chain(
        self, logits: Tensor, unit_words: Tensor, mask: Tensor, either: Callable[[Tensor, Tensor], Tensor]
    ) -> tuple[LinearChainCRF, Tensor]:
        """The chain over words and its emissions, `(batch, words, states)`; `either` adds up alternatives."""
        log_probabilities = _log_probabilities(logits)
        is_space = unit_words == SPACE
        owners = owning_words(unit_words)
        words = _sums_by_word(log_probabilities, owners.masked_fill(is_space, NO_WORD), mask.shape[1])
        # The space before each word, `(batch, words, types)`; zero before the first, which has none.
        spaces = _sums_by_word(log_probabilities, owners.masked_fill(~is_space, NO_WORD), mask.shape[1])
        outside = spaces[:, :, :1]
        inside = spaces if self.boundaries else either(spaces, outside)

        state_types = _constant(self.state_types, unit_words)
        is_joined = _constant(self.state_is_joined, unit_words)
        emissions = words[:, :, state_types] + torch.where(is_joined, inside[:, :, state_types], outside)
        # Nothing of the chain is trained: its scores stay zero, but for what is forbidden.
        chain = LinearChainCRF(len(self.state_types), self.legal).requires_grad_(False).to(logits.device)
        for penalty in (chain.start_penalty, chain.transition_penalty, chain.end_penalty):
            # The many units of a long word add up and could outweigh a finite penalty; without gradients, none is
            # needed.
            penalty[penalty < 0] = -torch.inf
        return chain, emissions


class ClassAgreement:
    """
    As [`UnitAgreement`], of labels that are classes of single words: the way to the classes of their units, and back.

    Args:
        labels (`Sequence[str]`):
            Classes, in the order of their ids.

    Example:
        >>> unit_words = torch.tensor([[0, 0, -2, 1]])
        >>> ClassAgreement(["NOUN", "VERB"]).unit_types(torch.tensor([[0, 1]]), unit_words).tolist()
        [[1, 1, 0, 2]]
    """

    def __init__(self, labels: Sequence[str]):
        self.types = ["O", *labels]

    def unit_types(self, labels: Tensor, unit_words: Tensor) -> Tensor:
        """
        The class of each unit's word, and `O` of each space; `(batch, units)`, -100 on padding.

        Args:
            labels (`LongTensor` of shape `(batch, words)`):
                Label ids, -100 on padding.
            unit_words (`LongTensor` of shape `(batch, units)`):
                Index of each unit's word, -2 on the space between two words, -1 on padding.
        """
        owners = owning_words(unit_words)
        types = labels.gather(1, owners.clamp(min=0)) + 1  # (batch, units)
        is_padding = (owners == NO_WORD) | (types == PADDING_LABEL + 1)
        return types.masked_fill(unit_words == SPACE, 0).masked_fill(is_padding, PADDING_LABEL)

    def decode(self, logits: Tensor, unit_words: Tensor, mask: Tensor) -> Tensor:
        """
        The label of each word that its units together find most probable; `(batch, words)`, -100 on padding.

        Args:
            logits (`Tensor` of shape `(batch, units, types)`):
                Unnormalised log-probabilities.
            unit_words (`LongTensor` of shape `(batch, units)`):
                Index of each unit's word, -2 on the space between two words, -1 on padding.
            mask (`BoolTensor` of shape `(batch, words)`):
                True on real words.
        """
        return self._scores(logits, unit_words, mask).argmax(2).masked_fill(~mask, PADDING_LABEL)

    def label_probabilities(self, logits: Tensor, unit_words: Tensor, mask: Tensor) -> Tensor:
        """
        Probability of each label at each word, of shape `(batch, words, labels)`; zero on padding.

        Args:
            logits (`Tensor` of shape `(batch, units, types)`):
                Unnormalised log-probabilities.
            unit_words (`LongTensor` of shape `(batch, units)`):
                Index of each unit's word, -2 on the space between two words, -1 on padding.
            mask (`BoolTensor` of shape `(batch, words)`):
                True on real words.
        """
        return self._scores(logits, unit_words, mask).softmax(2) * mask[:, :, None]

    def _scores(self, logits: Tensor, unit_words: Tensor, mask: Tensor) -> Tensor:
        """Summed log-probability of each label by the units of each word, `(batch, words, labels)`."""
        return _sums_by_word(_log_probabilities(logits), unit_words.clamp(min=NO_WORD), mask.shape[1])[:, :, 1:]


def new_agreement(labels: Sequence[str], scheme: str, boundaries: bool) -> UnitAgreement | ClassAgreement:
    """
    The way between labels of this scheme and the types of units.

    Args:
        labels (`Sequence[str]`):
            In the order of their ids.
        scheme (`str`):
            Their scheme.
        boundaries (`bool`):
            As of [`UnitAgreement`]; without effect on classes of words, which are never joined.
    """
    return ClassAgreement(labels) if scheme in WORD_CLASSES else UnitAgreement(labels, scheme, boundaries)


def owning_words(unit_words: Tensor) -> Tensor:
    """
    The word that each unit counts for: its own, or, for a space, the word behind it.

    Args:
        unit_words (`LongTensor` of shape `(batch, units)`):
            Index of each unit's word, -2 on the space between two words, -1 on padding.

    Returns:
        `LongTensor` of shape `(batch, units)`, -1 on padding.

    Example:
        >>> owning_words(torch.tensor([[0, 0, -2, 1, -1]])).tolist()
        [[0, 0, 1, 1, -1]]
    """
    following = torch.nn.functional.pad(unit_words[:, 1:], (0, 1), value=NO_WORD)
    return torch.where(unit_words == SPACE, following, unit_words)


def _sums_by_word(values: Tensor, owners: Tensor, num_words: int) -> Tensor:
    """Sum of the values of each word's units, `(batch, words, types)`; units of no word are left out."""
    index = owners.clamp(min=0)[:, :, None].expand_as(values)
    values = values.masked_fill((owners == NO_WORD)[:, :, None], 0)
    return values.new_zeros(len(values), num_words, values.shape[2]).scatter_add(1, index, values)


def _log_probabilities(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(2)


def _constant(values: list, like: Tensor) -> Tensor:
    return torch.tensor(values, device=like.device)


def _type(label: str, scheme: str) -> str:
    return next(iter(types_of_labels([label], scheme)), "O")


def _tag_of_state(tag: str, touches: bool, scheme: str) -> str:
    """The tag in this scheme of a word with a tag in BIOES, which may open an entity right behind one of its type."""
    prefix, entity_type = split_tag(tag)
    left = {"I": "B-", "E": "B-"}.get(prefix, "S-" if touches else "")
    before = [left + entity_type] if left else []
    after = [f"E-{entity_type}"] if prefix in ("B", "I") else []
    return convert_tags([*before, tag, *after], "BIOES", scheme)[len(before)]
