"""Tiny polyglot taggers in folders, and adapters of them that have moved far from where they began."""

import torch
from transformers import set_seed

from hf_polyglot.adapters import adapter_parameters, add_adapter, save_adapter
from hf_polyglot.training.continuation import load_to_continue
from tests.models.tiny_models import LABELS, tiny_encoder_crf, tiny_linear_tagger, tiny_slicer


def encoder_crf_of_languages(**settings):
    return tiny_encoder_crf(**{"languages": ["swa", "yor", "eng"]} | settings)


BASES = {
    "encoder_crf": tiny_encoder_crf,
    "encoder_crf_of_languages": encoder_crf_of_languages,
    "linear_tagger": tiny_linear_tagger,
    "slicer": tiny_slicer,
}


def moved(parameters, seed, scale=0.3):
    """Give parameters other values, the same ones for the same seed."""
    set_seed(seed)
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(torch.randn_like(parameter), alpha=scale)


def saved_base(folder, make_model=tiny_encoder_crf):
    """Folder of a polyglot tagger, whose CRF, if it has one, prefers some transitions."""
    model, tokenizer = make_model()
    moved((parameter for name, parameter in model.named_parameters() if name.startswith("crf.")), seed=1, scale=2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def saved_adapter(folder, base, seed, labels=LABELS, languages=("swa",), rank=4, num_frozen=0):
    """Folder of an adapter on that base."""
    set_seed(seed)
    model = load_to_continue(base, labels, languages)
    if num_frozen:
        model.encoder.encoder.layer[:num_frozen].requires_grad_(False)
    add_adapter(model, rank=rank, alpha=8)
    moved(adapter_parameters(model).values(), seed)
    save_adapter(folder, model, base_model=base)
    return str(folder)
