"""The order of the training sentences: exact, seeded, and with little padding."""

import itertools
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset, concatenate_datasets
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_polyglot.data import language_sampling
from hf_polyglot.data.collators import word_counts
from hf_polyglot.data.language_sampling import (
    BATCHES_PER_SORT,
    PolyglotBatchSampler,
    dynamic_probabilities,
    language_probabilities,
    languages_and_lengths,
    unimax_probabilities,
)

SIZES = {"deu": 900, "nld": 90, "swa": 10}


def sampler_of(sizes, probabilities=None, **options):
    languages = [language for language, size in sizes.items() for _ in range(size)]
    lengths = np.random.default_rng(0).integers(1, 200, len(languages))
    language_ids = np.repeat(np.arange(len(sizes)), list(sizes.values()))
    sampler = PolyglotBatchSampler(list(sizes), language_ids, lengths, **{"batch_size": 8} | options)
    if probabilities:
        sampler.probabilities = probabilities
    return sampler, languages, lengths


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


@pytest.mark.parametrize(
    "probabilities", [lambda sizes: language_probabilities(sizes, 1), lambda sizes: unimax_probabilities(sizes, 1, 1)]
)
def test_a_language_without_sentences_is_refused(probabilities):
    with pytest.raises(ValueError, match="No training sentences for nld"):
        probabilities({"deu": 1, "nld": 0})
    with pytest.raises(ValueError, match="No training sentences for any language"):
        probabilities({})


@given(
    sizes=st.dictionaries(st.text(min_size=1, max_size=3), st.integers(1, 10**9), min_size=1),
    run_epochs=st.floats(0.1, 100),
    times=st.floats(1, 1000),
)
@settings(max_examples=100, deadline=None)
def test_unimax_fills_all_languages_to_one_level_or_to_their_cap(sizes, run_epochs, times):
    probabilities = unimax_probabilities(sizes, times * run_epochs, run_epochs)

    # As when water is poured into vessels whose floors are level: this has one solution.
    level, total = max(probabilities.values()), sum(sizes.values())
    assert sum(probabilities.values()) == pytest.approx(1)
    assert probabilities == pytest.approx({
        language: min(level, times * size / total) for language, size in sizes.items()
    })
    assert list(probabilities) == list(sizes)


def test_unimax_at_its_ends_is_proportional_and_uniform():
    assert unimax_probabilities(SIZES, 5, 5) == pytest.approx(language_probabilities(SIZES, 1))
    assert unimax_probabilities(SIZES, 1e9, 5) == pytest.approx(language_probabilities(SIZES, 0))


def test_unimax_gives_the_published_numbers():
    # The example on https://pypi.org/project/unimax-sampling/, whose budget is in characters.
    characters = {"swe": 179955884499, "fas": 184595788282, "ekk": 42541080893, "isl": 10027573389, "fao": 549707867}

    probabilities = unimax_probabilities(characters, 4, 250_000_000_000 / sum(characters.values()))

    assert probabilities == pytest.approx({
        "fao": 0.008795325872,
        "isl": 0.160441174224,
        "ekk": 0.2769211666346667,
        "swe": 0.27692116663466665,
        "fas": 0.2769211666346667,
    })


def test_a_run_longer_than_unimax_allows_is_refused():
    with pytest.raises(ValueError, match="`unimax_max_epochs` is 4, and the run passes over all sentences 10 times"):
        unimax_probabilities(SIZES, 4, 10)


@given(
    f1=st.lists(st.floats(0, 100), min_size=3, max_size=3),
    baselines=st.lists(st.floats(1, 100), min_size=3, max_size=3),
    strength=st.floats(0, 20),
)
@settings(max_examples=100, deadline=None)
def test_dynamic_odds_follow_the_shortfall(f1, baselines, strength):
    base = language_probabilities(SIZES, 0.5)

    probabilities = dynamic_probabilities(
        base, dict(zip(SIZES, f1, strict=True)), dict(zip(SIZES, baselines, strict=True)), strength
    )

    assert sum(probabilities.values()) == pytest.approx(1)
    odds = {}
    for language, score, baseline in zip(SIZES, f1, baselines, strict=True):
        missing = (baseline - score) / baseline if score < baseline else 0
        odds[language] = probabilities[language] / base[language] / (1 + strength * missing)
    assert odds["deu"] == pytest.approx(odds["nld"]) == pytest.approx(odds["swa"])


def test_languages_at_their_baselines_are_drawn_as_if_nothing_were_dynamic():
    base = language_probabilities(SIZES, 0.3)

    assert dynamic_probabilities(base, {"deu": 80, "nld": 90, "swa": 70}, dict.fromkeys(SIZES, 70), 4) == base


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


PROBABILITIES = {
    "alpha": language_probabilities(SIZES, 0.3),
    "uniform": language_probabilities(SIZES, 0),
    "unimax": unimax_probabilities(SIZES, 6, 3),
    "dynamic": dynamic_probabilities(
        language_probabilities(SIZES, 0.3), {"deu": 71, "nld": 33, "swa": 5}, dict.fromkeys(SIZES, 90), 4
    ),
}


@pytest.mark.parametrize(("batch_languages", "unit"), [("mixed", 1), ("single", 8)])
@pytest.mark.parametrize("probabilities", PROBABILITIES.values(), ids=PROBABILITIES)
def test_counts_over_epochs_are_the_expected_ones(probabilities, batch_languages, unit):
    sampler, languages, _ = sampler_of(SIZES, probabilities, batch_languages=batch_languages)
    epochs = 60
    drawn = Counter()
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        counts = Counter(languages[index] for index in indices_of(sampler))
        assert counts == Counter(sampler.counts())
        drawn += counts

    # Each epoch has one of the two whole numbers of units next to the share, so the variance is at most 1/4 a unit.
    error = unit / 2 / epochs**0.5
    expected = sum(sampler.counts().values())
    assert expected == len(languages)  # of which 8 is a divisor
    for language, probability in probabilities.items():
        assert abs(drawn[language] / epochs - probability * expected) < 4 * error


@pytest.mark.parametrize("batch_languages", ["mixed", "single"])
def test_the_first_updates_of_an_epoch_are_counted_too(batch_languages):
    sampler, languages, _ = sampler_of(SIZES, alpha=0.5, batch_languages=batch_languages, batches_per_update=3)
    batches = list(sampler)

    for updates in (0, 1, 7, len(batches) // 3):
        counts = Counter(languages[index] for batch in batches[: 3 * updates] for index in batch)
        assert +Counter(sampler.counts(updates)) == counts
    assert sampler.counts(len(batches) // 3) == sampler.counts()


def plain_epoch(sizes, lengths, probabilities, update_size, seed, epoch):
    """Updates of an epoch of mixed languages, with lists in the place of arrays that are changed where they stand."""
    random = np.random.default_rng([seed, epoch])
    offset = random.random()
    order, end, taken = [], 0.0, 0
    for language in sorted(sizes):
        end += probabilities[language]
        last = int(np.floor(end * len(lengths) + offset + 1e-9)) if language != max(sizes) else len(lengths)
        first = sum(list(sizes.values())[: list(sizes).index(language)])
        drawn = []
        while len(drawn) < last - taken:
            drawn += random.permutation(np.arange(first, first + sizes[language])).tolist()
        order += drawn[: last - taken]
        taken = last
    order = random.permutation(order).tolist()
    whole = len(order) - len(order) % update_size
    updates = []
    for start in range(0, whole, BATCHES_PER_SORT * update_size):
        some = sorted(order[start : min(start + BATCHES_PER_SORT * update_size, whole)], key=lambda i: -lengths[i])
        updates += [some[place : place + update_size] for place in range(0, len(some), update_size)]
    random.shuffle(updates)
    rest = order[whole:]
    if rest and (2 * len(rest) >= update_size or not updates):
        updates.append(rest)
    elif rest:
        updates[-1] = updates[-1] + rest
    return updates


@given(
    sizes=st.dictionaries(st.sampled_from(["swa", "deu", "yor"]), st.integers(1, 300), min_size=1),
    alpha=st.floats(0, 1),
    batch_size=st.integers(1, 5),
    epoch=st.integers(0, 3),
)
@settings(max_examples=60, deadline=None)
def test_the_order_is_that_of_lists(sizes, alpha, batch_size, epoch):
    sampler, _, lengths = sampler_of(sizes, alpha=alpha, batch_size=batch_size, seed=7)
    sampler.set_epoch(epoch)

    expected = plain_epoch(sizes, lengths.tolist(), sampler.probabilities, batch_size, 7, epoch)

    assert list(sampler) == expected


@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=4),
    alpha=st.floats(0, 1),
    parts=st.sampled_from([1, 2, 4]),
)
@settings(max_examples=60, deadline=None)
def test_updates_of_single_languages_are_whole_and_do_not_depend_on_how_many_batches_share_them(sizes, alpha, parts):
    sizes = {f"l{place}": size for place, size in enumerate(sizes)}
    options = {"alpha": alpha, "batch_languages": "single"}
    whole, languages, _ = sampler_of(sizes, **options)
    shared, _, _ = sampler_of(sizes, batch_size=8 // parts, batches_per_update=parts, **options)
    mixed, _, _ = sampler_of(sizes, alpha=alpha)

    batches = list(shared)

    assert len(batches) == len(shared) == parts * len(whole) == parts * len(mixed)
    updates = [[*itertools.chain(*batches[start : start + parts])] for start in range(0, len(batches), parts)]
    assert updates == list(whole)
    assert all(len(update) == 8 and len({languages[index] for index in update}) == 1 for update in updates)


def test_single_languages_come_in_turns_and_with_sentences_of_like_length():
    sampler, languages, lengths = sampler_of({"deu": 4000, "nld": 4000}, batch_size=16, batch_languages="single")

    batches = list(sampler)

    words = sum(lengths[batch].sum() for batch in batches)
    assert sum(lengths[batch].max() * len(batch) for batch in batches) < 1.1 * words
    is_german = [languages[batch[0]] == "deu" for batch in batches]
    assert sum(here != there for here, there in itertools.pairwise(is_german)) > 0.4 * len(batches)


def test_other_batch_languages_are_refused():
    with pytest.raises(ValueError, match="`batch_languages` is 'both'; expected 'mixed' or 'single'"):
        sampler_of(SIZES, batch_languages="both")


@pytest.mark.parametrize("rows_at_once", [1, 3, 10_000])
def test_languages_and_lengths_are_those_of_the_rows(rows_at_once, monkeypatch):
    monkeypatch.setattr(language_sampling, "ROWS_AT_ONCE", rows_at_once)
    words, languages = [["a"] * size for size in (3, 0, 5, 1, 2)], ["yor", "swa", "yor", "deu", "swa"]
    together = Dataset.from_dict({"language": languages, "tokens": words, "ner_tags": words})
    in_pieces = concatenate_datasets([together.select([4, 2]), together])

    for dataset in (together, together.shuffle(seed=1), together.select(range(1, 4)), in_pieces):
        names, language_ids, lengths = languages_and_lengths(dataset, word_counts)

        assert [names[place] for place in language_ids] == dataset["language"][:]
        assert lengths.tolist() == [len(tokens) for tokens in dataset["tokens"]]
        assert len(set(names)) == len(names)


def test_a_sentence_without_a_language_is_refused():
    dataset = Dataset(pa.table({"language": ["swa", None], "tokens": [["a"], ["b"]]}))

    with pytest.raises(ValueError, match="1 of the training sentences from number 0 have no `language`"):
        languages_and_lengths(dataset, word_counts)


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
