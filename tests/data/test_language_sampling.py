"""The order of the training sentences: exact, seeded, and with little padding."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_polyglot.data.language_sampling import PolyglotBatchSampler, language_probabilities

SIZES = {"deu": 900, "nld": 90, "swa": 10}


def sampler_of(sizes, **options):
    languages = [language for language, size in sizes.items() for _ in range(size)]
    lengths = np.random.default_rng(0).integers(1, 50, len(languages))
    return PolyglotBatchSampler(languages, lengths, **{"batch_size": 8} | options), languages, lengths


def indices_of(sampler):
    return [index for batch in sampler for index in batch]


@given(
    sizes=st.dictionaries(st.text(min_size=1, max_size=3), st.integers(1, 10**9), min_size=1), alpha=st.floats(0, 1)
)
@settings(max_examples=100, deadline=None)
def test_probabilities_are_powers_of_the_sizes(sizes, alpha):
    probabilities = language_probabilities(sizes, alpha)

    total = sum(size**alpha for size in sizes.values())
    assert probabilities == pytest.approx({language: size**alpha / total for language, size in sizes.items()})


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_alpha_outside_0_to_1_is_refused(alpha):
    with pytest.raises(ValueError, match="`alpha` is"):
        language_probabilities(SIZES, alpha)


def test_a_language_without_sentences_is_refused():
    with pytest.raises(ValueError, match="No training sentences for nld"):
        language_probabilities({"deu": 1, "nld": 0}, 1)


@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=4),
    batch_size=st.integers(1, 20),
    epoch=st.integers(0, 3),
)
@settings(max_examples=60, deadline=None)
def test_with_alpha_1_an_epoch_holds_every_sentence_once(sizes, batch_size, epoch):
    sampler, languages, _ = sampler_of({f"l{i}": size for i, size in enumerate(sizes)}, batch_size=batch_size)
    sampler.set_epoch(epoch)

    batches = list(sampler)

    assert sorted(index for batch in batches for index in batch) == list(range(len(languages)))
    assert len(batches) == len(sampler)
    assert all(batches)


@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=4),
    alpha=st.floats(0, 1),
    batch_size=st.integers(1, 20),
)
@settings(max_examples=60, deadline=None)
def test_every_language_has_its_share_of_an_epoch(sizes, alpha, batch_size):
    sampler, languages, _ = sampler_of(
        {f"l{i}": size for i, size in enumerate(sizes)}, batch_size=batch_size, alpha=alpha
    )

    indices = indices_of(sampler)

    assert len(indices) == len(languages)
    drawn = Counter(languages[index] for index in indices)
    for language, probability in sampler.probabilities.items():
        assert abs(drawn[language] - probability * len(languages)) < 1 + 1e-6


def test_sentences_repeat_only_after_all_of_their_language():
    sampler, languages, _ = sampler_of(SIZES, alpha=0)

    counts = Counter(indices_of(sampler))

    for language in SIZES:
        of_language = [counts[index] for index, name in enumerate(languages) if name == language]
        assert max(of_language) - min(of_language) <= 1


def test_shares_are_right_on_average_over_epochs():
    sampler, languages, _ = sampler_of({"deu": 97, "nld": 3}, alpha=0.3)
    drawn = Counter()
    for epoch in range(200):
        sampler.set_epoch(epoch)
        drawn.update(languages[index] for index in indices_of(sampler))

    share = sampler.probabilities["nld"]
    assert drawn["nld"] / drawn.total() == pytest.approx(share, abs=0.002)


def test_the_order_follows_from_seed_and_epoch_alone():
    first, _, _ = sampler_of(SIZES, alpha=0.5, seed=1)
    second, _, _ = sampler_of(SIZES, alpha=0.5, seed=1)
    np.random.seed(5)

    assert list(first) == list(second)
    second.set_epoch(1)
    assert list(first) != list(second)
    other, _, _ = sampler_of(SIZES, alpha=0.5, seed=2)
    assert list(first) != list(other)


def test_batches_hold_sentences_of_like_length():
    sampler, _, lengths = sampler_of({"deu": 4000}, batch_size=16)

    batches = [lengths[batch] for batch in sampler]

    words = sum(batch.sum() for batch in batches)
    computed = sum(batch.max() * len(batch) for batch in batches)
    assert computed < 1.1 * words
    # The order of the batches must stay random, or a model sees all the long sentences first.
    means = [batch.mean() for batch in batches]
    assert abs(np.corrcoef(means, range(len(means)))[0, 1]) < 0.2


@given(sentences=st.integers(8, 90), parts=st.sampled_from([1, 2, 4]))
@settings(max_examples=60, deadline=None)
def test_updates_do_not_depend_on_how_many_batches_share_them(sentences, parts):
    whole, _, _ = sampler_of({"deu": sentences}, batch_size=8)
    shared, _, _ = sampler_of({"deu": sentences}, batch_size=8 // parts, batches_per_update=parts)

    batches = list(shared)

    assert len(batches) == len(shared) == parts * len(whole)
    assert all(batches)
    updates = [[*itertools.chain(*batches[start : start + parts])] for start in range(0, len(batches), parts)]
    assert updates == list(whole)


def test_what_is_left_of_an_epoch_joins_the_last_update_if_it_is_less_than_half_of_one():
    less, _, _ = sampler_of({"deu": 19}, batch_size=8)
    more, _, _ = sampler_of({"deu": 20}, batch_size=8)

    assert [len(batch) for batch in less] == [8, 11]
    assert [len(batch) for batch in more] == [8, 8, 4]


def test_fewer_sentences_than_processes_are_drawn_again():
    sampler, _, _ = sampler_of({"deu": 3}, batch_size=1, batches_per_update=4)

    batches = list(sampler)

    assert len(batches) == len(sampler) == 4
    assert {index for batch in batches for index in batch} == {0, 1, 2}
