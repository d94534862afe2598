"""The sliced loss against a loop over slices, and SLICER against the heads it generalises."""

from types import SimpleNamespace

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForTokenClassification,
    DistilBertConfig,
    ModernBertConfig,
    XLMRobertaConfig,
)

from hf_polyglot import SlicerConfig, SlicerForTokenClassification
from hf_polyglot.data.collators import collator_for
from hf_polyglot.models.modeling_slicer import sliced_cross_entropy
from hf_polyglot.models.piece_encoder import max_pieces_of

from .tiny_models import EXAMPLES, LABELS, character_pieces, label_settings, saved_encoder, tiny_slicer


@given(seed=st.integers(0, 2**16), tokens=st.integers(1, 5), slices=st.integers(1, 6), width=st.integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_sliced_loss_is_the_mean_over_classifiers_of_one_slice(seed, tokens, slices, width):
    torch.manual_seed(seed)
    vectors = torch.randn(tokens, slices * width, dtype=torch.double)
    weight = torch.randn(3, slices * width, dtype=torch.double)
    bias = torch.randn(3, dtype=torch.double)
    labels = torch.randint(3, (tokens,))

    losses = [
        nn.functional.cross_entropy(
            vectors[:, start : start + width] @ weight[:, start : start + width].T + bias, labels, reduction="none"
        )
        for start in range(0, slices * width, width)
    ]

    computed = sliced_cross_entropy(vectors, weight, bias, labels, width)
    torch.testing.assert_close(computed.double(), torch.stack(losses).mean(0), rtol=0, atol=1e-5)


@pytest.mark.parametrize("width", [1, 2, 6])
def test_the_gradient_of_the_sliced_loss_is_that_of_its_differences(width):
    torch.manual_seed(0)
    vectors, weight, bias = (
        torch.randn(*shape, dtype=torch.double).requires_grad_() for shape in ((4, 6), (3, 6), (3,))
    )
    labels = torch.randint(3, (4,))

    def weighted(vectors, weight, bias):
        return sliced_cross_entropy(vectors, weight, bias, labels, width) * torch.arange(1, 5)

    assert torch.autograd.gradcheck(weighted, (vectors, weight, bias))


def test_one_slice_is_an_ordinary_head():
    torch.manual_seed(0)
    vectors, weight, bias = torch.randn(50, 32), torch.randn(5, 32), torch.randn(5)
    labels = torch.randint(5, (50,))

    ordinary = nn.functional.cross_entropy(vectors @ weight.T + bias, labels, reduction="none")

    torch.testing.assert_close(sliced_cross_entropy(vectors, weight, bias, labels, 32), ordinary, rtol=1e-6, atol=1e-5)


def test_a_model_of_one_slice_trains_as_the_stock_model():
    model, tokenizer = tiny_slicer(slice_width=32)
    model.eval()
    batch = collator_for(model, tokenizer)(EXAMPLES)
    standard = model.to_standard_model()
    pieces = torch.full_like(batch["input_ids"], -100).flatten()
    pieces[batch["word_positions"][batch["word_positions"] >= 0]] = batch["labels"][batch["labels"] != -100]

    ours = model(**batch).loss
    theirs = standard(batch["input_ids"], batch["attention_mask"], labels=pieces.view_as(batch["input_ids"])).loss
    ours.backward()
    theirs.backward()

    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    torch.testing.assert_close(model.classifier.weight.grad, standard.classifier.weight.grad, rtol=0, atol=1e-6)
    torch.testing.assert_close(
        model.get_input_embeddings().weight.grad, standard.get_input_embeddings().weight.grad, rtol=0, atol=1e-6
    )


def test_the_published_codes_variant_trains_only_the_bias_of_the_classifier():
    for trained in (True, False):
        model, tokenizer = tiny_slicer(train_classifier=trained)
        model(**collator_for(model, tokenizer)(EXAMPLES)).loss.backward()

        assert (model.classifier.weight.grad is not None) is trained
        assert model.classifier.bias.grad.any()
        assert model.encoder.embeddings.word_embeddings.weight.grad.any()


def test_no_tensor_is_larger_than_tokens_by_slices_by_labels():
    sizes = []

    class Sizes(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, arguments=(), keywords=None):
            outcome = function(*arguments, **keywords or {})
            if isinstance(outcome, torch.Tensor):
                sizes.append(outcome.numel())
            return outcome

    with Sizes():
        sliced_cross_entropy(
            torch.randn(40, 64), torch.randn(9, 64), torch.randn(9), torch.randint(9, (40,)), slice_width=2
        )

    assert max(sizes) <= 40 * 32 * 9


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_standard_model_has_equal_logits_on_every_piece(dtype, tmp_path):
    model, tokenizer = tiny_slicer()
    model = model.to(dtype).eval()
    batch = collator_for(model, tokenizer)(EXAMPLES)

    standard = model.to_standard_model()
    standard.save_pretrained(tmp_path)
    loaded = AutoModelForTokenClassification.from_pretrained(tmp_path)

    assert type(loaded).__name__ == "BertForTokenClassification"
    assert loaded.config.id2label == dict(enumerate(LABELS))
    ours = model(batch["input_ids"], batch["attention_mask"]).logits
    assert torch.equal(loaded(batch["input_ids"], batch["attention_mask"]).logits, ours)


@pytest.mark.parametrize("config_class", [XLMRobertaConfig, DistilBertConfig])
def test_other_encoders_convert_too(config_class):
    sizes = {"vocab_size": 60, "pad_token_id": 0, "max_position_embeddings": 40}
    sizes |= (
        {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 16}
        if config_class is DistilBertConfig
        else {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    )
    model = SlicerForTokenClassification(
        SlicerConfig(encoder_config=config_class(**sizes), slice_width=8, **label_settings())
    )
    model.eval()

    standard = model.to_standard_model()

    pieces = torch.arange(3, 20)[None]
    torch.testing.assert_close(standard(pieces).logits, model(pieces).logits)


def test_a_stock_head_with_more_than_a_linear_layer_is_refused():
    encoder = ModernBertConfig(
        vocab_size=60, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2,
    )  # fmt: skip
    model = SlicerForTokenClassification(SlicerConfig(encoder_config=encoder, slice_width=8, **label_settings()))

    with pytest.raises(ValueError, match="its head does more than one linear layer"):
        model.to_standard_model()


def test_a_pretrained_encoder_is_loaded_whole(tmp_path):
    folder = saved_encoder(tmp_path)

    model = SlicerForTokenClassification.from_encoder_pretrained(folder, labels=LABELS, slice_width=2)

    expected = AutoModel.from_pretrained(folder, add_pooling_layer=False).state_dict()
    assert model.training
    assert model.config.max_pieces == 63
    assert {name: tensor.sum().item() for name, tensor in model.encoder.state_dict().items()} == {
        name: tensor.sum().item() for name, tensor in expected.items()
    }


def test_without_a_slice_width_the_head_is_ordinary():
    model, tokenizer = tiny_slicer(slice_width=None)
    model.eval()
    batch = collator_for(model, tokenizer)(EXAMPLES)

    outputs = model(**batch)

    expected = torch.nn.functional.cross_entropy(outputs.logits.flatten(0, 1), batch["labels"].flatten())
    torch.testing.assert_close(outputs.loss, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("slice_width", [0, 5, 64])
def test_a_width_that_does_not_divide_the_vector_is_refused(slice_width):
    with pytest.raises(StrictDataclassError, match=rf"`slice_width` is {slice_width}; expected a divisor .* 32"):
        tiny_slicer(slice_width=slice_width)


def test_a_wrong_dropout_is_refused():
    with pytest.raises(StrictDataclassError, match=r"`classifier_dropout` is 1.5; expected a probability"):
        tiny_slicer(classifier_dropout=1.5)


def test_long_sentences_are_read_in_windows_and_keep_every_word():
    model, tokenizer = tiny_slicer(max_pieces=12)
    model.eval()
    words = [f"{a}{b}" for a in "ABCDEFGH" for b in "amino"] * 2

    batch = model.prepare_words(tokenizer, [words, ["Eze"]])

    assert batch["input_ids"].shape[1] == 12
    assert (batch["word_positions"][0] >= 0).all()
    assert batch["word_positions"].shape == (2, 80)
    first_pieces = [
        tokenizer.convert_ids_to_tokens(i) for i in batch["input_ids"].flatten()[batch["word_positions"][0]].tolist()
    ]
    assert first_pieces == [character_pieces().tokenize(word)[0] for word in words]
    assert model(**batch).logits.shape == (2, 80, 5)


@pytest.mark.parametrize(
    ("settings", "pieces"),
    [
        ({"pad_token_id": 1, "max_position_embeddings": 514}, 512),  # RoBERTa
        ({"pad_token_id": 0, "max_position_embeddings": 512}, 511),  # BERT
        ({"pad_token_id": 50_283, "max_position_embeddings": 8192}, 8192),  # ModernBERT
        ({"pad_token_id": 5, "max_position_embeddings": -1}, 512),  # XLNet
    ],
)
def test_an_encoder_reads_as_many_pieces_as_it_has_positions(settings, pieces):
    assert max_pieces_of(SimpleNamespace(**settings), None) == pieces


def test_empty_words_are_refused():
    model, tokenizer = tiny_slicer()

    with pytest.raises(ValueError, match="A word is the empty string"):
        model.prepare_words(tokenizer, [["a", ""]])
    with pytest.raises(ValueError, match=r"lone surrogate U\+D800"):
        model.prepare_words(tokenizer, [["a\ud800"]])


def test_a_tokenizer_without_padding_is_refused():
    model, tokenizer = tiny_slicer()
    tokenizer.pad_token = None

    with pytest.raises(ValueError, match=r"has no padding piece\. Set `tokenizer.pad_token`"):
        model.prepare_words(tokenizer, [["a"]])


def test_a_slow_tokenizer_is_refused():
    model, _ = tiny_slicer()

    with pytest.raises(ValueError, match="SimpleNamespace is not a fast tokenizer"):
        model.prepare_words(SimpleNamespace(), [["a"]])
