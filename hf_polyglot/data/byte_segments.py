"""
Documents as UTF-8 bytes, and the segments of them that Byte-to-Span learns from and reads.

A span's start and end are bytes of its document, end exclusive. The words of a sentence are joined by a space, and so
are the sentences of a document; raw text is taken as it is.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from hf_polyglot.models.label_scheme import Span, spans_from_tags, tags_from_spans
from hf_polyglot.models.span_symbols import (
    FIRST_BYTE,
    ScoredSpan,
    SpanSymbols,
    character_boundaries,
    merge_spans,
    segment_starts,
)

DOCUMENT_COLUMN = "document"


@dataclass(frozen=True)
class ByteDocument:
    """
    A text with its spans.

    Args:
        text (`bytes`):
            UTF-8.
        spans (`tuple[tuple[int, int, str], ...]`, *optional*):
            Spans in bytes, sorted, none in another.
    """

    text: bytes
    spans: tuple[Span, ...] = ()

    @classmethod
    def of_text(cls, text: str, spans: Iterable[Span] = ()) -> "ByteDocument":
        """
        Document of a raw text.

        Args:
            text (`str`):
                Any text.
            spans (`Iterable[tuple[int, int, str]]`, *optional*):
                Spans in characters.

        Example:
            >>> ByteDocument.of_text("我爱北京", [(2, 4, "LOC")]).spans
            ((6, 12, 'LOC'),)
        """
        content = text.encode()
        start_of = list(character_boundaries(content))
        return cls(content, tuple(sorted((start_of[start], start_of[end], name) for start, end, name in spans)))


class WordDocument:
    """
    Sentences of words as one text, and where each word stands in it.

    Args:
        sentences (`Sequence[Sequence[str]]`):
            The words of each sentence.

    Example:
        >>> document = WordDocument([["Ọmọ", "ni"], ["Kano"]])
        >>> document.text.decode(), document.word_starts.tolist()
        ('Ọmọ ni Kano', [0, 8, 11])
        >>> document.find_words([(11, 15, "LOC"), (0, 3, "PER")])
        ([[], [(0, 1, 'LOC')]], [['PER'], []])
    """

    def __init__(self, sentences: Sequence[Sequence[str]]):
        words = [word.encode() for sentence in sentences for word in sentence]
        lengths = np.array([len(word) for word in words], dtype=np.int64)
        self.text = b" ".join(words)
        self.word_starts = np.cumsum(lengths + 1) - lengths - 1  # (words,)
        self.word_ends = self.word_starts + lengths  # (words,)
        self.first_words = np.cumsum([0, *(len(sentence) for sentence in sentences)])  # (sentences + 1,)

    def byte_spans(self, tags: Sequence[Sequence[str]], scheme: str = "IOB2") -> tuple[Span, ...]:
        """
        Spans of the text, in bytes, sorted.

        Args:
            tags (`Sequence[Sequence[str]]`):
                The tags of each sentence.
            scheme (`str`, *optional*, defaults to `"IOB2"`):
                Their scheme.
        """
        return tuple(
            (int(self.word_starts[first + start]), int(self.word_ends[first + end - 1]), entity_type)
            for first, of_sentence in zip(self.first_words, tags, strict=False)
            for start, end, entity_type in spans_from_tags(of_sentence, scheme)
        )

    def find_words(self, spans: Iterable[Span | ScoredSpan]) -> tuple[list[list[Span]], list[list[str]]]:
        """
        The word spans of each sentence that are these byte spans, and the types of those that are none.

        A byte span is a word span if it begins where a word does, ends where one does, and both are of one sentence.

        Args:
            spans (`Iterable[tuple[int, int, str]]`):
                Spans in bytes of the text; what follows a type is left out.

        Returns:
            `tuple[list[list[tuple[int, int, str]]], list[list[str]]]`, of each sentence its word spans, and the types
            of the spans that begin in it and are no word spans.
        """
        num_sentences = len(self.first_words) - 1
        found: list[list[Span]] = [[] for _ in range(num_sentences)]
        stray: list[list[str]] = [[] for _ in range(num_sentences)]
        for start, end, entity_type, *_ in spans:
            first = int(np.searchsorted(self.word_starts, start, side="right")) - 1
            last = int(np.searchsorted(self.word_ends, end))
            sentence = int(np.searchsorted(self.first_words, first, side="right")) - 1
            is_exact = (
                self.word_starts[first] == start
                and last < min(len(self.word_ends), self.first_words[sentence + 1])
                and self.word_ends[last] == end
            )
            if is_exact:
                offset = int(self.first_words[sentence])
                found[sentence].append((first - offset, last + 1 - offset, entity_type))
            else:
                stray[sentence].append(entity_type)
        return found, stray


def sentence_documents(
    rows: Mapping[str, Sequence[Any]], context: str = "document"
) -> tuple[list[WordDocument], list[list[int]]]:
    """
    Documents of a data set of sentences, and the rows that each was made of.

    Sentences with one value in the column `document` make a document, which must stand together; without that column,
    all of them do.

    Args:
        rows (`Mapping[str, Sequence]`):
            A data set, or its columns: `tokens`, and `document` if it has documents.
        context (`str`, *optional*, defaults to `"document"`):
            `"sentence"` makes a document of every sentence.

    Raises:
        ValueError: if the sentences of a document do not stand together.

    Example:
        >>> documents, rows = sentence_documents({"tokens": [["a"], ["b"], ["c"]], "document": [1, 1, 2]})
        >>> [document.text for document in documents], rows
        ([b'a b', b'c'], [[0, 1], [2]])
    """
    tokens = rows["tokens"][:]
    names: list[Any] = [0] * len(tokens)
    if context == "sentence":
        names = list(range(len(tokens)))
    elif DOCUMENT_COLUMN in rows or DOCUMENT_COLUMN in getattr(rows, "column_names", ()):
        names = list(rows[DOCUMENT_COLUMN][:])
    groups: dict[Any, list[int]] = {}
    for row, name in enumerate(names):
        group = groups.setdefault(name, [])
        if group and group[-1] != row - 1:
            raise ValueError(
                f"The document {name!r} goes on in row {row} after others from row {group[-1] + 1} on. Sort the "
                f"sentences by their column `{DOCUMENT_COLUMN}`."
            )
        group.append(row)
    return [WordDocument([tokens[row] for row in group]) for group in groups.values()], list(groups.values())


@dataclass(frozen=True)
class SegmentReport:
    """
    What cutting documents into segments did to their spans. `str(report)` is made to be printed.

    Args:
        segments (`int`):
            Segments.
        spans (`int`):
            Spans of the documents.
        too_long (`int`):
            Those of more bytes than a segment has: they are in no target.
        whole (`int`):
            Times that a span lies wholly inside a segment, and is in its target.
        cut (`int`):
            Times that a segment has a part of a span, which is not in its target.
    """

    segments: int
    spans: int
    too_long: int
    whole: int
    cut: int

    def __str__(self) -> str:
        return (
            f"{self.segments:,} segments; {self.spans:,} spans, {self.too_long:,} of them longer than a segment; "
            f"{self.whole:,} times in a target, {self.cut:,} times cut by the edge of a segment and left out"
        )


class ByteSegments(Dataset):
    """
    The segments of documents, each made when it is asked for: the text is kept once, whatever their number.

    Made by [`~ByteSegments.for_training`] or [`~ByteSegments.for_reading`]. A span is in the target of a segment only
    if it lies wholly inside.

    Args:
        documents (`Sequence[ByteDocument]`):
            Texts with their spans.
        symbols ([`SpanSymbols`]):
            What targets are written with.
        starts (`Sequence[range]`):
            First bytes of the segments of each document.

    Example:
        >>> document = ByteDocument(b"in Kano", ((3, 7, "LOC"),))
        >>> segments = ByteSegments.for_training([document], SpanSymbols(6, ("LOC",)))
        >>> len(segments), bytes(segments[1]["input_ids"] - 2), segments.symbols.names(segments[1]["labels"])
        (7, b'n Kano', ['S:2', 'L:4', 'LOC', 'STOP'])
    """

    def __init__(self, documents: Sequence[ByteDocument], symbols: SpanSymbols, starts: Sequence[range]):
        self.symbols = symbols
        self.starts = list(starts)
        self.first_segments = np.cumsum([0, *map(len, self.starts)])  # (documents + 1,)
        self.first_bytes = np.cumsum([0, *(len(document.text) for document in documents)])  # (documents + 1,)
        self.text = np.frombuffer(b"".join(document.text for document in documents), dtype=np.uint8)
        # Spans count in the joined text here.
        joined = [
            (first + start, first + end, symbols.types.index(entity_type))
            for first, document in zip(self.first_bytes.tolist(), documents, strict=False)
            for start, end, entity_type in document.spans
        ]
        self.span_starts, self.span_ends, self.span_types = np.array(joined, dtype=np.int64).reshape(-1, 3).T

    @classmethod
    def for_training(cls, documents: Sequence[ByteDocument], symbols: SpanSymbols, stride: int = 1) -> "ByteSegments":
        """
        Segments at every byte, the short ones at the ends of the documents included.

        Args:
            documents (`Sequence[ByteDocument]`):
                Texts with their spans.
            symbols ([`SpanSymbols`]):
                What targets are written with.
            stride (`int`, *optional*, defaults to 1):
                At every so many bytes.

        Raises:
            ValueError: if `stride` is less than 1.
        """
        if stride < 1:
            raise ValueError(f"`stride` is {stride}; expected 1, a segment at every byte, or more.")
        return cls(documents, symbols, [range(0, len(document.text), stride) for document in documents])

    @classmethod
    def for_reading(cls, documents: Sequence[ByteDocument], symbols: SpanSymbols, overlap: int = 30) -> "ByteSegments":
        """
        Segments that overlap and cover the documents.

        Args:
            documents (`Sequence[ByteDocument]`):
                Texts with their spans.
            symbols ([`SpanSymbols`]):
                What targets are written with.
            overlap (`int`, *optional*, defaults to 30):
                Bytes that a segment shares with the next.

        Raises:
            ValueError: if `overlap` is a whole segment or more.
        """
        size = symbols.segment_bytes
        if not 0 <= overlap < size:
            raise ValueError(f"`overlap` is {overlap}; expected 0 to {size - 1}, less than a segment has.")
        return cls(documents, symbols, [segment_starts(len(document.text), size, overlap) for document in documents])

    def __len__(self) -> int:
        return int(self.first_segments[-1])

    def place(self, index: int) -> tuple[int, int]:
        """
        Document of a segment, and its first byte in there.

        Args:
            index (`int`):
                Number of the segment.

        Raises:
            IndexError: if there are not so many.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"Segment {index} of {len(self)}; expected 0 to {len(self) - 1}.")
        document = int(np.searchsorted(self.first_segments, index, side="right")) - 1
        return document, self.starts[document][index - int(self.first_segments[document])]

    def __getitem__(self, index: int) -> dict[str, Any]:
        document, start = self.place(index)
        first = int(self.first_bytes[document]) + start
        end = min(first + self.symbols.segment_bytes, int(self.first_bytes[document + 1]))
        begin, stop = np.searchsorted(self.span_starts, (first, end)).tolist()
        spans = [
            (int(self.span_starts[span]) - first, int(self.span_ends[span]) - first, self.symbols.types[kind])
            for span, kind in zip(range(begin, stop), self.span_types[begin:stop].tolist(), strict=True)
            if self.span_ends[span] <= end
        ]
        return {
            "input_ids": torch.from_numpy(self.text[first:end].astype(np.int64) + FIRST_BYTE),
            "labels": self.symbols.encode(spans),
        }

    @property
    def lengths(self) -> np.ndarray:
        """Bytes of each segment."""
        of_documents = [
            np.minimum(end - np.arange(starts.start, starts.stop, starts.step), self.symbols.segment_bytes)
            for starts, end in zip(self.starts, np.diff(self.first_bytes), strict=True)
        ]
        return np.concatenate([np.zeros(0, dtype=np.int64), *of_documents])

    @property
    def report(self) -> SegmentReport:
        """What became of the spans."""
        size = self.symbols.segment_bytes
        whole = cut = 0
        documents = np.searchsorted(self.first_bytes, self.span_starts, side="right") - 1
        for start, end, document in zip(self.span_starts.tolist(), self.span_ends.tolist(), documents, strict=True):
            offset = int(self.first_bytes[document])
            starts = self.starts[document]
            inside = _count(starts, end - size - offset, start - offset)
            whole += inside
            cut += _count(starts, start - size + 1 - offset, end - 1 - offset) - inside
        too_long = int((self.span_ends - self.span_starts > size).sum())
        return SegmentReport(len(self), len(self.span_starts), too_long, whole, cut)


class SentenceSegments:
    """
    The segments of tagged sentences, and the way back from what was written for them to tags.

    Args:
        dataset (`Dataset`):
            With the columns `tokens` and `label_column`, and `document` if it has documents.
        labels (`Sequence[str]`):
            Tag of each label id.
        symbols ([`SpanSymbols`]):
            What targets are written with.
        scheme (`str`, *optional*, defaults to `"IOB2"`):
            Scheme of the tags.
        context (`str`, *optional*, defaults to `"document"`):
            See [`sentence_documents`].
        label_column (`str`, *optional*, defaults to `"ner_tags"`):
            Column of the label ids.
    """

    def __init__(
        self,
        dataset: Any,
        labels: Sequence[str],
        symbols: SpanSymbols,
        *,
        scheme: str = "IOB2",
        context: str = "document",
        label_column: str = "ner_tags",
    ):
        self.symbols = symbols
        self.scheme = scheme
        self.tags = [[labels[label] for label in ids] for ids in dataset[label_column][:]]
        self.word_documents, self.rows = sentence_documents(dataset, context)
        self.documents = [
            ByteDocument(document.text, document.byte_spans([self.tags[row] for row in rows], scheme))
            for document, rows in zip(self.word_documents, self.rows, strict=True)
        ]

    def for_training(self, stride: int = 1) -> ByteSegments:
        """
        Segments to learn from.

        Args:
            stride (`int`, *optional*, defaults to 1):
                One at every so many bytes.
        """
        return ByteSegments.for_training(self.documents, self.symbols, stride)

    def for_reading(self, overlap: int = 30) -> ByteSegments:
        """
        Segments to read.

        Args:
            overlap (`int`, *optional*, defaults to 30):
                Bytes that a segment shares with the next.
        """
        return ByteSegments.for_reading(self.documents, self.symbols, overlap)

    def predicted_tags(
        self, segments: ByteSegments, written: Iterable[Sequence[int]]
    ) -> tuple[list[list[str]], list[list[str]]]:
        """
        Tags of each sentence, and the types of the spans in it that are no spans of words.

        Args:
            segments ([`ByteSegments`]):
                What was read.
            written (`Iterable[Sequence[int]]`):
                The symbols of each segment, without GO.
        """
        found: list[list[tuple[int, list[ScoredSpan]]]] = [[] for _ in self.documents]
        for index, ids in enumerate(written):
            document, first = segments.place(index)
            found[document].append((first, [ScoredSpan(*span, 1.0) for span in self.symbols.decode(ids)]))
        tags: list[list[str]] = [[] for _ in self.tags]
        stray: list[list[str]] = [[] for _ in self.tags]
        for words, rows, of_document in zip(self.word_documents, self.rows, found, strict=True):
            spans, stray_types = words.find_words(merge_spans(of_document))
            for row, of_sentence, types in zip(rows, spans, stray_types, strict=True):
                tags[row] = tags_from_spans(of_sentence, len(self.tags[row]), self.scheme)
                stray[row] = types
        return tags, stray


def _count(starts: range, least: int, most: int) -> int:
    """How many of the starts are at least one number and at most another."""
    below = len(range(0, min(max(least, 0), starts.stop), starts.step))
    return max(0, len(range(0, min(most + 1, starts.stop), starts.step)) - below)
