"""What taggers with a CRF over their words share: their heads and their loss, and the languages that they tell apart.

The CRF can be left out; then each word's label is the most probable one by itself.

Axes:
    batch     sentences
    words     positions of the longest sentence in the batch
    labels    label ids
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from .crf import LinearChainCRF
from .label_loss import mean_over_labels
from .label_scheme import PADDING_LABEL, labels_of, legal_transitions
from .word_tagger import ClassifierHead, WordTagger, WordTaggerOutput, new_further_heads


@dataclass
class CRFTaggerOutput(WordTaggerOutput):
    """
    Output of a tagger with a CRF: `logits` and `further_logits` are emission scores, to be read with `decode`.

    Args:
        language_ids (`LongTensor` of shape `(batch,)`, *optional*):
            Language of each sentence, whose transition scores decoding uses.
    """

    language_ids: Tensor | None = None


class TaskHead(ClassifierHead):
    """
    What a further task adds to a tagger: emission scores, and a CRF if the model has one.

    Args:
        width (`int`):
            Features of a word's vector.
        labels (`Sequence[str]`):
            Of the task.
        scheme (`str`):
            Their scheme.
        config (`PreTrainedConfig`):
            Of the model.
    """

    def __init__(self, width: int, labels: Sequence[str], scheme: str, config):
        super().__init__(width, len(labels))
        if config.use_crf:
            self.crf = new_crf(labels, scheme, config.languages)


def new_crf(labels: Sequence[str], scheme: str, languages: Sequence[str] | None) -> LinearChainCRF:
    """
    A CRF over labels; transitions that their scheme forbids have probability 0.

    Args:
        labels (`Sequence[str]`):
            The tag of each label id.
        scheme (`str`):
            Their scheme.
        languages (`Sequence[str]`, *optional*):
            Languages with transition scores of their own.
    """
    num_languages = None if languages is None else len(languages)
    return LinearChainCRF(len(labels), legal_transitions(labels, scheme), num_languages)


class CRFTagger(WordTagger):
    """
    A [`WordTagger`] with the CRF `crf` over the words that its emission scores belong to, unless `use_crf` of its
    configuration is False. `further_heads` have a classifier and a CRF each.
    """

    crf: LinearChainCRF

    @staticmethod
    def crf_of(config) -> LinearChainCRF:
        """
        The CRF of a model with this configuration; transitions that its label scheme forbids have probability 0.

        Args:
            config (`PreTrainedConfig`):
                With `id2label`, `label_scheme` and `languages`.
        """
        return new_crf(labels_of(config), config.label_scheme, config.languages)

    @staticmethod
    def further_heads_of(config, width: int) -> nn.ModuleDict:
        """
        The heads of the further tasks of a model with this configuration.

        Args:
            config (`PreTrainedConfig`):
                With `further_labels`.
            width (`int`):
                Features of a word's vector.
        """
        return new_further_heads(config, lambda scheme, labels: TaskHead(width, labels, scheme, config))

    def crf_output(
        self,
        emissions: Tensor,
        mask: Tensor,
        labels: Tensor | None,
        language_ids: Tensor | None,
        num_items_in_batch: Tensor | int | None,
        further_logits: tuple[Tensor, ...] | None = None,
        **others,
    ) -> CRFTaggerOutput:
        """
        The output of `forward`, with the negative log-likelihood in nats per label (without CRF, the cross-entropy) as
        loss if there are labels.

        Of several tasks, the losses of all labels of all tasks are added up, each times the weight of its task, and
        divided by the number of labels.

        Args:
            emissions (`Tensor` of shape `(batch, words, labels)`):
                Emission scores.
            mask (`BoolTensor` of shape `(batch, words)`):
                True on real words.
            labels (`LongTensor` of shape `(batch, words)`, *optional*):
                Label ids; of several tasks `(batch, words, tasks)`.
            language_ids (`LongTensor` of shape `(batch,)`, *optional*):
                Language of each sentence, -1 for one that is unknown.
            num_items_in_batch (`int` or `Tensor` of shape `()`, *optional*):
                Labels that the loss is averaged over, defaults to those of this batch.
            further_logits (`tuple[Tensor, ...]`, *optional*):
                Emission scores of further tasks.
            others:
                Further fields of the output.
        """
        loss = None
        if labels is not None:
            total = self.total_loss((emissions, *(further_logits or ())), labels, mask, language_ids)
            loss = mean_over_labels(total, labels, num_items_in_batch)
        return CRFTaggerOutput(
            loss=loss, logits=emissions, language_ids=language_ids, further_logits=further_logits, **others
        )

    def _loss_of_task(
        self, scheme: str, scores: Tensor, labels: Tensor, mask: Tensor, language_ids: Tensor | None
    ) -> Tensor:
        crf = self.crf_of_task(scheme)
        if crf is None:
            return super()._loss_of_task(scheme, scores, labels, mask, language_ids)
        if self.config.further_labels:  # type: ignore[attr-defined]
            # Sentences without this task have no words for its CRF. To pick the others, a GPU would have to be asked
            # how many there are.
            mask = mask & (labels != PADDING_LABEL).any(1, keepdim=True)
        return -crf.log_likelihood(scores, labels, mask, language_ids).sum()

    def crf_of_task(self, scheme: str | None) -> LinearChainCRF | None:
        """
        The CRF of a task; None if the model has none.

        Args:
            scheme (`str`, *optional*):
                Which task, as for `decode`. None is the first.
        """
        return self.head_of_task(scheme).crf if self.config.use_crf else None  # type: ignore[attr-defined]

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
        for module in self.modules():  # type: ignore[attr-defined]
            if isinstance(module, LinearChainCRF):
                module.add_languages(len(languages))
        config.languages = known
