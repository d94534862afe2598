"""The layers of a pretrained encoder: which of them learn, when, and how fast.

Reference:
    Howard and Ruder (2018), sections 3.2 and 3.3: discriminative fine-tuning, slanted triangular learning rates and
    gradual unfreezing. https://aclanthology.org/P18-1031
"""

import itertools

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel

from hf_polyglot.models.piece_encoder import encoder_layers


def encoder_of(model: PreTrainedModel) -> PreTrainedModel:
    """
    The pretrained encoder of a tagger.

    Args:
        model (`PreTrainedModel`):
            A tagger of this package.

    Raises:
        ValueError: if it has none.
    """
    if getattr(model, "input_form", None) != "pieces":
        raise ValueError(
            f"The model is a {type(model).__name__}, which has no pretrained encoder; expected one that has. Leave "
            "out what is asked of the encoder's layers."
        )
    return model.base_model


def freeze_lowest_layers(encoder: PreTrainedModel, num_layers: int) -> None:
    """
    Leave an encoder's lowest layers as they are, and its embeddings with them.

    Where nothing below the lowest layer that learns needs a gradient, each frozen layer saves two thirds of its time.

    Args:
        encoder (`PreTrainedModel`):
            Any that `AutoModel` loads.
        num_layers (`int`):
            How many layers; 0 leaves everything to learn.

    Raises:
        ValueError: if the encoder has fewer layers, or no list of them.
    """
    if num_layers == 0:
        return
    layers = encoder_layers(encoder)
    if not 0 <= num_layers <= len(layers):
        raise ValueError(
            f"`num_frozen_layers` is {num_layers}; expected 0 to {len(layers)}, the layers of the encoder. Correct it."
        )
    for parameter in _embedding_parameters(encoder):
        parameter.requires_grad_(False)
    for layer in layers[:num_layers]:
        layer.requires_grad_(False)


def depths(encoder: PreTrainedModel) -> dict[nn.Parameter, int]:
    """
    How far below the top each parameter of an encoder lies: 0 in the top layer, and in the embeddings as many as there
    are layers, wherever they are kept. What else is beside the layers counts as the top one.

    Args:
        encoder (`PreTrainedModel`):
            Any that `AutoModel` loads.
    """
    layers = encoder_layers(encoder)
    in_layers = {
        parameter: len(layers) - 1 - index for index, layer in enumerate(layers) for parameter in layer.parameters()
    }
    embeddings = _embedding_parameters(encoder)
    return {
        parameter: len(layers) if parameter in embeddings else in_layers.get(parameter, 0)
        for parameter in encoder.parameters()
    }


def _embedding_parameters(encoder: PreTrainedModel) -> set[nn.Parameter]:
    """What is read before the lowest layer, and all other embeddings: DeBERTa has some behind its layers."""
    layers = encoder_layers(encoder)
    in_layers = set(layers.parameters())
    first = next(layers[0].parameters())
    before = itertools.takewhile(lambda parameter: parameter is not first, encoder.parameters())
    of_embeddings = (module.weight for module in encoder.modules() if isinstance(module, nn.Embedding))
    return {*before, *of_embeddings} - in_layers


def give_rates_by_depth(optimizer: Optimizer, encoder: PreTrainedModel, divisor: float) -> None:
    """
    Let each layer learn at the rate of the one above it, divided by a number (discriminative fine-tuning).

    Args:
        optimizer (`Optimizer`):
            Its groups are split, and keep everything but the rate.
        encoder (`PreTrainedModel`):
            The top layer keeps its rate; the embeddings count as a layer below all others.
        divisor (`float`):
            2.6 in Howard and Ruder (2018).
    """
    of_parameter = depths(encoder)
    for group in list(optimizer.param_groups):
        for depth in sorted({of_parameter.get(parameter, 0) for parameter in group["params"]} - {0}):
            moved = [parameter for parameter in group["params"] if of_parameter.get(parameter) == depth]
            group["params"] = [parameter for parameter in group["params"] if of_parameter.get(parameter) != depth]
            optimizer.add_param_group({**group, "params": moved, "lr": group["lr"] / divisor**depth})
    optimizer.param_groups[:] = [group for group in optimizer.param_groups if group["params"]]


class GradualUnfreezing:
    """
    Lets an encoder thaw from the top, some layers an epoch, and its embeddings an epoch behind the lowest layer.

    In the first epoch the uppermost layers learn, with all that is not the encoder. Parameters that are frozen for
    good stay so. The optimizer has all of them from the start: it leaves out those without a gradient, and makes
    their state when they get their first.

    Args:
        encoder (`PreTrainedModel`):
            Any that `AutoModel` loads.
        layers_per_epoch (`int`):
            Layers that thaw when an epoch begins.

    Raises:
        ValueError: if that is less than 1.
    """

    def __init__(self, encoder: PreTrainedModel, layers_per_epoch: int):
        if layers_per_epoch < 1:
            raise ValueError(
                f"`unfrozen_layers_per_epoch` is {layers_per_epoch}; expected at least 1. Leave it out to train all "
                "layers from the start."
            )
        num_layers = len(encoder_layers(encoder))
        self.epochs = {
            parameter: -(-depth // layers_per_epoch) if depth == num_layers else depth // layers_per_epoch
            for parameter, depth in depths(encoder).items()
            if parameter.requires_grad
        }
        self.frozen: list[nn.Parameter] = []

    def begin_epoch(self, epoch: int, *, has_replicas: bool) -> None:
        """
        Freeze what has not thawed.

        Args:
            epoch (`int`):
                Counted from 0.
            has_replicas (`bool`):
                Whether torch's DistributedDataParallel waits for the gradients of all parameters. Then they are
                computed, and `drop_gradients` drops them.
        """
        self.frozen = [parameter for parameter, thaws in self.epochs.items() if thaws > epoch]
        if not has_replicas:
            for parameter, thaws in self.epochs.items():
                parameter.requires_grad_(thaws <= epoch)

    def drop_gradients(self) -> None:
        """Forget the gradients of what is frozen, before they are clipped and used."""
        for parameter in self.frozen:
            parameter.grad = None

    def end(self) -> None:
        """Let everything learn again."""
        for parameter in self.epochs:
            parameter.requires_grad_(True)
        self.frozen = []


def slanted_triangular_schedule(
    optimizer: Optimizer, num_steps: int, num_warmup_steps: int | None = None, ratio: float = 32
) -> LambdaLR:
    """
    Rates that rise linearly for a short while and fall linearly for the rest (Howard and Ruder 2018, equation 3).

    Args:
        optimizer (`Optimizer`):
            Its rates are the highest.
        num_steps (`int`):
            Steps of the whole run, `T`.
        num_warmup_steps (`int`, *optional*):
            Steps in which they rise, `cut`. Defaults to a tenth of all, the paper's `cut_frac` of 0.1.
        ratio (`float`, *optional*, defaults to 32):
            The lowest rate is the highest divided by this.
    """
    cut = max(1, num_steps // 10 if num_warmup_steps is None else num_warmup_steps)

    def share(step: int) -> float:
        risen = step / cut if step < cut else 1 - (step - cut) / max(1, num_steps - cut)
        return (1 + max(0.0, risen) * (ratio - 1)) / ratio

    return LambdaLR(optimizer, share)
