"""The layers of a pretrained encoder, lowest first, whatever its architecture calls them."""

import itertools

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

    Nothing below the lowest layer that learns needs a gradient, so each frozen layer saves two thirds of its time.

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
    first = next(layers[0].parameters())
    for parameter in itertools.takewhile(lambda parameter: parameter is not first, encoder.parameters()):
        parameter.requires_grad_(False)
    for layer in layers[:num_layers]:
        layer.requires_grad_(False)
