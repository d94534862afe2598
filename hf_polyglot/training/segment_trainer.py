"""The trainer of Byte-to-Span: learns from segments of bytes, is measured by the words of sentences."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset
from transformers import EvalPrediction
from transformers.trainer_utils import EvalLoopOutput

from hf_polyglot.data.byte_segments import ByteSegments, SegmentReport, SentenceSegments
from hf_polyglot.models import ByteToSpanForConditionalGeneration
from hf_polyglot.models.label_scheme import PADDING_LABEL, labels_of
from hf_polyglot.span_metrics import with_stray_spans
from hf_polyglot.training.arguments import PolyglotTrainingArguments
from hf_polyglot.training.trainer import PolyglotTrainer


class ByteToSpanTrainer(PolyglotTrainer):
    """
    [`PolyglotTrainer`] of a model that reads segments of bytes and writes their spans.

    It takes the same sentences. An epoch is all segments of the training sentences, drawn by language. Evaluation
    reads the sentences in segments that overlap, merges their spans, and scores the tags of the words: a span that
    begins or ends within a word is a wrong one, see [`with_stray_spans`].

    Args:
        model ([`ByteToSpanForConditionalGeneration`]):
            What is trained.
        args ([`PolyglotTrainingArguments`]):
            How to train. Batch sizes count segments.
        processing_class (`PreTrainedTokenizerFast`):
            The model's tokenizer.
        train_dataset (`Dataset` or `Mapping[str, Dataset]`, *optional*):
            Training sentences with the columns `tokens`, `language` and `label_column`, and `document` if they have
            documents; or one such data set per language.
        stride (`int`, *optional*, defaults to 1):
            A training segment begins at every so many bytes.
        label_column (`str`, *optional*, defaults to `"ner_tags"`):
            Column of the label ids.
        options:
            Further arguments of [`PolyglotTrainer`].
    """

    compute_metrics: Callable[[EvalPrediction], dict[str, float]] | None

    def __init__(
        self,
        model: ByteToSpanForConditionalGeneration,
        args: PolyglotTrainingArguments,
        *,
        processing_class,
        train_dataset: Any = None,
        stride: int = 1,
        label_column: str = "ner_tags",
        **options,
    ):
        self.label_column = label_column
        self.labels: list[str] = labels_of(model.config)
        self.segments = {
            language: self._sentence_segments(dataset, model.config).for_training(stride)
            for language, dataset in _by_language(train_dataset).items()
        }
        super().__init__(
            model,
            args,
            processing_class=processing_class,
            train_dataset=ConcatDataset([_SegmentsOfLanguage(*item) for item in self.segments.items()])
            if self.segments
            else None,
            label_column=label_column,
            **options,
        )

    @property
    def segment_reports(self) -> dict[str, SegmentReport]:
        """What cutting the training sentences of each language into segments did to their spans."""
        return {language: segments.report for language, segments in self.segments.items()}

    def languages_and_lengths(self) -> tuple[Sequence[str], np.ndarray, np.ndarray]:
        """Languages, and which of them and how many bytes each training segment has."""
        sizes = [len(segments) for segments in self.segments.values()]
        lengths = np.concatenate([segments.lengths for segments in self.segments.values()])
        return list(self.segments), np.repeat(np.arange(len(sizes)), sizes), lengths

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
        """
        Batches of the segments of sentences.

        Args:
            eval_dataset (`Dataset` or `str`, *optional*):
                Sentences, or the name of some among the trainer's own; defaults to all of these.
        """
        if eval_dataset is None or isinstance(eval_dataset, str):
            eval_dataset = self.eval_dataset if eval_dataset is None else self.eval_dataset[eval_dataset]
        return super().get_eval_dataloader(self._segments_to_read(eval_dataset))

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader:
        """
        Batches of the segments of sentences.

        Args:
            test_dataset (`Dataset`):
                Sentences.
        """
        return super().get_test_dataloader(self._segments_to_read(test_dataset))

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Loss, symbols written and symbols that are right, `(batch, steps)`, of a batch of segments."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss = model(**inputs).loss
            if prediction_loss_only:
                return loss, None, None
            written = self.accelerator.unwrap_model(model).generate(inputs["input_ids"])
        return loss, written[:, 1:], inputs["labels"]

    def evaluation_loop(
        self, dataloader, description, prediction_loss_only=None, ignore_keys=None, metric_key_prefix="eval"
    ) -> EvalLoopOutput:
        """
        Label ids of the words of each sentence, predicted and gold, `(sentences, words)`, and their metrics.

        Behind the words of a sentence may stand made-up ones, see [`with_stray_spans`].
        """
        # The loop gathers what was written for each segment, of all processes; only then are there words to measure.
        metrics_of_words = self.compute_metrics
        self.compute_metrics = None
        try:
            output = super().evaluation_loop(
                dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix
            )
        finally:
            self.compute_metrics = metrics_of_words
        if output.predictions is None:
            return output
        reading: _SegmentsToRead = dataloader.dataset
        predicted_tags, stray_types = reading.sentences.predicted_tags(reading.segments, output.predictions.tolist())
        config: Any = self.model.config
        counted = [
            with_stray_spans(*of_sentence, config.label_scheme)
            for of_sentence in zip(reading.sentences.tags, predicted_tags, stray_types, strict=True)
        ]
        gold, predicted = (self._padded_ids([pair[side] for pair in counted]) for side in (0, 1))
        if metrics_of_words is not None:
            metrics = metrics_of_words(EvalPrediction(predictions=predicted, label_ids=gold))
            output.metrics.update({f"{metric_key_prefix}_{name}": value for name, value in metrics.items()})
        return EvalLoopOutput(predicted, gold, output.metrics, output.num_samples)

    def _sentence_segments(self, dataset: Any, config: Any) -> SentenceSegments:
        return SentenceSegments(
            dataset,
            self.labels,
            config.symbols,
            scheme=config.label_scheme,
            context=config.context,
            label_column=self.label_column,
        )

    def _segments_to_read(self, dataset: Any) -> "_SegmentsToRead":
        config: Any = self.model.config
        return _SegmentsToRead(self._sentence_segments(dataset, config), config.segment_overlap)

    def _padded_ids(self, tags: Sequence[Sequence[str]]) -> np.ndarray:
        ids = np.full((len(tags), max(map(len, tags))), PADDING_LABEL)
        id_of = {label: index for index, label in enumerate(self.labels)}
        for row, of_sentence in enumerate(tags):
            ids[row, : len(of_sentence)] = [id_of[tag] for tag in of_sentence]
        return ids


class _SegmentsOfLanguage(Dataset):
    """Segments with their language, as sentences have it."""

    def __init__(self, language: str, segments: ByteSegments):
        self.language = language
        self.segments = segments

    def __len__(self) -> int:
        return len(self.segments)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.segments[index] | {"language": self.language}


class _SegmentsToRead(Dataset):
    """Segments of sentences that overlap, with the way back to the sentences."""

    def __init__(self, sentences: SentenceSegments, overlap: int):
        self.sentences = sentences
        self.segments: ByteSegments = sentences.for_reading(overlap)

    def __len__(self) -> int:
        return len(self.segments)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.segments[index]


def _by_language(dataset: Any) -> dict[str, Any]:
    """The sentences of each language."""
    if dataset is None:
        return {}
    if isinstance(dataset, Mapping):
        return dict(dataset)
    languages = np.array(dataset["language"][:])
    return {str(name): dataset.select(np.flatnonzero(languages == name)) for name in np.unique(languages)}
