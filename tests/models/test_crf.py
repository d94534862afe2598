"""The CRF against enumeration of every path, in each of its implementations."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_polyglot.models.crf import LinearChainCRF
from hf_polyglot.models.label_scheme import labels_for_types, legal_transitions

LENGTHS = st.lists(st.integers(1, 4), min_size=1, max_size=3)
SIZES = {"seed": st.integers(0, 2**16), "num_labels": st.integers(1, 4), "lengths": LENGTHS}


@pytest.fixture(scope="module", autouse=True, params=["reference", "matrix", "compiled"])
def implementation(request):
    """Each test runs once for each way to compute."""
    LinearChainCRF.implementation = request.param
    yield
    LinearChainCRF.implementation = "auto"


def random_crf(seed, num_labels, legal=None, num_languages=None):
    torch.manual_seed(seed)
    crf = LinearChainCRF(num_labels, legal, num_languages).double()
    for scores in crf.parameters():
        torch.nn.init.normal_(scores)
    return crf


def random_batch(lengths, num_labels):
    emissions = torch.randn(len(lengths), max(lengths), num_labels, dtype=torch.double)
    return emissions, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def path_scores(crf, emissions):
    """Every labelling of one unpadded sentence and its score."""
    words, num_labels = emissions.shape
    for path in itertools.product(range(num_labels), repeat=words):
        score = crf.start_scores[path[0]] + crf.end_scores[path[-1]]
        score = score + sum(emissions[position, label] for position, label in enumerate(path))
        yield path, score + sum(crf.transition_scores[step] for step in itertools.pairwise(path))


def is_legal(path, legal):
    starts, follows, ends = legal
    return starts[path[0]] and ends[path[-1]] and all(follows[a][b] for a, b in itertools.pairwise(path))


@given(**SIZES)
@settings(max_examples=40, deadline=None)
def test_log_partition_sums_over_every_path(seed, num_labels, lengths):
    crf = random_crf(seed, num_labels)
    emissions, mask = random_batch(lengths, num_labels)

    expected = [
        torch.stack([score for _, score in path_scores(crf, sentence[:length])]).logsumexp(0)
        for sentence, length in zip(emissions, lengths, strict=True)
    ]

    torch.testing.assert_close(crf.log_partition(emissions, mask), torch.stack(expected))


@given(**SIZES)
@settings(max_examples=40, deadline=None)
def test_log_likelihood_is_the_score_of_the_path_over_that_of_all(seed, num_labels, lengths):
    crf = random_crf(seed, num_labels)
    emissions, mask = random_batch(lengths, num_labels)
    labels = torch.randint(num_labels, mask.shape)

    expected = []
    for sentence, gold, length in zip(emissions, labels, lengths, strict=True):
        scores = dict(path_scores(crf, sentence[:length]))
        total = torch.stack(list(scores.values())).logsumexp(0)
        expected.append(scores[tuple(gold[:length].tolist())] - total)

    torch.testing.assert_close(crf.log_likelihood(emissions, labels, mask), torch.stack(expected))


@given(**SIZES)
@settings(max_examples=40, deadline=None)
def test_decode_finds_the_best_path(seed, num_labels, lengths):
    crf = random_crf(seed, num_labels)
    emissions, mask = random_batch(lengths, num_labels)

    decoded = crf.decode(emissions, mask)

    for sentence, path, length in zip(emissions, decoded, lengths, strict=True):
        best, _ = max(path_scores(crf, sentence[:length]), key=lambda scored: scored[1])
        assert path[:length].tolist() == list(best)
        assert (path[length:] == -100).all()


@given(**SIZES)
@settings(max_examples=40, deadline=None)
def test_marginals_are_the_summed_probabilities_of_paths(seed, num_labels, lengths):
    crf = random_crf(seed, num_labels)
    emissions, mask = random_batch(lengths, num_labels)

    expected = torch.zeros_like(emissions)
    for index, (sentence, length) in enumerate(zip(emissions, lengths, strict=True)):
        paths, scores = zip(*path_scores(crf, sentence[:length]), strict=True)
        for path, probability in zip(paths, torch.stack(scores).softmax(0), strict=True):
            for position, label in enumerate(path):
                expected[index, position, label] += probability

    torch.testing.assert_close(crf.marginals(emissions, mask), expected)


def test_marginals_are_the_gradient_of_the_log_partition():
    crf = random_crf(0, 5)
    emissions, mask = random_batch([7, 1, 4], 5)
    emissions.requires_grad_()

    (gradient,) = torch.autograd.grad(crf.log_partition(emissions, mask).sum(), emissions)

    torch.testing.assert_close(crf.marginals(emissions.detach(), mask), gradient)


def test_samples_follow_the_distribution_over_paths():
    crf = random_crf(1, 3)
    emissions, mask = random_batch([3, 2], 3)

    samples = crf.sample(emissions, mask, 20_000, torch.Generator().manual_seed(0))

    assert samples.shape == (20_000, 2, 3)
    for index, length in enumerate([3, 2]):
        paths, scores = zip(*path_scores(crf, emissions[index, :length]), strict=True)
        probabilities = dict(zip(paths, torch.stack(scores).softmax(0).tolist(), strict=True))
        counts = dict.fromkeys(paths, 0)
        for path in samples[:, index, :length].tolist():
            counts[tuple(path)] += 1
        for path, probability in probabilities.items():
            # Four standard deviations of a frequency; the generator's seed is fixed.
            tolerance = 4 * (probability * (1 - probability) / 20_000) ** 0.5 + 1e-9
            assert counts[path] / 20_000 == pytest.approx(probability, abs=tolerance)
    assert (samples[:, 1, 2] == -100).all()


def test_samples_repeat_with_the_seed_of_their_generator():
    crf = random_crf(2, 4)
    emissions, mask = random_batch([6, 3], 4)

    first, second = (crf.sample(emissions, mask, 5, torch.Generator().manual_seed(7)) for _ in range(2))

    assert torch.equal(first, second)


@pytest.mark.parametrize("scheme", ["IOB1", "IOB2", "BIOES"])
def test_illegal_paths_have_no_probability(scheme):
    labels = labels_for_types(["LOC", "PER"], scheme)
    legal = legal_transitions(labels, scheme)
    crf = random_crf(3, len(labels), legal)
    emissions, mask = random_batch([3], len(labels))

    scores = {path: score for path, score in path_scores(crf, emissions[0]) if is_legal(path, legal)}

    total = torch.stack(list(scores.values())).logsumexp(0)
    assert 0 < len(scores) < len(labels) ** 3
    torch.testing.assert_close(crf.log_partition(emissions, mask)[0], total)
    assert tuple(crf.decode(emissions, mask)[0].tolist()) == max(scores, key=scores.get)
    samples = crf.sample(emissions, mask, 500, torch.Generator().manual_seed(0))
    assert all(is_legal(path, legal) for path in samples[:, 0].tolist())


def test_illegal_transitions_stay_forbidden_whatever_is_learned():
    labels = labels_for_types(["PER"], "IOB2")
    crf = random_crf(4, 3, legal_transitions(labels, "IOB2"))
    with torch.no_grad():
        crf.transition_scores[labels.index("O"), labels.index("I-PER")] = 50.0
    emissions, mask = random_batch([8] * 20, 3)
    emissions[:, :, labels.index("I-PER")] += 5

    for path in crf.decode(emissions, mask).tolist():
        tags = [labels[label] for label in path]
        assert ("O", "I-PER") not in itertools.pairwise(tags)
        assert tags[0] != "I-PER"


def test_a_sentence_without_words_has_log_partition_zero_and_no_labels():
    crf = random_crf(5, 3)
    emissions, mask = random_batch([2, 2], 3)
    mask[1] = False

    assert crf.log_partition(emissions, mask)[1] == 0
    assert crf.log_likelihood(emissions, torch.zeros_like(mask, dtype=torch.long), mask)[1] == 0
    assert (crf.decode(emissions, mask)[1] == -100).all()
    assert (crf.marginals(emissions, mask)[1] == 0).all()


def test_one_word_and_one_label_have_probability_one():
    crf = random_crf(6, 1)
    emissions, mask = random_batch([1], 1)

    assert crf.log_likelihood(emissions, torch.zeros(1, 1, dtype=torch.long), mask).item() == pytest.approx(0)
    assert crf.decode(emissions, mask).tolist() == [[0]]


def test_padding_does_not_change_the_likelihood_or_its_gradient():
    crf = random_crf(7, 4)
    emissions, mask = random_batch([3], 4)
    labels = torch.tensor([[1, 0, 3]])
    padded = torch.cat([emissions, torch.full((1, 5, 4), 1e3, dtype=torch.double)], 1).requires_grad_()
    longer = torch.nn.functional.pad(mask, (0, 5))

    likelihood = crf.log_likelihood(padded, torch.nn.functional.pad(labels, (0, 5), value=-100), longer)
    (gradient,) = torch.autograd.grad(likelihood.sum(), padded)

    torch.testing.assert_close(likelihood, crf.log_likelihood(emissions, labels, mask))
    assert (gradient[:, 3:] == 0).all()


def test_half_precision_emissions_are_added_up_in_float32():
    crf = LinearChainCRF(9)
    emissions = torch.randn(2, 200, 9, generator=torch.Generator().manual_seed(0))
    rounded = emissions.bfloat16()
    mask = torch.ones(2, 200, dtype=torch.bool)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        partition = crf.log_partition(rounded, mask)

    assert partition.dtype == torch.float32
    torch.testing.assert_close(partition, crf.log_partition(rounded.float(), mask), rtol=0, atol=0)


def test_gradients_agree_with_finite_differences():
    crf = random_crf(8, 3)
    emissions, mask = random_batch([4, 2], 3)
    labels = torch.randint(3, mask.shape)

    def likelihood(emissions, *scores):
        names = [name for name, _ in crf.named_parameters()]
        return torch.func.functional_call(crf, dict(zip(names, scores, strict=True)), (emissions,))

    crf.forward = lambda emissions: crf.log_likelihood(emissions, labels, mask)
    assert torch.autograd.gradcheck(likelihood, (emissions.requires_grad_(), *crf.parameters()))


@pytest.mark.parametrize(
    ("emissions", "mask", "message"),
    [
        (torch.zeros(1, 2, 5), torch.ones(1, 2, dtype=torch.bool), r"shape \(1, 2, 5\); expected \(batch, words, 3\)"),
        (torch.zeros(1, 0, 3), torch.ones(1, 0, dtype=torch.bool), "at least one word"),
        (torch.zeros(1, 2, 3), torch.ones(1, 3, dtype=torch.bool), r"expected torch.bool of shape \(1, 2\)"),
        (torch.zeros(1, 2, 3), torch.ones(1, 2), "torch.float32"),
    ],
)
def test_wrong_shapes_are_refused(emissions, mask, message):
    with pytest.raises(ValueError, match=message):
        LinearChainCRF(3).decode(emissions, mask)


def test_labels_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"`labels` has shape \(1, 3\); expected \(1, 2\)"):
        LinearChainCRF(3).log_likelihood(
            torch.zeros(1, 2, 3), torch.zeros(1, 3, dtype=torch.long), torch.ones(1, 2, dtype=torch.bool)
        )


def one_language(crf, language_id):
    """A CRF for all languages with the scores that `crf` has for one, or for id -1 with the mean of all."""
    single = LinearChainCRF(crf.num_labels, crf.legal).double()
    with torch.no_grad():
        for name, scores in crf.named_parameters():
            getattr(single, name).copy_(scores.mean(0) if language_id < 0 else scores[language_id])
    return single


@given(**SIZES, language_ids=st.lists(st.integers(-1, 2), min_size=3, max_size=3))
@settings(max_examples=40, deadline=None)
def test_each_sentence_is_scored_with_its_own_language(seed, num_labels, lengths, language_ids):
    crf = random_crf(seed, num_labels, num_languages=3)
    emissions, mask = random_batch(lengths, num_labels)
    labels = torch.randint(num_labels, mask.shape)
    ids = torch.tensor(language_ids[: len(lengths)])

    for index, language_id in enumerate(ids.tolist()):
        single = one_language(crf, language_id)
        row = slice(index, index + 1)
        for found, expected in (
            (crf.log_likelihood(emissions, labels, mask, ids), single.log_likelihood(emissions, labels, mask)),
            (crf.log_partition(emissions, mask, ids), single.log_partition(emissions, mask)),
            (crf.marginals(emissions, mask, ids), single.marginals(emissions, mask)),
            (crf.decode(emissions, mask, ids), single.decode(emissions, mask)),
        ):
            torch.testing.assert_close(found[row], expected[row])


def test_samples_of_a_language_follow_its_own_distribution():
    crf = random_crf(3, 3, num_languages=2)
    emissions, mask = random_batch([3, 3, 2], 3)
    ids = torch.tensor([1, -1, 0])

    samples = crf.sample(emissions, mask, 20_000, torch.Generator().manual_seed(0), ids)

    marginals = crf.marginals(emissions, mask, ids)
    for label in range(3):
        torch.testing.assert_close((samples == label).double().mean(0), marginals[:, :, label], rtol=0, atol=0.02)


def test_without_ids_every_sentence_is_of_an_unknown_language():
    crf = random_crf(0, 3, num_languages=2)
    emissions, mask = random_batch([4, 2], 3)

    assert torch.equal(crf.log_partition(emissions, mask), crf.log_partition(emissions, mask, torch.tensor([-1, -1])))


def test_a_new_language_starts_as_the_mean_of_the_others_and_changes_none_of_them():
    crf = random_crf(0, 3, num_languages=2)
    emissions, mask = random_batch([4, 2, 3], 3)
    before = crf.log_partition(emissions, mask, torch.tensor([0, 1, -1]))

    crf.add_languages(1)

    torch.testing.assert_close(crf.log_partition(emissions, mask, torch.tensor([0, 1, 2])), before)
    assert crf.transition_scores.shape == (3, 3, 3)
    assert all(scores.requires_grad for scores in crf.parameters())


def test_a_crf_of_one_set_of_scores_has_no_languages_to_add():
    with pytest.raises(ValueError, match="one set of scores for all languages"):
        LinearChainCRF(2).add_languages(1)


@given(**SIZES, num_paths=st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_the_best_paths_are_those_of_all_paths(seed, num_labels, lengths, num_paths):
    crf = random_crf(seed, num_labels)
    emissions, mask = random_batch(lengths, num_labels)

    paths, scores = crf.n_best(emissions, mask, num_paths)

    for sentence, length, found, found_scores in zip(emissions, lengths, paths, scores, strict=True):
        expected = sorted(path_scores(crf, sentence[:length]), key=lambda pair: -pair[1].item())[:num_paths]
        torch.testing.assert_close(found_scores[: len(expected)], torch.stack([score for _, score in expected]))
        assert [tuple(path) for path in found[: len(expected), :length].tolist()] == [path for path, _ in expected]
        assert found_scores[len(expected) :].isneginf().all()
        assert (found[:, length:] == -100).all()


def test_the_best_paths_are_at_least_one():
    with pytest.raises(ValueError, match=r"`num_paths` is 0; expected at least 1\. Use `decode`"):
        random_crf(0, 2).n_best(*random_batch([2], 2), 0)


@given(**SIZES, temperature=st.sampled_from([0.5, 1.0, 3.0]))
@settings(max_examples=40, deadline=None)
def test_log_marginals_are_those_of_all_scores_over_the_temperature(seed, num_labels, lengths, temperature):
    crf = random_crf(seed, num_labels)
    emissions, mask = random_batch(lengths, num_labels)

    found = crf.log_marginals(emissions, mask, temperature=temperature).exp()
    log_partition = crf.log_partition(emissions, mask, temperature=temperature)

    for sentence, length, of_sentence, total in zip(emissions, lengths, found, log_partition, strict=True):
        scored = [(path, score / temperature) for path, score in path_scores(crf, sentence[:length])]
        torch.testing.assert_close(total, torch.stack([score for _, score in scored]).logsumexp(0))
        expected = torch.zeros(length, num_labels, dtype=torch.double)
        for path, score in scored:
            expected[range(length), list(path)] += (score - total).exp()
        torch.testing.assert_close(of_sentence[:length], expected)


def test_log_marginals_are_differentiated_as_finite_differences_say():
    crf = random_crf(0, 3)
    emissions, mask = random_batch([3, 2], 3)

    def weighted(emissions, transitions):
        found = torch.func.functional_call(
            _LogMarginals(crf), {"crf.transition_scores": transitions}, (emissions, mask)
        )
        return found[mask].sin().sum()

    assert torch.autograd.gradcheck(
        weighted, (emissions.requires_grad_(), crf.transition_scores.detach().requires_grad_())
    )


class _LogMarginals(torch.nn.Module):
    """A module whose call is `log_marginals`."""

    def __init__(self, crf):
        super().__init__()
        self.crf = crf

    def forward(self, emissions, mask):
        return self.crf.log_marginals(emissions, mask, temperature=2.0)
