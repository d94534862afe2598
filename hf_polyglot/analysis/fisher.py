"""How much each weight of a tagger matters to what it says of some sentences: the diagonal of its Fisher matrix."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from hf_polyglot.models.label_scheme import PADDING_LABEL, labels_by_scheme


def diagonal_fisher(
    model: PreTrainedModel,
    collate: Callable[[list[Mapping[str, Any]]], Mapping[str, Tensor]],
    sentences: Iterable[Mapping[str, Any]],
    *,
    num_samples: int = 10,
    seed: int = 0,
) -> dict[str, Tensor]:
    """
    Diagonal of the Fisher information matrix, a word: the expected square of the gradient of a sentence's
    log-probability, summed over sentences and divided by their words, as the loss is.

    The expectation is over labels that the model itself would give, drawn exactly: from the posterior of the CRF by
    forward filtering and backward sampling, or word by word where there is no CRF. The sentences' own labels are not
    read.

    Args:
        model (`PreTrainedModel`):
            A tagger with a CRF or with a linear layer on an encoder.
        collate (`Callable`):
            Its collator.
        sentences (`Iterable[Mapping[str, Any]]`):
            Rows with the columns that the collator reads.
        num_samples (`int`, *optional*, defaults to 10):
            Label sequences drawn for each sentence. Mueller, Andrews and Dredze (2020) draw 1,000.
        seed (`int`, *optional*, defaults to 0):
            Of the drawing.

    Returns:
        `dict[str, Tensor]`: by parameter name, of the parameter's shape, zero for what is frozen.

    Raises:
        ValueError: if the model's loss is no log-probability of labels, if it has several tasks, or if there is no
            sentence.

    Reference:
        Mueller, Andrews and Dredze (2020), section 6.3. https://aclanthology.org/2020.acl-main.720
    """
    if not hasattr(model, "crf_of"):
        raise ValueError(
            f"The model is a {type(model).__name__}, whose loss is no log-probability of the labels; expected a "
            "byte-CRF or a model on an encoder, with or without CRF."
        )
    if model.config.further_labels:
        raise ValueError(
            f"The model has a head for each of {', '.join(labels_by_scheme(model.config))}; expected one task, whose "
            "labels are drawn."
        )
    crf = getattr(model, "crf", None)
    named = {name: weights for name, weights in model.named_parameters() if weights.requires_grad}
    fisher = {name: torch.zeros_like(weights) for name, weights in model.named_parameters()}
    generator = torch.Generator(model.device).manual_seed(seed)
    was_training = model.training
    model.eval()
    num_words = 0
    for sentence in sentences:
        batch = {name: tensor.to(model.device) for name, tensor in collate([sentence]).items()}
        mask = batch.pop("labels") != PADDING_LABEL  # (1, words)
        outputs = model(**batch)
        num_words += int(mask.sum())
        drawn = _drawn_labels(crf, outputs, mask, num_samples, generator)  # (samples, 1, words)
        for labels in drawn:
            if crf is None:
                chosen = outputs.logits.float().log_softmax(2).gather(2, labels[:, :, None]).squeeze(2)
                log_probability = (chosen * mask).sum()
            else:
                log_probability = crf.log_likelihood(outputs.logits, labels, mask, outputs.language_ids).sum()
            gradients = torch.autograd.grad(
                log_probability, list(named.values()), retain_graph=True, materialize_grads=True
            )
            for name, gradient in zip(named, gradients, strict=True):
                fisher[name] += gradient.square()
    model.train(was_training)
    if num_words == 0:
        raise ValueError("There are no sentences; expected some to compute the Fisher matrix on.")
    return {name: squares / (num_samples * num_words) for name, squares in fisher.items()}


@torch.no_grad()
def _drawn_labels(crf, outputs, mask: Tensor, num_samples: int, generator: torch.Generator) -> Tensor:
    if crf is not None:
        samples = crf.sample(outputs.logits, mask, num_samples, generator, outputs.language_ids)
        return samples.masked_fill(~mask, 0)
    probabilities = outputs.logits.float().softmax(2).flatten(0, 1)  # (words, labels)
    samples = torch.multinomial(probabilities, num_samples, replacement=True, generator=generator)
    return samples.mT.view(num_samples, *mask.shape)
