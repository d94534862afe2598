"""The models, their configurations and tokenizers; each is imported when it is first used."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .configuration_byte_crf import ByteCRFConfig
    from .configuration_byte_to_span import ByteToSpanConfig
    from .configuration_charner import CharNERConfig
    from .configuration_encoder_crf import EncoderCRFConfig
    from .configuration_meta_lstm import MetaLSTMConfig
    from .configuration_slicer import SlicerConfig
    from .crf import LinearChainCRF
    from .modeling_byte_crf import ByteCRFForTokenClassification, ByteCRFModel
    from .modeling_byte_to_span import ByteToSpanForConditionalGeneration, ByteToSpanModel
    from .modeling_charner import CharNERForTokenClassification, CharNERModel
    from .modeling_encoder_crf import EncoderCRFForTokenClassification, EncoderCRFModel
    from .modeling_meta_lstm import MetaLSTMForTokenClassification, MetaLSTMModel
    from .modeling_slicer import SlicerForTokenClassification, SlicerModel
    from .tokenization_bytes import SpellingTokenizer
    from .tokenization_words import WordSpellingTokenizer

_MODULE_OF = {
    "ByteCRFConfig": "configuration_byte_crf",
    "ByteToSpanConfig": "configuration_byte_to_span",
    "CharNERConfig": "configuration_charner",
    "EncoderCRFConfig": "configuration_encoder_crf",
    "MetaLSTMConfig": "configuration_meta_lstm",
    "SlicerConfig": "configuration_slicer",
    "LinearChainCRF": "crf",
    "ByteCRFForTokenClassification": "modeling_byte_crf",
    "ByteCRFModel": "modeling_byte_crf",
    "ByteToSpanForConditionalGeneration": "modeling_byte_to_span",
    "ByteToSpanModel": "modeling_byte_to_span",
    "CharNERForTokenClassification": "modeling_charner",
    "CharNERModel": "modeling_charner",
    "EncoderCRFForTokenClassification": "modeling_encoder_crf",
    "EncoderCRFModel": "modeling_encoder_crf",
    "MetaLSTMForTokenClassification": "modeling_meta_lstm",
    "MetaLSTMModel": "modeling_meta_lstm",
    "SlicerForTokenClassification": "modeling_slicer",
    "SlicerModel": "modeling_slicer",
    "SpellingTokenizer": "tokenization_bytes",
    "WordSpellingTokenizer": "tokenization_words",
}


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF.values():
        return importlib.import_module(f".{name}", __name__)
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_MODULE_OF[name]}", __name__), name)
    globals()[name] = value  # the next time it is found without asking here
    return value


def __dir__() -> list[str]:
    return sorted(globals().keys() | _MODULE_OF)


__all__ = [
    "ByteCRFConfig",
    "ByteCRFForTokenClassification",
    "ByteCRFModel",
    "ByteToSpanConfig",
    "ByteToSpanForConditionalGeneration",
    "ByteToSpanModel",
    "CharNERConfig",
    "CharNERForTokenClassification",
    "CharNERModel",
    "EncoderCRFConfig",
    "EncoderCRFForTokenClassification",
    "EncoderCRFModel",
    "LinearChainCRF",
    "MetaLSTMConfig",
    "MetaLSTMForTokenClassification",
    "MetaLSTMModel",
    "SlicerConfig",
    "SlicerForTokenClassification",
    "SlicerModel",
    "SpellingTokenizer",
    "WordSpellingTokenizer",
]
