"""Whether two taggers differ in span F1 by more than chance, on the same sentences.

The tests need the numbers of correct, predicted and gold spans of each sentence. F1 is that of a whole test set, so it
is counted anew from the sums of every resample. What each test takes for chance differs:

    bootstrap      which sentences are in the test set, and, where both systems were trained several times, how these
                   runs came out. The interval and the verdict are its.
    randomisation  which sentences are in the test set, given the trained models
    sign           the same, by whether a sentence has fewer errors, not by how many

Of a system with one run nothing is known of other runs: a difference is then one between two models, not between two
ways of training.

Axes:
    runs        models of one system, one a seed; those of two systems are not paired
    sentences   of a test set, the same ones for both systems
    counts      correct, predicted and gold spans

References:
    Efron and Tibshirani (1993), An Introduction to the Bootstrap.
    Koehn (2004), Statistical Significance Tests for Machine Translation Evaluation. https://aclanthology.org/W04-3250
    Noreen (1989), Computer-Intensive Methods for Testing Hypotheses.
    Yeh (2000), More Accurate Tests for the Statistical Significance of Result Differences.
        https://aclanthology.org/C00-2137
    Satterthwaite (1946), An Approximate Distribution of Estimates of Variance Components.
    Holm (1979), A Simple Sequentially Rejective Multiple Test Procedure.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from hf_polyglot.sentence_counts import SentenceCounts
from hf_polyglot.span_metrics import f1_of_counts

try:
    from scipy import stats
except ImportError as error:
    raise ImportError(
        "Tests of significance need scipy, which is not installed: `pip install 'hf_polyglot[analysis]'`."
    ) from error

# {language: numbers of shape (runs, sentences, counts)}
Counts = Mapping[str, np.ndarray]
# From {language: sums of shape (..., counts)} to F1 in percent, of shape (...).
Score = Callable[[Mapping[str, np.ndarray]], np.ndarray]

# Two differences of F1 in percent that are closer are equal, but for rounding.
ROUNDING = 1e-9


def pooled_f1(sums: Mapping[str, np.ndarray]) -> np.ndarray:
    """
    F1 in percent of the spans of all languages together.

    Args:
        sums (`Mapping[str, np.ndarray]`):
            Of each language, numbers of correct, predicted and gold spans, `(..., 3)`.

    Example:
        >>> pooled_f1({"swa": np.array([1, 1, 1]), "yor": np.array([0, 1, 1])}).tolist()
        50.0
    """
    return f1_of_counts(np.sum(list(sums.values()), axis=0))


def average_f1(sums: Mapping[str, np.ndarray]) -> np.ndarray:
    """
    Mean over the languages of their F1 in percent.

    Args:
        sums (`Mapping[str, np.ndarray]`):
            Of each language, numbers of correct, predicted and gold spans, `(..., 3)`.

    Example:
        >>> average_f1({"swa": np.array([3, 3, 3]), "yor": np.array([0, 1, 1])}).tolist()
        50.0
    """
    return np.mean([f1_of_counts(of_language) for of_language in sums.values()], axis=0)


def paired_bootstrap(
    a: Counts,
    b: Counts,
    score: Score = pooled_f1,
    *,
    num_resamples: int = 10_000,
    seed: int = 0,
    confidence_level: float = 0.95,
) -> tuple[tuple[float, float], float]:
    """
    Confidence interval of the F1 of `b` less that of `a`, means over their runs, and a two-sided p-value.

    The sentences of each language are drawn with replacement, the same ones for both systems (Koehn 2004). If a system
    has one run only, the interval lies between percentiles of the differences, and p is twice the share of them on the
    rarer side of 0, counted as `(differences + 1) / (num_resamples + 1)`, so that p is below 0.05 where 0 lies outside
    the 95 % interval. It is not the p-value of a bootstrap whose differences are shifted to 0 first; where they are
    symmetric, the two are equal.

    With several runs of both, the variance of the two means over runs is added to that of the drawn differences, and
    interval and p are those of a t distribution; were all sentences alike, those of Student's t-test of the runs. The
    runs of both systems are taken to vary alike: if those of one vary far more, the interval of two or three runs is
    too narrow. Runs are not drawn as sentences are, which would make it so in any case: a few runs do not show how far
    others would lie.

    Args:
        a (`Mapping[str, np.ndarray]`):
            Counts of one system, `{language: (runs, sentences, 3)}`.
        b (`Mapping[str, np.ndarray]`):
            Counts of the other, on the same sentences.
        score (`Callable`, *optional*, defaults to [`pooled_f1`]):
            F1 from the sums of each language.
        num_resamples (`int`, *optional*, defaults to 10000):
            Test sets drawn.
        seed (`int`, *optional*, defaults to 0):
            Of the draws.
        confidence_level (`float`, *optional*, defaults to 0.95):
            Share of the intervals that cover the difference.

    Returns:
        `tuple`: the interval in percent F1, `(low, high)`, and p.

    Raises:
        ValueError: if `confidence_level` is not between 0 and 1.
    """
    if not 0 < confidence_level < 1:
        raise ValueError(f"`confidence_level` is {confidence_level}; expected a share between 0 and 1, such as 0.95.")
    _check_same_sentences(a, b)
    generator = np.random.default_rng(seed)
    drawn_a, drawn_b = {}, {}
    for language in a:
        distinct, sizes = _distinct_sentences(np.concatenate([a[language], b[language]]))
        draws = generator.multinomial(sizes.sum(), sizes / sizes.sum(), num_resamples)  # (resamples, distinct)
        sums = np.tensordot(draws, distinct, axes=1)  # (resamples, runs of both, counts)
        drawn_a[language], drawn_b[language] = np.split(sums, [len(a[language])], axis=1)
    differences = score(drawn_b).mean(1) - score(drawn_a).mean(1)  # (resamples,)

    if _several_runs(a, b):
        f1_a, f1_b = _f1_of_runs(a, score), _f1_of_runs(b, score)
        deviation, degrees = _deviation_over_runs(f1_a, f1_b, differences.var())
        plausible = stats.t(degrees, loc=f1_b.mean() - f1_a.mean(), scale=deviation)
        low, high = plausible.interval(confidence_level)
        p_value = 2 * min(plausible.cdf(0), plausible.sf(0))
    else:
        tail = (1 - confidence_level) / 2
        low, high = np.quantile(differences, [tail, 1 - tail])
        rarer = min((differences <= ROUNDING).sum(), (differences >= -ROUNDING).sum())
        p_value = min(1.0, 2 * (rarer + 1) / (num_resamples + 1))
    return (float(low), float(high)), float(p_value)


def approximate_randomisation(
    a: Counts, b: Counts, score: Score = pooled_f1, *, num_resamples: int = 10_000, seed: int = 0
) -> float:
    """
    Two-sided p-value of the hypothesis that it makes no difference which system a sentence was tagged by.

    Every sentence is swapped between the systems with probability one half (Noreen 1989, Yeh 2000), and p is the share
    of the draws with a difference at least as large as the observed one, `(draws + 1) / (num_resamples + 1)`. The
    counts of several runs are averaged first, so that all runs of a sentence are swapped together: these models are
    compared, and that others would come out of other seeds is left out of account.

    Args:
        a (`Mapping[str, np.ndarray]`):
            Counts of one system, `{language: (runs, sentences, 3)}`.
        b (`Mapping[str, np.ndarray]`):
            Counts of the other, on the same sentences.
        score (`Callable`, *optional*, defaults to [`pooled_f1`]):
            F1 from the sums of each language.
        num_resamples (`int`, *optional*, defaults to 10000):
            Draws.
        seed (`int`, *optional*, defaults to 0):
            Of the draws.

    Returns:
        `float`
    """
    _check_same_sentences(a, b)
    generator = np.random.default_rng(seed)
    sums_a, sums_b, swapped_a, swapped_b = {}, {}, {}, {}
    for language in a:
        both = _summed_over_runs(a[language], b[language])
        sums_a[language], sums_b[language] = both.sum(1)
        distinct, sizes = _distinct_sentences(both)
        swaps = generator.binomial(sizes, 0.5, (num_resamples, len(sizes)))  # (resamples, distinct)
        moved = swaps @ (distinct[:, 1] - distinct[:, 0])  # (resamples, counts)
        swapped_a[language], swapped_b[language] = sums_a[language] + moved, sums_b[language] - moved
    observed = abs(score(sums_b) - score(sums_a))
    differences = abs(score(swapped_b) - score(swapped_a))  # (resamples,)
    return float(((differences >= observed - ROUNDING).sum() + 1) / (num_resamples + 1))


def sign_test(a: Counts, b: Counts) -> float:
    """
    Two-sided p-value of the hypothesis that either system is as often the better one on a sentence.

    The better one has fewer errors, missed and wrong spans, in the mean over its runs. Sentences with equally many
    count for neither.

    Args:
        a (`Mapping[str, np.ndarray]`):
            Counts of one system, `{language: (runs, sentences, 3)}`.
        b (`Mapping[str, np.ndarray]`):
            Counts of the other, on the same sentences.

    Returns:
        `float`

    Example:
        >>> a = np.array([[[0, 0, 1]] * 5 + [[1, 1, 1]] * 2])
        >>> b = np.array([[[1, 1, 1]] * 5 + [[1, 1, 1]] * 2])
        >>> sign_test({"swa": a}, {"swa": b})
        0.0625
    """
    _check_same_sentences(a, b)
    both = np.concatenate([_summed_over_runs(a[language], b[language]) for language in a], axis=1)
    errors_a, errors_b = both[..., 1] + both[..., 2] - 2 * both[..., 0]
    better, worse = int((errors_b < errors_a).sum()), int((errors_b > errors_a).sum())
    return float(stats.binomtest(better, better + worse).pvalue) if better + worse else 1.0


def holm_adjusted(p_values: Mapping[str, float]) -> dict[str, float]:
    """
    P-values of several hypotheses, enlarged: to reject those below alpha rejects any true one at most so often.

    Args:
        p_values (`Mapping[str, float]`):
            Of each hypothesis.

    Returns:
        `dict[str, float]`, in the same order.

    Reference:
        Holm (1979).

    Example:
        >>> holm_adjusted({"swa": 0.01, "yor": 0.04, "hau": 0.03})
        {'swa': 0.03, 'yor': 0.06, 'hau': 0.06}
    """
    ordered = sorted(p_values, key=lambda name: p_values[name])
    factors = range(len(ordered), 0, -1)
    adjusted = np.maximum.accumulate([
        min(1.0, factor * p_values[name]) for factor, name in zip(factors, ordered, strict=True)
    ])
    by_name = dict(zip(ordered, adjusted.tolist(), strict=True))
    return {name: by_name[name] for name in p_values}


def compare_systems(
    a: Counts, b: Counts, *, num_resamples: int = 10_000, seed: int = 0, confidence_level: float = 0.95
) -> dict[str, Any]:
    """
    All tests of each language, and of all of them pooled and averaged where there are several.

    Args:
        a (`Mapping[str, np.ndarray]`):
            Counts of one system, `{language: (runs, sentences, 3)}`.
        b (`Mapping[str, np.ndarray]`):
            Counts of the other, on the same sentences.
        num_resamples (`int`, *optional*, defaults to 10000):
            Resamples of each test.
        seed (`int`, *optional*, defaults to 0):
            Of the draws; those of a language do not depend on which others there are.
        confidence_level (`float`, *optional*, defaults to 0.95):
            Share of the intervals that cover the difference; a language differs if its p-value is below the rest.

    Returns:
        `dict` of plain numbers. `covers` is what the bootstrap takes for chance, `"test sentences and runs"` or
        `"test sentences"`. `languages`, and `pooled` and `average` if there are several, hold rows of `f1` (of both),
        `difference` (of the second less the first) and `interval`, in percent, and `p` by test. Those of languages
        have `holm` too, p by test corrected for the number of languages, and `differs`, the verdict by the
        bootstrap's.
    """
    _check_same_sentences(a, b)

    def row(languages: Iterable[str], score: Score = pooled_f1) -> dict[str, Any]:
        chosen_a, chosen_b = ({language: system[language] for language in languages} for system in (a, b))
        interval, p_value = paired_bootstrap(
            chosen_a, chosen_b, score, num_resamples=num_resamples, seed=seed, confidence_level=confidence_level
        )
        swapped = approximate_randomisation(chosen_a, chosen_b, score, num_resamples=num_resamples, seed=seed)
        p_values = {"bootstrap": p_value, "randomisation": swapped}
        if score is not average_f1:  # the signs of sentences know no languages
            p_values["sign"] = sign_test(chosen_a, chosen_b)
        f1 = [float(_f1_of_runs(system, score).mean()) for system in (chosen_a, chosen_b)]
        return {"f1": f1, "difference": f1[1] - f1[0], "interval": list(interval), "p": p_values}

    rows = {language: row([language]) for language in a}
    tests = next(iter(rows.values()))["p"]
    holm = {test: holm_adjusted({language: rows[language]["p"][test] for language in rows}) for test in tests}
    for language in rows:
        rows[language]["holm"] = {test: holm[test][language] for test in tests}
        rows[language]["differs"] = holm["bootstrap"][language] < 1 - confidence_level
    comparison = {
        "covers": "test sentences and runs" if _several_runs(a, b) else "test sentences",
        "num_resamples": num_resamples,
        "seed": seed,
        "confidence_level": confidence_level,
        "languages": rows,
    }
    if len(rows) > 1:
        comparison |= {"pooled": row(a), "average": row(a, average_f1)}
    return comparison


def same_test_sets(a: SentenceCounts, b: SentenceCounts, split: str = "test") -> tuple[Counts, Counts]:
    """
    Counts of the languages that both runs were scored on, in alphabetical order.

    Args:
        a ([`SentenceCounts`]):
            Of one run.
        b ([`SentenceCounts`]):
            Of the other.
        split (`str`, *optional*, defaults to `"test"`):
            Which data sets.

    Raises:
        ValueError: if they have none in common, or a language with other sentences or gold spans.
    """
    for run in (a, b):
        if split not in run.counts:
            raise ValueError(
                f"`{run.name}` has no counts of `{split}`, but of {', '.join(run.counts)}. Give one of these as "
                "`split`, or score the model on that one."
            )
    languages = sorted(set(a.counts[split]) & set(b.counts[split]))
    if not languages:
        raise ValueError(
            f"`{a.name}` was scored on {', '.join(a.counts[split])} and `{b.name}` on {', '.join(b.counts[split])}. "
            "Expected a language in common; score both on the same corpora."
        )
    for language in languages:
        if a.fingerprints[split][language] != b.fingerprints[split][language]:
            raise ValueError(
                f"`{a.name}` and `{b.name}` were scored on different data of {language}: the fingerprints of its "
                f"{split} split are {a.fingerprints[split][language]} and {b.fingerprints[split][language]}. Expected "
                "the same sentences and gold tags; score both with the same corpora, type map and number of sentences."
            )
    chosen_a, chosen_b = ({language: run.counts[split][language] for language in languages} for run in (a, b))
    _check_same_sentences(chosen_a, chosen_b)
    return chosen_a, chosen_b


def _check_same_sentences(a: Counts, b: Counts) -> None:
    """
    Refuse counts that are not of the same sentences.

    Raises:
        ValueError: if languages, their number of sentences or the gold spans of a sentence differ.
    """
    if not a or list(a) != list(b):
        raise ValueError(
            f"The languages are {', '.join(a)} and {', '.join(b)}. Expected the same, at least one, in the same order."
        )
    for language in a:
        gold_a, gold_b = a[language][0, :, 2], b[language][0, :, 2]
        if len(gold_a) != len(gold_b):
            raise ValueError(
                f"{len(gold_a)} and {len(gold_b)} sentences of {language}. Expected the same ones; score both systems "
                "on the same data."
            )
        if (different := np.flatnonzero(gold_a != gold_b)).size:
            raise ValueError(
                f"Sentence {different[0] + 1} of {language} has {gold_a[different[0]]} and {gold_b[different[0]]} "
                "gold spans. Expected the same sentences in the same order; score both systems on the same data."
            )


def _f1_of_runs(system: Counts, score: Score) -> np.ndarray:
    """F1 of each run, of shape `(runs,)`."""
    return score({language: counts.sum(1) for language, counts in system.items()})


def _several_runs(a: Counts, b: Counts) -> bool:
    """Whether both systems have more than one run of each language."""
    return all(len(counts) > 1 for system in (a, b) for counts in system.values())


def _deviation_over_runs(f1_a: np.ndarray, f1_b: np.ndarray, sentence_variance: float) -> tuple[float, float]:
    """Standard deviation of the difference of two means over runs on drawn sentences, and its degrees of freedom."""
    freedom = len(f1_a) + len(f1_b) - 2
    of_a_run = (len(f1_a) * f1_a.var() + len(f1_b) * f1_b.var()) / freedom
    # Never quite 0, which is no scale of a distribution.
    of_runs = max(of_a_run * (1 / len(f1_a) + 1 / len(f1_b)), ROUNDING**2)
    variance = of_runs + sentence_variance
    # Satterthwaite (1946): only the runs are few; the variance of the sentences counts as known.
    return np.sqrt(variance), freedom * (variance / of_runs) ** 2


def _distinct_sentences(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    The sentences that differ, `(distinct, runs, counts)`, and how many there are of each, `(distinct,)`.

    Most sentences are like others: without a span, or with all of one found. To draw how often each kind comes is to
    draw the sentences, at a fraction of the cost. In the order of their first one, so that the draws do not depend on
    which system comes first.
    """
    sentences = np.swapaxes(counts, 0, 1)  # (sentences, runs, counts)
    _, first, sizes = np.unique(sentences.reshape(len(sentences), -1), axis=0, return_index=True, return_counts=True)
    order = np.argsort(first)
    return sentences[first[order]].astype(float), sizes[order]


def _summed_over_runs(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Counts of both systems as if each had as many runs as both together have pairs, `(2, sentences, counts)`."""
    return np.stack([a.sum(0) * len(b), b.sum(0) * len(a)])
