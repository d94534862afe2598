"""Taggers from their folders, whole or with adapters, and the tagger that has an adapter for each language.

Axes:
    batch     sentences
    words     positions of the longest sentence in the batch
    windows   rows of pieces that the encoder reads
    pieces    positions of the longest window in the batch
    labels    label ids
"""

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForTokenClassification, PreTrainedModel, PreTrainedTokenizerBase

from hf_polyglot.adapters import Adapter, attach_adapters, is_adapter, load_base, merge_adapter, read_adapter
from hf_polyglot.inference.onnx_runtime import is_exported
from hf_polyglot.inference.tagging import check_tagger
from hf_polyglot.model_files import checked_model_name
from hf_polyglot.models.crf_tagger import CRFTaggerOutput
from hf_polyglot.models.label_scheme import PADDING_LABEL
from hf_polyglot.models.piece_encoder import PieceEncoderPreTrainedModel
from hf_polyglot.models.word_pieces import load_tokenizer_of
from hf_polyglot.results import read_results


class LanguageAdapters(PieceEncoderPreTrainedModel):
    """
    A tagger that reads each sentence with the adapter of its language, and with the plain base where there is none.

    Sentences of several languages may stand in one batch: those of one language are read together. Taken for tagging
    only; an adapter is trained, saved and pushed by itself.

    Args:
        base (`PreTrainedModel`):
            A tagger with a pretrained encoder.
        adapters (`Mapping[str, Adapter]`):
            Of [`read_adapter`], by language.

    Raises:
        ValueError: if there is none, or if two have labels of their own that differ.
    """

    reads_other_languages = "with the base that the adapters are of"

    def __init__(self, base: PreTrainedModel, adapters: Mapping[str, Adapter]):
        if not adapters:
            raise ValueError("There is no adapter; expected one language with an adapter at least. Name it.")
        config = copy.deepcopy(base.config)
        labels = max((adapter.labels for adapter in adapters.values()), key=len)
        for adapter in adapters.values():
            if adapter.labels != labels[: len(adapter.labels)]:
                raise ValueError(
                    f"The adapter `{adapter.name}` has the labels {', '.join(adapter.labels)}; expected those of the "
                    f"others first, {', '.join(labels)}. Load it by itself."
                )
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: index for index, label in enumerate(labels)}
        # Those without an adapter whose transition scores the base tells apart.
        others = [name for name in getattr(base.config, "languages", None) or () if name not in adapters]
        config.languages = [*adapters, *others]
        super().__init__(config)
        # By number: a language may be called as some method of the dictionary in which peft keeps its adapters.
        self.adapter_names = [f"language_{index}" for index in range(len(adapters))]
        attached, self.tuner = attach_adapters(base, dict(zip(self.adapter_names, adapters.values(), strict=True)))
        self.taggers = nn.ModuleList([base, *attached.values()])
        self.eval()

    @property
    def encoder(self) -> PreTrainedModel:
        """The encoder that all share."""
        return self.taggers[0].base_model

    def tagger_of(self, language: str | None) -> int:
        """
        Which of `taggers` reads sentences of a language: 0 is the base.

        Args:
            language (`str`, *optional*):
                The language, if it is known.
        """
        index = self.config.languages.index(language) if language in self.config.languages else -1
        return index + 1 if 0 <= index < len(self.adapter_names) else 0

    def forward(
        self,
        input_ids: Tensor,
        word_positions: Tensor,
        attention_mask: Tensor | None = None,
        language_ids: Tensor | None = None,
        **kwargs,
    ) -> CRFTaggerOutput:
        """
        Scores of the labels of every word.

        Args:
            input_ids (`LongTensor` of shape `(windows, pieces)`):
                Pieces.
            word_positions (`LongTensor` of shape `(batch, words)`):
                Index of each word's first piece in the flattened `input_ids`, -1 on padding.
            attention_mask (`LongTensor` of shape `(windows, pieces)`, *optional*):
                1 on real pieces.
            language_ids (`LongTensor` of shape `(batch,)`, *optional*):
                Index of each sentence's language in `config.languages`, -1 if it is not there, the default for all.
            kwargs:
                Further arguments of the taggers.

        Returns:
            [`CRFTaggerOutput`]: `logits` of shape `(batch, words, labels)`, to be read with `decode`; minus infinity
            for labels that the language's own tagger does not know.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        if language_ids is None:
            language_ids = word_positions.new_full((len(word_positions),), -1)
        logits: Tensor | None = None
        for index, rows, own_ids in self._groups(language_ids):
            self._use(index)
            pieces, masks, positions = _of_sentences(rows, input_ids, attention_mask, word_positions)
            outputs = self.taggers[index](
                input_ids=pieces,
                attention_mask=masks,
                word_positions=positions,
                **kwargs | ({} if own_ids is None else {"language_ids": own_ids}),
            )
            if logits is None:
                logits = outputs.logits.new_full((*word_positions.shape, self.config.num_labels), float("-inf"))
            _, words, labels = outputs.logits.shape
            logits[rows, :words, :labels] = outputs.logits
        return CRFTaggerOutput(logits=logits, language_ids=language_ids)

    def decode(self, outputs: CRFTaggerOutput, mask: Tensor) -> Tensor:
        """Label ids as each language's own tagger decodes them, `(batch, words)`, -100 on padding."""
        decoded = mask.new_full(mask.shape, PADDING_LABEL, dtype=torch.long)
        for tagger, rows, own in self._outputs_of_taggers(outputs):
            decoded[rows] = tagger.decode(own, mask[rows])
        return decoded

    def label_probabilities(self, outputs: CRFTaggerOutput, mask: Tensor) -> Tensor:
        """Posterior probability of each label at each word, `(batch, words, labels)`; zero on padding."""
        probabilities = outputs.logits.new_zeros((*mask.shape, self.config.num_labels))
        for tagger, rows, own in self._outputs_of_taggers(outputs):
            of_rows = tagger.label_probabilities(own, mask[rows])
            probabilities[rows, :, : of_rows.shape[2]] = of_rows.to(probabilities)
        return probabilities

    def save_pretrained(self, *arguments: Any, **options: Any) -> None:
        """
        Not done: adapters are saved and pushed one by one.

        Args:
            arguments:
                Not read.
            options:
                Not read.

        Raises:
            ValueError: in any case.
        """
        raise ValueError(
            f"A tagger with adapters for {', '.join(self.config.languages[: len(self.adapter_names)])} is not saved "
            "as one model; expected each by itself. Copy their folders, or merge them: recipes/merge_adapter.py."
        )

    def _groups(self, language_ids: Tensor) -> Iterator[tuple[int, Tensor, Tensor | None]]:
        """Number of a tagger, the sentences that it reads, and the ids that it has itself for their languages."""
        names = [self.config.languages[index] if index >= 0 else None for index in language_ids.tolist()]
        readers = torch.tensor([self.tagger_of(name) for name in names], device=language_ids.device)
        for index in readers.unique().tolist():
            rows = (readers == index).nonzero().squeeze(1)
            known = getattr(self.taggers[index].config, "languages", None)
            own_ids = None
            if known is not None:
                ids = [known.index(names[row]) if names[row] in known else -1 for row in rows.tolist()]
                own_ids = torch.tensor(ids, device=language_ids.device)
            yield index, rows, own_ids

    def _outputs_of_taggers(self, outputs: Any) -> Iterator[tuple[Any, Tensor, CRFTaggerOutput]]:
        """Each tagger that has read something, what it has read, and its own output."""
        for index, rows, own_ids in self._groups(outputs.language_ids):
            tagger: Any = self.taggers[index]
            logits = outputs.logits[rows, :, : tagger.config.num_labels]
            yield tagger, rows, CRFTaggerOutput(logits=logits, language_ids=own_ids)

    def _use(self, index: int) -> None:
        """Let the shared encoder be that of one tagger."""
        if index == 0:
            self.tuner.disable_adapter_layers()
        else:
            self.tuner.enable_adapter_layers()
            self.tuner.set_adapter(self.adapter_names[index - 1], inference_mode=True)


def _of_sentences(
    rows: Tensor, input_ids: Tensor, attention_mask: Tensor, word_positions: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The windows in which some sentences are read, and the positions of their words in these windows alone."""
    width = input_ids.shape[1]
    positions = word_positions[rows]  # (rows, words)
    positions = positions[:, : int((positions >= 0).sum(1).max())]
    is_word = positions >= 0
    windows = (positions[is_word] // width).unique()
    own = torch.searchsorted(windows, positions.clamp(min=0) // width) * width + positions % width
    return input_ids[windows], attention_mask[windows], own.masked_fill(~is_word, -1)


def load_language_adapters(base_model: str, adapters: Mapping[str, str]) -> LanguageAdapters:
    """
    A tagger that reads each sentence with the adapter of its language.

    Args:
        base_model (`str`):
            Folder or Hub id of the polyglot tagger that the adapters were trained on. It reads what is in a language
            without an adapter.
        adapters (`Mapping[str, str]`):
            Folder or Hub id of each language's adapter.

    Example:
        >>> model = load_language_adapters("runs/mine", {"swa": "runs/adapters/swa"})  # doctest: +SKIP
        >>> tag_words(model, tokenizer, [["Amina", "alifika"]], languages=["swa"])  # doctest: +SKIP
    """
    read = {language: read_adapter(checked_model_name(name)) for language, name in adapters.items()}
    return LanguageAdapters(load_base(base_model, *read.values()), read)


def load_tagger(name: str, base_model: str | None = None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """
    A tagger and its tokenizer, whichever way it is kept.

    Args:
        name (`str`):
            Folder or Hub id of a model or of an adapter, which is merged with its base; or the folder of a run that
            left an adapter for each language.
        base_model (`str`, *optional*):
            Folder or Hub id of the base of adapters. Defaults to what it was called when they were trained.
    """
    checked_model_name(name)
    folders = adapters_of_run(name)
    if not folders:
        _refuse_other_folder(Path(name))
    if folders or is_adapter(name):
        adapter = read_adapter(next(iter(folders.values()), name))
        base_model = base_model or adapter.config.base_model_name_or_path
        model = load_language_adapters(base_model, folders) if folders else merge_adapter(name, base_model)
        return model, load_tokenizer_of(model, base_model)
    model = AutoModelForTokenClassification.from_pretrained(name)
    check_tagger(model)
    return model, load_tokenizer_of(model, name)


def _refuse_other_folder(folder: Path) -> None:
    """
    Say what a folder has in place of a model.

    Raises:
        ValueError: if it is a folder without model and adapter.
    """
    if not folder.is_dir() or (folder / "config.json").is_file() or is_adapter(str(folder)):
        return
    models = sorted(path.parent.name for path in folder.glob("*/config.json"))
    if models:
        has = f"has the models {', '.join(models)}, one to a folder"
    elif is_exported(str(folder)):
        has = "has an ONNX graph, which predict.py and OnnxTagger read"
    else:
        has = "has no config.json"
    raise ValueError(f"`{folder}` {has}; expected the folder of a model. Name another one.")


def adapters_of_run(name: str) -> dict[str, str]:
    """
    Folder of each language's adapter in that of a run which trained one for each; nothing for any other name.

    Args:
        name (`str`):
            Any name of a model.
    """
    if not Path(name, "results.json").is_file() or Path(name, "config.json").is_file() or is_adapter(name):
        return {}
    folders = {language: str(Path(name, language)) for language in read_results(name)["data"]}
    return folders if all(is_adapter(folder) for folder in folders.values()) else {}
