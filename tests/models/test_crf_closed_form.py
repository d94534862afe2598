"""The fast implementations of the CRF against its reference."""

import importlib
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_polyglot.models import crf_kernels
from hf_polyglot.models.crf import LinearChainCRF
from hf_polyglot.models.label_scheme import labels_for_types, legal_transitions

FAST = ["matrix", "compiled"]
BIOES = labels_for_types(["LOC", "PER"], "BIOES")


def crf_like(crf, implementation, dtype=torch.double):
    """The same CRF, computed in another way."""
    other = LinearChainCRF(crf.num_labels, crf.legal, crf.num_languages)
    other.load_state_dict(crf.state_dict())
    other.implementation = implementation
    return other.to(dtype)


def random_crf(num_labels, num_languages=None, legal=None):
    crf = LinearChainCRF(num_labels, legal, num_languages)
    for scores in crf.parameters():
        torch.nn.init.normal_(scores)
    return crf


def random_batch(lengths, num_labels, scale=1.0):
    """Float32 emissions, labels that are no labels on padding, and the mask."""
    words = max(1, *lengths)
    mask = torch.arange(words) < torch.tensor(lengths)[:, None]
    labels = torch.randint(num_labels, mask.shape).masked_fill(~mask, -100)
    emissions = torch.randn(*mask.shape, num_labels) * scale
    return emissions.masked_fill(~mask[:, :, None], 1e3), labels, mask


def outcomes(crf, emissions, labels, mask, language_ids=None):
    """Everything that a CRF computes, gradients of randomly weighted sentences included."""
    emissions = emissions.detach().clone().requires_grad_()
    weights = torch.linspace(-1, 2, len(mask), dtype=emissions.dtype, device=emissions.device)
    results = {}
    for name, compute in {
        "likelihood": lambda: crf.log_likelihood(emissions, labels, mask, language_ids),
        "partition": lambda: crf.log_partition(emissions, mask, language_ids),
    }.items():
        results[name] = compute()
        gradients = torch.autograd.grad(
            (results[name] * weights).sum(), (emissions, *crf.parameters()), materialize_grads=True
        )
        names = ["emissions", *(parameter for parameter, _ in crf.named_parameters())]
        results |= {f"{name} by {of}": gradient for of, gradient in zip(names, gradients, strict=True)}
    with torch.no_grad():
        results["marginals"] = crf.marginals(emissions, mask, language_ids)
    return {name: result.detach() for name, result in results.items()}


def assert_same(found, expected, rtol, atol):
    for name, tensor in expected.items():
        torch.testing.assert_close(
            found[name].to(tensor.dtype), tensor, rtol=rtol, atol=atol, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("implementation", FAST)
@given(
    seed=st.integers(0, 2**16),
    num_labels=st.integers(1, 6) | st.sampled_from([8, 9, 11, 17]),
    num_languages=st.sampled_from([None, 1, 3]),
    lengths=st.lists(st.integers(0, 12), min_size=1, max_size=6) | st.lists(st.integers(0, 4), min_size=7, max_size=9),
    scale=st.sampled_from([1.0, 30.0, 1e4]),
    is_constrained=st.booleans(),
)
@settings(max_examples=60)
def test_the_fast_ways_agree_with_the_reference(
    implementation, seed, num_labels, num_languages, lengths, scale, is_constrained
):
    torch.manual_seed(seed)
    legal = legal_transitions(BIOES, "BIOES") if is_constrained else None
    crf = random_crf(len(BIOES) if is_constrained else num_labels, num_languages, legal)
    emissions, labels, mask = random_batch(lengths, crf.num_labels, scale)
    ids = None if num_languages is None else torch.randint(-1, num_languages, (len(lengths),))
    exact = outcomes(crf_like(crf, "reference"), emissions.double(), labels, mask, ids)

    double = outcomes(crf_like(crf, implementation), emissions.double(), labels, mask, ids)
    single = outcomes(crf_like(crf, implementation, torch.float32), emissions, labels, mask, ids)

    assert all(tensor.dtype == torch.float32 for tensor in single.values())
    assert_same(double, exact, rtol=1e-10, atol=1e-10)
    # Scores of 1e4 are themselves only known to 1e-3 in float32, and those of forbidden labels are that large.
    assert_same(single, exact, rtol=1e-5, atol=1e-5 if scale < 1e4 and not is_constrained else 2e-2)


@pytest.mark.parametrize("num_labels", [3, 8, 17])
@pytest.mark.parametrize("implementation", FAST)
def test_what_stands_on_padding_plays_no_part(implementation, num_labels):
    torch.manual_seed(0)
    crf = crf_like(random_crf(num_labels), implementation)
    emissions, labels, mask = random_batch([9, 0, 4, 1, 7, 2, 9, 3, 5, 6], num_labels)
    expected = outcomes(crf, emissions.double(), labels, mask, None)

    found = outcomes(crf, emissions.double().masked_fill(~mask[:, :, None], torch.nan), labels, mask, None)

    assert_same(found, expected, 0, 0)


@pytest.mark.parametrize("implementation", FAST)
@pytest.mark.parametrize("language_ids", [None, [1, -1, 1, 0, -1]])
def test_many_sentences_in_several_blocks_agree_with_the_reference(implementation, language_ids):
    torch.manual_seed(0)
    crf = random_crf(5, None if language_ids is None else 3)
    emissions, labels, mask = random_batch([(7 * index) % 11 for index in range(90)], 5)
    ids = None if language_ids is None else torch.tensor(language_ids).repeat(18)

    found = outcomes(crf_like(crf, implementation), emissions.double(), labels, mask, ids)

    assert_same(found, outcomes(crf_like(crf, "reference"), emissions.double(), labels, mask, ids), 1e-10, 1e-10)


@pytest.mark.parametrize("implementation", FAST)
def test_gradients_have_no_derivatives_and_say_so(implementation):
    crf, (emissions, labels, mask) = random_crf(3), random_batch([4, 2], 3)
    crf.implementation = implementation
    emissions.requires_grad_()
    value = crf.log_likelihood(emissions, labels, mask)

    (plain,) = torch.autograd.grad(value.square().sum(), emissions, retain_graph=True)
    (gradient,) = torch.autograd.grad(value.square().sum(), emissions, create_graph=True)

    assert torch.equal(plain, gradient)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("implementation", FAST)
def test_gradients_of_languages_agree_with_finite_differences(implementation):
    torch.manual_seed(1)
    crf = crf_like(random_crf(3, 2), implementation)
    emissions, labels, mask = random_batch([4, 2, 3], 3)

    def likelihood(emissions, *scores):
        names = [name for name, _ in crf.named_parameters()]
        return torch.func.functional_call(crf, dict(zip(names, scores, strict=True)), (emissions,))

    crf.forward = lambda emissions: crf.log_likelihood(emissions, labels, mask, torch.tensor([1, -1, 0]))
    assert torch.autograd.gradcheck(likelihood, (emissions.double().requires_grad_(), *crf.parameters()))


@pytest.mark.parametrize("implementation", FAST)
@pytest.mark.parametrize("words", [30, 512])
def test_float32_results_are_rounded_once(implementation, words):
    torch.manual_seed(2)
    crf = random_crf(9)
    emissions, labels, mask = random_batch([words] * 16, 9)

    found = outcomes(crf_like(crf, implementation, torch.float32), emissions, labels, mask)

    exact = outcomes(crf_like(crf, "reference"), emissions.double(), labels, mask)
    for name, result in exact.items():
        # Relative to the largest: transition gradients are sums over all words, in the hundreds at 512.
        assert (found[name] - result).abs().max() <= 1e-6 * result.abs().max(), name


@pytest.mark.parametrize("implementation", FAST)
def test_ordinary_sentences_do_without_the_reference(implementation, monkeypatch):
    torch.manual_seed(3)
    crf = crf_like(random_crf(len(BIOES), legal=legal_transitions(BIOES, "BIOES")), implementation, torch.float32)
    emissions, labels, mask = random_batch([200, 3, 0, 50], len(BIOES), scale=20.0)
    monkeypatch.setattr(crf, "_potentials", None)

    for result in outcomes(crf, emissions, labels, mask).values():
        assert result.isfinite().all()


@pytest.mark.parametrize("implementation", ["reference", *FAST])
@pytest.mark.parametrize("length", [1, 2, 40])
def test_scores_at_war_with_each_other_give_finite_values(implementation, length):
    # Each word's emissions allow one label, and the transitions forbid to go from one word's to the next one's.
    crf = crf_like(random_crf(3, legal=([True] * 3, [[True, False, True]] * 3, [True, False, True])), implementation)
    emissions, labels, mask = random_batch([length, 3], 3)
    emissions[0, :, 1] += 9_000
    emissions[0, ::2, 0] -= 1e4

    found = outcomes(crf, emissions.double(), labels, mask)

    assert all(result.isfinite().all() for result in found.values())
    assert_same(found, outcomes(crf_like(crf, "reference"), emissions.double(), labels, mask), 1e-10, 1e-10)


@pytest.mark.parametrize("implementation", FAST)
def test_evidence_that_turns_word_by_word_is_not_forgotten(implementation):
    # No word is extreme, but the label that wins in the end has long underflown when its words come.
    crf = crf_like(LinearChainCRF(2, legal=([True] * 2, [[True, False], [False, True]], [True] * 2)), implementation)
    emissions, labels, mask = torch.zeros(1, 21, 2), torch.ones(1, 21, dtype=torch.long), torch.ones(1, 21).bool()
    emissions[0, :10, 0] = 100
    emissions[0, 10:, 1] = 100

    found = outcomes(crf, emissions.double(), labels, mask)

    assert found["partition"].item() == pytest.approx(1100)
    assert_same(found, outcomes(crf_like(crf, "reference"), emissions.double(), labels, mask), 1e-10, 1e-10)


@pytest.mark.parametrize("implementation", FAST)
def test_a_gold_path_that_breaks_the_scheme_has_a_huge_finite_loss(implementation):
    crf = crf_like(random_crf(len(BIOES), legal=legal_transitions(BIOES, "BIOES")), implementation, torch.float32)
    emissions, labels, mask = random_batch([3], len(BIOES))
    labels[0] = torch.tensor([BIOES.index("I-PER"), BIOES.index("O"), BIOES.index("E-LOC")])

    found = outcomes(crf, emissions, labels, mask)

    assert -4e4 < found["likelihood"].item() < -2e4
    assert all(result.isfinite().all() for result in found.values())


def test_ten_thousand_sentences_are_decoded_alike_ties_included():
    generator = torch.Generator().manual_seed(4)
    sentences = 0
    for case in range(100):
        num_labels, words, languages = (int(torch.randint(1, high, (), generator=generator)) for high in (12, 25, 4))
        crf = LinearChainCRF(num_labels, num_languages=languages if case % 2 else None)
        # Small whole numbers, so that most sentences have several best paths.
        emissions = torch.randint(-2, 3, (100, words, num_labels), generator=generator).float()
        for scores in crf.parameters():
            scores.data = torch.randint(-2, 3, scores.shape, generator=generator).float()
        if case % 3 == 0:
            emissions += torch.randn(emissions.shape, generator=generator)
        mask = torch.arange(words) < torch.randint(words + 1, (100, 1), generator=generator)
        ids = torch.randint(-1, languages, (100,), generator=generator)
        found, expected = (
            crf_like(crf, implementation, torch.float32).decode(emissions, mask, ids)
            for implementation in ("compiled", "reference")
        )
        assert torch.equal(found, expected), case
        sentences += len(found)
    assert sentences == 10_000


@pytest.mark.parametrize("implementation", FAST)
def test_autocast_changes_nothing(implementation):
    torch.manual_seed(5)
    crf = crf_like(random_crf(4, 2), implementation, torch.float32)
    emissions, labels, mask = random_batch([9, 3, 1], 4)
    ids = torch.tensor([0, -1, 1])

    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = outcomes(crf, emissions.bfloat16().float(), labels, mask, ids)
        rounded = emissions.bfloat16().requires_grad_()
        half = crf.log_likelihood(rounded, labels, mask, ids)
        (gradient,) = torch.autograd.grad(half.sum(), rounded)
        decoded = crf.decode(emissions.bfloat16(), mask, ids)

    assert_same(found, outcomes(crf, emissions.bfloat16().float(), labels, mask, ids), rtol=0, atol=0)
    assert torch.equal(half, found["likelihood"])
    assert gradient.dtype == torch.bfloat16
    assert torch.equal(decoded, crf.decode(emissions.bfloat16().float(), mask, ids))


def test_compiled_results_are_the_same_bit_for_bit_on_any_number_of_threads():
    torch.manual_seed(6)
    crf = crf_like(random_crf(9, 2), "compiled", torch.float32)
    emissions, labels, mask = random_batch([40 - index % 7 for index in range(100)], 9)
    ids = torch.arange(100) % 3 - 1
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(outcomes(crf, emissions, labels, mask, ids))
    finally:
        torch.set_num_threads(1)

    for other in results[1:]:
        assert_same(other, results[0], rtol=0, atol=0)


def test_matrix_products_are_chosen_for_many_labels(monkeypatch):
    torch.manual_seed(7)
    crf = random_crf(300)
    emissions, labels, mask = random_batch([6, 2], 300)
    exact = outcomes(crf_like(crf, "reference"), emissions.double(), labels, mask)
    monkeypatch.setattr(crf, "_potentials", None)
    monkeypatch.setattr("hf_polyglot.models.crf_closed_form.compiled", None)

    assert_same(outcomes(crf, emissions, labels, mask), exact, rtol=1e-5, atol=1e-5)


def test_marginals_can_be_differentiated():
    torch.manual_seed(8)
    crf = random_crf(3)
    emissions, _, mask = random_batch([4, 2], 3)

    assert crf.marginals(emissions, mask)[0, 0, 0].grad_fn is not None


def test_inputs_need_not_be_contiguous():
    torch.manual_seed(9)
    emissions, labels, mask = random_batch([5, 2, 3], 4)
    for implementation in FAST:
        crf = crf_like(random_crf(4), implementation, torch.float32)
        strided = (
            emissions.transpose(0, 1).contiguous().transpose(0, 1),
            labels.T.contiguous().T,
            mask.T.contiguous().T,
        )
        assert_same(outcomes(crf, *strided), outcomes(crf, emissions, labels, mask), rtol=0, atol=0)
        assert torch.equal(crf.decode(strided[0], strided[2]), crf.decode(emissions, mask))


def test_an_empty_batch_has_no_values():
    for implementation in FAST:
        for num_languages in (None, 2):
            crf = crf_like(random_crf(3, num_languages), implementation)
            emissions, mask = torch.zeros(0, 4, 3), torch.ones(0, 4, dtype=torch.bool)
            assert crf.log_partition(emissions, mask).shape == (0,)
            assert crf.decode(emissions, mask).shape == (0, 4)


@pytest.mark.parametrize("label", [-100, 3])
def test_a_word_whose_label_does_not_exist_is_refused(label):
    crf = crf_like(random_crf(3), "compiled")
    labels = torch.tensor([[1, label]])

    with pytest.raises(ValueError, match=rf"`labels` of words are .*{label}.*; expected ids in \[0, 3\)"):
        crf.log_likelihood(torch.zeros(1, 2, 3), labels, torch.ones(1, 2, dtype=torch.bool))


@pytest.mark.parametrize("language", [-2, 3])
def test_a_language_that_does_not_exist_is_refused(language):
    crf = crf_like(random_crf(3, 2), "compiled")

    with pytest.raises(ValueError, match="expected ids below 2, or -1"):
        crf.decode(torch.zeros(1, 2, 3), torch.ones(1, 2, dtype=torch.bool), torch.tensor([language]))


def test_an_unknown_implementation_is_refused():
    crf = crf_like(random_crf(3), "fast")

    with pytest.raises(ValueError, match="'fast'; expected 'auto', 'reference', 'matrix', 'compiled' or 'triton'"):
        crf.decode(torch.zeros(1, 2, 3), torch.ones(1, 2, dtype=torch.bool))


WITHOUT_NUMBA = """
import sys
sys.modules["numba"] = None
import torch
from hf_polyglot import LinearChainCRF
crf = LinearChainCRF(3)
emissions, labels, mask = torch.zeros(2, 4, 3), torch.zeros(2, 4, dtype=torch.long), torch.ones(2, 4, dtype=torch.bool)
likelihood = crf.log_likelihood(emissions, labels, mask)
likelihood.sum().backward()
assert likelihood.exp().mul(81).allclose(torch.ones(2)), likelihood
assert crf.decode(emissions, mask).tolist() == [[0] * 4] * 2
crf.implementation = "compiled"
try:
    crf.decode(emissions, mask)
except ValueError as error:
    print(error)
"""


def test_without_numba_the_crf_works_and_says_what_is_missing():
    run = subprocess.run([sys.executable, "-c", WITHOUT_NUMBA], capture_output=True, text=True)

    assert run.returncode == 0, run.stderr
    assert "pip install hf_polyglot[fast]" in run.stdout


def test_kernels_are_compiled_where_no_code_can_be_kept(monkeypatch):
    numba = pytest.importorskip("numba")
    asked = []

    def njit(cache=False, **options):
        asked.append(cache)
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda kernel: (kernel, options)

    monkeypatch.setattr(numba, "njit", njit)
    kernel, _ = crf_kernels.compiled.__wrapped__(crf_kernels.best_paths)

    assert kernel is crf_kernels.best_paths
    assert asked == [True, False]


def test_the_module_of_the_compiled_loops_says_what_it_lacks(monkeypatch):
    monkeypatch.delitem(sys.modules, "hf_polyglot.models.crf_forward_backward", raising=False)
    monkeypatch.setitem(sys.modules, "numba", None)

    with pytest.raises(ImportError, match=r"numba cannot be imported. `pip install hf_polyglot\[fast\]` brings it"):
        importlib.import_module("hf_polyglot.models.crf_forward_backward")
