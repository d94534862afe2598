"""The pipeline `polyglot-token-classification`: raw text or words in, entities with character offsets out."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from transformers import AutoModelForTokenClassification, Pipeline
from transformers.pipelines import PIPELINE_REGISTRY

from hf_polyglot.inference.tagged_words import (
    check_inputs,
    entities_of,
    is_one_input,
    read_input,
    scheme_of_task,
    tagged_record,
)
from hf_polyglot.inference.tagging import check_tagger, read_texts, tag_words
from hf_polyglot.models.label_scheme import labels_by_scheme

TASK = "polyglot-token-classification"


class PolyglotTokenClassificationPipeline(Pipeline):
    """
    Entities of raw text or of words, decoded as the model decodes; texts of any length, nothing is cut.

    Takes a text, a list of texts, or an iterable of them; with `is_split_into_words=True`, a list of words or a
    list of such lists. `language="swa"` tells a model with transition scores for each language which one all of them
    are in. An entity is a dictionary with `entity_group`, `score`, `word`, `start`, `end` (so that `text[start:end] ==
    word`), and `word_start` and `word_end`. Offsets into words count in `" ".join(words)`. A model of parts of speech
    or of morphology gives every word so, and takes `second_best_for=["X"]`, see [`tag_words`]. `task="feats"` chooses
    one of the tasks of a model of several, by default the first; `read` gives the tags of all.

    Example:
        >>> from transformers import pipeline
        >>> import hf_polyglot.inference.pipeline  # registers the task
        >>> tag = pipeline("polyglot-token-classification", model="runs/byte_crf")  # doctest: +SKIP
        >>> tag("Rais Samia alifika Dar es Salaam.")  # doctest: +SKIP
        [{'entity_group': 'PER', 'score': 0.97, 'word': 'Samia', 'start': 5, 'end': 10, ...}, ...]
    """

    _load_processor = False
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = True

    def _sanitize_parameters(
        self,
        is_split_into_words: bool | None = None,
        language: str | None = None,
        second_best_for: Sequence[str] | None = None,
        task: str | None = None,
        **unknown,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if unknown:
            raise ValueError(
                f"Unknown to this pipeline: {', '.join(sorted(unknown))}. It takes `is_split_into_words`, "
                "`language`, `second_best_for`, `task` and `batch_size`."
            )
        given = {
            "is_split_into_words": is_split_into_words, "language": language, "second_best_for": second_best_for,
            "task": task,
        }  # fmt: skip
        return {name: value for name, value in given.items() if value is not None}, {}, {}

    def preprocess(
        self,
        inputs: str | list[str],
        is_split_into_words: bool = False,
        language: str | None = None,
        second_best_for: Sequence[str] = (),
        task: str | None = None,
    ) -> dict[str, Any]:
        """
        The words of an input and where they stand in its text.

        Args:
            inputs (`str` or `list[str]`):
                A text, or words.
            is_split_into_words (`bool`, *optional*, defaults to `False`):
                Which of the two.
            language (`str`, *optional*):
                Its language.
            second_best_for (`Sequence[str]`, *optional*):
                Classes of words that are passed over, see [`tag_words`].
            task (`str`, *optional*):
                Which of several tasks.
        """
        scheme = scheme_of_task(labels_by_scheme(self.model.config), task)
        settings = {"language": language, "second_best_for": second_best_for, "scheme": scheme}
        return read_input(inputs, is_split_into_words) | settings

    def _forward(self, model_inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        check_tagger(self.model)
        if self.model.input_form == "byte_segments":
            texts, offsets = ([reading[name] for reading in model_inputs] for name in ("text", "offsets"))
            return [
                reading | {"tagged": tagged, "entities": entities}
                for reading, (tagged, entities) in zip(
                    model_inputs, read_texts(self.model, texts, offsets), strict=True
                )
            ]
        sentences = [reading["words"] for reading in model_inputs]
        languages = [reading["language"] for reading in model_inputs]
        tagged = tag_words(
            self.model,
            self.tokenizer,
            sentences,
            max(1, len(sentences)),
            languages,
            model_inputs[0]["second_best_for"] if model_inputs else (),
        )
        return [reading | {"tagged": tags} for reading, tags in zip(model_inputs, tagged, strict=True)]

    def postprocess(self, model_outputs: dict[str, Any]) -> dict[str, Any]:
        """
        Text, words, tags and entities of one input.

        Args:
            model_outputs (`dict`):
                Text, words, their offsets and their tags.
        """
        text, scheme = model_outputs["text"], model_outputs["scheme"]
        tagged, entities = model_outputs["tagged"], model_outputs.get("entities")
        if entities is None:
            entities = entities_of(tagged.of_task(scheme), model_outputs["offsets"], scheme)
        return tagged_record(text, tagged, entities, list(labels_by_scheme(self.model.config)), scheme)

    def __call__(self, inputs, *, batch_size: int | None = None, **parameters):
        """
        The entities of one input, or of each of many.

        Args:
            inputs (`str`, `list` or iterable):
                A text, or many; with `is_split_into_words=True`, a list of words, or many.
            batch_size (`int`, *optional*):
                Inputs read at once. Defaults to that of the pipeline, or 32.
            parameters:
                `is_split_into_words`, `language`, `second_best_for`, `task`.

        Returns:
            `list` of entities for one input; a list of such lists for a list of inputs; an iterator for any other
            iterable.
        """
        given = {**self._preprocess_params, **self._sanitize_parameters(**parameters)[0]}
        if is_one_input(inputs, given.get("is_split_into_words", False)):
            return next(self.read([inputs], batch_size=1, **given))["entities"]
        readings = self.read(inputs, batch_size=batch_size, **given)
        entities = (reading["entities"] for reading in readings)
        return list(entities) if isinstance(inputs, (list, tuple)) else entities

    def read(
        self,
        inputs: Iterable[str | list[str]],
        *,
        batch_size: int | None = None,
        is_split_into_words: bool | None = None,
        language: str | None = None,
        second_best_for: Sequence[str] | None = None,
        task: str | None = None,
    ) -> Iterator[dict[str, Any]]:
        """
        Text, words, tags and entities of each input, in their order, read batch by batch as they are asked for; and
        `tags_by_task`, the tags of every task of the model by its name. What is not given is as `pipeline` was told.

        Args:
            inputs (`Iterable[str]` or `Iterable[list[str]]`):
                Texts, or the words of sentences.
            batch_size (`int`, *optional*):
                Inputs read at once. Defaults to that of the pipeline, or 32.
            is_split_into_words (`bool`, *optional*):
                Which of the two they are. Defaults to texts.
            language (`str`, *optional*):
                Language of all of them.
            second_best_for (`Sequence[str]`, *optional*):
                Classes of words that are passed over, see [`tag_words`].
            task (`str`, *optional*):
                Of several, the one that `tags` and `entities` are of; `"ner"`, `"upos"` or `"feats"`. Defaults to the
                first.
        """
        size = self._batch_size or 32 if batch_size is None else batch_size
        check_inputs(inputs, size)
        own, _, _ = self._sanitize_parameters(is_split_into_words, language, second_best_for, task)
        given = {**self._preprocess_params, **own}
        language = given.get("language")
        known = getattr(self.model.config, "languages", None)
        if language is not None and known is not None and language not in known:
            how = getattr(self.model, "reads_other_languages", "with the mean of their transition scores")
            warnings.warn(
                f"`language` is {language!r}; the model knows {', '.join(known)}, and reads any other {how}.",
                stacklevel=2,
            )
        # transformers' own batching pads and stacks tensors of single inputs, which the distinct words of a batch
        # and the windows of a long text are not.
        remaining = iter(inputs)
        while batch := [self.preprocess(one, **given) for one in islice(remaining, size)]:
            with self.device_placement():
                yield from map(self.postprocess, self._forward(batch))


PIPELINE_REGISTRY.register_pipeline(
    TASK, PolyglotTokenClassificationPipeline, pt_model=AutoModelForTokenClassification
)
