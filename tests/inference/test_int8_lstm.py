"""LSTMs of 8 bits beside those that they were made from."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import pipeline

from hf_polyglot.data.collators import collator_for
from hf_polyglot.inference import int8_lstm
from hf_polyglot.inference.int8_lstm import Int8BiLSTM, product_of_codes, quantised_rows, with_int8_lstms
from hf_polyglot.inference.pipeline import TASK
from hf_polyglot.inference.tagging import tag_words
from hf_polyglot.models import modeling_byte_crf
from hf_polyglot.models.recurrent import BiLSTM, initialise_for_lstm

from ..models.tiny_models import (
    EXAMPLES,
    tiny_byte_crf,
    tiny_byte_crf_of_languages,
    tiny_char_crf,
    tiny_charner,
    tiny_encoder_crf,
    tiny_meta_lstm,
    tiny_slicer,
)

WORDS = [example["tokens"] for example in EXAMPLES]
READERS = [tiny_byte_crf, tiny_byte_crf_of_languages, tiny_char_crf, tiny_charner, tiny_encoder_crf, tiny_meta_lstm]


@pytest.fixture(params=[True, False], ids=["compiled", "torch"])
def with_and_without_numba(request, monkeypatch):
    if request.param:
        pytest.importorskip("numba")
    monkeypatch.setattr(int8_lstm, "has_numba", lambda: request.param)


def random_lstms(seed, *sizes):
    torch.manual_seed(seed)
    lstms = BiLSTM(*sizes).eval()
    lstms.apply(initialise_for_lstm)
    for bias in (parameter for name, parameter in lstms.named_parameters() if "bias" in name):
        torch.nn.init.normal_(bias)
    return lstms


def batch_of_lengths(lengths, width):
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return torch.randn(*mask.shape, width), mask


@given(
    seed=st.integers(0, 2**16),
    lengths=st.lists(st.integers(0, 7), min_size=1, max_size=5).filter(any),
    sizes=st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 3)),
    spread=st.sampled_from([0.1, 1.0, 30.0]),
)
@settings(max_examples=40, deadline=None)
@pytest.mark.usefixtures("with_and_without_numba")
def test_states_are_near_those_of_full_precision(seed, lengths, sizes, spread):
    lstms = random_lstms(seed, *sizes)
    inputs, mask = batch_of_lengths(lengths, sizes[0])
    inputs = inputs * spread

    states = Int8BiLSTM(lstms).eval()(inputs, mask)

    exact = lstms(inputs, mask).detach()
    # An input is rounded by up to 1/254 of the greatest of its step, a weight by as much of the greatest of its row.
    assert (states - exact)[mask].abs().max() < 0.02 * (1 + spread)
    assert (states[~mask] == 0).all()


@pytest.mark.usefixtures("with_and_without_numba")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_last_states_are_near_those_of_full_precision_in_any_dtype(dtype):
    lstms = random_lstms(0, 32, 24, 2).to(dtype)
    inputs, mask = batch_of_lengths([9, 1, 4, 9], 32)

    states = Int8BiLSTM(lstms).eval().last_states(inputs.to(dtype), mask)

    assert states.dtype == dtype
    torch.testing.assert_close(states.float(), lstms.float().last_states(inputs, mask).detach(), rtol=0, atol=0.03)


@pytest.mark.usefixtures("with_and_without_numba")
def test_rows_of_a_table_give_what_their_inputs_give():
    lstms = Int8BiLSTM(random_lstms(0, 12, 20, 2)).eval()
    table, rows = torch.randn(7, 12), torch.randint(7, (4, 5))
    mask = torch.arange(5) < torch.tensor([5, 2, 0, 4])[:, None]

    assert torch.equal(lstms.states_of_rows(table, rows, mask), lstms(table[rows], mask))


@pytest.mark.usefixtures("with_and_without_numba")
def test_what_stands_on_padding_plays_no_part():
    lstms = Int8BiLSTM(random_lstms(0, 12, 20)).eval()
    inputs, mask = batch_of_lengths([6, 2, 1], 12)

    assert torch.equal(lstms(inputs, mask), lstms(inputs.masked_fill(~mask[:, :, None], 1e6), mask))


def test_compiled_steps_agree_with_those_of_torch(monkeypatch):
    pytest.importorskip("numba")
    lstms = Int8BiLSTM(random_lstms(0, 48, 37)).eval()
    inputs, mask = batch_of_lengths([8, 3, 5], 48)
    compiled = lstms(10 * inputs, mask)
    monkeypatch.setattr(int8_lstm, "has_numba", lambda: False)

    # A state may be rounded the other way, and moves those behind it.
    torch.testing.assert_close(compiled, lstms(10 * inputs, mask), rtol=0, atol=5e-3)


@given(st.lists(st.lists(st.floats(-1e6, 1e6, width=32), min_size=3, max_size=3), min_size=1, max_size=4))
def test_rows_are_rounded_by_half_of_their_scale_at_most(rows):
    codes, scales = quantised_rows(torch.tensor(rows))

    assert codes.dtype == torch.int8 and codes.min() >= -127
    errors = (codes * scales[:, None] - torch.tensor(rows)).abs().amax(1)
    assert (errors <= 0.5001 * scales).all()


@given(
    seed=st.integers(0, 2**16),
    sizes=st.tuples(st.integers(1, 40), st.integers(1, 600), st.integers(1, 40)),
    has_instructions=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_products_of_codes_are_exact_with_instructions_and_without(seed, sizes, has_instructions):
    torch.manual_seed(seed)
    codes, weights = (torch.randint(-127, 128, (size, sizes[1]), dtype=torch.int8) for size in (sizes[0], sizes[2]))
    with pytest.MonkeyPatch.context() as patch:
        if not has_instructions:
            patch.setattr(int8_lstm, "has_exact_int8", lambda: False)
        products = product_of_codes(codes, weights)

    assert products.dtype == torch.int32
    assert torch.equal(products.double(), codes.double() @ weights.double().mT)


def test_products_of_many_columns_of_the_greatest_codes_are_exact(monkeypatch):
    monkeypatch.setattr(int8_lstm, "has_exact_int8", lambda: False)
    codes = torch.full((1, 5001), 127, dtype=torch.int8)

    assert product_of_codes(codes, codes).item() == 5001 * 127**2


def test_a_processor_whose_products_are_cut_off_is_noticed(monkeypatch, caplog):
    exact = torch._int_mm
    monkeypatch.setattr(torch, "_int_mm", lambda one, other: exact(one, other).clamp(max=2**15), raising=False)
    int8_lstm.has_exact_int8.cache_clear()
    model, tokenizer = tiny_byte_crf()
    model.eval()

    fast = with_int8_lstms(model)

    assert "no 8-bit instructions" in caplog.text
    torch.testing.assert_close(probabilities(fast, tokenizer), probabilities(model, tokenizer), rtol=0, atol=0.02)
    int8_lstm.has_exact_int8.cache_clear()


@torch.no_grad()
def probabilities(model, tokenizer):
    batch = collator_for(model, tokenizer)([{"tokens": words, "language": "eng"} for words in WORDS])
    mask = torch.arange(6) < torch.tensor([len(words) for words in WORDS])[:, None]
    return model.label_probabilities(model(**batch), mask)[mask]


@pytest.mark.parametrize("make_model", READERS)
def test_a_tagger_gives_nearly_the_same_probabilities(make_model):
    model, tokenizer = make_model()
    model.eval()

    fast = with_int8_lstms(model)

    torch.testing.assert_close(probabilities(fast, tokenizer), probabilities(model, tokenizer), rtol=0, atol=0.02)
    assert all(type(module) is not Int8BiLSTM for module in model.modules())
    assert any(type(module) is Int8BiLSTM for module in fast.modules())


def test_it_reads_the_same_made_twice_and_in_another_dtype():
    model, tokenizer = tiny_byte_crf()
    fast = with_int8_lstms(model)
    expected = [one.tags for one in tag_words(fast, tokenizer, WORDS)]

    again = with_int8_lstms(fast)
    halved = copy.deepcopy(fast).to(torch.bfloat16)

    assert [one.tags for one in tag_words(again, tokenizer, WORDS)] == expected
    torch.testing.assert_close(
        probabilities(halved, tokenizer), probabilities(fast, tokenizer), rtol=0, atol=0.05, check_dtype=False
    )
    lstms = [module for module in halved.modules() if isinstance(module, int8_lstm.Int8LSTM)]
    assert all(lstm.input_scales.dtype == lstm.bias.dtype == torch.float32 for lstm in lstms)


def test_a_pipeline_reads_with_them():
    model, tokenizer = tiny_byte_crf()

    tag = pipeline(TASK, model=with_int8_lstms(model), tokenizer=tokenizer, device="cpu")

    assert tag("Amina lives in Kano .") is not None


def test_a_copy_has_vectors_of_its_own():
    model, tokenizer = tiny_byte_crf()
    fast = with_int8_lstms(model)
    expected = tag_words(fast, tokenizer, WORDS)

    tag_words(model, tokenizer, WORDS)
    again = copy.deepcopy(fast)

    assert tag_words(fast, tokenizer, WORDS) == tag_words(again, tokenizer, WORDS) == expected
    assert len(fast.byte_crf.word_cache) == len({word for words in WORDS for word in words})


def test_a_model_without_such_lstms_is_refused():
    model, _ = tiny_slicer()

    with pytest.raises(
        ValueError, match="SlicerForTokenClassification, no part of which is an LSTM of both directions"
    ):
        with_int8_lstms(model)


def test_training_is_refused():
    model, tokenizer = tiny_byte_crf()
    fast = with_int8_lstms(model).train()

    with pytest.raises(ValueError, match="in training; expected prediction"):
        fast(**fast.prepare_words(tokenizer, WORDS[:2]))


def test_saving_is_refused_and_leaves_nothing(tmp_path):
    model, _ = tiny_byte_crf()

    with pytest.raises(ValueError, match="has no form in files"):
        with_int8_lstms(model).save_pretrained(tmp_path / "fast")
    assert not list(tmp_path.glob("fast/*.safetensors"))


def test_words_of_several_batches_are_spelled_once_and_together(monkeypatch):
    model, tokenizer = tiny_byte_crf()
    expected = tag_words(model, tokenizer, WORDS, batch_size=2)
    model.byte_crf.word_cache.clear()
    spelled = []
    plain = modeling_byte_crf.ByteCRFModel._spell_by_length
    monkeypatch.setattr(
        modeling_byte_crf.ByteCRFModel,
        "_spell_by_length",
        lambda self, input_ids: spelled.append(len(input_ids)) or plain(self, input_ids),
    )

    assert tag_words(model, tokenizer, WORDS, batch_size=2) == expected
    assert spelled == [len({word for words in WORDS for word in words})]


def test_no_more_words_are_spelled_ahead_than_there_is_room_for():
    model, tokenizer = tiny_byte_crf()
    expected = tag_words(model, tokenizer, WORDS)
    model.byte_crf.word_cache = modeling_byte_crf.WordVectorCache(max_bytes=5 * 24 * 4)

    with torch.no_grad():
        model.eval().byte_crf.spell_ahead(tokenizer, WORDS)

    assert len(model.byte_crf.word_cache) == 5
    assert tag_words(model, tokenizer, WORDS) == expected
