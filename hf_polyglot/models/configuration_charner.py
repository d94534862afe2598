"""Configuration of CharNER."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


@strict
class CharNERConfig(PreTrainedConfig):
    r"""
    Configuration of a [`CharNERForTokenClassification`]. The defaults are those of Mueller et al. (2020), but for
    `max_units_per_word`: they keep every byte.

    Args:
        units (`str`, *optional*, defaults to `"bytes"`):
            What sentences are spelled with: `"bytes"` (UTF-8), as Mueller et al. have it, or `"characters"`, as Kuru
            et al. do. The tokenizer decides; this records it.
        vocab_size (`int`, *optional*, defaults to 258):
            Number of units: 256 bytes, padding and unknown.
        embedding_size (`int`, *optional*, defaults to 128):
            Width of a unit's embedding.
        hidden_size (`int`, *optional*, defaults to 128):
            Width of one direction of a BiLSTM layer.
        num_hidden_layers (`int`, *optional*, defaults to 5):
            BiLSTM layers over the units of a sentence.
        max_units_per_word (`int`, *optional*, defaults to 64):
            Units kept of a longer word: its first and its last 32. 64 bytes are 21 Devanagari or Ethiopic letters.
        unit_dropout (`float`, *optional*, defaults to 0.2):
            Probability of dropping a unit: its whole embedding becomes zero. Kuru et al. "drop characters", and the
            code of Mueller et al. drops whole bytes; neither drops single features of an embedding.
        layer_dropout (`float`, *optional*, defaults to 0.5):
            Probability of zeroing a feature between two layers.
        last_dropout (`float`, *optional*, defaults to 0.8):
            Probability of zeroing a feature between the last layer and the classifier.
        boundaries (`bool`, *optional*, defaults to `False`):
            Whether two adjacent words of one type are two entities where the space between them is outside of both,
            as the published code of Mueller et al. reads it. Without, they are one, as Kuru et al. read it. Decides
            how a trained model is decoded; training is the same.
        label_scheme (`str`, *optional*, defaults to `"IOB2"`):
            Scheme of the labels: `"IOB1"`, `"IOB2"`, `"BIOES"`, or `"plain"` for bare types;
            `"upos"` or `"feats"` where each label is a class of its word.

    Reference:
        Mueller, Andrews and Dredze (2020), section 4.1, and their code, `ner/models/charner.py` of
        https://github.com/davidandym/multilingual-NER. https://aclanthology.org/2020.acl-main.720
        Kuru, Can and Yuret (2016). https://aclanthology.org/C16-1087
    """

    model_type = "charner"

    units: str = "bytes"
    vocab_size: int = 258
    embedding_size: int = 128
    hidden_size: int = 128
    num_hidden_layers: int = 5
    max_units_per_word: int = 64
    unit_dropout: float | int = 0.2
    layer_dropout: float | int = 0.5
    last_dropout: float | int = 0.8
    boundaries: bool = False
    label_scheme: str = "IOB2"
    pad_token_id: int | None = 0

    def validate_units(self):
        if self.units not in ("bytes", "characters"):
            raise ValueError(f"`units` is {self.units!r}; expected 'bytes' or 'characters'.")

    def validate_dropouts(self):
        for name in ("unit_dropout", "layer_dropout", "last_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"`{name}` is {getattr(self, name)}; expected a probability in [0, 1).")

    def validate_sizes(self):
        for name in ("vocab_size", "embedding_size", "hidden_size", "num_hidden_layers", "max_units_per_word"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` is {getattr(self, name)}; expected at least 1.")


CharNERConfig.register_for_auto_class()
