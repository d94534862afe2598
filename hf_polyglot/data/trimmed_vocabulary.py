"""
The vocabulary of a tokenizer, cut down to the pieces that a text needs.

Most of a multilingual encoder's weights are embeddings of pieces that the languages at hand never use. What is left
out here changes no piece of the given texts, unless rare pieces are to go too.

Reference:
    Abdaoui, Pradel and Sigel (2020). https://aclanthology.org/2020.sustainlp-1.16
"""

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

TEXTS_AT_ONCE = 1000
TRIMMABLE = ("Unigram", "WordPiece", "BPE")


@dataclass
class TrimmedVocabulary:
    """
    A tokenizer with fewer pieces, and which they are of the one that it was made from.

    Args:
        tokenizer (`PreTrainedTokenizerFast`):
            The new one.
        kept_ids (`list[int]`):
            Id in the old one of each of its pieces, in the order of their new ids: the rows of the embeddings.
    """

    tokenizer: PreTrainedTokenizerFast
    kept_ids: list[int]


def trim_vocabulary(
    tokenizer: PreTrainedTokenizerFast,
    texts: Iterable[str | Sequence[str]],
    *,
    keep_characters: bool = True,
    keep_ideographs: bool = True,
    min_count: int = 1,
    num_probable: int = 0,
) -> TrimmedVocabulary:
    """
    A tokenizer with those pieces only that occur in the texts, which cuts these texts as the old one does, unless rare
    pieces are left out too.

    Args:
        tokenizer (`PreTrainedTokenizerFast`):
            With a backend of kind Unigram (XLM-R), WordPiece (mBERT) or BPE.
        texts (`Iterable`):
            Running text, or the words of sentences, as the model is to read them. Read twice.
        keep_characters (`bool`, *optional*, defaults to `True`):
            Whether to keep every piece of a single character too, so that other text can be read.
        keep_ideographs (`bool`, *optional*, defaults to `True`):
            Whether these are also those of the scripts that have thousands: Han, Hangul and Yi.
        min_count (`int`, *optional*, defaults to 1):
            How often a piece has to occur, in running text or among words, for the same text may be given as both;
            where rarer ones stood, the texts are cut into smaller pieces, and what has none that are kept is unknown.
        num_probable (`int`, *optional*, defaults to 0):
            How many of the pieces with the highest scores are kept too, whether they occur or not: those that are
            frequent in the text which the tokenizer was trained on. Of Unigram only.

    Raises:
        ValueError: if the backend is of another kind, or if a text would be cut otherwise than before although no rare
            piece was left out.
    """
    texts = list(texts)
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    model = state["model"]
    kind = model.get("type", "none")
    if kind not in TRIMMABLE:
        raise ValueError(
            f"The tokenizer is of kind {kind}; expected {', '.join(TRIMMABLE)}. Leave its vocabulary as it is with "
            "--trim_vocabulary false."
        )
    unknown = model["vocab"][model["unk_id"]][0] if model.get("unk_id") is not None else None
    ids = {piece: id_ for id_, (piece, _) in enumerate(model["vocab"])} if kind == "Unigram" else model["vocab"]
    piece_of = {id_: piece for piece, id_ in ids.items()}
    kept = {piece_of[id_] for id_ in _used_ids(tokenizer, texts, min_count) if id_ in piece_of}
    kept |= {added["content"] for added in state["added_tokens"]} & set(ids)
    prefix, suffix = (model.get(name) or "" for name in ("continuing_subword_prefix", "end_of_word_suffix"))
    if keep_characters:
        bare = {piece: piece.removesuffix(suffix) or piece for piece in ids}  # without the mark of a word's end
        kept |= {
            piece
            for piece in ids
            if _is_character(bare[piece], prefix) and (keep_ideographs or not _is_ideograph(bare[piece][-1]))
        }
    if model.get("byte_fallback"):  # by which characters are written that have no piece
        kept |= {f"<0x{byte:02X}>" for byte in range(256)} & set(ids)
    if num_probable and kind != "Unigram":
        raise ValueError(
            f"`num_probable` is {num_probable} and the tokenizer is of kind {kind}; expected 0, for only the pieces "
            "of a Unigram have scores. Leave it out."
        )
    if kind == "Unigram":
        by_score = sorted(model["vocab"], key=lambda piece: piece[1], reverse=True)
        kept.update(piece for piece, _ in by_score[:num_probable])
        _keep_for_unigram(model, kept)
    elif kind == "WordPiece":
        kept |= set(_pieces_of_unknown_words(tokenizer, texts, ids, model))
    else:
        _trim_bpe(model, kept, prefix)
    order = sorted(kept, key=ids.__getitem__)
    new_id = {piece: index for index, piece in enumerate(order)}
    model["vocab"] = [model["vocab"][ids[piece]] for piece in order] if kind == "Unigram" else new_id
    kept_ids = [ids[piece] for piece in order]
    # What was added to the model's own pieces comes behind them, in its old order.
    for added in sorted(state["added_tokens"], key=lambda added: added["id"]):
        if added["content"] not in new_id:
            new_id[added["content"]] = len(new_id)
            kept_ids.append(added["id"])
    if unknown is not None:
        model["unk_id"] = new_id[unknown]
    _renumber(state, new_id)
    trimmed = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        model_max_length=tokenizer.model_max_length,
        padding_side=tokenizer.padding_side,
        model_input_names=tokenizer.model_input_names,
        clean_up_tokenization_spaces=False,
        split_special_tokens=tokenizer.split_special_tokens,
        **tokenizer.special_tokens_map,
    )
    if min_count == 1:
        _refuse_other_pieces(tokenizer, trimmed, texts)
    return TrimmedVocabulary(trimmed, kept_ids)


def _encoded(tokenizer, texts: Iterable[str | Sequence[str]]) -> Iterator[tuple[str | Sequence[str], list[int]]]:
    """Each text and the ids of its pieces, special ones included."""
    for is_split in (False, True):
        remaining = iter([text for text in texts if isinstance(text, str) != is_split])
        while batch := list(islice(remaining, TEXTS_AT_ONCE)):
            given = [list(text) for text in batch] if is_split else batch
            ids = tokenizer(given, is_split_into_words=is_split, truncation=False, verbose=False)["input_ids"]
            yield from zip(batch, ids, strict=True)


def _used_ids(tokenizer, texts: Sequence[str | Sequence[str]], min_count: int) -> set[int]:
    counts: dict[bool, Counter[int]] = {True: Counter(), False: Counter()}  # of running text, and of words
    for text, ids in _encoded(tokenizer, texts):
        counts[isinstance(text, str)].update(ids)
    return {id_ for of_form in counts.values() for id_, count in of_form.items() if count >= min_count}


def _is_character(piece: str, prefix: str) -> bool:
    """Whether this is a single character, the mark of a word's start or middle set aside."""
    return len(piece) == 1 or len(piece.removeprefix(prefix)) == 1 or (piece[0] in "▁Ġ" and len(piece) == 2)


def _is_ideograph(character: str) -> bool:
    """Whether this is of a script with thousands of characters."""
    return unicodedata.name(character, "").startswith(("CJK ", "HANGUL SYLLABLE", "YI SYLLABLE"))


def _keep_for_unigram(model: Mapping[str, Any], kept: set[str]) -> None:
    """Add what decides how dear an unknown character is: that hangs on the lowest score of all."""
    if model["unk_id"] is not None:
        kept.add(model["vocab"][model["unk_id"]][0])
    kept.add(min(model["vocab"], key=lambda piece: piece[1])[0])


def _pieces_of_unknown_words(
    tokenizer, texts: Sequence[str | Sequence[str]], ids: Mapping[str, int], model: Mapping[str, Any]
) -> Iterator[str]:
    """
    The pieces that stand in words which are unknown as a whole, and the unknown piece.

    The longest piece is taken first, and if nothing fits behind it, the word is unknown; without that piece, another
    might be taken, and the word be known.
    """
    yield model["unk_token"]
    prefix = model["continuing_subword_prefix"]
    backend = tokenizer.backend_tokenizer
    unknown = ids[model["unk_token"]]
    seen: set[str] = set()
    for text, pieces in _encoded(tokenizer, texts):
        if unknown in pieces:
            words = text if isinstance(text, str) else " ".join(text)
            words = backend.normalizer.normalize_str(words) if backend.normalizer else words
            cut = backend.pre_tokenizer.pre_tokenize_str(words) if backend.pre_tokenizer else [(words, ())]
            seen.update(word for word, _ in cut)
    longest = max(map(len, ids))
    for word in seen:
        if len(word) > model.get("max_input_chars_per_word", len(word)):
            continue  # unknown with any vocabulary
        for start in range(len(word)):
            for end in range(start + 1, min(len(word), start + longest) + 1):
                piece = word[start:end] if start == 0 else prefix + word[start:end]
                if piece in ids:
                    yield piece


def _trim_bpe(model: dict[str, Any], kept: set[str], prefix: str) -> None:
    """Add what kept pieces are merged from, and leave out the merges that make no kept piece."""
    merges = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
    parts: dict[str, list[tuple[str, str]]] = {}
    for left, right in merges:
        parts.setdefault(left + right.removeprefix(prefix), []).append((left, right))
    waiting = list(kept)
    while waiting:
        for merge in parts.get(waiting.pop(), ()):
            new = set(merge) - kept
            kept |= new
            waiting.extend(new)
    model["merges"] = [list(merge) for merge in merges if {*merge, merge[0] + merge[1].removeprefix(prefix)} <= kept]
    if model.get("unk_token") is not None:
        kept.add(model["unk_token"])


def _renumber(state: dict[str, Any], new_id: Mapping[str, int]) -> None:
    """Write the new ids wherever a tokenizer's description has ids, but in its model."""
    for added in state["added_tokens"]:
        added["id"] = new_id[added["content"]]
    state["added_tokens"].sort(key=lambda added: added["id"])
    state["truncation"] = state["padding"] = None
    processor = state["post_processor"] or {}
    for part in [processor, *processor.get("processors", [])]:
        for special in part.get("special_tokens", {}).values():
            special["ids"] = [new_id[piece] for piece in special["tokens"]]
        for name in ("sep", "cls"):
            if name in part:
                part[name] = [part[name][0], new_id[part[name][0]]]


def _refuse_other_pieces(old, new, texts: Sequence[str | Sequence[str]]) -> None:
    """
    Make sure that nothing has changed.

    Raises:
        ValueError: if it has.
    """
    for (text, ids), (_, new_ids) in zip(_encoded(old, texts), _encoded(new, texts), strict=True):
        before, after = old.convert_ids_to_tokens(ids), new.convert_ids_to_tokens(new_ids)
        if before != after:
            raise ValueError(
                f"With the trimmed vocabulary, {text!r:.80} is cut into {after}, and before into {before}; expected "
                "the same. Leave the vocabulary as it is with --trim_vocabulary false."
            )
