"""The models, their configurations and tokenizers, registered with the auto classes of transformers."""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSeq2SeqLM,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from .configuration_byte_crf import ByteCRFConfig
from .configuration_byte_to_span import ByteToSpanConfig
from .configuration_charner import CharNERConfig
from .configuration_encoder_crf import EncoderCRFConfig
from .configuration_slicer import SlicerConfig
from .crf import LinearChainCRF
from .modeling_byte_crf import ByteCRFForTokenClassification, ByteCRFModel
from .modeling_byte_to_span import ByteToSpanForConditionalGeneration, ByteToSpanModel
from .modeling_charner import CharNERForTokenClassification, CharNERModel
from .modeling_encoder_crf import EncoderCRFForTokenClassification, EncoderCRFModel
from .modeling_slicer import SlicerForTokenClassification, SlicerModel
from .tokenization_bytes import SpellingTokenizer

for config, model, tagger in (
    (ByteCRFConfig, ByteCRFModel, ByteCRFForTokenClassification),
    # It writes spans, not labels of words, but is a tagger to all who load one.
    (ByteToSpanConfig, ByteToSpanModel, ByteToSpanForConditionalGeneration),
    (CharNERConfig, CharNERModel, CharNERForTokenClassification),
    (EncoderCRFConfig, EncoderCRFModel, EncoderCRFForTokenClassification),
    (SlicerConfig, SlicerModel, SlicerForTokenClassification),
):
    AutoConfig.register(config.model_type, config, exist_ok=True)
    AutoModel.register(config, model, exist_ok=True)
    AutoModelForTokenClassification.register(config, tagger, exist_ok=True)
AutoModelForSeq2SeqLM.register(ByteToSpanConfig, ByteToSpanForConditionalGeneration, exist_ok=True)
for config in (ByteCRFConfig, ByteToSpanConfig, CharNERConfig):
    AutoTokenizer.register(config, SpellingTokenizer, exist_ok=True)

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
    "SlicerConfig",
    "SlicerForTokenClassification",
    "SlicerModel",
    "SpellingTokenizer",
]
