"""What taggers share that give every word a label, of one task or of each of several.

Axes:
    batch     sentences
    words     positions of the longest sentence in the batch
    labels    label ids
    tasks     as `labels_by_scheme` has them
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers.modeling_outputs import TokenClassifierOutput

from .label_scheme import PADDING_LABEL, labels_by_scheme


@dataclass
class WordTaggerOutput(TokenClassifierOutput):
    """
    Output of a tagger of words: `loss` in nats per label; `logits` are the scores of the first task.

    Args:
        further_logits (`tuple[Tensor, ...]`, *optional*):
            Scores of each further task, in the order of `labels_by_scheme`.
    """

    further_logits: tuple[Tensor, ...] | None = None


class ClassifierHead(nn.Module):
    """
    What a further task adds to a tagger: scores of its labels.

    Args:
        width (`int`):
            Features of a word's vector.
        num_labels (`int`):
            Of the task.
    """

    def __init__(self, width: int, num_labels: int):
        super().__init__()
        self.classifier = nn.Linear(width, num_labels)


def new_further_heads(config: Any, new_head: Callable[[str, Sequence[str]], nn.Module]) -> nn.ModuleDict:
    """
    The heads of the further tasks of a model with this configuration, by their scheme.

    Args:
        config (`PreTrainedConfig`):
            With `further_labels`.
        new_head (`Callable`):
            Makes that of a task from its scheme and its labels.
    """
    _, *further = labels_by_scheme(config).items()
    return nn.ModuleDict({scheme: new_head(scheme, labels) for scheme, labels in further})


class WordTagger:
    """
    A `PreTrainedModel` with this beside it scores the labels of words, and takes the most probable one of each, or by
    a CRF the most probable path. If its configuration has `further_labels`, it has `further_heads`, and labels have
    an axis of tasks: `(batch, words, tasks)`, -100 where a task has no label.
    """

    def head_of_task(self, scheme: str | None) -> Any:
        """
        What holds the classifier of a task, and its CRF if there is one: of the first the model itself.

        Args:
            scheme (`str`, *optional*):
                Which task, as for `decode`. None is the first.
        """
        is_first = scheme in (None, self.config.label_scheme)  # type: ignore[attr-defined]
        return self if is_first else self.further_heads[scheme]  # type: ignore[attr-defined]

    def crf_of_task(self, scheme: str | None) -> Any:
        """
        The CRF of a task; None, as there is none.

        Args:
            scheme (`str`, *optional*):
                Which task, as for `decode`. None is the first.
        """

    def further_logits(self, words: Tensor) -> tuple[Tensor, ...] | None:
        """Scores of each further task, from the vectors of the words; None if there is no further task."""
        heads = getattr(self, "further_heads", None)
        return None if heads is None else tuple(head.classifier(words) for head in heads.values())

    def total_loss(
        self, scores: Sequence[Tensor], labels: Tensor, mask: Tensor, language_ids: Tensor | None = None
    ) -> Tensor:
        """
        The losses of all labels of all tasks, added up, each times the weight of its task.

        Args:
            scores (`Sequence[Tensor]`):
                Of each task, `(batch, words, labels)`, or what else its loss is made of.
            labels (`LongTensor` of shape `(batch, words, tasks)`):
                Label ids, -100 where a task has none; of a model of one task `(batch, words)`.
            mask (`BoolTensor` of shape `(batch, words)`):
                True on real words.
            language_ids (`LongTensor` of shape `(batch,)`, *optional*):
                Language of each sentence, for CRFs that tell them apart.

        Raises:
            ValueError: if there are labels for more or fewer tasks.
        """
        config = self.config  # type: ignore[attr-defined]
        schemes = list(labels_by_scheme(config))
        if len(schemes) == 1:
            return self._loss_of_task(schemes[0], scores[0], labels, mask, language_ids)
        if labels.shape[2:] != (len(schemes),):
            raise ValueError(
                f"`labels` has shape {tuple(labels.shape)}; expected (batch, words, {len(schemes)}), one label for "
                f"each of {', '.join(schemes)}. Let `collator_for` make the batch."
            )
        weights = config.loss_weights or {}
        total = scores[0].new_zeros(())
        for scheme, of_task, own_labels in zip(schemes, scores, labels.unbind(2), strict=True):
            own_loss = self._loss_of_task(scheme, of_task, own_labels, mask, language_ids)
            total = total + weights.get(scheme, 1.0) * own_loss
        return total

    def _loss_of_task(
        self, scheme: str, scores: Tensor, labels: Tensor, mask: Tensor, language_ids: Tensor | None
    ) -> Tensor:
        """Loss of one task, summed over its labels `(batch, words)`."""
        return nn.functional.cross_entropy(scores.float().mT, labels, reduction="sum")

    def logits_of_task(self, outputs: WordTaggerOutput, scheme: str | None) -> Tensor:
        """
        Scores of a task, `(batch, words, labels)`.

        Args:
            outputs ([`WordTaggerOutput`]):
                Of `forward`.
            scheme (`str`, *optional*):
                Which task, as for `decode`. None is the first.

        Raises:
            ValueError: if the model has no such task.
        """
        schemes = list(labels_by_scheme(self.config))  # type: ignore[attr-defined]
        if scheme is not None and scheme not in schemes:
            raise ValueError(f"`scheme` is {scheme!r}; the model has heads for {', '.join(schemes)}. Name one.")
        index = 0 if scheme is None else schemes.index(scheme)
        return outputs.logits if index == 0 else outputs.further_logits[index - 1]  # type: ignore[index]

    def decode(self, outputs: WordTaggerOutput, mask: Tensor, scheme: str | None = None) -> Tensor:
        """
        Label ids of the most probable path, or without CRF of each word; `(batch, words)`, -100 on padding.

        Args:
            outputs ([`WordTaggerOutput`]):
                Of `forward`.
            mask (`BoolTensor` of shape `(batch, words)`):
                True on real words.
            scheme (`str`, *optional*):
                Which task, of several: `label_scheme` or a name in `further_labels`. Defaults to the first.
        """
        logits, crf = self.logits_of_task(outputs, scheme), self.crf_of_task(scheme)
        if crf is None:
            return logits.argmax(2).masked_fill(~mask, PADDING_LABEL)
        return crf.decode(logits, mask, outputs.language_ids)

    def label_probabilities(self, outputs: WordTaggerOutput, mask: Tensor, scheme: str | None = None) -> Tensor:
        """
        Posterior probability of each label at each word, `(batch, words, labels)`; zero on padding.

        Args:
            outputs ([`WordTaggerOutput`]):
                Of `forward`.
            mask (`BoolTensor` of shape `(batch, words)`):
                True on real words.
            scheme (`str`, *optional*):
                Which task, of several. Defaults to the first.
        """
        logits, crf = self.logits_of_task(outputs, scheme), self.crf_of_task(scheme)
        if crf is None:
            return logits.float().softmax(2).masked_fill(~mask[:, :, None], 0.0)
        return crf.marginals(logits, mask, outputs.language_ids)

    def label_log_probabilities(
        self, outputs: WordTaggerOutput, mask: Tensor, temperature: float = 1.0, scheme: str | None = None
    ) -> Tensor:
        """
        Log of the posterior probability of each label at each word, `(batch, words, labels)`, to be differentiated.

        Args:
            outputs ([`WordTaggerOutput`]):
                Of this model.
            mask (`BoolTensor` of shape `(batch, words)`):
                True on real words; what stands on padding is not defined.
            temperature (`float`, *optional*, defaults to 1.0):
                What all scores are divided by.
            scheme (`str`, *optional*):
                Which task, of several. Defaults to the first.
        """
        logits, crf = self.logits_of_task(outputs, scheme), self.crf_of_task(scheme)
        if crf is None:
            return (logits.float() / temperature).log_softmax(2)
        return crf.log_marginals(logits, mask, outputs.language_ids, temperature)
