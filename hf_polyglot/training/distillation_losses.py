"""
What a student's answers cost that are not its teacher's.

Axes:
    batch      sentences
    positions  words of the longest sentence in the batch, or its pieces
    labels     label ids
    kept       the teacher's most probable labels, or paths

References:
    Hinton, Vinyals and Dean (2015), section 2. https://arxiv.org/abs/1503.02531
    Wang et al. (2020), section 3, on CRFs: posteriors of words, and best paths. https://aclanthology.org/2020.acl-main.304
"""

import torch
from torch import Tensor
from transformers import Trainer


def target_distribution(target_ids: Tensor, target_probabilities: Tensor, is_possible: Tensor) -> Tensor:
    """
    The teacher's distribution over the student's labels, `(batch, positions, labels)`.

    What the kept labels leave of the probability is spread evenly over the others; what stands on labels that the
    student cannot give there, as its label scheme forbids them, is left out; and the rest sums to one again.

    Args:
        target_ids (`LongTensor` of shape `(batch, positions, kept)`):
            Labels, by their ids of the student.
        target_probabilities (`Tensor` of shape `(batch, positions, kept)`):
            Their probabilities.
        is_possible (`BoolTensor` of shape `(batch, positions, labels)`):
            Which labels the student may give, and the teacher knows.
    """
    is_kept = torch.zeros_like(is_possible).scatter(2, target_ids, torch.ones_like(target_ids, dtype=torch.bool))
    others = is_possible & ~is_kept
    left = (1 - target_probabilities.sum(2, keepdim=True)).clamp(min=0)
    spread = left / others.sum(2, keepdim=True).clamp(min=1) * others
    targets = spread.scatter_add(2, target_ids, target_probabilities) * is_possible
    return targets / targets.sum(2, keepdim=True).clamp(min=torch.finfo(targets.dtype).tiny)


def soft_cross_entropy(log_probabilities: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """
    Cross-entropy `H(p, q)` of the student's distributions q under the teacher's p, summed over positions, in nats.

    Both are at temperature T. The sum is not multiplied by T^2: that is to keep its weight beside a loss on gold
    labels (Hinton et al. 2015, section 2), see
    [`TaughtFineTuningTrainer`](hf_polyglot.training.taught_fine_tuning.TaughtFineTuningTrainer); alone, Adam does not
    see the scale. The gradient is zero where q is p.

    Args:
        log_probabilities (`Tensor` of shape `(batch, positions, labels)`):
            Of the student.
        targets (`Tensor` of shape `(batch, positions, labels)`):
            Probabilities of the teacher.
        mask (`BoolTensor` of shape `(batch, positions)`):
            True on real positions.
    """
    products = torch.where(targets > 0, targets * log_probabilities, 0.0)  # (batch, positions, labels)
    return -(products.sum(2) * mask).sum()


def path_cross_entropy(
    crf, emissions: Tensor, paths: Tensor, probabilities: Tensor, mask: Tensor, language_ids: Tensor | None,
    temperature: float,
) -> Tensor:  # fmt: skip
    """
    Cross-entropy of a CRF under a distribution over paths, summed over sentences, in nats.

    Args:
        crf ([`LinearChainCRF`]):
            Of the student.
        emissions (`Tensor` of shape `(batch, words, labels)`):
            Its emission scores.
        paths (`LongTensor` of shape `(batch, words, kept)`):
            Label ids.
        probabilities (`Tensor` of shape `(batch, kept)`):
            Of the paths, by the teacher.
        mask (`BoolTensor` of shape `(batch, words)`):
            True on real words.
        language_ids (`LongTensor` of shape `(batch,)`, *optional*):
            Language of each sentence.
        temperature (`float`):
            What all scores are divided by.
    """
    scores = torch.stack([crf.path_score(emissions, path, mask, language_ids) for path in paths.unbind(2)], 1)
    log_partition = crf.log_partition(emissions, mask, language_ids, temperature)  # (batch,)
    return (log_partition - (probabilities * scores).sum(1) / temperature).sum()


def mean_of_update(trainer: Trainer, total: Tensor, mask: Tensor, num_items_in_batch: Tensor | int | None) -> Tensor:
    """
    The part of a batch in the mean over all positions of an update, on all processes.

    Args:
        trainer (`Trainer`):
            That trains.
        total (`Tensor` of shape `()`):
            The sum over the positions of this batch.
        mask (`BoolTensor` of shape `(batch, positions)`):
            True on them.
        num_items_in_batch (`int` or `Tensor` of shape `()`, *optional*):
            Positions of the update, by default those of this batch.
    """
    if num_items_in_batch is None:
        return total / mask.sum().clamp(min=1)
    # Of several processes, the Trainer averages the gradients.
    factor = trainer.accelerator.num_processes if trainer.args.average_tokens_across_devices else 1
    return total * factor / num_items_in_batch
