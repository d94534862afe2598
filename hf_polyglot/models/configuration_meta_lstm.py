"""Configuration of the Meta-LSTM."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from .further_tasks import check_further_labels, without_absent_tasks

PRETRAINED_VECTORS = ("none", "frozen", "trained")


@strict
class MetaLSTMConfig(PreTrainedConfig):
    r"""
    Configuration of a [`MetaLSTMForTokenClassification`]. `embedding_size`, `mlp_size`, `word_vector_size` and the
    dropouts are those of the code that Bohnet et al. published, which says that its LSTMs are smaller than the
    paper's; see `recipes/presets/meta_lstm-paper.args` for what is known of these. Words are no longer than 64 units.

    Args:
        units (`str`, *optional*, defaults to `"characters"`):
            What sentences are spelled with: `"characters"` or `"bytes"` (UTF-8). The tokenizer decides; this records
            it.
        vocab_size (`int`, *optional*, defaults to 258):
            Number of units, padding and unknown among them.
        num_words (`int`, *optional*, defaults to 1):
            Rows of the table of words: those that the tokenizer knows, and the one of unknown words.
        num_trained_words (`int`, *optional*, defaults to 1):
            The first rows of that table, whose words have a trained vector of their own. All others share that of
            unknown words, beside their pretrained vector.
        pretrained_vectors (`str`, *optional*, defaults to `"none"`):
            `"frozen"`: each row has a pretrained vector, which is added to the trained one and stays as it is.
            `"trained"`: it is trained too. `"none"`: trained vectors alone, random at first.
        num_subwords (`int`, *optional*, defaults to 0):
            Rows of the table of character n-grams, of whose pretrained vectors unknown words are the mean.
        embedding_size (`int`, *optional*, defaults to 100):
            Width of a unit's embedding.
        unit_hidden_size (`int`, *optional*, defaults to 300):
            Width of one direction of the BiLSTM over the units of a sentence.
        num_unit_layers (`int`, *optional*, defaults to 2):
            Layers of that BiLSTM.
        word_vector_size (`int`, *optional*, defaults to 100):
            Width of a word's vector.
        word_hidden_size (`int`, *optional*, defaults to 300):
            Width of one direction of the BiLSTM over the words of a sentence.
        num_word_layers (`int`, *optional*, defaults to 2):
            Layers of that BiLSTM.
        hidden_size (`int`, *optional*, defaults to 300):
            Width of one direction of the joint BiLSTM.
        num_hidden_layers (`int`, *optional*, defaults to 1):
            Layers of the joint BiLSTM.
        mlp_size (`int`, *optional*, defaults to 300):
            Width of what each of the three hands on: to its classifier, and to the joint BiLSTM.
        max_units_per_word (`int`, *optional*, defaults to 64):
            Units kept of a longer word: its first and its last 32.
        unit_dropout (`float`, *optional*, defaults to 0.05):
            Probability of dropping a unit: its whole embedding becomes zero.
        word_dropout (`float`, *optional*, defaults to 0.33):
            Probability of dropping a word's trained vector, and its pretrained one, each as a whole.
        layer_dropout (`float`, *optional*, defaults to 0.33):
            Probability of zeroing a feature between two layers of a BiLSTM.
        mlp_dropout (`float`, *optional*, defaults to 0.33):
            Probability of zeroing a feature behind a BiLSTM and before a classifier, and of dropping what the joint
            BiLSTM reads of a word from either of the others.
        label_scheme (`str`, *optional*, defaults to `"IOB2"`):
            Scheme of the labels: `"IOB1"`, `"IOB2"`, `"BIOES"`, or `"plain"` for bare types;
            `"upos"` or `"feats"` where each label is a class of its word.
        further_labels (`dict[str, list[str]]`, *optional*):
            Labels of further tasks, `"upos"` and `"feats"`, for each of which every part has a classifier.
        loss_weights (`dict[str, float]`, *optional*):
            Of several tasks, by `label_scheme` and the names in `further_labels`: what a label of the task counts in
            the loss, 1 by default.

    Reference:
        Bohnet, McDonald, Simões, Andor, Pitler and Maynez (2018). https://aclanthology.org/P18-1246
        Their code: https://github.com/google/meta_tagger
    """

    model_type = "meta_lstm"

    units: str = "characters"
    vocab_size: int = 258
    num_words: int = 1
    num_trained_words: int = 1
    pretrained_vectors: str = "none"
    num_subwords: int = 0
    embedding_size: int = 100
    unit_hidden_size: int = 300
    num_unit_layers: int = 2
    word_vector_size: int = 100
    word_hidden_size: int = 300
    num_word_layers: int = 2
    hidden_size: int = 300
    num_hidden_layers: int = 1
    mlp_size: int = 300
    max_units_per_word: int = 64
    unit_dropout: float | int = 0.05
    word_dropout: float | int = 0.33
    layer_dropout: float | int = 0.33
    mlp_dropout: float | int = 0.33
    label_scheme: str = "IOB2"
    pad_token_id: int | None = 0
    further_labels: dict[str, list[str]] | None = None
    loss_weights: dict[str, float | int] | None = None

    def validate_units(self):
        if self.units not in ("bytes", "characters"):
            raise ValueError(f"`units` is {self.units!r}; expected 'bytes' or 'characters'.")

    def validate_words(self):
        if self.pretrained_vectors not in PRETRAINED_VECTORS:
            raise ValueError(
                f"`pretrained_vectors` is {self.pretrained_vectors!r}; expected {' or '.join(PRETRAINED_VECTORS)}."
            )
        most, least = self.num_words, 1 if self.pretrained_vectors != "none" else self.num_words
        if not least <= self.num_trained_words <= most:
            raise ValueError(
                f"`num_trained_words` is {self.num_trained_words}; expected {least} to {most}. Without pretrained "
                "vectors, each of the `num_words` has a trained one."
            )
        if self.num_subwords and self.pretrained_vectors == "none":
            raise ValueError(
                f"`num_subwords` is {self.num_subwords} and `pretrained_vectors` is 'none'; expected 0, for n-grams "
                "have pretrained vectors only."
            )

    def validate_dropouts(self):
        for name in ("unit_dropout", "word_dropout", "layer_dropout", "mlp_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"`{name}` is {getattr(self, name)}; expected a probability in [0, 1).")

    def validate_sizes(self):
        for name in (
            "vocab_size", "num_words", "embedding_size", "unit_hidden_size", "num_unit_layers", "word_vector_size",
            "word_hidden_size", "num_word_layers", "hidden_size", "num_hidden_layers", "mlp_size",
            "max_units_per_word",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` is {getattr(self, name)}; expected at least 1.")

    def to_dict(self):
        """The fields, as they are written."""
        return without_absent_tasks(super().to_dict())

    def validate_further_labels(self):
        check_further_labels(self)


MetaLSTMConfig.register_for_auto_class()
