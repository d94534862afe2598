"""
Words of raw text, their tags, and the entities that these make, as all taggers give them; nothing here needs torch.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokenizers import Regex, pre_tokenizers

from hf_polyglot.models.label_scheme import WORD_CLASSES, spans_from_tags

# Scripts written without spaces between words. Each of their characters is read as a word where text comes
# unsegmented.
_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]\p{M}*"
_SEGMENTER = pre_tokenizers.Sequence([
    pre_tokenizers.WhitespaceSplit(),
    pre_tokenizers.Split(Regex(_UNSPACED), behavior="isolated"),
    pre_tokenizers.Split(
        Regex(r"[^\p{L}\p{M}\p{N}\p{Cf}'’ʼ-]|(?<!\p{L}|\p{M}|\p{N})['’ʼ-]|['’ʼ-](?!\p{L}|\p{N})"), behavior="isolated"
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


def passed_over_labels(labels: Mapping[str, Sequence[str]], second_best_for: Sequence[str]) -> dict[str, list[int]]:
    """
    Ids of the classes that are passed over, in the first task whose labels are classes of words and have them all.

    Args:
        labels (`Mapping[str, Sequence[str]]`):
            Labels of each task, in the order of their ids, by their scheme.
        second_best_for (`Sequence[str]`):
            Names of the classes.

    Returns:
        The ids by scheme; nothing if no class is passed over.

    Raises:
        ValueError: if there is no such task, or if it has no other labels.

    Example:
        >>> passed_over_labels({"upos": ["NOUN", "X"]}, ["X"])
        {'upos': [1]}
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


def scheme_of_task(schemes: Iterable[str], task: str | None) -> str:
    """
    Scheme of the labels of a task.

    Args:
        schemes (`Iterable[str]`):
            Of the labels of each task of a model, the first task first.
        task (`str`, *optional*):
            `"ner"`, `"upos"` or `"feats"`. Defaults to the first.

    Raises:
        ValueError: if the model has no such task.
    """
    by_task = {scheme if scheme in WORD_CLASSES else "ner": scheme for scheme in schemes}
    if task is None:
        return next(iter(by_task.values()))
    if task not in by_task:
        raise ValueError(
            f"`task` is {task!r}; expected a task of the model, {' or '.join(by_task)}. Correct it, or leave it out."
        )
    return by_task[task]


def read_input(given: str | Sequence[str], is_split_into_words: bool = False) -> dict[str, Any]:
    """
    The text of an input, its words, and the characters of each.

    Args:
        given (`str` or `Sequence[str]`):
            A text, or words.
        is_split_into_words (`bool`, *optional*, defaults to `False`):
            Which of the two.

    Raises:
        ValueError: if it is the other of the two.

    Example:
        >>> read_input("Dar es Salaam")
        {'text': 'Dar es Salaam', 'words': ['Dar', 'es', 'Salaam'], 'offsets': [(0, 3), (4, 6), (7, 13)]}
    """
    if is_split_into_words:
        if isinstance(given, str) or not all(isinstance(word, str) for word in given):
            raise ValueError(f"{given!r:.80} is no list of words; expected one, as is_split_into_words=True says.")
        return {"text": " ".join(given), "words": list(given), "offsets": joined_offsets(given)}
    if not isinstance(given, str):
        raise ValueError(f"{given!r:.80} is no text; expected a string, or words with is_split_into_words=True.")
    offsets = segment_words(given)
    return {"text": given, "words": [given[start:end] for start, end in offsets], "offsets": offsets}


def check_inputs(inputs: Any, batch_size: int) -> None:
    """
    Refuse what would be read letter by letter, or not at all.

    Args:
        inputs:
            Many texts, or the words of many sentences.
        batch_size (`int`):
            How many are read at once.

    Raises:
        ValueError: if it is one text, or if there are to be none at once.
    """
    if isinstance(inputs, str):
        raise ValueError(f"{inputs!r:.80} is one text; expected many, as a list of strings. Put it in a list.")
    check_batch_size(batch_size)


def check_batch_size(batch_size: int) -> None:
    """
    Refuse a number by which nothing would be read.

    Args:
        batch_size (`int`):
            How many inputs are read at once.

    Raises:
        ValueError: if there are to be none.
    """
    if batch_size < 1:
        raise ValueError(f"`batch_size` is {batch_size}; expected 1 or more. Correct it.")


def is_one_input(inputs: Any, is_split_into_words: bool) -> bool:
    """
    Whether this is one text or the words of one, and not many.

    Args:
        inputs:
            What a tagger is called with.
        is_split_into_words (`bool`):
            Whether its words are given.
    """
    if isinstance(inputs, str):
        return True
    are_words = isinstance(inputs, (list, tuple)) and bool(inputs) and all(isinstance(word, str) for word in inputs)
    return is_split_into_words and are_words


def tagged_record(
    text: str, tagged: TaggedWords, entities: Sequence[Entity], schemes: Sequence[str], scheme: str
) -> dict[str, Any]:
    """
    Text, words, tags and entities of one input.

    Args:
        text (`str`):
            The text.
        tagged ([`TaggedWords`]):
            Its words and their tags.
        entities (`Sequence[Entity]`):
            What the tags of one task make.
        schemes (`Sequence[str]`):
            Of the labels of each task.
        scheme (`str`):
            Of this task.
    """
    return {
        "text": text,
        "words": list(tagged.words),
        "tags": list(tagged.of_task(scheme).tags),
        "entities": [entity_record(entity, text) for entity in entities],
        "tags_by_task": {name if name in WORD_CLASSES else "ner": list(tagged.of_task(name).tags) for name in schemes},
    }
