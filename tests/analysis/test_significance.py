"""Tests of significance: against scipy, exact enumeration, worked examples, and what must not matter."""

import itertools
import runpy
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hf_polyglot.analysis import significance
from hf_polyglot.analysis.significance import (
    approximate_randomisation,
    average_f1,
    compare_systems,
    holm_adjusted,
    paired_bootstrap,
    pooled_f1,
    same_test_sets,
    sign_test,
)
from hf_polyglot.sentence_counts import SentenceCounts


def gold_spans(sentences, generator):
    return generator.poisson(1.2, sentences)


def system(gold, share_found, generator, runs=1, spread=0.0):
    """Counts of a tagger that finds this share of the spans, give or take the luck of each run."""
    counts = []
    for found in np.clip(share_found + spread * generator.normal(size=runs), 0, 1):
        correct = generator.binomial(gold, found)
        counts.append(np.stack([correct, correct + generator.binomial(gold - correct, 0.7), gold], axis=-1))
    return np.stack(counts)


def two_systems(seed=0, sentences=(40, 25), shares=(0.7, 0.8), runs=(1, 1), spread=0.0):
    generator = np.random.default_rng(seed)
    gold = {f"language {index}": gold_spans(number, generator) for index, number in enumerate(sentences)}
    return tuple(
        {language: system(spans, share, generator, number, spread) for language, spans in gold.items()}
        for share, number in zip(shares, runs, strict=True)
    )


def f1(counts):
    """F1 of spans, in percent, the slow way."""
    correct, predicted, gold = (sum(sentence[index] for sentence in counts) for index in range(3))
    return 100 * 2 * correct / (predicted + gold) if predicted + gold else 0.0


def difference_by_index(a, b):
    """F1 of the second sample less that of the first, of sentences given as indices into `a` followed by `b`."""
    table = np.concatenate([a, b])

    def difference(first, second, axis=-1):
        sums = [np.moveaxis(table[indices], axis - 1, -2).sum(-2) for indices in (first, second)]
        of_first, of_second = (200 * of[..., 0] / np.maximum(of[..., 1] + of[..., 2], 1) for of in sums)
        return of_second - of_first

    return difference


systems = st.integers(0, 2**16).map(lambda seed: two_systems(seed, sentences=(12, 7)))


def test_the_bootstrap_agrees_with_that_of_scipy():
    a, b = two_systems(sentences=(60,))
    of_a, of_b = a["language 0"][0], b["language 0"][0]

    (low, high), p_value = paired_bootstrap(a, b, num_resamples=20_000)

    expected = stats.bootstrap(
        (np.arange(60), np.arange(60, 120)), difference_by_index(of_a, of_b), paired=True, vectorized=True,
        n_resamples=20_000, method="percentile", rng=np.random.default_rng(1),
    )  # fmt: skip
    share_below = (expected.bootstrap_distribution <= 0).mean()
    # Four standard errors of a percentile and of a share, of the draws on both sides.
    assert (low, high) == pytest.approx(tuple(expected.confidence_interval), abs=0.5)
    assert 0.01 < p_value == pytest.approx(2 * share_below, abs=8 * np.sqrt(2 * share_below / 20_000))


def test_the_bootstrap_of_a_few_sentences_is_that_of_all_samples():
    # 4 ** 4 samples of four sentences, each as likely.
    a = np.array([[1, 1, 1], [0, 1, 1], [1, 2, 3], [0, 0, 1]])
    b = np.array([[1, 1, 1], [1, 1, 1], [2, 2, 3], [0, 1, 1]])
    differences = [f1(b[list(sample)]) - f1(a[list(sample)]) for sample in itertools.product(range(4), repeat=4)]
    share_below = np.mean(np.array(differences) <= 1e-9)

    interval, p_value = paired_bootstrap({"swa": a[None]}, {"swa": b[None]}, num_resamples=100_000)

    assert interval == pytest.approx(np.quantile(differences, [0.025, 0.975], method="inverted_cdf"), abs=1e-9)
    assert p_value == pytest.approx(2 * share_below, abs=0.01)


def test_languages_are_drawn_each_by_itself():
    # Drawn from one pool, more sentences of the one and fewer of the other would be better or worse for the second.
    nothing, everything = np.array([[[0, 0, 1]] * 3]), np.array([[[1, 1, 1]] * 3])

    (low, high), _ = paired_bootstrap({"swa": nothing, "yor": nothing}, {"swa": everything, "yor": nothing})

    assert low == high == pytest.approx(200 * 3 / 9)


def test_randomisation_counts_the_swaps_that_enumeration_counts():
    a, b = two_systems(seed=3, sentences=(7, 4), shares=(0.4, 0.9))
    both = [np.stack([a[language][0], b[language][0]], axis=1) for language in a]  # (sentences, systems, counts)
    swaps = list(itertools.product((0, 1), repeat=11))

    for score in (pooled_f1, average_f1):
        differences = []
        for swap in swaps:
            first = {language: table[range(len(table)), part] for language, table, part in
                     zip(a, both, (list(swap[:7]), list(swap[7:])), strict=True)}  # fmt: skip
            second = {language: table.sum(1) - first[language] for language, table in zip(a, both, strict=True)}
            if score is pooled_f1:
                differences.append(f1(np.concatenate([*second.values()])) - f1(np.concatenate([*first.values()])))
            else:
                differences.append(np.mean([f1(second[name]) - f1(first[name]) for name in a]))
        exact = np.mean(np.abs(differences) >= abs(differences[0]) - 1e-9)

        p_value = approximate_randomisation(a, b, score, num_resamples=50_000)

        assert 0.005 < exact < 0.5
        assert p_value == pytest.approx(exact, abs=5 * np.sqrt(exact / 50_000))


def test_randomisation_agrees_with_the_permutation_test_of_scipy():
    a, b = two_systems(seed=5, sentences=(10,), shares=(0.5, 0.9))
    statistic = difference_by_index(a["language 0"][0], b["language 0"][0])

    p_value = approximate_randomisation(a, b, num_resamples=50_000)

    # Scipy counts all 1,024 swaps, and doubles the rarer side: the same, as each swap has its mirror image.
    expected = stats.permutation_test(
        (np.arange(10), np.arange(10, 20)), statistic, permutation_type="samples", vectorized=True, n_resamples=1024
    )
    assert len(expected.null_distribution) == 1024
    assert p_value == pytest.approx(expected.pvalue, abs=0.01)


def test_randomisation_takes_the_mean_over_runs():
    a, b = two_systems(seed=5, shares=(0.7, 0.75))
    copied = [
        {language: np.repeat(counts, copies, axis=0) for language, counts in of.items()}
        for of, copies in ((a, 2), (b, 3))
    ]

    assert 0.01 < approximate_randomisation(*copied) == approximate_randomisation(a, b) < 1


def test_the_p_value_of_randomisation_counts_the_observed_difference():
    # Of 30 sentences in favour of one system, no draw of 9 swaps none or all.
    a, b = np.array([[[0, 0, 1]] * 30]), np.array([[[1, 1, 1]] * 30])

    assert approximate_randomisation({"swa": a}, {"swa": b}, num_resamples=9) == 1 / 10
    assert paired_bootstrap({"swa": a}, {"swa": b}, num_resamples=9) == ((100, 100), 2 / 10)


def test_the_sign_test_is_the_binomial_test_of_the_sentences_with_fewer_errors():
    # Better on 1, 2 and 3 (a missed span found, a wrong one gone, two errors for one), worse on 4, alike on 5 and 6.
    a = np.array([[0, 0, 1], [1, 2, 1], [0, 1, 1], [1, 1, 1], [0, 1, 1], [0, 0, 0]])
    b = np.array([[1, 1, 1], [1, 1, 1], [0, 0, 1], [1, 2, 1], [0, 1, 1], [0, 0, 0]])

    assert sign_test({"swa": a[None]}, {"swa": b[None]}) == stats.binomtest(3, 4).pvalue == 0.625


def test_the_sign_test_takes_the_mean_over_runs():
    # One error in the mean of two runs, and in each of three.
    a = np.array([[[0, 0, 2]], [[2, 2, 2]]])
    b = np.array([[[1, 1, 2]], [[1, 1, 2]], [[1, 1, 2]]])

    assert sign_test({"swa": a}, {"swa": b}) == 1
    assert sign_test({"swa": np.repeat(a, 6, axis=1)}, {"swa": np.repeat(b, 6, axis=1)}) == 1
    assert sign_test({"swa": np.repeat(a[:1], 6, axis=1)}, {"swa": np.repeat(b, 6, axis=1)}) == 2 / 2**6


def test_holm_goes_down_step_by_step():
    # Four hypotheses: 0.005 * 4, 0.01 * 3, 0.03 * 2, 0.04 * 1, none below the one before.
    p_values = {"swa": 0.01, "yor": 0.04, "hau": 0.03, "ibo": 0.005}

    adjusted = holm_adjusted(p_values)

    assert adjusted == pytest.approx({"swa": 0.03, "yor": 0.06, "hau": 0.06, "ibo": 0.02})
    assert list(adjusted) == list(p_values)
    assert holm_adjusted({"swa": 0.6, "yor": 0.7}) == {"swa": 1, "yor": 1}
    assert holm_adjusted({"swa": 0.2}) == {"swa": 0.2}


@given(p_values=st.lists(st.floats(0, 1), min_size=1, max_size=8), alpha=st.floats(0.001, 0.5))
def test_holm_rejects_what_the_procedure_rejects(p_values, alpha):
    names = [str(index) for index in range(len(p_values))]
    rejected = set()
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        if p_values[index] * (len(p_values) - rank) > alpha:
            break
        rejected.add(names[index])

    adjusted = holm_adjusted(dict(zip(names, p_values, strict=True)))

    assert {name for name in names if adjusted[name] <= alpha} == rejected


@given(both=systems)
@settings(max_examples=20, deadline=None)
def test_a_system_does_not_differ_from_itself(both):
    a, _ = both

    comparison = compare_systems(a, a, num_resamples=50)

    for row in (*comparison["languages"].values(), comparison["pooled"], comparison["average"]):
        assert (row["difference"], row["interval"], set(row["p"].values())) == (0, [0, 0], {1})
    assert not any(row["differs"] for row in comparison["languages"].values())


@pytest.mark.parametrize("runs", [1, 3])
@given(seed=st.integers(0, 2**16))
@settings(max_examples=20, deadline=None)
def test_to_swap_the_systems_is_to_flip_the_sign(seed, runs):
    a, b = two_systems(seed, sentences=(12, 7), runs=(runs, runs), spread=0.1)

    forth, back = compare_systems(a, b, num_resamples=200), compare_systems(b, a, num_resamples=200)

    for name in ("pooled", "average"):
        low, high = back[name]["interval"]
        assert forth[name]["f1"] == back[name]["f1"][::-1]
        assert forth[name]["interval"] == pytest.approx([-high, -low], abs=1e-9)
        assert forth[name]["p"] == pytest.approx(back[name]["p"])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_order_of_the_sentences_matters_no_more_than_the_seed(seed):
    a, b = two_systems(seed, sentences=(60, 40))
    order = {language: np.random.default_rng(seed).permutation(a[language].shape[1]) for language in a}
    shuffled = [{language: counts[:, order[language]] for language, counts in of.items()} for of in (a, b)]

    before, after = compare_systems(a, b)["average"], compare_systems(*shuffled)["average"]

    assert after["difference"] == before["difference"]
    assert after["interval"] == pytest.approx(before["interval"], abs=2)
    assert after["p"] == pytest.approx(before["p"], abs=0.05)
    assert sign_test(*shuffled) == sign_test(a, b)


def test_the_same_seed_gives_the_same_numbers_and_a_language_does_not_depend_on_the_others():
    a, b = two_systems()
    alone = [{"language 1": of["language 1"]} for of in (a, b)]

    assert compare_systems(a, b) == compare_systems(a, b)
    assert compare_systems(a, b, seed=1)["pooled"]["interval"] != compare_systems(a, b)["pooled"]["interval"]
    both, one = (compare_systems(*systems)["languages"]["language 1"] for systems in ((a, b), alone))
    assert (both["interval"], both["p"]) == (one["interval"], one["p"])
    assert one["holm"] == one["p"]


def test_f1_is_the_mean_over_runs_pooled_and_averaged():
    a, b = two_systems(runs=(3, 2), spread=0.1)

    comparison = compare_systems(a, b, num_resamples=10)

    for index, (of_system, runs) in enumerate(((a, 3), (b, 2))):
        of_languages = {language: [f1(run) for run in counts] for language, counts in of_system.items()}
        pooled = [f1(np.concatenate([counts[run] for counts in of_system.values()])) for run in range(runs)]
        for language, values in of_languages.items():
            assert comparison["languages"][language]["f1"][index] == pytest.approx(np.mean(values))
        assert comparison["pooled"]["f1"][index] == pytest.approx(np.mean(pooled))
        assert comparison["average"]["f1"][index] == pytest.approx(np.mean([*of_languages.values()]))


def test_a_language_differs_by_the_corrected_p_value_of_the_bootstrap(monkeypatch):
    a, b = two_systems(sentences=(10, 10, 10))
    p_values = iter([0.01, 0.03, 0.03, 1.0, 1.0])
    monkeypatch.setattr(significance, "paired_bootstrap", lambda *_, **__: ((0.0, 1.0), next(p_values)))

    comparison = compare_systems(a, b, num_resamples=10)

    assert [row["holm"]["bootstrap"] for row in comparison["languages"].values()] == pytest.approx([0.03, 0.06, 0.06])
    assert [row["differs"] for row in comparison["languages"].values()] == [True, False, False]


def test_runs_on_sentences_that_are_all_alike_are_compared_by_the_t_test():
    # Every sentence of a run has the same counts, so that only the runs vary.
    found = [50, 54, 57], [58, 61]
    a, b = ({"swa": np.array([[[correct, 90, 100]] * 8 for correct in of_runs])} for of_runs in found)

    interval, p_value = paired_bootstrap(a, b, num_resamples=100)

    expected = stats.ttest_ind(*([200 * correct / 190 for correct in of_runs] for of_runs in reversed(found)))
    assert p_value == pytest.approx(expected.pvalue)
    assert interval == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_runs_that_are_all_alike_leave_the_sentences():
    a, b = two_systems(sentences=(300,), shares=(0.75, 0.78))

    (low, high), p_value = paired_bootstrap(
        *({language: np.repeat(counts, 2, axis=0) for language, counts in of.items()} for of in (a, b))
    )

    interval, expected = paired_bootstrap(a, b)
    assert (low, high) == pytest.approx(interval, abs=0.3)
    assert p_value == pytest.approx(expected, abs=0.02)
    assert 0.02 < expected < 0.5


@pytest.mark.parametrize(("runs", "covers"), [((1, 3), "test sentences"), ((2, 2), "test sentences and runs")])
def test_what_the_interval_covers_is_said(runs, covers):
    assert compare_systems(*two_systems(runs=runs), num_resamples=10)["covers"] == covers


def test_systems_that_differ_by_the_luck_of_their_runs_are_seldom_told_apart():
    # Runs vary by ten points: single runs are told apart most of the time, means over four runs seldom.
    generator = np.random.default_rng(0)
    told_apart = {1: 0, 4: 0}
    for _ in range(100):
        gold = gold_spans(300, generator)
        for runs in told_apart:
            a, b = ({"swa": system(gold, 0.6, generator, runs, spread=0.1)} for _ in range(2))
            told_apart[runs] += paired_bootstrap(a, b, num_resamples=200)[1] < 0.05

    assert told_apart[1] > 40
    assert told_apart[4] <= 12


def counts_of_run(name, counts, fingerprint="aa", split="test"):
    return SentenceCounts(name, {split: counts}, {split: dict.fromkeys(counts, fingerprint)})


def test_the_languages_of_both_runs_are_compared_in_alphabetical_order():
    swa, yor = two_systems(sentences=(4, 5))[0].values()
    first = counts_of_run("byte_crf", {"yor": yor, "swa": swa, "hau": swa})
    second = counts_of_run("slicer", {"swa": swa, "yor": yor})

    of_first, of_second = same_test_sets(first, second)

    assert list(of_first) == list(of_second) == ["swa", "yor"]
    assert of_first["yor"] is of_second["yor"] is yor


def test_runs_on_other_data_are_refused():
    swa = np.array([[[0, 1, 1], [1, 1, 2]]])
    run = counts_of_run("byte_crf", {"swa": swa})

    with pytest.raises(ValueError, match=r"`slicer` were scored on different data of swa: .* are aa and bb"):
        same_test_sets(run, counts_of_run("slicer", {"swa": swa}, fingerprint="bb"))
    with pytest.raises(ValueError, match=r"`byte_crf` was scored on swa and `slicer` on yor\. Expected a language"):
        same_test_sets(run, counts_of_run("slicer", {"yor": swa}))
    with pytest.raises(ValueError, match="`slicer` has no counts of `test`, but of validation"):
        same_test_sets(run, counts_of_run("slicer", {"swa": swa}, split="validation"))


def test_counts_of_other_sentences_are_refused():
    swa = np.array([[[0, 1, 1], [1, 1, 2]]])

    for test in (paired_bootstrap, approximate_randomisation, sign_test, compare_systems):
        with pytest.raises(ValueError, match=r"The languages are swa and yor\. Expected the same"):
            test({"swa": swa}, {"yor": swa})
        with pytest.raises(ValueError, match="2 and 1 sentences of swa"):
            test({"swa": swa}, {"swa": swa[:, 1:]})
        with pytest.raises(ValueError, match="Sentence 1 of swa has 1 and 2 gold spans"):
            test({"swa": swa}, {"swa": swa[:, ::-1]})


def test_a_confidence_level_in_percent_is_refused():
    with pytest.raises(ValueError, match=r"`confidence_level` is 95; expected a share between 0 and 1"):
        compare_systems(*two_systems(), confidence_level=95)


def test_without_scipy_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)

    with pytest.raises(ImportError, match=r"need scipy.*pip install 'hf_polyglot\[analysis\]'"):
        runpy.run_path(significance.__file__)
