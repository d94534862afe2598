"""
The models in the auto classes of transformers: registered when these are imported, and not before.

`import transformers` imports nothing heavy until it is used, and neither does this package: what registers a model has
to import torch and transformers' `PreTrainedModel`, for seconds, which a program that reads results, scores spans or
prints its `--help` need not wait for. So the models are registered behind the import of the modules that hold the auto
classes, at once if they are there already.
"""

import contextlib
import importlib.abc
import importlib.machinery
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any


def register_configurations() -> None:
    """Tell `AutoConfig` of the configurations."""
    from transformers import AutoConfig

    for config, _, _ in _classes():
        AutoConfig.register(config.model_type, config, exist_ok=True)


def register_tokenizers() -> None:
    """Tell `AutoTokenizer` which models have a tokenizer of this package; all others have that of their encoder."""
    from transformers import AutoTokenizer

    from hf_polyglot.models import ByteCRFConfig, ByteToSpanConfig, CharNERConfig, SpellingTokenizer

    for config in (ByteCRFConfig, ByteToSpanConfig, CharNERConfig):
        AutoTokenizer.register(config, SpellingTokenizer, exist_ok=True)


def register_models() -> None:
    """Tell `AutoModel`, `AutoModelForTokenClassification` and `AutoModelForSeq2SeqLM` of the models."""
    from transformers import AutoModel, AutoModelForSeq2SeqLM, AutoModelForTokenClassification

    from hf_polyglot.models import ByteToSpanConfig, ByteToSpanForConditionalGeneration

    for config, model, tagger in _classes(with_models=True):
        AutoModel.register(config, model, exist_ok=True)
        # Byte-to-Span writes spans, not labels of words, but is a tagger to all who load one.
        AutoModelForTokenClassification.register(config, tagger, exist_ok=True)
    AutoModelForSeq2SeqLM.register(ByteToSpanConfig, ByteToSpanForConditionalGeneration, exist_ok=True)


def _classes(with_models: bool = False) -> list[tuple[Any, Any, Any]]:
    """Configuration, model and tagger of each kind; without models, which take longer to import, `None` for them."""
    from hf_polyglot import models

    names = (
        ("ByteCRFConfig", "ByteCRFModel", "ByteCRFForTokenClassification"),
        ("ByteToSpanConfig", "ByteToSpanModel", "ByteToSpanForConditionalGeneration"),
        ("CharNERConfig", "CharNERModel", "CharNERForTokenClassification"),
        ("EncoderCRFConfig", "EncoderCRFModel", "EncoderCRFForTokenClassification"),
        ("SlicerConfig", "SlicerModel", "SlicerForTokenClassification"),
    )
    return [
        (getattr(models, config), *(getattr(models, name) if with_models else None for name in others))
        for config, *others in names
    ]


STEPS: dict[str, Callable[[], None]] = {
    "transformers.models.auto.configuration_auto": register_configurations,
    "transformers.models.auto.tokenization_auto": register_tokenizers,
    "transformers.models.auto.modeling_auto": register_models,
}


def register_when_imported() -> None:
    """Register with the auto classes that are imported now, and with the others behind their import."""
    finder = _Finder()
    finder.register_with_imported()
    if finder.waiting:
        sys.meta_path.insert(0, finder)


class _Finder(importlib.abc.MetaPathFinder):
    """
    Finds modules as the others do, and registers once those of `STEPS` are imported.

    To register is to import modules of transformers and of this package, some of which may be half imported at that
    moment, for they import each other. So it waits for the end of the outermost of their imports.
    """

    def __init__(self):
        self.waiting = dict(STEPS)
        self.thread = threading.local()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not fullname.startswith(("transformers.", "hf_polyglot.")):
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        specs = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self)
        return spec

    @contextlib.contextmanager
    def importing(self) -> Iterator[None]:
        """While a module is imported; registers behind the outermost one."""
        depth = getattr(self.thread, "depth", 0)
        self.thread.depth = depth + 1
        try:
            yield
        finally:
            self.thread.depth = depth
        if depth == 0:
            self.register_with_imported()

    def register_with_imported(self) -> None:
        for module in [module for module in self.waiting if module in sys.modules]:
            register = self.waiting.pop(module, None)
            if register is not None:  # to register imports, and may have come here before
                register()
        if not self.waiting and self in sys.meta_path:
            sys.meta_path.remove(self)


class _Loader(importlib.abc.Loader):
    """Loads a module as its own loader does, which it leaves in its place, and tells the finder."""

    def __init__(self, loader: Any, finder: _Finder):
        self.loader, self.finder = loader, finder

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        module.__loader__ = self.loader
        with self.finder.importing():
            self.loader.exec_module(module)
