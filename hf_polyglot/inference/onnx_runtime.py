"""
Tagging with an exported model: onnxruntime, tokenizers and numpy, and no torch.

What `recipes/export.py` writes is a folder with `model.onnx`, which decodes too, `tokenizer.json`, and `tagger.json`,
which says what the model reads and what its labels are called; of a model that looks words up, `words.json` has these.

Axes:
    batch     sentences
    words     positions of the longest sentence in the batch
    labels    label ids
"""

import dataclasses
import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from hf_polyglot.inference.tagged_words import (
    TaggedWords,
    check_batch_size,
    check_inputs,
    entities_of,
    is_one_input,
    passed_over_labels,
    read_input,
    scheme_of_task,
    tagged_record,
)
from hf_polyglot.models.input_rows import check_words, distinct_words, piece_rows, sentence_rows, shortened, word_rows
from hf_polyglot.models.known_words import KnownWords
from hf_polyglot.models.languages import UNKNOWN_LANGUAGE_ID

MODEL_FILE, TOKENIZER_FILE, SETTINGS_FILE, WORDS_FILE = "model.onnx", "tokenizer.json", "tagger.json", "words.json"

# Fused with the addition before it, a layer normalisation takes five times as long in onnxruntime 1.31 on the CPU.
SLOW_OPTIMISERS = ["SkipLayerNormFusion"]

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class ExportedTagger:
    """
    What a program must know of an exported model besides its graph.

    Args:
        model_type (`str`):
            Of the model that was exported.
        input_form (`str`):
            What it reads, see [`ENCODERS`].
        labels (`dict[str, list[str]]`):
            Tags of each task, in the order of their ids, by their scheme; the first task first.
        limit (`int`):
            Units kept of a word, or pieces read at once.
        padding (`int`):
            Id of padding.
        unknown (`int`, *optional*):
            Id of the unknown unit or piece.
        before (`list[int]`):
            Special pieces at the beginning of a window.
        after (`list[int]`):
            Special pieces at its end.
        split_special_tokens (`bool`):
            Whether a word such as `<pad>` is read as the five characters that it is.
        languages (`list[str]`, *optional*):
            Languages that the model tells apart.
        words (`dict`, *optional*):
            The words that have vectors, as [`KnownWords`] takes them.
        int8 (`bool`):
            Whether its weights are integers of 8 bits.
    """

    model_type: str
    input_form: str
    labels: dict[str, list[str]]
    limit: int
    padding: int
    unknown: int | None
    before: list[int]
    after: list[int]
    split_special_tokens: bool
    languages: list[str] | None
    words: dict[str, Any] | None
    int8: bool

    def save(self, folder: str | Path) -> None:
        """
        Write it beside the graph.

        Args:
            folder (`str` or `Path`):
                Folder of the exported model.
        """
        settings = dataclasses.asdict(self)
        words = settings.pop("words")
        text = json.dumps(settings, indent=2, ensure_ascii=False)
        Path(folder, SETTINGS_FILE).write_text(text + "\n", encoding="utf-8")
        Path(folder, WORDS_FILE).unlink(missing_ok=True)
        if words is not None:
            Path(folder, WORDS_FILE).write_text(json.dumps(words, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> "ExportedTagger":
        """
        Read it from the folder of an exported model.

        Args:
            folder (`str` or `Path`):
                The folder.

        Raises:
            ValueError: if it is no such folder, or one of another version.
        """
        path = Path(folder, SETTINGS_FILE)
        if not path.is_file():
            raise ValueError(
                f"`{folder}` has no {SETTINGS_FILE}; expected a folder that recipes/export.py has written. Export the "
                "model first."
            )
        given = json.loads(path.read_text(encoding="utf-8")) | {"words": None}
        if Path(folder, WORDS_FILE).is_file():
            given["words"] = json.loads(Path(folder, WORDS_FILE).read_text(encoding="utf-8"))
        names = {field.name for field in dataclasses.fields(cls)}
        if given.keys() != names or given["input_form"] not in ENCODERS:
            differing = sorted(given.keys() ^ names) or [f"input_form {given['input_form']}"]
            raise ValueError(
                f"{path} is of another version of hf_polyglot: {', '.join(differing)}. Export the model again."
            )
        return cls(**given)


def is_exported(name: str) -> bool:
    """
    Whether a folder holds an exported model.

    Args:
        name (`str`):
            Any name of a model.
    """
    return Path(name, SETTINGS_FILE).is_file()


def encode_spelled_words(tagger: ExportedTagger, tokenizer: Tokenizer, sentences: Sequence[Sequence[str]]) -> Arrays:
    """
    Each distinct word spelled once, and where the words stand.

    Args:
        tagger ([`ExportedTagger`]):
            What the model reads.
        tokenizer (`Tokenizer`):
            Of units.
        sentences (`Sequence[Sequence[str]]`):
            The words of each sentence.
    """
    units, indices = word_rows(_spelled(tagger, tokenizer, sentences), sentences, tagger.padding)
    return {"input_ids": np.array(units), "word_indices": np.array(indices)}


def encode_spelled_sentences(
    tagger: ExportedTagger, tokenizer: Tokenizer, sentences: Sequence[Sequence[str]]
) -> Arrays:
    """
    Whole sentences spelled, and the word of each unit.

    Args:
        tagger ([`ExportedTagger`]):
            What the model reads.
        tokenizer (`Tokenizer`):
            Of units.
        sentences (`Sequence[Sequence[str]]`):
            The words of each sentence.
    """
    (space,) = tokenizer.encode(" ", add_special_tokens=False).ids
    units, owners = sentence_rows(_spelled(tagger, tokenizer, sentences), sentences, space, tagger.padding)
    lengths = np.array([len(words) for words in sentences])
    return {
        "input_ids": np.array(units),
        "unit_words": np.array(owners),
        "word_mask": np.arange(lengths.max()) < lengths[:, None],
    }


def encode_pieces(tagger: ExportedTagger, tokenizer: Tokenizer, sentences: Sequence[Sequence[str]]) -> Arrays:
    """
    Windows of pieces, and where the first piece of each word stands.

    Args:
        tagger ([`ExportedTagger`]):
            What the model reads.
        tokenizer (`Tokenizer`):
            Of pieces.
        sentences (`Sequence[Sequence[str]]`):
            The words of each sentence.
    """
    for words in sentences:
        check_words(words)
    encoded = tokenizer.encode_batch(
        [list(words) for words in sentences], is_pretokenized=True, add_special_tokens=False
    )
    rows = piece_rows(
        [pieces.ids for pieces in encoded],
        # Without special pieces, every piece is of a word.
        [[word for word in pieces.word_ids if word is not None] for pieces in encoded],
        [len(words) for words in sentences],
        max_pieces=tagger.limit,
        before=tagger.before,
        after=tagger.after,
        padding=tagger.padding,
        unknown=tagger.unknown or 0,
    )
    return dict(zip(("input_ids", "attention_mask", "word_positions"), map(np.array, rows), strict=True))


# By the `input_form` of a model. The arrays are the inputs of its graph, but for `language_ids` and rows of words.
ENCODERS: dict[str, Callable[[ExportedTagger, Tokenizer, Sequence[Sequence[str]]], Arrays]] = {
    "spelled_words": encode_spelled_words,
    "spelled_sentences": encode_spelled_sentences,
    "pieces": encode_pieces,
}


def _spelled(tagger: ExportedTagger, tokenizer: Tokenizer, sentences: Sequence[Sequence[str]]) -> dict[str, list[int]]:
    distinct = distinct_words(sentences)
    encoded = tokenizer.encode_batch(distinct, add_special_tokens=False)
    return {word: shortened(units.ids, tagger.limit) for word, units in zip(distinct, encoded, strict=True)}


class OnnxTagger:
    """
    An exported model, called as the pipeline `polyglot-token-classification` is, which gives the same entities.

    Args:
        folder (`str` or `Path`):
            Folder that `recipes/export.py` has written.
        num_threads (`int`, *optional*):
            Threads of onnxruntime. Defaults to one for each core.

    Raises:
        ImportError: if onnxruntime is not installed.

    Example:
        >>> tag = OnnxTagger("runs/mine-onnx")  # doctest: +SKIP
        >>> tag("Rais Samia alifika Dar es Salaam.")  # doctest: +SKIP
        [{'entity_group': 'PER', 'score': 0.97, 'word': 'Samia', 'start': 5, 'end': 10, ...}, ...]
    """

    def __init__(self, folder: str | Path, num_threads: int | None = None):
        self.tagger = ExportedTagger.load(folder)
        try:
            import onnxruntime
        except ImportError:
            raise ImportError("Exported models are run by onnxruntime: pip install 'hf_polyglot[onnx]'.") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads or 0
        self.session = onnxruntime.InferenceSession(
            str(Path(folder, MODEL_FILE)),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=SLOW_OPTIMISERS,
        )
        self.tokenizer = Tokenizer.from_file(str(Path(folder, TOKENIZER_FILE)))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.tokenizer.encode_special_tokens = self.tagger.split_special_tokens
        self.known_words = None if self.tagger.words is None else KnownWords(**self.tagger.words)

    def tag_words(
        self,
        sentences: Sequence[Sequence[str]],
        batch_size: int = 32,
        languages: Sequence[str | None] | None = None,
        second_best_for: Sequence[str] = (),
    ) -> list[TaggedWords]:
        """
        The tags of sentences whose words are given, as `tag_words` of `hf_polyglot.inference.tagging`.

        Args:
            sentences (`Sequence[Sequence[str]]`):
                Words of each sentence; of any length, none included.
            batch_size (`int`, *optional*, defaults to 32):
                Sentences read at once.
            languages (`Sequence[str]`, *optional*):
                Language of each sentence, for models that tell languages apart.
            second_best_for (`Sequence[str]`, *optional*):
                Classes of words that are passed over: where one of them comes out, the word gets the most probable of
                the others instead.

        Returns:
            `list` of [`TaggedWords`], in the order of `sentences`. Those of a model of several tasks have the tags of
            all.
        """
        check_batch_size(batch_size)
        passed_over = passed_over_labels(self.tagger.labels, second_best_for)
        tagged = [TaggedWords(tuple(words), (), ()) for words in sentences]
        # Sentences of like length together: then little padding is read.
        order = sorted(
            (index for index, words in enumerate(sentences) if words), key=lambda index: -len(sentences[index])
        )
        for start in range(0, len(order), batch_size):
            indices = order[start : start + batch_size]
            batch = [sentences[index] for index in indices]
            found = self._run(batch, [languages[index] for index in indices] if languages else None)
            of_tasks = [
                _tags_of_task(batch, labels, probabilities, names, passed_over.get(scheme, []))
                for (scheme, names), (labels, probabilities) in zip(self.tagger.labels.items(), found, strict=True)
            ]
            for index, first, *further in zip(indices, *of_tasks, strict=True):
                schemes = list(self.tagger.labels)[1:]
                tagged[index] = dataclasses.replace(first, further=dict(zip(schemes, further, strict=True)))
        return tagged

    def _run(
        self, sentences: Sequence[Sequence[str]], languages: Sequence[str | None] | None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Label ids `(batch, words)`, -100 on padding, and probabilities `(batch, words, labels)` of each task."""
        arrays = ENCODERS[self.tagger.input_form](self.tagger, self.tokenizer, sentences)
        if self.known_words is not None:
            # Which words there are, their rows say too.
            del arrays["word_mask"]
            arrays |= {name: np.array(rows) for name, rows in self.known_words.rows(sentences).items()}
        if self.tagger.languages is not None:
            ids: dict[str | None, int] = {language: index for index, language in enumerate(self.tagger.languages)}
            given = languages or [None] * len(sentences)
            arrays["language_ids"] = np.array([ids.get(language, UNKNOWN_LANGUAGE_ID) for language in given])
        of_tasks = ["", *(f"_{scheme}" for scheme in list(self.tagger.labels)[1:])]
        names = [f"{name}{end}" for end in of_tasks for name in ("labels", "probabilities")]
        outputs = self.session.run(names, arrays)
        return list(zip(outputs[::2], outputs[1::2], strict=True))

    def __call__(
        self,
        inputs: Any,
        *,
        batch_size: int = 32,
        is_split_into_words: bool = False,
        language: str | None = None,
        second_best_for: Sequence[str] = (),
        task: str | None = None,
    ) -> Any:
        """
        The entities of one input, or of each of many.

        Args:
            inputs (`str`, `list` or iterable):
                A text, or many; with `is_split_into_words=True`, a list of words, or many.
            batch_size (`int`, *optional*, defaults to 32):
                Inputs read at once.
            is_split_into_words (`bool`, *optional*, defaults to `False`):
                Whether words are given.
            language (`str`, *optional*):
                Language of all of them.
            second_best_for (`Sequence[str]`, *optional*):
                Classes of words that are passed over.
            task (`str`, *optional*):
                Which of several tasks. Defaults to the first.

        Returns:
            `list` of entities for one input; a list of such lists for a list of inputs; an iterator for any other
            iterable.
        """
        is_one = is_one_input(inputs, is_split_into_words)
        readings = self.read(
            [inputs] if is_one else inputs,
            batch_size=batch_size,
            is_split_into_words=is_split_into_words,
            language=language,
            second_best_for=second_best_for,
            task=task,
        )
        entities = (reading["entities"] for reading in readings)
        if is_one:
            return next(entities)
        return list(entities) if isinstance(inputs, (list, tuple)) else entities

    def read(
        self,
        inputs: Iterable[str | list[str]],
        *,
        batch_size: int = 32,
        is_split_into_words: bool = False,
        language: str | None = None,
        second_best_for: Sequence[str] = (),
        task: str | None = None,
    ) -> Iterator[dict[str, Any]]:
        """
        Text, words, tags and entities of each input, in their order, read batch by batch as they are asked for; and
        `tags_by_task`, the tags of every task of the model by its name.

        Args:
            inputs (`Iterable[str]` or `Iterable[list[str]]`):
                Texts, or the words of sentences.
            batch_size (`int`, *optional*, defaults to 32):
                Inputs read at once.
            is_split_into_words (`bool`, *optional*, defaults to `False`):
                Which of the two they are.
            language (`str`, *optional*):
                Language of all of them.
            second_best_for (`Sequence[str]`, *optional*):
                Classes of words that are passed over.
            task (`str`, *optional*):
                Of several, the one that `tags` and `entities` are of. Defaults to the first.
        """
        check_inputs(inputs, batch_size)
        scheme = scheme_of_task(self.tagger.labels, task)
        known = self.tagger.languages
        if language is not None and known is not None and language not in known:
            warnings.warn(
                f"`language` is {language!r}; the model knows {', '.join(known)}, and reads any other with the mean "
                "of their transition scores.",
                stacklevel=2,
            )
        remaining = iter(inputs)
        while batch := [read_input(one, is_split_into_words) for one in islice(remaining, batch_size)]:
            tagged = self.tag_words(
                [reading["words"] for reading in batch], batch_size, [language] * len(batch), second_best_for
            )
            for reading, words in zip(batch, tagged, strict=True):
                entities = entities_of(words.of_task(scheme), reading["offsets"], scheme)
                yield tagged_record(reading["text"], words, entities, list(self.tagger.labels), scheme)


def _tags_of_task(
    sentences: Sequence[Sequence[str]],
    labels: np.ndarray,
    probabilities: np.ndarray,
    names: Sequence[str],
    passed_over: Sequence[int],
) -> list[TaggedWords]:
    """What a model says of the sentences of a batch in one of its tasks."""
    if passed_over:
        others = probabilities.copy()
        others[:, :, passed_over] = -1
        labels = np.where(np.isin(labels, passed_over), others.argmax(2), labels)
    rows, columns = np.ogrid[: labels.shape[0], : labels.shape[1]]
    chosen = probabilities[rows, columns, np.maximum(labels, 0)]
    return [
        TaggedWords(tuple(words), tuple(names[label] for label in ids[: len(words)]), tuple(values[: len(words)]))
        for words, ids, values in zip(sentences, labels.tolist(), chosen.tolist(), strict=True)
    ]
