"""Cutting and freezing an encoder by its layers, whatever its architecture calls them."""

import copy

import pytest
import torch
from transformers import (
    AlbertConfig,
    AutoModel,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ModernBertConfig,
    XLMRobertaConfig,
)

from hf_polyglot import EncoderCRFForTokenClassification
from hf_polyglot.models.piece_encoder import encoder_layers, keep_lowest_layers
from hf_polyglot.training.encoder_layers import encoder_of, freeze_lowest_layers
from tests.models.tiny_models import LABELS, saved_encoder, tiny_byte_crf, tiny_encoder_crf

# What DeBERTa's module does when it is imported, in transformers 5.17 with a torch that is newer.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")

SIZES = {
    "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16,
    "max_position_embeddings": 40,
}  # fmt: skip
CONFIGS = {
    "bert": BertConfig(**SIZES),
    "xlm_roberta": XLMRobertaConfig(**SIZES, pad_token_id=1),
    "deberta": DebertaV2Config(**SIZES, relative_attention=True, pos_att_type=["c2p", "p2c"]),
    "modernbert": ModernBertConfig(
        **SIZES, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2
    ),
    "distilbert": DistilBertConfig(
        vocab_size=40, dim=16, n_layers=3, n_heads=2, hidden_dim=16, max_position_embeddings=40
    ),
}


def new_encoder(name):
    torch.manual_seed(0)
    return AutoModel.from_config(copy.deepcopy(CONFIGS[name])).eval()


@pytest.mark.parametrize("name", CONFIGS)
def test_the_layers_are_found_and_run_from_the_lowest(name):
    encoder = new_encoder(name)
    seen = []
    for layer in encoder_layers(encoder):
        layer.register_forward_hook(lambda module, *_: seen.append(module))

    encoder(torch.arange(2, 8)[None])

    assert len(seen) == 3
    assert seen == list(encoder_layers(encoder))


@pytest.mark.parametrize("name", CONFIGS)
def test_an_encoder_that_is_cut_gives_what_its_lower_layers_gave(name, tmp_path):
    encoder = new_encoder(name)
    pieces = torch.arange(2, 8)[None]
    expected = getattr(encoder, "final_norm", torch.nn.Identity())(
        encoder(pieces, output_hidden_states=True).hidden_states[2]
    )

    keep_lowest_layers(encoder, 2)

    torch.testing.assert_close(encoder(pieces).last_hidden_state, expected)
    encoder.save_pretrained(tmp_path)
    torch.testing.assert_close(AutoModel.from_pretrained(tmp_path)(pieces).last_hidden_state, expected)


@pytest.mark.parametrize("name", CONFIGS)
def test_frozen_layers_and_embeddings_get_no_gradient_and_all_others_do(name):
    encoder = new_encoder(name)
    names = {weights: name for name, weights in encoder.named_parameters()}
    of_layers = [{names[weights] for weights in layer.parameters()} for layer in encoder_layers(encoder)]

    freeze_lowest_layers(encoder, 1)
    encoder(torch.arange(2, 8)[None]).last_hidden_state.square().sum().backward()

    found = {parameter for parameter, weights in encoder.named_parameters() if weights.grad is not None}
    frozen = {parameter for parameter, weights in encoder.named_parameters() if not weights.requires_grad}
    assert not found & frozen
    assert found & set.union(*of_layers) == of_layers[1] | of_layers[2]
    assert not {name for name in found if "embeddings" in name}


def test_a_model_keeps_and_saves_the_lowest_layers_of_its_encoder(tmp_path):
    folder = saved_encoder(tmp_path / "encoder")
    settings = {"labels": LABELS, "num_concatenated_layers": 1}
    whole = EncoderCRFForTokenClassification.from_encoder_pretrained(str(folder), **settings)
    cut = EncoderCRFForTokenClassification.from_encoder_pretrained(str(folder), num_layers=1, **settings)
    cut.save_pretrained(tmp_path / "cut")
    again = EncoderCRFForTokenClassification.from_pretrained(tmp_path / "cut")

    assert [len(encoder_layers(model.encoder)) for model in (whole, cut, again)] == [2, 1, 1]
    for name, weights in again.encoder.named_parameters():
        torch.testing.assert_close(weights, whole.encoder.get_parameter(name))


@pytest.mark.parametrize("act", [keep_lowest_layers, freeze_lowest_layers])
def test_more_layers_than_there_are_cannot_be_chosen(act):
    with pytest.raises(ValueError, match=r"_layers` is 4; expected [01] to 3, the layers of the encoder\. Correct it"):
        act(new_encoder("bert"), 4)


def test_an_encoder_whose_layers_are_one_cannot_be_cut():
    encoder = AutoModel.from_config(AlbertConfig(**SIZES, embedding_size=8))

    with pytest.raises(ValueError, match="AlbertModel, without a list of its 3 layers"):
        keep_lowest_layers(encoder, 2)


def test_only_a_model_with_a_pretrained_encoder_has_layers_of_one():
    model, _ = tiny_encoder_crf()
    assert encoder_of(model) is model.encoder

    with pytest.raises(ValueError, match="ByteCRFForTokenClassification, which has no pretrained encoder"):
        encoder_of(tiny_byte_crf()[0])
