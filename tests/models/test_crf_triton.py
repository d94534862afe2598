"""
The CRF's kernels for GPUs against its reference, run by Triton's interpreter, and on a GPU with `pytest -m gpu`.

The interpreter takes milliseconds for a word, so that its batches are small.
"""

import importlib
import importlib.util
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from hf_polyglot.models import crf as crf_module
from hf_polyglot.models.crf import LinearChainCRF
from hf_polyglot.models.label_scheme import labels_for_types, legal_transitions

from .test_crf_closed_form import assert_same, crf_like, outcomes, random_batch, random_crf

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed"),
    # The labels that fill a block up are impossible, and numpy, with which the interpreter computes, says so.
    pytest.mark.filterwarnings("ignore:divide by zero encountered in log:RuntimeWarning"),
]

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
BIOES = labels_for_types(["LOC", "PER"], "BIOES")


def outcomes_on(device, crf, *batch):
    """What the kernels compute on the device, and the reference in float64 on the CPU."""
    reference = crf_like(crf, "reference")
    exact = outcomes(
        reference, *(part if part is None or part.dtype != torch.float else part.double() for part in batch)
    )
    kernels = crf_like(crf, "triton", batch[0].dtype).to(device)
    found = outcomes(kernels, *(part if part is None else part.to(device) for part in batch))
    return {name: result.cpu() for name, result in found.items()}, exact


@pytest.mark.parametrize("device", DEVICES)
@given(
    seed=st.integers(0, 2**16),
    num_labels=st.integers(1, 6),
    num_languages=st.sampled_from([None, 1, 3]),
    lengths=st.lists(st.integers(0, 5), min_size=1, max_size=4),
    scale=st.sampled_from([1.0, 30.0, 1e4]),
    is_constrained=st.booleans(),
)
@settings(max_examples=15)
def test_the_kernels_agree_with_the_reference(device, seed, num_labels, num_languages, lengths, scale, is_constrained):
    torch.manual_seed(seed)
    legal = legal_transitions(BIOES, "BIOES") if is_constrained else None
    crf = random_crf(len(BIOES) if is_constrained else num_labels, num_languages, legal)
    emissions, labels, mask = random_batch(lengths, crf.num_labels, scale)
    ids = None if num_languages is None else torch.randint(-1, num_languages, (len(lengths),))

    double, exact = outcomes_on(device, crf, emissions.double(), labels, mask, ids)
    single, _ = outcomes_on(device, crf, emissions, labels, mask, ids)

    assert_same(double, exact, rtol=1e-10, atol=1e-10)
    assert all(tensor.dtype == torch.float32 for tensor in single.values())
    assert_same(single, exact, rtol=1e-5, atol=1e-5 if scale < 1e4 and not is_constrained else 2e-2)


@pytest.mark.parametrize(
    ("device", "num_labels", "lengths"),
    [
        ("cpu", 9, [12]),
        ("cpu", 40, [2, 3]),
        pytest.param("cuda", 9, [512] * 16, marks=pytest.mark.gpu),
        pytest.param("cuda", 17, [100, 3, 0], marks=pytest.mark.gpu),
        pytest.param("cuda", 64, [30, 7], marks=pytest.mark.gpu),
    ],
)
def test_float32_results_are_rounded_once(device, num_labels, lengths):
    torch.manual_seed(2)

    found, exact = outcomes_on(device, random_crf(num_labels), *random_batch(lengths, num_labels))

    for name, result in exact.items():
        assert (found[name] - result).abs().max() <= 1e-6 * result.abs().max(), name


def _without_reference(closed_form, monkeypatch):
    def of_kernels(self, *arguments):
        with monkeypatch.context() as patch:
            patch.setattr(LinearChainCRF, "_reference_log_partition", None)
            return closed_form(self, *arguments)

    return of_kernels


@pytest.mark.parametrize("device", DEVICES)
def test_extreme_scores_are_computed_by_the_kernels(device, monkeypatch):
    monkeypatch.setattr(LinearChainCRF, "_closed_form", _without_reference(LinearChainCRF._closed_form, monkeypatch))
    # Each word's emissions allow one label, and the transitions forbid to go from one word's to the next one's.
    crf = random_crf(3, legal=([True] * 3, [[True, False, True]] * 3, [True, False, True]))
    emissions, labels, mask = random_batch([6, 3, 0], 3)
    emissions[0, :, 1] += 9_000
    emissions[0, ::2, 0] -= 1e4
    found, exact = outcomes_on(device, crf, emissions.double(), labels, mask)
    assert_same(found, exact, 1e-10, 1e-10)

    # No word is extreme, but the label that wins in the end has long fallen behind when its words come.
    crf = LinearChainCRF(2, legal=([True] * 2, [[True, False], [False, True]], [True] * 2))
    emissions = torch.zeros(1, 8, 2)
    emissions[0, :3, 0] = emissions[0, 3:, 1] = 400
    found, exact = outcomes_on(
        device, crf, emissions.double(), torch.ones(1, 8, dtype=torch.long), torch.ones(1, 8, dtype=torch.bool)
    )
    assert found["partition"].item() == pytest.approx(2000)
    assert_same(found, exact, 1e-10, 1e-10)


@pytest.mark.parametrize("device", DEVICES)
def test_sentences_are_decoded_alike_ties_included(device):
    generator = torch.Generator().manual_seed(4)
    sentences = 12 if device == "cpu" else 1000
    for case in range(10):
        num_labels, words, languages = (int(torch.randint(1, high, (), generator=generator)) for high in (12, 7, 4))
        crf = LinearChainCRF(num_labels, num_languages=languages if case % 2 else None)
        # Small whole numbers, so that most sentences have several best paths.
        emissions = torch.randint(-2, 3, (sentences, words, num_labels), generator=generator).float()
        for scores in crf.parameters():
            scores.data = torch.randint(-2, 3, scores.shape, generator=generator).float()
        if case % 3 == 0:
            emissions += torch.randn(emissions.shape, generator=generator)
        mask = torch.arange(words) < torch.randint(words + 1, (sentences, 1), generator=generator)
        ids = torch.randint(-1, languages, (sentences,), generator=generator)
        expected = crf_like(crf, "reference", torch.float32).decode(emissions, mask, ids)

        on_device = (part.to(device) for part in (emissions, mask, ids))
        found = crf_like(crf, "triton", torch.float32).to(device).decode(*on_device)

        assert torch.equal(found.cpu(), expected), case


@pytest.mark.parametrize("device", DEVICES)
def test_layout_and_dtype_of_the_emissions_do_not_matter(device):
    torch.manual_seed(5)
    crf = crf_like(random_crf(4, 2), "triton", torch.float32).to(device)
    emissions, labels, mask = (part.to(device) for part in random_batch([4, 2, 1], 4))
    emissions, ids = emissions.bfloat16(), torch.tensor([0, -1, 1], device=device)
    expected = outcomes(crf, emissions.float(), labels, mask, ids)

    strided = tuple(part.transpose(0, 1).contiguous().transpose(0, 1) for part in (emissions.float(), labels, mask))
    assert_same(outcomes(crf, *strided, ids), expected, rtol=0, atol=0)
    assert torch.equal(crf.decode(strided[0], strided[2], ids), crf.decode(emissions, mask, ids))
    with torch.autocast(device, dtype=torch.bfloat16):
        half = emissions.clone().requires_grad_()
        likelihood = crf.log_likelihood(half, labels, mask, ids)
        (gradient,) = torch.autograd.grad(likelihood.sum(), half)
    assert torch.equal(likelihood, expected["likelihood"])
    assert gradient.dtype == torch.bfloat16


@pytest.mark.parametrize("num_languages", [None, 2])
def test_an_empty_batch_has_no_values(num_languages):
    crf = crf_like(random_crf(3, num_languages), "triton")
    emissions, mask = torch.zeros(0, 4, 3).double(), torch.ones(0, 4, dtype=torch.bool)

    value = crf.log_partition(emissions, mask)
    value.sum().backward()

    assert value.shape == (0,)
    assert not crf.transition_scores.grad.any()
    assert crf.decode(emissions, mask).shape == (0, 4)


def test_labels_and_languages_that_do_not_exist_fail_as_indices_do():
    crf = crf_like(random_crf(3, 2), "triton", torch.float32)
    emissions, mask = torch.zeros(1, 2, 3), torch.ones(1, 2, dtype=torch.bool)
    for label in (-1, 3):
        with pytest.raises((IndexError, RuntimeError), match=f"index {label} is out of bounds"):
            crf.log_likelihood(emissions, torch.tensor([[1, label]]), mask, torch.tensor([0]))
    for language in (-2, 3):
        with pytest.raises((IndexError, RuntimeError), match=f"index {language} is out of bounds"):
            crf.decode(emissions, mask, torch.tensor([language]))


class Waits(TorchDispatchMode):
    """Collects the operations that would make the host wait for a GPU."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "equal")

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if name in self.WAITING or (
            name in ("index", "index_put", "index_put_")
            and any(index is not None and index.dtype == torch.bool for index in args[1])
        ):
            self.seen.append(name)
        return function(*args, **kwargs or {})


@pytest.mark.parametrize("implementation", ["triton", "matrix"])
def test_the_host_waits_for_matrix_products_alone(implementation):
    crf = crf_like(random_crf(3, 2), implementation, torch.float32)
    emissions, labels, mask = random_batch([3, 1], 3)
    emissions.requires_grad_()
    with Waits() as waits:
        crf.log_likelihood(emissions, labels, mask, torch.tensor([0, -1])).sum().backward()
        crf.decode(emissions, mask, torch.tensor([0, -1]))

    assert bool(waits.seen) == (implementation == "matrix")


@pytest.mark.gpu
@pytest.mark.parametrize("implementation", ["auto", "matrix", "reference"])
def test_every_implementation_for_a_gpu_agrees_with_the_reference(implementation):
    torch.manual_seed(10)
    crf = random_crf(9, 2)
    batch = *random_batch([30, 7, 0, 12], 9), torch.tensor([1, -1, 0, 0])
    exact = outcomes(crf_like(crf, "reference"), batch[0].double(), *batch[1:])

    found = outcomes(crf_like(crf, implementation, torch.float32).cuda(), *(part.cuda() for part in batch))

    assert_same({name: result.cpu() for name, result in found.items()}, exact, rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
# What torch says of the mode itself, once.
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype feature:UserWarning")
def test_a_gpu_is_not_waited_for():
    torch.manual_seed(10)
    crf = random_crf(9, 2).cuda()
    batch = [part.cuda() for part in (*random_batch([30, 7, 0, 12], 9), torch.tensor([1, -1, 0, 0]))]
    emissions, labels, mask, ids = batch
    emissions.requires_grad_()
    assert crf._implementation_for(emissions) == "triton"
    try:
        torch.cuda.set_sync_debug_mode("error")
        crf.log_likelihood(emissions, labels, mask, ids).sum().backward()
        crf.decode(emissions, mask, ids)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("score", [float("nan"), float("inf")])
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_scores_that_are_no_numbers_spoil_no_other_sentence(device, score, monkeypatch):
    if device == "cpu":
        # As on a GPU, the greatest of numbers that cannot be compared is any of them, those that fill a block up too.
        from triton.runtime.interpreter import ReduceOps

        monkeypatch.setattr(ReduceOps, "apply_impl", ReduceOps.generic_reduce)
    torch.manual_seed(11)
    crf = crf_like(random_crf(5), "triton", torch.float32).to(device)
    emissions, labels, mask = (part.to(device) for part in random_batch([4, 3], 5))
    expected = crf.decode(emissions, mask), crf.log_likelihood(emissions, labels, mask)
    emissions[0, 1] = score

    paths, values = crf.decode(emissions, mask), crf.log_likelihood(emissions, labels, mask)

    assert torch.equal(paths[1], expected[0][1])
    assert torch.equal(values[1], expected[1][1]) and values[0].isnan()
    assert 0 <= paths[0].min() <= paths[0].max() < 5


@pytest.mark.parametrize("num_labels", [9, 17])
def test_kernels_that_give_wrong_results_are_not_used(num_labels, monkeypatch):
    device = torch.device("cpu")
    runs = crf_module._runs_triton.__wrapped__
    from hf_polyglot.models import crf_triton

    with torch.inference_mode():
        assert runs(device, num_labels)
    messages, decode = crf_triton.triton_messages, crf_triton.triton_decode

    def off_by_one(*batch):
        found = messages(*batch)
        return found._replace(value=found.value + 1)

    def without_gradients(*batch):
        found = messages(*batch)
        return found._replace(gradients=lambda weights: tuple(part * torch.nan for part in found.gradients(weights)))

    def broken(*batch):
        raise RuntimeError("no compiler was found")

    for name, function, reason in (
        ("triton_messages", off_by_one, "differ from those of the reference by 1.0e+00"),
        ("triton_messages", without_gradients, "differ from those of the reference by nan"),
        ("triton_messages", broken, "RuntimeError: no compiler was found"),
        ("triton_decode", lambda *batch: torch.zeros_like(decode(*batch)), "differ from those of the reference by"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(crf_triton, name, function)
            said = []
            patch.setattr(crf_module.logger, "warning", said.append)
            assert not runs(device, num_labels)
        assert reason in said[0] and "Matrix products are used" in said[0]


def test_the_module_of_the_kernels_says_what_it_lacks(monkeypatch):
    monkeypatch.delitem(sys.modules, "hf_polyglot.models.crf_triton", raising=False)
    monkeypatch.setitem(sys.modules, "triton", None)

    with pytest.raises(ImportError, match=r"Triton cannot be imported\. torch for NVIDIA"):
        importlib.import_module("hf_polyglot.models.crf_triton")


def test_too_many_labels_and_devices_without_kernels_are_refused(monkeypatch):
    mask = torch.ones(1, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match="'triton' for 65 labels on cpu; expected at most 64 labels and a GPU"):
        crf_like(random_crf(65), "triton").decode(torch.zeros(1, 2, 65), mask)
    monkeypatch.delenv("TRITON_INTERPRET")
    with pytest.raises(ValueError, match="'triton' for 3 labels on cpu; expected at most 64 labels and a GPU"):
        crf_like(random_crf(3), "triton").decode(torch.zeros(1, 2, 3), mask)


COMPILE = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from hf_polyglot.models import crf_triton

capability, block = map(int, sys.argv[1:])
POINTERS = dict(languages="*i64", lengths="*i64", labels="*i64", paths="*i64", origins="*i32", last_labels="*i32")
POINTERS |= dict.fromkeys(["log_partition", "value", "messages", "gradient", "counts"], "*fp64")
POINTERS |= dict.fromkeys(["emissions", "start", "transition", "end"], "*fp32")
for kernel in (crf_triton._forward, crf_triton._backward, crf_triton._best_scores, crf_triton._best_paths):
    given = {"has_labels": block != 16, "block": block}
    constants = {name: value for name, value in given.items() if name in kernel.arg_names}
    signature = {name: "constexpr" if name in constants else POINTERS.get(name, "i32") for name in kernel.arg_names}
    source = ASTSource(kernel, signature=signature, constexprs=constants)
    options = {"num_warps": max(1, block * block // 256), "enable_fp_fusion": False}
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    assert len(compiled.asm["cubin"]) > 1000
    print(kernel.__name__)
"""


@pytest.mark.parametrize(("capability", "block"), [(80, 16), (90, 64), (90, 1)])
def test_the_kernels_can_be_compiled_for_gpus_that_are_not_here(capability, block, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)

    run = subprocess.run(
        [sys.executable, "-c", COMPILE, str(capability), str(block)], env=environment, capture_output=True, text=True
    )

    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["_forward", "_backward", "_best_scores", "_best_paths"]
