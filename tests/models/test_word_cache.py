"""The cache of spelled words: the same vectors, fewer words spelled, never those of other weights."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_polyglot.data.collators import collator_for
from hf_polyglot.models.word_cache import WordVectorCache

from .tiny_models import EXAMPLES, tiny_byte_crf


class Speller:
    """Vectors that tell which word they are of, and a note of what was spelled."""

    def __init__(self):
        self.weight = torch.ones(3, 3)
        self.spelled = 0

    def __call__(self, input_ids):
        self.spelled += len(input_ids)
        places = torch.arange(1, input_ids.shape[1] + 1)
        sums = torch.stack([input_ids.sum(1), (input_ids * places).sum(1), (input_ids > 0).sum(1)], 1)
        return sums.float() @ self.weight


def batch_of(words):
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(word) for word in words], batch_first=True)


WORDS = st.lists(st.integers(1, 300), min_size=1, max_size=6)


@given(
    batches=st.lists(st.lists(WORDS, min_size=1, max_size=8, unique_by=tuple), min_size=1, max_size=8),
    room=st.integers(0, 12),
    changes=st.sets(st.integers(0, 7)),
)
@settings(max_examples=200)
def test_the_vectors_are_those_of_spelling_whatever_was_kept(batches, room, changes):
    speller, cache = Speller(), WordVectorCache(max_bytes=room * 12)

    for index, words in enumerate(batches):
        if index in changes:
            speller.weight.mul_(2)
        input_ids = batch_of(words)
        vectors = cache.vectors(input_ids, [speller.weight], speller)
        assert torch.equal(vectors, Speller.__call__(speller, input_ids))
        assert len(cache) <= room


def test_a_word_is_spelled_once_however_wide_its_batch_is():
    speller, cache = Speller(), WordVectorCache()

    cache.vectors(batch_of([[5, 6], [256]]), [speller.weight], speller)
    cache.vectors(batch_of([[1, 2, 3, 4, 5], [5, 6], [256]]), [speller.weight], speller)

    assert speller.spelled == 3


def test_the_oldest_words_make_room():
    speller, cache = Speller(), WordVectorCache(max_bytes=2 * 12)

    for words in ([[1]], [[2]], [[3]]):
        cache.vectors(batch_of(words), [speller.weight], speller)
    cache.vectors(batch_of([[2], [3]]), [speller.weight], speller)
    assert speller.spelled == 3
    cache.vectors(batch_of([[1]]), [speller.weight], speller)
    assert speller.spelled == 4


def test_threads_share_it():
    speller, cache = Speller(), WordVectorCache(max_bytes=20 * 12)
    batches = [batch_of([[first, second] for second in range(1, 9)]) for first in range(1, 9)] * 20

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda rows: cache.vectors(rows, [speller.weight], speller), batches))

    for rows, vectors in zip(batches, found, strict=True):
        assert torch.equal(vectors, Speller()(rows))


def test_a_model_predicts_the_same_with_it_and_spells_less(monkeypatch):
    model, tokenizer = tiny_byte_crf()
    model.eval()
    batch = collator_for(model, tokenizer)(EXAMPLES)
    expected = model(**batch).logits
    assert len(model.byte_crf.word_cache) == 0  # not where gradients are wanted
    spelled = []
    spell = model.byte_crf._spell
    monkeypatch.setattr(model.byte_crf, "_spell", lambda rows: spelled.append(len(rows)) or spell(rows))

    with torch.no_grad():
        first, again = model(**batch).logits, model(**batch).logits

    assert sum(spelled) == len(batch["input_ids"])
    torch.testing.assert_close(first, expected)
    torch.testing.assert_close(again, expected)


@pytest.mark.parametrize("change", ["step", "fused step", "load", "data"])
def test_vectors_of_other_weights_are_not_used(change):
    model, tokenizer = tiny_byte_crf()
    batch = collator_for(model, tokenizer)(EXAMPLES)
    model.eval()
    with torch.inference_mode():
        model(**batch)

    if change.endswith("step"):
        model(**batch).loss.backward()
        torch.optim.AdamW(model.parameters(), lr=1.0, fused=change == "fused step").step()
    elif change == "load":
        model.load_state_dict({name: weights + 0.5 for name, weights in model.state_dict().items()})
    else:
        model.byte_crf.embedding.weight.data.zero_()

    expected = model(**batch).logits
    with torch.no_grad():
        torch.testing.assert_close(model(**batch).logits, expected)


def test_a_copy_of_a_model_has_an_empty_one():
    model, tokenizer = tiny_byte_crf()
    model.eval()
    with torch.no_grad():
        model(**collator_for(model, tokenizer)(EXAMPLES))

    assert len(model.byte_crf.word_cache) > 0
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert len(other.byte_crf.word_cache) == 0
