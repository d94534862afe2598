"""Configuration of the byte-CRF and char-CRF."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from .further_tasks import check_further_labels, without_absent_tasks
from .languages import check_languages


@strict
class ByteCRFConfig(PreTrainedConfig):
    r"""
    Configuration of a [`ByteCRFForTokenClassification`]. The sizes are those of Mueller et al. (2020), who do not
    give their dropout.

    Args:
        units (`str`, *optional*, defaults to `"bytes"`):
            What words are spelled with: `"bytes"` (UTF-8) or `"characters"`. The tokenizer decides; this records it.
        vocab_size (`int`, *optional*, defaults to 258):
            Number of units: 256 bytes, padding and unknown.
        embedding_size (`int`, *optional*, defaults to 256):
            Width of a unit's embedding.
        unit_hidden_size (`int`, *optional*, defaults to 256):
            Width of one direction of the BiLSTM over the units of a word.
        num_unit_layers (`int`, *optional*, defaults to 2):
            Layers of the BiLSTM over the units of a word.
        hidden_size (`int`, *optional*, defaults to 256):
            Width of one direction of the BiLSTM over the words of a sentence.
        num_hidden_layers (`int`, *optional*, defaults to 1):
            Layers of the BiLSTM over the words of a sentence.
        use_crf (`bool`, *optional*, defaults to `True`):
            True decodes the labels of a sentence jointly. False takes the most probable label of each word, as suits
            thousands of labels.
        max_units_per_word (`int`, *optional*, defaults to 64):
            Units kept of a longer word: its first and its last 32. 64 bytes are 21 Devanagari or Ethiopic letters.
        embedding_dropout (`float`, *optional*, defaults to 0.1):
            Probability of zeroing a feature of a unit's embedding.
        word_dropout (`float`, *optional*, defaults to 0.3):
            Probability of zeroing a feature of a word vector, before the sentence is read.
        sentence_dropout (`float`, *optional*, defaults to 0.3):
            Probability of zeroing a feature of a word in its sentence, before the emission scores.
        label_scheme (`str`, *optional*, defaults to `"IOB2"`):
            Scheme of the labels, whose illegal transitions get probability 0: `"IOB1"`, `"IOB2"`, `"BIOES"`;
            `"plain"`, where any label may follow any other; `"upos"` or `"feats"`, where each label is a class of its
            word.
        languages (`list[str]`, *optional*):
            Languages with transition scores of their own; sentences of any other take their mean. By default, one set
            of transition scores serves all.
        further_labels (`dict[str, list[str]]`, *optional*):
            Labels of further tasks, `"upos"` and `"feats"`, each of which has a head of its own, with a CRF if
            `use_crf`.
        loss_weights (`dict[str, float]`, *optional*):
            Of several tasks, by `label_scheme` and the names in `further_labels`: what a label of the task counts in
            the loss, 1 by default.

    Reference:
        Mueller, Andrews and Dredze (2020), section 4.1. https://aclanthology.org/2020.acl-main.720
    """

    model_type = "byte_crf"

    units: str = "bytes"
    vocab_size: int = 258
    embedding_size: int = 256
    unit_hidden_size: int = 256
    num_unit_layers: int = 2
    hidden_size: int = 256
    num_hidden_layers: int = 1
    use_crf: bool = True
    max_units_per_word: int = 64
    embedding_dropout: float | int = 0.1
    word_dropout: float | int = 0.3
    sentence_dropout: float | int = 0.3
    label_scheme: str = "IOB2"
    languages: list[str] | None = None
    further_labels: dict[str, list[str]] | None = None
    loss_weights: dict[str, float | int] | None = None
    pad_token_id: int | None = 0

    def validate_units(self):
        if self.units not in ("bytes", "characters"):
            raise ValueError(f"`units` is {self.units!r}; expected 'bytes' or 'characters'.")

    def validate_dropouts(self):
        for name in ("embedding_dropout", "word_dropout", "sentence_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"`{name}` is {getattr(self, name)}; expected a probability in [0, 1).")

    def to_dict(self):
        """The fields, as they are written."""
        return without_absent_tasks(super().to_dict())

    def validate_further_labels(self):
        check_further_labels(self)

    def validate_languages(self):
        check_languages(self.languages, use_crf=self.use_crf)

    def validate_sizes(self):
        for name in (
            "vocab_size", "embedding_size", "unit_hidden_size", "num_unit_layers", "hidden_size", "num_hidden_layers",
            "max_units_per_word",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` is {getattr(self, name)}; expected at least 1.")


ByteCRFConfig.register_for_auto_class()
