"""Tiny models of every architecture, built from configurations, with the tokenizers they need."""

import tempfile

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModel, BertConfig, PreTrainedTokenizerFast, set_seed

from hf_polyglot import (
    ByteCRFConfig,
    ByteCRFForTokenClassification,
    CharNERConfig,
    CharNERForTokenClassification,
    EncoderCRFConfig,
    EncoderCRFForTokenClassification,
    MetaLSTMConfig,
    MetaLSTMForTokenClassification,
    SlicerConfig,
    SlicerForTokenClassification,
    SpellingTokenizer,
    WordSpellingTokenizer,
)
from hf_polyglot.models.label_scheme import labels_for_types

LABELS = labels_for_types(["LOC", "PER"], "IOB2")

FIRST = ["Amina", "Bako", "Chidi", "Dada", "Eze", "Fela", "Gani", "Hadiza", "Idris", "Jummai"]
TOWNS = ["Kano", "Lagos", "Mopti", "Niono", "Owerri", "Pala", "Qena", "Rufisque", "Ségou", "Touba"]
SENTENCES = [
    *((f"{name} lives in {town} .".split(), [3, 0, 0, 1, 0]) for name, town in zip(FIRST, TOWNS, strict=True)),
    *(
        (f"New {town} , says {name} {name}".split(), [1, 2, 0, 0, 3, 4])
        for name, town in zip(FIRST, TOWNS, strict=True)
    ),
]
assert set(LABELS) == {"O", "B-LOC", "I-LOC", "B-PER", "I-PER"}
EXAMPLES = [{"tokens": words, "ner_tags": labels, "language": "eng"} for words, labels in SENTENCES]


def label_settings(labels=LABELS):
    return {"id2label": dict(enumerate(labels)), "label2id": {label: index for index, label in enumerate(labels)}}


def character_pieces(mask_token=None):
    """A tokenizer of pieces of up to two characters, with special pieces around them, as an encoder has."""
    characters = sorted({c for words, _ in SENTENCES for word in words for c in word})
    vocabulary = ["<pad>", "<unk>", "<s>", "</s>", *characters, *(f"##{c}" for c in characters)]
    vocabulary += [] if mask_token is None else [mask_token]
    backend = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(vocabulary)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, mask_token=mask_token, **special)


def encoder_config(**settings):
    return BertConfig(
        **{
            "vocab_size": len(character_pieces()), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
            "intermediate_size": 32, "max_position_embeddings": 64, "pad_token_id": 0, "attn_implementation": "sdpa",
        }
        | settings
    )  # fmt: skip


def tiny_byte_crf(**settings):
    set_seed(0)
    sizes = {"embedding_size": 16, "unit_hidden_size": 12, "hidden_size": 20}
    return ByteCRFForTokenClassification(
        ByteCRFConfig(**sizes | label_settings() | settings)
    ), SpellingTokenizer.of_bytes()


def tiny_char_crf(**settings):
    tokenizer = SpellingTokenizer.of_characters(word for words, _ in SENTENCES for word in words)
    model, _ = tiny_byte_crf(units="characters", vocab_size=len(tokenizer), **settings)
    return model, tokenizer


def tiny_charner(**settings):
    set_seed(0)
    sizes = {"embedding_size": 16, "hidden_size": 20, "num_hidden_layers": 2}
    # Twenty sentences leave no time to learn what half of a layer says without the other.
    dropouts = {"unit_dropout": 0.05, "layer_dropout": 0.1, "last_dropout": 0.2}
    return CharNERForTokenClassification(
        CharNERConfig(**sizes | dropouts | label_settings() | settings)
    ), SpellingTokenizer.of_bytes()


def tiny_charner_of_characters(**settings):
    tokenizer = SpellingTokenizer.of_characters(" ".join(words) for words, _ in SENTENCES)
    model, _ = tiny_charner(units="characters", vocab_size=len(tokenizer), boundaries=True, **settings)
    return model, tokenizer


def tiny_slicer(encoder_settings=None, **settings):
    set_seed(0)
    config = SlicerConfig(
        encoder_config=encoder_config(**encoder_settings or {}),
        **{"slice_width": 8, "max_pieces": 60} | label_settings() | settings,
    )
    return SlicerForTokenClassification(config), character_pieces()


def tiny_byte_crf_of_languages(**settings):
    return tiny_byte_crf(**{"languages": ["eng", "swa"]} | settings)


def tiny_encoder_crf(encoder_settings=None, **settings):
    set_seed(0)
    config = EncoderCRFConfig(
        encoder_config=encoder_config(**encoder_settings or {}),
        **{"num_concatenated_layers": 2, "hidden_size": 20, "max_pieces": 60} | label_settings() | settings,
    )
    return EncoderCRFForTokenClassification(config), character_pieces()


def tiny_linear_tagger(**settings):
    linear = {"num_concatenated_layers": 1, "num_hidden_layers": 0, "use_crf": False}
    return tiny_encoder_crf(**linear | settings)


def tiny_meta_lstm(**settings):
    spelling = SpellingTokenizer.of_characters(" ".join(words) for words, _ in SENTENCES)
    tokenizer = WordSpellingTokenizer.with_words(spelling, ["lives", "in", "says", "Kano", "Lagos", "New", "Bako"])
    model = _tiny_meta_lstm(tokenizer, **settings)
    return model, tokenizer


def tiny_meta_lstm_of_vectors(**settings):
    """With pretrained vectors of more words than are trained, and of n-grams."""
    spelling = SpellingTokenizer.of_characters(" ".join(words) for words, _ in SENTENCES)
    subwords = {"min_characters": 2, "max_characters": 3, "num_buckets": 50, "buckets": list(range(0, 50, 3))}
    tokenizer = WordSpellingTokenizer.with_words(
        spelling, ["lives", "in", "says", "Kano", "Lagos", "New", "Bako"], subwords=[subwords]
    )
    settings = {"num_trained_words": 4, "pretrained_vectors": "frozen", "num_subwords": 17} | settings
    model = _tiny_meta_lstm(tokenizer, **settings)
    generator = torch.Generator().manual_seed(1)
    model.set_word_vectors(torch.randn(8, 12, generator=generator), torch.randn(17, 12, generator=generator))
    return model, tokenizer


def _tiny_meta_lstm(tokenizer, **settings):
    set_seed(0)
    sizes = {
        "embedding_size": 16, "unit_hidden_size": 20, "num_unit_layers": 1, "word_vector_size": 12,
        "word_hidden_size": 20, "num_word_layers": 1, "hidden_size": 20, "mlp_size": 24, "num_words": 8,
        "num_trained_words": 8, "vocab_size": len(tokenizer),
    }  # fmt: skip
    # See tiny_charner.
    dropouts = {"word_dropout": 0.1, "layer_dropout": 0.1, "mlp_dropout": 0.1}
    return MetaLSTMForTokenClassification(MetaLSTMConfig(**sizes | dropouts | label_settings() | settings))


TINY_MODELS = {
    "byte_crf": tiny_byte_crf,
    "char_crf": tiny_char_crf,
    "byte_crf_of_languages": tiny_byte_crf_of_languages,
    "charner": tiny_charner,
    "encoder_crf": tiny_encoder_crf,
    "linear_tagger": tiny_linear_tagger,
    "meta_lstm": tiny_meta_lstm,
    "meta_lstm_of_vectors": tiny_meta_lstm_of_vectors,
    "slicer": tiny_slicer,
}


def saved_encoder(folder=None, **settings):
    """A folder with a tiny encoder and its tokenizer."""
    set_seed(0)
    folder = folder or tempfile.mkdtemp()
    tokenizer = character_pieces(mask_token="<mask>")
    AutoModel.from_config(encoder_config(vocab_size=len(tokenizer), **settings)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
