"""Configuration of Byte-to-Span."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from .label_scheme import WORD_CLASSES, labels_of, types_of_labels
from .span_symbols import GO, PADDING, STOP, SpanSymbols


@strict
class ByteToSpanConfig(PreTrainedConfig):
    r"""
    Configuration of a [`ByteToSpanForConditionalGeneration`]. The defaults are those of Gillick et al. (2016).

    Its labels are tags of words, as those of every tagger here; the symbols are made from their entity types.

    Args:
        vocab_size (`int`, *optional*, defaults to 258):
            Number of input ids: 256 bytes behind padding and unknown. DROP is kept in one more.
        segment_bytes (`int`, *optional*, defaults to 60):
            Bytes that are read at once; a span that is longer can be neither learned nor found.
        segment_overlap (`int`, *optional*, defaults to 30):
            Bytes that a segment shares with the next when a text is read.
        context (`str`, *optional*, defaults to `"document"`):
            Where segments end: `"document"` runs on over the sentences of a document, or over all that are given where
            no documents are marked, as both papers do; `"sentence"` reads each sentence by itself.
        embedding_size (`int`, *optional*, defaults to 320):
            Width of the embedding of a byte, and of that of a symbol.
        hidden_size (`int`, *optional*, defaults to 320):
            Width of the LSTMs.
        num_hidden_layers (`int`, *optional*, defaults to 4):
            Layers of the LSTM that reads, and of the LSTM that writes.
        byte_dropout (`float`, *optional*, defaults to 0.3):
            Probability of replacing a byte by DROP in training.
        layer_dropout (`float`, *optional*, defaults to 0.5):
            Probability of zeroing a feature above each LSTM layer. The code of Mueller et al. (2020) keeps 0.8: 0.2.
        initializer_range (`float`, *optional*, defaults to 0.08):
            Weights begin uniform between minus this and this.
        label_scheme (`str`, *optional*, defaults to `"IOB2"`):
            Scheme of the labels: `"IOB1"`, `"IOB2"`, `"BIOES"` or `"plain"`.

    Reference:
        Gillick et al. (2016). https://aclanthology.org/N16-1155
        Mueller, Andrews and Dredze (2020), section 4.1. https://aclanthology.org/2020.acl-main.720
    """

    model_type = "byte_to_span"

    vocab_size: int = 258
    segment_bytes: int = 60
    segment_overlap: int = 30
    context: str = "document"
    embedding_size: int = 320
    hidden_size: int = 320
    num_hidden_layers: int = 4
    byte_dropout: float | int = 0.3
    layer_dropout: float | int = 0.5
    initializer_range: float | int = 0.08
    label_scheme: str = "IOB2"
    is_encoder_decoder: bool = True
    pad_token_id: int | None = PADDING
    decoder_start_token_id: int | None = GO
    eos_token_id: int | list[int] | None = STOP

    @property
    def symbols(self) -> SpanSymbols:
        """What the model writes."""
        return SpanSymbols(self.segment_bytes, tuple(types_of_labels(labels_of(self), self.label_scheme)))

    def validate_dropouts(self):
        for name in ("byte_dropout", "layer_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"`{name}` is {getattr(self, name)}; expected a probability in [0, 1).")

    def validate_sizes(self):
        for name in ("vocab_size", "segment_bytes", "embedding_size", "hidden_size", "num_hidden_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` is {getattr(self, name)}; expected at least 1.")

    def validate_overlap(self):
        if not 0 <= self.segment_overlap < self.segment_bytes:
            raise ValueError(
                f"`segment_overlap` is {self.segment_overlap}; expected 0 to {self.segment_bytes - 1}, less than "
                "`segment_bytes`."
            )

    def validate_label_scheme(self):
        if self.label_scheme in WORD_CLASSES:
            raise ValueError(
                f"`label_scheme` is {self.label_scheme!r}; expected a scheme of spans: Byte-to-Span writes where "
                "entities begin and end, and no class of every word. Use a byte-CRF."
            )

    def validate_context(self):
        if self.context not in ("document", "sentence"):
            raise ValueError(f"`context` is {self.context!r}; expected 'document' or 'sentence'.")


ByteToSpanConfig.register_for_auto_class()
