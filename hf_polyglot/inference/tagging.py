"""Tags and entities of words and of raw text, by any tagger of this package.

Axes:
    batch     sentences
    words     positions of the longest sentence in the batch
    labels    label ids
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from hf_polyglot.data.byte_segments import sentence_documents
from hf_polyglot.data.collators import collator_for
from hf_polyglot.inference.tagged_words import Entity, TaggedWords, check_batch_size, passed_over_labels
from hf_polyglot.models.label_scheme import labels_by_scheme, tags_from_spans
from hf_polyglot.models.modeling_byte_to_span import ReadBytes
from hf_polyglot.models.span_symbols import character_boundaries

# Batches whose words are spelled at once, by a model that remembers words: a few thousand distinct ones.
BATCHES_AHEAD = 16


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
    check_batch_size(batch_size)
    labels_of_tasks = labels_by_scheme(model.config)
    passed_over = passed_over_labels(labels_of_tasks, second_best_for)
    if model.input_form == "byte_segments":
        return _tag_words_of_documents(model, sentences, batch_size)
    collate, body = collator_for(model, tokenizer), model.base_model
    was_training = model.training
    model.eval()
    tagged = [TaggedWords(tuple(words), (), ()) for words in sentences]
    # Sentences of like length together: then little padding is read. Where languages are read apart, these first.
    kind = [model.tagger_of(language) for language in languages or ()] if hasattr(model, "tagger_of") else ()
    order = sorted(
        (index for index, words in enumerate(sentences) if words),
        key=lambda index: (kind[index] if kind else 0, -len(sentences[index])),
    )
    read_ahead = 0
    for start in range(0, len(order), batch_size):
        # The last batch spells its own words.
        if hasattr(body, "spell_ahead") and read_ahead <= start < len(order) - batch_size:
            read_ahead = start + batch_size * BATCHES_AHEAD
            body.spell_ahead(tokenizer, [sentences[index] for index in order[start:read_ahead]])
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
