"""What taggers with a CRF over their words share: its loss, its decoding, and the languages it tells apart.

The CRF can be left out; then each word's label is the most probable one by itself.

Axes:
    batch     sentences
    words     positions of the longest sentence in the batch
    labels    label ids
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from transformers.modeling_outputs import TokenClassifierOutput

from .crf import LinearChainCRF
from .label_scheme import PADDING_LABEL, labels_of, legal_transitions


@dataclass
class CRFTaggerOutput(TokenClassifierOutput):
    """
    Output of a tagger with a CRF: `loss` in nats per word; `logits` are emission scores, to be read with `decode`.

    Args:
        language_ids (`LongTensor` of shape `(batch,)`, *optional*):
            Language of each sentence, whose transition scores decoding uses.
    """

    language_ids: Tensor | None = None


class CRFTagger:
    """
    A `PreTrainedModel` with this beside it has the CRF `crf` over the words that its emission scores belong to, unless
    `use_crf` of its configuration is False.
    """

    crf: LinearChainCRF

    @property
    def _has_crf(self) -> bool:
        return self.config.use_crf  # type: ignore[attr-defined]

    @staticmethod
    def crf_of(config) -> LinearChainCRF:
        """
        The CRF of a model with this configuration; transitions that its label scheme forbids have probability 0.

        Args:
            config (`PreTrainedConfig`):
                With `id2label`, `label_scheme` and `languages`.
        """
        labels = labels_of(config)
        num_languages = None if config.languages is None else len(config.languages)
        return LinearChainCRF(config.num_labels, legal_transitions(labels, config.label_scheme), num_languages)

    def crf_output(
        self,
        emissions: Tensor,
        mask: Tensor,
        labels: Tensor | None,
        language_ids: Tensor | None,
        num_items_in_batch: Tensor | int | None,
        **others,
    ) -> CRFTaggerOutput:
        """
        The output of `forward`, with the negative log-likelihood in nats per word (without CRF, the cross-entropy) as
        loss if there are labels.

        Args:
            emissions (`Tensor` of shape `(batch, words, labels)`):
                Emission scores.
            mask (`BoolTensor` of shape `(batch, words)`):
                True on real words.
            labels (`LongTensor` of shape `(batch, words)`, *optional*):
                Label ids.
            language_ids (`LongTensor` of shape `(batch,)`, *optional*):
                Language of each sentence, -1 for one that is unknown.
            num_items_in_batch (`int` or `Tensor` of shape `()`, *optional*):
                Words that the loss is averaged over, defaults to those of this batch.
            others:
                Further fields of the output.
        """
        loss = None
        if labels is not None:
            if self._has_crf:
                total = -self.crf.log_likelihood(emissions, labels, mask, language_ids).sum()
            else:
                total = nn.functional.cross_entropy(emissions.float().mT, labels, reduction="sum")
            loss = total / (mask.sum() if num_items_in_batch is None else num_items_in_batch)
        return CRFTaggerOutput(loss=loss, logits=emissions, language_ids=language_ids, **others)

    def decode(self, outputs: CRFTaggerOutput, mask: Tensor) -> Tensor:
        """Label ids of the most probable path, or without CRF of each word; `(batch, words)`, -100 on padding."""
        if not self._has_crf:
            return outputs.logits.argmax(2).masked_fill(~mask, PADDING_LABEL)
        return self.crf.decode(outputs.logits, mask, outputs.language_ids)

    def label_probabilities(self, outputs: CRFTaggerOutput, mask: Tensor) -> Tensor:
        """Posterior probability of each label at each word, `(batch, words, labels)`; zero on padding."""
        if not self._has_crf:
            return outputs.logits.float().softmax(2).masked_fill(~mask[:, :, None], 0.0)
        return self.crf.marginals(outputs.logits, mask, outputs.language_ids)

    def label_log_probabilities(self, outputs: CRFTaggerOutput, mask: Tensor, temperature: float = 1.0) -> Tensor:
        """
        Log of the posterior probability of each label at each word, `(batch, words, labels)`, to be differentiated.

        Args:
            outputs ([`CRFTaggerOutput`]):
                Of this model.
            mask (`BoolTensor` of shape `(batch, words)`):
                True on real words; what stands on padding is not defined.
            temperature (`float`, *optional*, defaults to 1.0):
                What all scores are divided by.
        """
        if not self._has_crf:
            return (outputs.logits.float() / temperature).log_softmax(2)
        return self.crf.log_marginals(outputs.logits, mask, outputs.language_ids, temperature)

    def add_languages(self, languages: Sequence[str]) -> None:
        """
        Give further languages transition scores of their own, which start from the mean of the others'.

        Args:
            languages (`Sequence[str]`):
                Languages that the model does not know yet. Collators and optimizers must be made afterwards.

        Raises:
            ValueError: if one is known already or named twice, or if the model tells no languages apart.
        """
        config = self.config  # type: ignore[attr-defined]
        if config.languages is None:
            raise ValueError(
                "This model has one set of transition scores for all languages; expected one for each. Make it with "
                "`languages` in its configuration."
            )
        known = [*config.languages, *languages]
        if len(set(known)) < len(known):
            raise ValueError(
                f"`languages` is {list(languages)}; expected languages that are new, each once. The model knows "
                f"{', '.join(config.languages)}."
            )
        self.crf.add_languages(len(languages))
        config.languages = known
