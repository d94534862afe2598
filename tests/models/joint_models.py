"""Tiny models of three tasks, and sentences that have all of them, or some."""

from .tiny_models import (
    EXAMPLES,
    tiny_byte_crf,
    tiny_byte_crf_of_languages,
    tiny_encoder_crf,
    tiny_linear_tagger,
    tiny_meta_lstm,
    tiny_slicer,
)

FURTHER_LABELS = {"feats": ["_", "Case=Nom", "Number=Plur", "Number=Sing"], "upos": ["NOUN", "PROPN", "PUNCT"]}
COLUMNS = ("ner_tags", "upos", "feats")


def with_tags(example):
    """The example with a part of speech and features of each word, which its spelling tells."""
    words = example["tokens"]
    upos = [2 if not word.isalnum() else int(word[0].isupper()) for word in words]
    return example | {"upos": upos, "feats": [min(len(word) - 1, 3) for word in words]}


# The first sentences have all three tasks, the others lack one or two.
JOINT_EXAMPLES = [
    with_tags(example) | {column: [] for column in ((), ("upos",), ("ner_tags", "feats"), ("feats",))[index % 4]}
    for index, example in enumerate(EXAMPLES)
]


def joint(make_model):
    """A maker of such models, with a head for each task."""
    return lambda **settings: make_model(**{"further_labels": FURTHER_LABELS} | settings)


def tiny_byte_tagger(**settings):
    return tiny_byte_crf(**{"use_crf": False} | settings)


JOINT_MODELS = {
    "byte_crf": joint(tiny_byte_crf),
    "byte_tagger": joint(tiny_byte_tagger),
    "byte_crf_of_languages": joint(tiny_byte_crf_of_languages),
    "encoder_crf": joint(tiny_encoder_crf),
    "linear_tagger": joint(tiny_linear_tagger),
    "meta_lstm": joint(tiny_meta_lstm),
    "slicer": joint(tiny_slicer),
}
