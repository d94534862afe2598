"""
The models in the auto classes of transformers: registered when these are imported, and not before.

`import transformers` imports nothing heavy until it is used, and neither does this package: what registers a model has
to import torch and transformers' `PreTrainedModel`, for seconds, which a program that reads results, scores spans or
prints its `--help` need not wait for. So the models are registered behind the import of the modules that hold the auto
classes, at once if they are there already.
"""

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

# By the beginning of the names of configuration, model and tagger.
KINDS = ("ByteCRF", "ByteToSpan", "CharNER", "EncoderCRF", "MetaLSTM", "Slicer")


def register_configurations() -> None:
    """Tell `AutoConfig` of the configurations."""
    from transformers import AutoConfig

    for kind in KINDS:
        config = _class(f"{kind}Config")
        AutoConfig.register(config.model_type, config, exist_ok=True)


def register_tokenizers() -> None:
    """Tell `AutoTokenizer` which models have a tokenizer of this package; all others have that of their encoder."""
    from transformers import AutoTokenizer

    for kind in ("ByteCRF", "ByteToSpan", "CharNER"):
        AutoTokenizer.register(_class(f"{kind}Config"), _class("SpellingTokenizer"), exist_ok=True)
    AutoTokenizer.register(_class("MetaLSTMConfig"), _class("WordSpellingTokenizer"), exist_ok=True)


def register_models() -> None:
    """Tell `AutoModel`, `AutoModelForTokenClassification` and `AutoModelForSeq2SeqLM` of the models."""
    from transformers import AutoModel, AutoModelForSeq2SeqLM, AutoModelForTokenClassification

    writer = _class("ByteToSpanForConditionalGeneration")
    for kind in KINDS:
        config = _class(f"{kind}Config")
        AutoModel.register(config, _class(f"{kind}Model"), exist_ok=True)
        # Byte-to-Span writes spans, not labels of words, but is a tagger to all who load one.
        tagger = writer if kind == "ByteToSpan" else _class(f"{kind}ForTokenClassification")
        AutoModelForTokenClassification.register(config, tagger, exist_ok=True)
    AutoModelForSeq2SeqLM.register(_class("ByteToSpanConfig"), writer, exist_ok=True)


def _class(name: str) -> Any:
    return getattr(importlib.import_module("hf_polyglot.models"), name)


STEPS: dict[str, Callable[[], None]] = {
    "transformers.models.auto.configuration_auto": register_configurations,
    "transformers.models.auto.tokenization_auto": register_tokenizers,
    "transformers.models.auto.modeling_auto": register_models,
}


def register_when_imported() -> None:
    """Register with the auto classes that are imported now, and with the others behind their import."""
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    finder.register()


class _Finder(importlib.abc.MetaPathFinder):
    """
    Finds modules as the others do, and registers once those of `STEPS` are imported.

    To register is to import modules of transformers and of this package, some of which may be half imported at that
    moment, for they import each other. So it waits for the end of the outermost of their imports.
    """

    def __init__(self):
        self.waiting = dict(STEPS)
        self.unfinished: set[str] = set()
        self.lock = threading.Lock()
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
            load = spec.loader.exec_module

            def load_and_register(module: ModuleType) -> None:
                with self.importing(fullname):
                    load(module)

            spec.loader.exec_module = load_and_register  # type: ignore[method-assign]  # of this loader alone
        return spec

    @contextlib.contextmanager
    def importing(self, name: str) -> Iterator[None]:
        """While this module is imported; registers behind the outermost one, even if that fails."""
        depth = getattr(self.thread, "depth", 0)
        self.thread.depth = depth + 1
        self.unfinished.add(name)
        try:
            yield
        finally:
            self.unfinished.discard(name)
            self.thread.depth = depth
            if depth == 0:
                self.register()

    def register(self) -> None:
        """Register with all that are imported; what fails or is interrupted is tried again behind the next import."""
        # To register imports, which comes here again. To wait for another thread that registers could be for ever: it
        # may wait for a module that this one imports.
        if not self.lock.acquire(blocking=False):
            return
        try:
            while due := [name for name in self.waiting if name in sys.modules and name not in self.unfinished]:
                self.waiting[due[0]]()
                del self.waiting[due[0]]
            if not self.waiting and self in sys.meta_path:
                sys.meta_path.remove(self)
        finally:
            self.lock.release()
