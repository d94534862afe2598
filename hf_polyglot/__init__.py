"""Polyglot sequence labelling on Hugging Face transformers.

Importing the package registers its models with `AutoConfig`, `AutoModel`, `AutoModelForTokenClassification` and
`AutoTokenizer`, once these are imported too, and does nothing else. Where things are:

    hf_polyglot.models        the models, their configurations, the CRF, the tokenizer, label schemes
    hf_polyglot.data          column files and Hub data sets, the embedded corpus, collators, language sampling
    hf_polyglot.training      PolyglotTrainer and its arguments, distillation
    hf_polyglot.inference     tagging of words and raw text, the pipeline, ONNX export and a runtime without torch
    hf_polyglot.analysis      tests of significance between two taggers, kinds of errors
    hf_polyglot.adapters      LoRA adapters of one base, one for each language
    hf_polyglot.span_metrics  exact-match precision, recall and F1 of spans
    hf_polyglot.word_metrics  accuracy of the classes of words, such as parts of speech
    hf_polyglot.conllu_metrics  scores of CoNLL-U files of any segmentation, as in the CoNLL 2018 shared task
    hf_polyglot.tasks         entities, parts of speech or morphology: their columns and their scores
    hf_polyglot.joint_tasks   several tasks of one model: the scores of each, and their mean
    hf_polyglot.results       results.json of a run
    hf_polyglot.sentence_counts  what each sentence contributes to them
    hf_polyglot.result_tables Markdown tables of runs, from their results.json
    hf_polyglot.model_card    model cards from results.json
    hf_polyglot.model_files   models by their names, which are folders or Hub ids
    hf_polyglot.auto_classes  registration with transformers
"""

import importlib
from typing import TYPE_CHECKING, Any

from hf_polyglot.auto_classes import register_when_imported

if TYPE_CHECKING:
    from hf_polyglot.models import (
        ByteCRFConfig,
        ByteCRFForTokenClassification,
        ByteCRFModel,
        ByteToSpanConfig,
        ByteToSpanForConditionalGeneration,
        ByteToSpanModel,
        CharNERConfig,
        CharNERForTokenClassification,
        CharNERModel,
        EncoderCRFConfig,
        EncoderCRFForTokenClassification,
        EncoderCRFModel,
        LinearChainCRF,
        MetaLSTMConfig,
        MetaLSTMForTokenClassification,
        MetaLSTMModel,
        SlicerConfig,
        SlicerForTokenClassification,
        SlicerModel,
        SpellingTokenizer,
        WordSpellingTokenizer,
    )

__version__ = "0.1.0"

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
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name == "models":
        return importlib.import_module("hf_polyglot.models")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("hf_polyglot.models"), name)


def __dir__() -> list[str]:
    return sorted(globals().keys() | set(__all__))


register_when_imported()
