"""Elastic weight consolidation: weights that mattered before are held where they were, each as it mattered.

Reference:
    Kirkpatrick et al. (2017), equation 3. https://doi.org/10.1073/pnas.1611835114
    Mueller, Andrews and Dredze (2020), section 7, name it as future work for the finetuning of polyglot models.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ElasticWeights:
    """
    Where weights were, and how much each of them mattered there.

    Args:
        anchors (`Mapping[str, Tensor]`):
            Weights by parameter name. Parameters that are not here, or of another shape, move freely.
        fisher (`Mapping[str, Tensor]`):
            Diagonal of the Fisher matrix, by parameter name.
        strength (`float`):
            The `lambda` of equation 3.
    """

    anchors: Mapping[str, Tensor]
    fisher: Mapping[str, Tensor]
    strength: float

    @classmethod
    def of_model(cls, model: nn.Module, fisher: Mapping[str, Tensor], strength: float) -> "ElasticWeights":
        """
        Hold a model where it is.

        Args:
            model (`nn.Module`):
                Before it is trained further; its weights are copied.
            fisher (`Mapping[str, Tensor]`):
                Diagonal of its Fisher matrix, by parameter name.
            strength (`float`):
                The `lambda` of equation 3.
        """
        return cls({name: weights.detach().clone() for name, weights in model.named_parameters()}, fisher, strength)

    def penalty(self, model: nn.Module) -> Tensor:
        """
        `strength / 2` times the sum over weights of their Fisher information times the square of their way.

        Args:
            model (`nn.Module`):
                The model as it is now.
        """
        total = torch.zeros(())
        for weights, anchor, fisher in self._held(model):
            total = total + (fisher * (weights - anchor).square()).sum()
        return self.strength / 2 * total

    @torch.no_grad()
    def add_gradients(self, model: nn.Module, scale: float = 1.0) -> None:
        """
        Add the penalty's gradient to that of the loss, once an update.

        Not through the loss, which accumulation and processes take apart and sum up again.

        Args:
            model (`nn.Module`):
                With the gradients of a whole update.
            scale (`float`, *optional*, defaults to 1.0):
                What the gradients are multiplied by, in half precision.
        """
        for weights, anchor, fisher in self._held(model):
            if weights.grad is not None:
                weights.grad += scale * self.strength * fisher * (weights - anchor)

    def _held(self, model: nn.Module):
        for name, weights in model.named_parameters():
            anchor = self.anchors.get(name)
            if anchor is not None and name in self.fisher and anchor.shape == weights.shape:
                yield weights, anchor.to(weights.device), self.fisher[name].to(weights.device)
