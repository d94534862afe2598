"""Gradient surgery: languages whose gradients conflict do not undo each other's steps.

Axes:
    languages   training languages
    parameters  weights of all learning parameters, one behind the other

Reference:
    Yu et al. (2020), algorithm 1, PCGrad. https://arxiv.org/abs/2001.06782
    Mueller, Andrews and Dredze (2020), section 7, name multi-objective optimisation as future work.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

BATCHES_OF_LANGUAGES = "of_languages"


class LanguageBatches:
    """
    Batches that hold one batch for each of their languages.

    Args:
        collator (`Callable`):
            Makes a batch of examples.

    Example:
        >>> collate = LanguageBatches(lambda rows: {"labels": torch.tensor([row["ner_tags"] for row in rows])})
        >>> batch = collate([{"ner_tags": [0], "language": language} for language in ("yor", "swa", "yor")])
        >>> {language: one["labels"].tolist() for language, one in batch["of_languages"].items()}
        {'swa': [[0]], 'yor': [[0], [0]]}
        >>> batch["labels"].tolist()  # all of them, by which transformers counts words
        [0, 0, 0]
    """

    def __init__(self, collator: Callable[[Sequence[Mapping[str, Any]]], dict[str, Tensor]]):
        self.collator = collator

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The batch of these examples."""
        of_languages = {
            language: self.collator([example for example in examples if example["language"] == language])
            for language in sorted({example["language"] for example in examples})
        }
        labels = torch.cat([batch["labels"].flatten() for batch in of_languages.values()])
        return {"labels": labels, BATCHES_OF_LANGUAGES: of_languages}


class GradientSurgery:
    """
    Takes the gradient of each language by itself, and puts their sum together without what conflicts.

    Holds one gradient of all learning parameters for each language.

    Args:
        languages (`Sequence[str]`):
            All training languages, in the same order on every process.
        seed (`int`):
            The order in which a gradient meets the others is drawn, anew in each step.

    Attributes:
        num_pairs (`int`), num_conflicts (`int`):
            Pairs of languages in the steps so far, and those among them whose gradients pointed apart.
    """

    def __init__(self, languages: Sequence[str], seed: int):
        self.rows = {language: row for row, language in enumerate(languages)}
        self.seed = seed
        self.gradients: Tensor | None = None  # (languages, parameters)
        self.reached: set[nn.Parameter] = set()
        self.num_pairs = self.num_conflicts = 0

    @torch.no_grad()
    def take(self, language: str, model: nn.Module) -> None:
        """
        Add a model's gradients to those of a language, and leave the model none.

        Args:
            language (`str`):
                Whose batch was passed backwards.
            model (`nn.Module`):
                Not wrapped.
        """
        learning = _learning(model)
        if self.gradients is None:
            size = sum(parameter.numel() for parameter in learning)
            self.gradients = torch.zeros(len(self.rows), size, device=learning[0].device)
        end = 0
        for parameter in learning:
            start, end = end, end + parameter.numel()
            if parameter.grad is not None:
                self.gradients[self.rows[language], start:end] += parameter.grad.flatten()
                self.reached.add(parameter)
                parameter.grad = None

    @torch.no_grad()
    def give_back(self, model: nn.Module, step: int, mean: Callable[[Tensor], Tensor]) -> None:
        """
        Give a model the sum of its languages' gradients, each without its share against any of the others.

        Args:
            model (`nn.Module`):
                Not wrapped.
            step (`int`):
                Updates before this one.
            mean (`Callable`):
                Mean of a tensor over all processes.
        """
        if self.gradients is None:
            return
        gradients = mean(self.gradients)
        products = (gradients @ gradients.T).double().cpu().numpy()  # (languages, languages)
        present = np.flatnonzero(products.diagonal() > 0)
        products = products[np.ix_(present, present)]
        pairs = products[np.triu_indices(len(present), 1)]
        self.num_pairs += pairs.size
        self.num_conflicts += int((pairs < 0).sum())
        weights = np.zeros(len(self.rows))
        weights[present] = weights_without_conflicts(products, np.random.default_rng([self.seed, step]))
        total = torch.as_tensor(weights, dtype=gradients.dtype, device=gradients.device) @ gradients  # (parameters,)
        learning = _learning(model)
        for parameter, part in zip(learning, total.split([one.numel() for one in learning]), strict=True):
            if parameter in self.reached:
                parameter.grad = part.view_as(parameter).to(parameter.dtype)
        self.gradients, self.reached = None, set()

    def conflicts_percent(self) -> float | None:
        """Share of pairs of languages whose gradients pointed apart since this was last asked; None of no pair."""
        share = 100 * self.num_conflicts / self.num_pairs if self.num_pairs else None
        self.num_pairs = self.num_conflicts = 0
        return share


def weights_without_conflicts(products: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """
    How often each language's gradient goes into the update.

    Each gradient `g_i` in turn meets all others in random order; where `g_i . g_j < 0`, `g_i` loses its part along
    `g_j`, `g_i -= (g_i . g_j) / |g_j|^2 g_j`. What is left of all is summed. As every `g_i` stays a sum of the
    original gradients, their products are all that is needed (Yu et al. 2020, algorithm 1).

    Args:
        products (`np.ndarray` of shape `(languages, languages)`):
            Products of the gradients; none of them is zero.
        random (`np.random.Generator`):
            Draws the orders.

    Returns:
        `np.ndarray` of shape `(languages,)`.

    Example:
        >>> weights_without_conflicts(np.array([[1.0, -0.5], [-0.5, 1.0]]), np.random.default_rng(0))
        array([1.5, 1.5])
        >>> weights_without_conflicts(np.eye(2), np.random.default_rng(0))  # without a conflict, their plain sum
        array([1., 1.])
    """
    num_languages = len(products)
    total = np.zeros(num_languages)
    for language in range(num_languages):
        weights = np.eye(num_languages)[language]  # of the original gradients, in what is left of this one
        for other in random.permutation(num_languages):
            product = weights @ products[:, other]
            if other != language and product < 0:
                weights[other] -= product / products[other, other]
        total += weights
    return total


def _learning(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
