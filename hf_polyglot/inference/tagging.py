"""Tags and entities of words and of raw text, by any tagger of this package.

Axes:
    batch     sentences
    words     positions of the longest sentence in the batch
    labels    label ids
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from tokenizers import Regex, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from hf_polyglot.data.byte_segments import sentence_documents
from hf_polyglot.data.collators import collator_for
from hf_polyglot.models.label_scheme import WORD_CLASSES, labels_by_scheme, spans_from_tags, tags_from_spans
from hf_polyglot.models.modeling_byte_to_span import ReadBytes
from hf_polyglot.models.span_symbols import character_boundaries

# Scripts written without spaces between words. Each of their characters is read as a word where text comes
# unsegmented.
_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]\p{M}*"
_SEGMENTER = pre_tokenizers.Sequence([
    pre_tokenizers.WhitespaceSplit(),
    pre_tokenizers.Split(Regex(_UNSPACED), behavior="isolated"),
    pre_tokenizers.Split(
        Regex(r"[^\p{L}\p{M}\p{N}\p{Cf}'’ʼ-]|(?<!\p{L}|\p{N})['’ʼ-]|['’ʼ-](?!\p{L}|\p{N})"), behavior="isolated"
    ),
])


@dataclass(frozen=True)
class TaggedWords:
    """
    The tags of one sentence.

    Args:
        words (`tuple[str, ...]`):
            The words.
        tags (`tuple[str, ...]`):
            The tag of each word.
        probabilities (`tuple[float, ...]`):
            The probability that the model gives to that tag at that word. By a model that writes spans: that of its
            span, or, outside every span, that none begins there.
        stray_types (`tuple[str, ...]`, *optional*):
            Types of the spans that begin or end within a word, which no tag shows. They count as wrong.
        further (`dict[str, TaggedWords]`, *optional*):
            By a model of several tasks: what it says of the same words in each task but the first, by scheme.
    """

    words: tuple[str, ...]
    tags: tuple[str, ...]
    probabilities: tuple[float, ...]
    stray_types: tuple[str, ...] = ()
    further: dict[str, "TaggedWords"] = field(default_factory=dict, hash=False)

    def of_task(self, scheme: str) -> "TaggedWords":
        """
        The tags of one of the tasks.

        Args:
            scheme (`str`):
                Of its labels: that of the first task, or one of `further`.
        """
        return self.further.get(scheme, self)


@dataclass(frozen=True)
class Entity:
    """
    A span of a text with its type.

    Args:
        type (`str`):
            Entity type, as `PER`.
        start (`int`):
            First character in the text.
        end (`int`):
            Character behind the last one: the entity is `text[start:end]`.
        word_start (`int`):
            First word.
        word_end (`int`):
            Word behind the last one.
        score (`float`):
            Mean over its words of the probability of their tags; by a model that writes spans, that of the span.
    """

    type: str
    start: int
    end: int
    word_start: int
    word_end: int
    score: float


def segment_words(text: str) -> list[tuple[int, int]]:
    """
    Character offsets of the words of a raw text, `(start, end)`, end exclusive.

    Words end at white space; punctuation and symbols stand alone, but for apostrophes and hyphens inside a word. In
    scripts without spaces (Chinese, Japanese, Thai, ...) each character with its marks is a word.

    Args:
        text (`str`):
            Any text.

    Example:
        >>> text = "Rais Samia (TZ) alisema: ng'ombe."
        >>> [text[start:end] for start, end in segment_words(text)]
        ['Rais', 'Samia', '(', 'TZ', ')', 'alisema', ':', "ng'ombe", '.']
    """
    return [offsets for _, offsets in _SEGMENTER.pre_tokenize_str(text)]


def check_tagger(model: PreTrainedModel) -> None:
    """
    Refuse a model that is no tagger of this package.

    Args:
        model (`PreTrainedModel`):
            As an Auto class has loaded it.

    Raises:
        ValueError: if it is one of transformers' own.
    """
    if not hasattr(model, "input_form"):
        raise ValueError(
            f"`{model.name_or_path}` is a {type(model).__name__}; expected a tagger of this package, such as "
            "ByteCRFForTokenClassification. Use transformers' own token-classification pipeline for stock models; for "
            "a SLICER model that was converted to one, take the folder that it was converted from."
        )


@torch.no_grad()
def tag_words(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    sentences: Sequence[Sequence[str]],
    batch_size: int = 32,
    languages: Sequence[str | None] | None = None,
    second_best_for: Sequence[str] = (),
) -> list[TaggedWords]:
    """
    The tags of sentences whose words are given, decoded as the model decodes (Viterbi for a CRF).

    Args:
        model (`PreTrainedModel`):
            Any tagger of this package.
        tokenizer (`PreTrainedTokenizerFast`):
            Its tokenizer.
        sentences (`Sequence[Sequence[str]]`):
            Words of each sentence; of any length, none included.
        batch_size (`int`, *optional*, defaults to 32):
            Sentences read at once; segments, by a model that reads such.
        languages (`Sequence[str]`, *optional*):
            Language of each sentence, for models that tell languages apart.
        second_best_for (`Sequence[str]`, *optional*):
            Classes of words that are passed over: where one of them, such as `X`, comes out, the word gets the most
            probable of the others instead.

    Returns:
        `list` of [`TaggedWords`], in the order of `sentences`. A model that reads documents takes them for one. Those
        of a model of several tasks have the tags of all, from one pass.
    """
    check_tagger(model)
    labels_of_tasks = labels_by_scheme(model.config)
    passed_over = _passed_over_labels(labels_of_tasks, second_best_for)
    if model.input_form == "byte_segments":
        return _tag_words_of_documents(model, sentences, batch_size)
    collate = collator_for(model, tokenizer)
    was_training = model.training
    model.eval()
    tagged = [TaggedWords(tuple(words), (), ()) for words in sentences]
    # Sentences of like length together: then little padding is read. Where languages are read apart, these first.
    kind = [model.tagger_of(language) for language in languages or ()] if hasattr(model, "tagger_of") else ()
    order = sorted(
        (index for index, words in enumerate(sentences) if words),
        key=lambda index: (kind[index] if kind else 0, -len(sentences[index])),
    )
    for start in range(0, len(order), batch_size):
        indices = order[start : start + batch_size]
        batch = collate([
            {"tokens": list(sentences[index]), "language": languages and languages[index]} for index in indices
        ])
        outputs = model(**{name: tensor.to(model.device) for name, tensor in batch.items()})
        lengths = torch.tensor([len(sentences[index]) for index in indices], device=model.device)
        mask = torch.arange(int(lengths.max()), device=model.device) < lengths[:, None]  # (batch, words)
        batch_words = [sentences[index] for index in indices]
        of_tasks = [
            _tags_of_task(model, outputs, mask, batch_words, tags, scheme, passed_over.get(scheme, []))
            for scheme, tags in labels_of_tasks.items()
        ]
        for index, first, *further in zip(indices, *of_tasks, strict=True):
            schemes = list(labels_of_tasks)[1:]
            tagged[index] = replace(first, further=dict(zip(schemes, further, strict=True))) if schemes else first
    model.train(was_training)
    return tagged


def _tags_of_task(
    model: PreTrainedModel,
    outputs: Any,
    mask: Tensor,
    sentences: Sequence[Sequence[str]],
    tags: Sequence[str],
    scheme: str,
    passed_over: Sequence[int],
) -> list[TaggedWords]:
    """What a model says of the sentences of a batch in one of its tasks."""
    of_task = {} if scheme == model.config.label_scheme else {"scheme": scheme}
    labels = model.decode(outputs, mask, **of_task)  # (batch, words)
    probabilities = model.label_probabilities(outputs, mask, **of_task)  # (batch, words, labels)
    if passed_over:
        labels = _second_best(labels, probabilities, torch.tensor(passed_over, device=model.device))
    chosen = probabilities.gather(2, labels.clamp(min=0)[:, :, None]).squeeze(2)  # (batch, words)
    return [
        TaggedWords(tuple(words), tuple(tags[label] for label in ids[: len(words)]), tuple(values[: len(words)]))
        for words, ids, values in zip(sentences, labels.tolist(), chosen.tolist(), strict=True)
    ]


def _passed_over_labels(labels: Mapping[str, Sequence[str]], second_best_for: Sequence[str]) -> dict[str, list[int]]:
    """
    Ids of the classes that are passed over, in the first task whose labels are classes of words and have them all.

    Raises:
        ValueError: if there is no such task, or if it has no other labels.
    """
    if not second_best_for:
        return {}
    for scheme, of_task in labels.items():
        if scheme in WORD_CLASSES and set(second_best_for) < set(of_task):
            return {scheme: [of_task.index(name) for name in second_best_for]}
    described = "; ".join(
        f"of scheme {scheme}, are {', '.join(of_task[:20])}{' ...' * (len(of_task) > 20)}"
        for scheme, of_task in labels.items()
    )
    raise ValueError(
        f"`second_best_for` is {', '.join(second_best_for)}, and the labels of the model, {described}. Expected some "
        "of them, of a model whose labels are classes of words: an entity's tag means nothing without those beside "
        "it. Leave it out, or correct it."
    )


def _second_best(labels: Tensor, probabilities: Tensor, passed_over: Tensor) -> Tensor:
    """Labels `(batch, words)` with the most probable other one where it is passed over."""
    others = probabilities.index_fill(2, passed_over, -1).argmax(2)
    return torch.where(torch.isin(labels, passed_over), others, labels)


def _tag_words_of_documents(
    model: PreTrainedModel, sentences: Sequence[Sequence[str]], batch_size: int
) -> list[TaggedWords]:
    """`tag_words` by a model that reads bytes and writes spans."""
    documents, rows = sentence_documents({"tokens": sentences}, model.config.context)
    found = model.find_spans([document.text for document in documents], batch_size)
    tagged = [TaggedWords(tuple(words), (), ()) for words in sentences]
    for document, group, read in zip(documents, rows, found, strict=True):
        score_at = {span.start: span.score for span in read.spans}
        spans, stray_types = document.find_words(read.spans)
        for row, first, of_sentence, types in zip(group, document.first_words, spans, stray_types, strict=False):
            starts, ends = (
                bounds[first : first + len(sentences[row])] for bounds in (document.word_starts, document.word_ends)
            )
            tagged[row] = _tagged(
                sentences[row],
                [(start, end, entity_type, score_at[int(starts[start])]) for start, end, entity_type in of_sentence],
                [_outside_probability(read, start, end) for start, end in zip(starts, ends, strict=True)],
                types,
                model.config.label_scheme,
            )
    return tagged


def read_texts(
    model: PreTrainedModel,
    texts: Sequence[str],
    offsets: Sequence[Sequence[tuple[int, int]]],
    batch_size: int = 32,
) -> list[tuple[TaggedWords, list[Entity]]]:
    """
    Entities of raw texts by a model that reads bytes, straight from their bytes, and the words that they are.

    A span that begins or ends within a character is no text, and left out. One that begins or ends within a word is an
    entity like any other, but shows in no tag. Both are among the `stray_types`.

    Args:
        model (`PreTrainedModel`):
            Whose `input_form` is `"byte_segments"`.
        texts (`Sequence[str]`):
            Texts, each by itself.
        offsets (`Sequence[Sequence[tuple[int, int]]]`):
            Characters of each word of each text.
        batch_size (`int`, *optional*, defaults to 32):
            Segments read at once.
    """
    contents = [text.encode() for text in texts]
    return [
        _read_text(text, content, words, read, model.config.label_scheme)
        for text, content, words, read in zip(
            texts, contents, offsets, model.find_spans(contents, batch_size), strict=True
        )
    ]


def _read_text(
    text: str, content: bytes, offsets: Sequence[tuple[int, int]], read: ReadBytes, scheme: str
) -> tuple[TaggedWords, list[Entity]]:
    byte_of = list(character_boundaries(content))
    character_of = {byte: index for index, byte in enumerate(byte_of)}
    starts, ends = ([offset[side] for offset in offsets] for side in (0, 1))
    entities = []
    word_spans = []
    stray_types = []
    for first, end, entity_type, score in read.spans:
        if first not in character_of or end not in character_of:
            stray_types.append(entity_type)
            continue
        start, stop = character_of[first], character_of[end]
        word_start, word_end = bisect_right(ends, start), bisect_left(starts, stop)
        entities.append(Entity(entity_type, start, stop, word_start, word_end, score))
        if word_start < word_end and starts[word_start] == start and ends[word_end - 1] == stop:
            word_spans.append((word_start, word_end, entity_type, score))
        else:
            stray_types.append(entity_type)
    outside = [_outside_probability(read, byte_of[start], byte_of[end]) for start, end in offsets]
    words = [text[start:end] for start, end in offsets]
    return _tagged(words, word_spans, outside, stray_types, scheme), entities


def _outside_probability(read: ReadBytes, start: int, end: int) -> float:
    """Probability that no span begins in these bytes."""
    return 1 - float(read.start_probabilities[start:end].max(initial=0))


def _tagged(
    words: Sequence[str],
    spans: Sequence[tuple[int, int, str, float]],
    outside: Sequence[float],
    stray_types: Sequence[str],
    scheme: str,
) -> TaggedWords:
    probabilities = list(outside)
    for start, end, _, score in spans:
        probabilities[start:end] = [score] * (end - start)
    tags = tags_from_spans([span[:3] for span in spans], len(words), scheme)
    return TaggedWords(tuple(words), tuple(tags), tuple(probabilities), tuple(stray_types))


def entities_of(tagged: TaggedWords, offsets: Sequence[tuple[int, int]], scheme: str = "IOB2") -> list[Entity]:
    """
    The entities of a tagged sentence, with their place in the text.

    Args:
        tagged ([`TaggedWords`]):
            Of [`tag_words`].
        offsets (`Sequence[tuple[int, int]]`):
            Characters of each word in the text.
        scheme (`str`, *optional*, defaults to `"IOB2"`):
            Scheme of the tags; `model.config.label_scheme`.

    Example:
        >>> entities_of(TaggedWords(("in", "Dar", "es", "Salaam"), ("O", "B-LOC", "I-LOC", "I-LOC"), (1, 0.5, 1, 1)),
        ...             [(0, 2), (3, 6), (7, 9), (10, 16)])
        [Entity(type='LOC', start=3, end=16, word_start=1, word_end=4, score=0.8333333333333334)]
    """
    return [
        Entity(
            type=entity_type,
            start=offsets[start][0],
            end=offsets[end - 1][1],
            word_start=start,
            word_end=end,
            score=sum(tagged.probabilities[start:end]) / (end - start),
        )
        for start, end, entity_type in spans_from_tags(tagged.tags, scheme)
    ]


def joined_offsets(words: Sequence[str]) -> list[tuple[int, int]]:
    """
    Character offsets of words in their text `" ".join(words)`.

    Args:
        words (`Sequence[str]`):
            The words.

    Example:
        >>> joined_offsets(["Dar", "es", "Salaam"])
        [(0, 3), (4, 6), (7, 13)]
    """
    return list(_offsets(words))


def _offsets(words: Sequence[str]) -> Iterator[tuple[int, int]]:
    start = 0
    for word in words:
        yield start, start + len(word)
        start += len(word) + 1


def entity_record(entity: Entity, text: str) -> dict[str, Any]:
    """
    An entity under the names that transformers' own pipeline uses, and its words.

    Args:
        entity ([`Entity`]):
            The entity.
        text (`str`):
            The text that its characters count in.
    """
    return {
        "entity_group": entity.type,
        "score": entity.score,
        "word": text[entity.start : entity.end],
        "start": entity.start,
        "end": entity.end,
        "word_start": entity.word_start,
        "word_end": entity.word_end,
    }
