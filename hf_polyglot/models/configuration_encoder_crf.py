"""Configuration of the encoder-CRF."""

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

from .encoder_configuration import encoder_configuration
from .further_tasks import check_further_labels, without_absent_tasks
from .languages import check_languages


@strict
class EncoderCRFConfig(PreTrainedConfig):
    r"""
    Configuration of an [`EncoderCRFForTokenClassification`]. Its defaults are the mBERT-CRF of Mueller et al. (2020),
    who do not give their dropout. One layer, no BiLSTM and no CRF make the linear tagger of Devlin et al. (2019).

    Args:
        encoder_config (`PreTrainedConfig` or `dict`, *optional*):
            Configuration of the encoder, any that `AutoModel` loads. Defaults to that of XLM-R.
        num_concatenated_layers (`int`, *optional*, defaults to 4):
            Last layers of the encoder whose vectors of a word's first piece are concatenated to the word's vector.
        hidden_size (`int`, *optional*, defaults to 256):
            Width of one direction of the BiLSTM over the words of a sentence.
        num_hidden_layers (`int`, *optional*, defaults to 1):
            Layers of the BiLSTM over the words of a sentence; 0 leaves it out.
        use_crf (`bool`, *optional*, defaults to `True`):
            True decodes the labels of a sentence jointly. False takes the most probable label of each word.
        word_dropout (`float`, *optional*, defaults to 0.1):
            Probability of zeroing a feature of a word vector, before the sentence is read.
        sentence_dropout (`float`, *optional*, defaults to 0.3):
            Probability of zeroing a feature of the BiLSTM's output.
        max_pieces (`int`, *optional*, defaults to 510):
            Pieces that the encoder reads at once, special ones included. Longer sentences are read in overlapping
            windows.
        label_scheme (`str`, *optional*, defaults to `"IOB2"`):
            Scheme of the labels, whose illegal transitions get probability 0 in the CRF; `"upos"` or `"feats"` where
            each label is a class of its word.
        languages (`list[str]`, *optional*):
            Languages with transition scores of their own; sentences of any other take their mean. By default, one set
            of transition scores serves all.
        further_labels (`dict[str, list[str]]`, *optional*):
            Labels of further tasks, `"upos"` and `"feats"`, each of which has a head of its own, with a CRF if
            `use_crf`.
        loss_weights (`dict[str, float]`, *optional*):
            Of several tasks, by `label_scheme` and the names in `further_labels`: what a label of the task counts in
            the loss, 1 by default.

    References:
        Mueller, Andrews and Dredze (2020), section 4.1. https://aclanthology.org/2020.acl-main.720
        Devlin, Chang, Lee and Toutanova (2019), section 5.3. https://aclanthology.org/N19-1423
    """

    model_type = "encoder_crf"
    sub_configs = {"encoder_config": AutoConfig}

    encoder_config: PreTrainedConfig | dict | None = None
    num_concatenated_layers: int = 4
    hidden_size: int = 256
    num_hidden_layers: int = 1
    use_crf: bool = True
    word_dropout: float | int = 0.1
    sentence_dropout: float | int = 0.3
    max_pieces: int = 510
    label_scheme: str = "IOB2"
    languages: list[str] | None = None
    further_labels: dict[str, list[str]] | None = None
    loss_weights: dict[str, float | int] | None = None

    def __post_init__(self, **kwargs):
        self.encoder_config = encoder_configuration(self.encoder_config)
        super().__post_init__(**kwargs)

    def validate_dropouts(self):
        for name in ("word_dropout", "sentence_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"`{name}` is {getattr(self, name)}; expected a probability in [0, 1).")

    def validate_sizes(self):
        for name, least in (("num_concatenated_layers", 1), ("hidden_size", 1), ("num_hidden_layers", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"`{name}` is {getattr(self, name)}; expected at least {least}.")
        encoder_layers = getattr(self.encoder_config, "num_hidden_layers", None)
        if encoder_layers is not None and self.num_concatenated_layers > encoder_layers:
            raise ValueError(
                f"`num_concatenated_layers` is {self.num_concatenated_layers}; expected at most the {encoder_layers} "
                "layers of the encoder."
            )

    def to_dict(self):
        """The fields, as they are written."""
        return without_absent_tasks(super().to_dict())

    def validate_further_labels(self):
        check_further_labels(self)

    def validate_languages(self):
        check_languages(self.languages, use_crf=self.use_crf)


EncoderCRFConfig.register_for_auto_class()
