"""The configuration of an encoder inside that of a model that is put around it."""

from typing import Any

from transformers import AutoConfig, PreTrainedConfig


def encoder_configuration(given: PreTrainedConfig | dict[str, Any] | None) -> PreTrainedConfig:
    """
    The configuration of an encoder, by its own class.

    Args:
        given (`PreTrainedConfig` or `dict`, *optional*):
            Itself, or its values as `config.json` has them, with `model_type`. Defaults to that of XLM-R.
    """
    if isinstance(given, PreTrainedConfig):
        return given
    values = dict(given or {})
    return AutoConfig.for_model(values.pop("model_type", "xlm-roberta"), **values)
