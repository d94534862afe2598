"""Collators: examples of a corpus in, tensors of a batch out. One for each input form."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from hf_polyglot.models import SpellingTokenizer
from hf_polyglot.models.label_scheme import PADDING_LABEL
from hf_polyglot.models.languages import UNKNOWN_LANGUAGE_ID
from hf_polyglot.models.word_pieces import count_pieces, encode_pieces


class SpellingCollator:
    """
    Batches for models that spell words: each distinct word once, and where it stands in the sentences.

    Args:
        tokenizer ([`SpellingTokenizer`]):
            Bytes or characters.
        max_units_per_word (`int`, *optional*):
            Units kept of a longer word.
        label_column (`str` or `Sequence[str]`, *optional*, defaults to `"ner_tags"`):
            Column of the label ids; or columns, one for each task of a model of several, see [`padded_labels`].
            Examples without it make a batch without labels.
        languages (`Sequence[str]`, *optional*):
            Languages that the model tells apart; the batch then has `language_ids`.

    Example:
        >>> collate = SpellingCollator(SpellingTokenizer.of_bytes())
        >>> batch = collate([{"tokens": ["no", "a", "no"], "ner_tags": [0, 1, 0]}, {"tokens": ["a"], "ner_tags": [2]}])
        >>> {name: tensor.tolist() for name, tensor in batch.items()}  # doctest: +NORMALIZE_WHITESPACE
        {'labels': [[0, 1, 0], [2, -100, -100]],
         'input_ids': [[112, 113], [99, 0]],
         'word_indices': [[0, 1, 0], [1, -1, -1]]}
    """

    def __init__(
        self,
        tokenizer: SpellingTokenizer,
        max_units_per_word: int | None = None,
        label_column: str | Sequence[str] = "ner_tags",
        languages: Sequence[str] | None = None,
    ):
        self.tokenizer = tokenizer
        self.max_units_per_word = max_units_per_word
        self.label_column = label_column
        self.languages = languages

    def lengths(self, sentences: pa.ListArray) -> np.ndarray:
        """What the sampler takes for the length of each sentence: its words."""
        return word_counts(sentences)

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """The batch of these examples."""
        words = [example["tokens"] for example in examples]
        return (
            padded_labels(examples, self.label_column)
            | language_ids(examples, self.languages)
            | self.tokenizer.encode_words(words, self.max_units_per_word)
        )


class SentenceSpellingCollator(SpellingCollator):
    """
    Batches for models that spell whole sentences: their units, and the word that each of them belongs to.

    Takes the arguments of [`SpellingCollator`].

    Example:
        >>> collate = SentenceSpellingCollator(SpellingTokenizer.of_bytes())
        >>> batch = collate([{"tokens": ["no", "a"], "ner_tags": [0, 1]}, {"tokens": ["a"], "ner_tags": [2]}])
        >>> {name: tensor.tolist() for name, tensor in batch.items()}  # -2 is the space between two words
        {'labels': [[0, 1], [2, -100]],
         'input_ids': [[112, 113, 34, 99], [99, 0, 0, 0]],
         'unit_words': [[0, 0, -2, 1], [0, -1, -1, -1]]}
    """

    def lengths(self, sentences: pa.ListArray) -> np.ndarray:
        """What the sampler takes for the length of each sentence: its bytes, of which characters are a part."""
        bytes_before = np.append(0, np.cumsum(pc.binary_length(sentences.flatten()).to_numpy() + 1))
        words = word_counts(sentences)
        last = np.cumsum(words)
        return bytes_before[last] - bytes_before[last - words]

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """The batch of these examples."""
        words = [example["tokens"] for example in examples]
        return (
            padded_labels(examples, self.label_column)
            | language_ids(examples, self.languages)
            | self.tokenizer.encode_sentences(words, self.max_units_per_word)
        )


class PieceCollator:
    """
    Batches for pretrained encoders: rows of pieces, and where the first piece of each word stands.

    Args:
        tokenizer (`PreTrainedTokenizerFast`):
            The encoder's own.
        max_pieces (`int`):
            Pieces that the encoder reads at once; a longer sentence takes several rows.
        label_column (`str` or `Sequence[str]`, *optional*, defaults to `"ner_tags"`):
            Column of the label ids; or columns, one for each task of a model of several, see [`padded_labels`].
            Examples without it make a batch without labels.
        languages (`Sequence[str]`, *optional*):
            Languages that the model tells apart; the batch then has `language_ids`.

    Attributes:
        every_piece (`bool`, defaults to `False`):
            True makes `word_positions` those of all pieces, special ones left out.

    Example:
        A tokenizer with the ids `<s>` 1, `</s>` 2, `no` 5, `a` 6 and `men` 7 gives

            >>> batch = PieceCollator(tokenizer, 512)(
            ...     [{"tokens": ["no", "amen"], "ner_tags": [0, 3]}, {"tokens": ["a"], "ner_tags": [1]}]
            ... )  # doctest: +SKIP
            >>> {name: tensor.tolist() for name, tensor in batch.items()}  # doctest: +SKIP
            {'labels': [[0, 3], [1, -100]],
             'input_ids': [[1, 5, 6, 7, 2], [1, 6, 2, 0, 0]],
             'attention_mask': [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]],
             'word_positions': [[1, 2], [6, -1]]}
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        max_pieces: int,
        label_column: str | Sequence[str] = "ner_tags",
        languages: Sequence[str] | None = None,
    ):
        self.tokenizer = tokenizer
        self.max_pieces = max_pieces
        self.label_column = label_column
        self.languages = languages

        self.every_piece = False

    def lengths(self, sentences: pa.ListArray) -> np.ndarray:
        """What the sampler takes for the length of each sentence: its pieces."""
        return np.array(count_pieces(self.tokenizer, sentences.to_pylist()))

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """The batch of these examples."""
        words = [example["tokens"] for example in examples]
        return (
            padded_labels(examples, self.label_column)
            | language_ids(examples, self.languages)
            | encode_pieces(self.tokenizer, words, self.max_pieces, every_piece=self.every_piece)
        )


# The collator of each input form that a model may name, and the field of its configuration that says how much is kept.
COLLATORS: dict[str, tuple[type[SpellingCollator] | type[PieceCollator], str]] = {
    "spelled_words": (SpellingCollator, "max_units_per_word"),
    "spelled_sentences": (SentenceSpellingCollator, "max_units_per_word"),
    "pieces": (PieceCollator, "max_pieces"),
}


class SegmentCollator:
    """
    Batches for models that read segments of bytes and write symbols.

    Example:
        >>> from hf_polyglot.data.byte_segments import ByteDocument, ByteSegments
        >>> from hf_polyglot.models.span_symbols import SpanSymbols
        >>> document = ByteDocument(b"in Kano", ((3, 7, "LOC"),))
        >>> segments = ByteSegments.for_training([document], SpanSymbols(7, ("LOC",)), stride=4)
        >>> batch = SegmentCollator()([segments[0], segments[1]])
        >>> {name: tensor.tolist() for name, tensor in batch.items()}  # doctest: +NORMALIZE_WHITESPACE
        {'labels': [[6, 13, 17, 2], [2, -100, -100, -100]],
         'input_ids': [[107, 112, 34, 77, 99, 112, 113], [99, 112, 113, 0, 0, 0, 0]]}
    """

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """The batch of these segments."""
        pad = torch.nn.utils.rnn.pad_sequence
        labels = [torch.tensor(example["labels"]) for example in examples if "labels" in example]
        given = {"labels": pad(labels, batch_first=True, padding_value=PADDING_LABEL)} if labels else {}
        return given | {"input_ids": pad([example["input_ids"] for example in examples], batch_first=True)}


def collator_for(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, label_column: str | Sequence[str] = "ner_tags"
) -> SpellingCollator | PieceCollator | SegmentCollator:
    """
    The collator whose batches a model reads.

    Args:
        model (`PreTrainedModel`):
            Any tagger of this package.
        tokenizer (`PreTrainedTokenizerFast`):
            Its tokenizer.
        label_column (`str` or `Sequence[str]`, *optional*, defaults to `"ner_tags"`):
            Column of the label ids; of a model of several tasks, one for each.

    Raises:
        ValueError: if the tokenizer is of the other kind.
    """
    if model.input_form == "byte_segments":
        return SegmentCollator()
    # By a method: a tokenizer loaded with `trust_remote_code` is of a copy of the class.
    if (model.input_form == "pieces") == hasattr(tokenizer, "encode_words"):
        raise ValueError(
            f"{type(model).__name__} does not read what {type(tokenizer).__name__} makes. Load the tokenizer from the "
            "model's own folder."
        )
    collator, limit = COLLATORS[model.input_form]
    languages = getattr(model.config, "languages", None)
    return collator(tokenizer, getattr(model.config, limit), label_column, languages)


def word_counts(sentences: pa.ListArray) -> np.ndarray:
    """
    Words of each sentence, of shape `(sentences,)`.

    Args:
        sentences (`pa.ListArray`):
            The words of each sentence.
    """
    return pc.list_value_length(sentences).to_numpy()


def padded_labels(examples: Sequence[Mapping[str, Any]], label_column: str | Sequence[str]) -> dict[str, Tensor]:
    """
    `labels` of shape `(batch, words)`, -100 on padding; nothing if no example has the column.

    With several columns, one for each task, `labels` have the shape `(batch, words, tasks)`. Then a sentence may have
    no labels in some of them, an empty list, and has -100 there.

    Args:
        examples (`Sequence[Mapping]`):
            Rows with `tokens` and, all or none of them, `label_column`.
        label_column (`str` or `Sequence[str]`):
            Column of the label ids, or several.

    Example:
        >>> rows = [{"tokens": ["no", "a"], "upos": [1, 0], "feats": []}, {"tokens": ["a"], "upos": [0], "feats": [3]}]
        >>> padded_labels(rows, ["upos", "feats"])["labels"].tolist()
        [[[1, -100], [0, -100]], [[0, 3], [-100, -100]]]
    """
    if isinstance(label_column, str):
        labels = _padded_column(examples, label_column, may_lack_labels=False)
        return {} if labels is None else {"labels": labels}
    columns = [_padded_column(examples, column, may_lack_labels=True) for column in label_column]
    known = [column for column in columns if column is not None]
    if not known:
        return {}
    nothing = torch.full_like(known[0], PADDING_LABEL)
    return {"labels": torch.stack([nothing if column is None else column for column in columns], 2)}


def _padded_column(
    examples: Sequence[Mapping[str, Any]], label_column: str, *, may_lack_labels: bool
) -> Tensor | None:
    """
    Label ids of a column, `(batch, words)`, -100 on padding; None if no example has it.

    Raises:
        ValueError: if only some examples have labels, if words and labels are not equally many, or if a word has the
            label of padding.
    """
    if not any(label_column in example for example in examples):
        return None
    rows = []
    for example in examples:
        words, labels = example["tokens"], example.get(label_column, [])
        is_unlabelled = may_lack_labels and not len(labels)
        if not is_unlabelled and (label_column not in example or len(labels) != len(words)):
            raise ValueError(
                f"{len(words)} words with {len(labels)} labels in `{label_column}`: {' '.join(words[:8])!r}. Every "
                "word needs one label."
            )
        if PADDING_LABEL in labels:
            raise ValueError(
                f"`{label_column}` has the label {PADDING_LABEL} on a word of {' '.join(words[:8])!r}; that marks "
                "padding. Expected the id of a tag, such as that of O. Correct the column."
            )
        own = [PADDING_LABEL] * len(words) if is_unlabelled else list(labels)
        rows.append(torch.tensor(own, dtype=torch.long))
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PADDING_LABEL)


def language_ids(examples: Sequence[Mapping[str, Any]], languages: Sequence[str] | None) -> dict[str, Tensor]:
    """
    `language_ids` of shape `(batch,)`, -1 where the language is unknown; nothing for a model without languages.

    Args:
        examples (`Sequence[Mapping]`):
            Rows, with `language` where it is known.
        languages (`Sequence[str]`, *optional*):
            Languages that the model tells apart, in the order of their ids.
    """
    if languages is None:
        return {}
    ids: dict[str | None, int] = {language: index for index, language in enumerate(languages)}
    unknown = UNKNOWN_LANGUAGE_ID
    return {"language_ids": torch.tensor([ids.get(example.get("language"), unknown) for example in examples])}
