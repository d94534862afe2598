"""Configuration of SLICER."""

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

from .encoder_configuration import encoder_configuration
from .further_tasks import check_further_labels, without_absent_tasks


@strict
class SlicerConfig(PreTrainedConfig):
    r"""
    Configuration of a [`SlicerForTokenClassification`].

    Args:
        encoder_config (`PreTrainedConfig` or `dict`, *optional*):
            Configuration of the encoder, any that `AutoModel` loads. Defaults to that of XLM-R.
        slice_width (`int`, *optional*, defaults to 8):
            Width h of a slice of a token vector: 1, 2 or 8 in the paper. `None` leaves it whole, which is an ordinary
            head.
        train_classifier (`bool`, *optional*, defaults to `True`):
            True trains the weight of the classifier, as the paper says. False leaves it as it was initialised and
            trains its bias and the encoder only, as the published code does. Of several tasks, each classifier.
        classifier_dropout (`float`, *optional*, defaults to 0.1):
            Probability of zeroing a feature of a token vector, before it is sliced.
        max_pieces (`int`, *optional*, defaults to 510):
            Pieces that the encoder reads at once, special ones included. Longer sentences are read in overlapping
            windows.
        label_scheme (`str`, *optional*, defaults to `"IOB2"`):
            Scheme of the labels; `"upos"` or `"feats"` where each label is a class of its word.
        further_labels (`dict[str, list[str]]`, *optional*):
            Labels of further tasks, `"upos"` and `"feats"`, each of which has a classifier of its own, sliced alike.
        loss_weights (`dict[str, float]`, *optional*):
            Of several tasks, by `label_scheme` and the names in `further_labels`: what a label of the task counts in
            the loss, 1 by default.

    Reference:
        Schmidt, Vulić and Glavaš (2022), section 2. https://aclanthology.org/2022.emnlp-main.740
    """

    model_type = "slicer"
    sub_configs = {"encoder_config": AutoConfig}

    encoder_config: PreTrainedConfig | dict | None = None
    slice_width: int | None = 8
    train_classifier: bool = True
    classifier_dropout: float | int = 0.1
    max_pieces: int = 510
    label_scheme: str = "IOB2"
    further_labels: dict[str, list[str]] | None = None
    loss_weights: dict[str, float | int] | None = None

    def __post_init__(self, **kwargs):
        self.encoder_config = encoder_configuration(self.encoder_config)
        super().__post_init__(**kwargs)

    def validate_classifier_dropout(self):
        if not 0 <= self.classifier_dropout < 1:
            raise ValueError(f"`classifier_dropout` is {self.classifier_dropout}; expected a probability in [0, 1).")

    def validate_slice_width(self):
        hidden_size = getattr(self.encoder_config, "hidden_size", None)
        if self.slice_width is None:
            return
        if self.slice_width < 1 or (hidden_size is not None and hidden_size % self.slice_width):
            raise ValueError(
                f"`slice_width` is {self.slice_width}; expected a divisor of the encoder's hidden size, {hidden_size}."
            )

    def to_dict(self):
        """The fields, as they are written."""
        return without_absent_tasks(super().to_dict())

    def validate_further_labels(self):
        check_further_labels(self)


SlicerConfig.register_for_auto_class()
