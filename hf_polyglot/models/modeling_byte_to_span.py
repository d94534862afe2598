"""Byte-to-Span: reads a segment of bytes, writes its spans as symbols; nothing is pretrained, nothing is segmented.

Axes:
    batch     segments
    bytes     positions of the longest segment in the batch
    steps     symbols of the longest sequence in the batch
    symbols   ids of symbols
    layers    layers of an LSTM
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import GenerationMixin, LogitsProcessorList, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import ModelOutput, Seq2SeqLMOutput

from .configuration_byte_to_span import ByteToSpanConfig
from .label_loss import mean_over_labels
from .label_scheme import PADDING_LABEL
from .span_symbols import (
    FIRST_BYTE,
    FIRST_START,
    GO,
    PADDING,
    STOP,
    ScoredSpan,
    SpanGrammar,
    merge_spans,
    segment_starts,
)


class LSTMStates:
    """
    The state of the LSTM that writes: what `generate` keeps from symbol to symbol as `past_key_values`.

    Args:
        hidden (`Tensor` of shape `(layers, batch, hidden)`):
            Outputs of each layer at the last step.
        cell (`Tensor` of shape `(layers, batch, hidden)`):
            Memory of each layer.
        num_steps (`int`, *optional*, defaults to 0):
            Symbols read so far.
    """

    def __init__(self, hidden: Tensor, cell: Tensor, num_steps: int = 0):
        self.hidden = hidden
        self.cell = cell
        self.num_steps = num_steps

    def get_seq_length(self) -> int:
        """Symbols read so far."""
        return self.num_steps

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """
        Keep the states of these rows, in this order; beam search calls it.

        Args:
            beam_idx (`LongTensor` of shape `(batch,)`):
                Row that each row goes on from.
        """
        self.hidden = self.hidden.index_select(1, beam_idx.to(self.hidden.device))
        self.cell = self.cell.index_select(1, beam_idx.to(self.cell.device))


@dataclass
class ByteToSpanEncoderOutput(ModelOutput):
    """
    What is known of a segment when it has been read.

    Args:
        last_hidden_state (`Tensor` of shape `(batch, bytes, hidden)`):
            Output of the top layer at each byte; what stands on padding is not defined.
        final_hidden (`Tensor` of shape `(batch, layers, hidden)`):
            Output of each layer at the last byte of each segment.
        final_cell (`Tensor` of shape `(batch, layers, hidden)`):
            Memory of each layer behind it.
    """

    last_hidden_state: Any = None
    final_hidden: Any = None
    final_cell: Any = None


@dataclass
class ByteToSpanModelOutput(ModelOutput):
    """
    What the LSTM that writes says.

    Args:
        last_hidden_state (`Tensor` of shape `(batch, steps, hidden)`):
            Output of its top layer at each symbol.
        past_key_values ([`LSTMStates`]):
            Its states behind the last.
        encoder_last_hidden_state (`Tensor` of shape `(batch, bytes, hidden)`):
            Output at each byte of the LSTM that reads.
    """

    last_hidden_state: Any = None
    past_key_values: Any = None
    encoder_last_hidden_state: Any = None


@dataclass
class ReadBytes:
    """
    What a model found in one text.

    Args:
        spans (`list[ScoredSpan]`):
            Its spans, in bytes, sorted, without overlaps.
        start_probabilities (`np.ndarray` of shape `(bytes,)`):
            Probability that a span begins at each byte: the largest that any segment gave to it.
    """

    spans: list[ScoredSpan]
    start_probabilities: np.ndarray


class ByteToSpanPreTrainedModel(PreTrainedModel):
    """What the LSTMs and the model that writes symbols share."""

    config_class = ByteToSpanConfig
    base_model_prefix = "byte_to_span"
    main_input_name = "input_ids"
    input_form = "byte_segments"

    def _init_weights(self, module):
        if isinstance(module, nn.Embedding | nn.Linear | nn.LSTM):
            for parameter in module.parameters(recurse=False):
                init.uniform_(parameter, -self.config.initializer_range, self.config.initializer_range)


class ByteToSpanEncoder(nn.Module):
    """The LSTM that reads bytes, left to right."""

    def __init__(self, config: ByteToSpanConfig):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size + 1, config.embedding_size)
        self.lstm = _lstm(config)

    def forward(self, input_ids: Tensor, **kwargs) -> ByteToSpanEncoderOutput:
        """
        States after every byte and after the last.

        Args:
            input_ids (`LongTensor` of shape `(batch, bytes)`):
                Bytes, 0 on padding, which is on the right. Rows of one length are read fastest.
            kwargs:
                Ignored; what transformers hands to every encoder.

        Returns:
            [`ByteToSpanEncoderOutput`].
        """
        lengths = input_ids.ne(PADDING).sum(1)
        if self.training and self.config.byte_dropout:
            is_dropped = torch.rand(input_ids.shape, device=input_ids.device) < self.config.byte_dropout
            input_ids = input_ids.masked_fill(is_dropped, self.config.vocab_size)
        embedded = self.embedding(input_ids)  # (batch, bytes, embedding)
        # Nearly all segments of a document are full, and a packed sequence takes a CPU up to five times as long.
        if bool((lengths == input_ids.shape[1]).all()):
            states, (hidden, cell) = _run_lstm(self.lstm, embedded)
        else:
            packed = nn.utils.rnn.pack_padded_sequence(
                embedded, lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False
            )
            packed_states, (hidden, cell) = _run_lstm(self.lstm, packed)
            states, _ = nn.utils.rnn.pad_packed_sequence(
                packed_states, batch_first=True, total_length=input_ids.shape[1]
            )
        return ByteToSpanEncoderOutput(
            last_hidden_state=states, final_hidden=hidden.transpose(0, 1), final_cell=cell.transpose(0, 1)
        )


class ByteToSpanDecoder(nn.Module):
    """The LSTM that writes symbols, each after the one before."""

    def __init__(self, config: ByteToSpanConfig):
        super().__init__()
        self.embedding = nn.Embedding(len(config.symbols), config.embedding_size)
        self.lstm = _lstm(config)
        self.dropout = nn.Dropout(config.layer_dropout)

    def forward(self, input_ids: Tensor, states: LSTMStates) -> tuple[Tensor, LSTMStates]:
        """
        Output of the top layer at each symbol, `(batch, steps, hidden)`, and the states behind the last.

        Args:
            input_ids (`LongTensor` of shape `(batch, steps)`):
                Symbols.
            states ([`LSTMStates`]):
                Where to go on from.
        """
        embedded = self.embedding(input_ids)  # (batch, steps, embedding)
        outputs, (hidden, cell) = _run_lstm(self.lstm, embedded, (states.hidden, states.cell))
        return self.dropout(outputs), LSTMStates(hidden, cell, states.num_steps + input_ids.shape[1])


class ByteToSpanModel(ByteToSpanPreTrainedModel):
    """The LSTM that reads bytes, and the LSTM that goes on from its last states and writes."""

    _keys_to_ignore_on_load_unexpected = [r"classifier\."]

    def __init__(self, config: ByteToSpanConfig):
        super().__init__(config)
        self.encoder = ByteToSpanEncoder(config)
        self.decoder = ByteToSpanDecoder(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The embeddings of the bytes."""
        return self.encoder.embedding

    def get_encoder(self, modality: str | None = None) -> nn.Module:
        """
        The LSTM that reads.

        Args:
            modality (`str`, *optional*):
                Of no meaning here.
        """
        return self.encoder

    def forward(
        self,
        input_ids: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        encoder_outputs: ByteToSpanEncoderOutput | None = None,
        past_key_values: LSTMStates | None = None,
        **kwargs,
    ) -> ByteToSpanModelOutput:
        """
        Output at each symbol, and the states behind the last.

        Args:
            input_ids (`LongTensor` of shape `(batch, bytes)`, *optional*):
                Bytes, 0 on padding. Not needed with `encoder_outputs`.
            decoder_input_ids (`LongTensor` of shape `(batch, steps)`, *optional*):
                GO and the symbols behind it, or with `past_key_values` those that are new. Without them, the bytes are
                read and GO alone is.
            encoder_outputs ([`ByteToSpanEncoderOutput`], *optional*):
                Of the bytes.
            past_key_values ([`LSTMStates`], *optional*):
                Of the symbols before.
            kwargs:
                Ignored; what transformers hands to every model.

        Returns:
            [`ByteToSpanModelOutput`].
        """
        if encoder_outputs is None:
            encoder_outputs = self.encoder(input_ids)
        if past_key_values is None:
            past_key_values = LSTMStates(
                encoder_outputs.final_hidden.transpose(0, 1).contiguous(),
                encoder_outputs.final_cell.transpose(0, 1).contiguous(),
            )
        if decoder_input_ids is None:
            rows = len(encoder_outputs.final_hidden)
            decoder_input_ids = torch.full((rows, 1), GO, device=encoder_outputs.final_hidden.device)
        outputs, states = self.decoder(decoder_input_ids, past_key_values)
        return ByteToSpanModelOutput(
            last_hidden_state=outputs,
            past_key_values=states,
            encoder_last_hidden_state=encoder_outputs.last_hidden_state,
        )


class ByteToSpanForConditionalGeneration(ByteToSpanPreTrainedModel, GenerationMixin):
    """
    [`ByteToSpanModel`] that writes the spans of segments of bytes. `generate` gives symbols, greedily or by beam
    search, and well-formed ones only; `find_spans` gives the spans of whole texts.

    Reference:
        Gillick et al. (2016). https://aclanthology.org/N16-1155
        Mueller, Andrews and Dredze (2020), section 4.1. https://aclanthology.org/2020.acl-main.720
    """

    # The loss is divided by `num_items_in_batch`, the symbols of all accumulated batches on all processes, so that
    # gradient accumulation and several processes give the gradient of one big batch.
    accepts_loss_kwargs = True

    def __init__(self, config: ByteToSpanConfig):
        super().__init__(config)
        # Saving notes the class under one auto class. It is asked for by two, and the base model by a third.
        config.auto_map = {
            "AutoModel": "modeling_byte_to_span.ByteToSpanModel",
            "AutoModelForTokenClassification": "modeling_byte_to_span.ByteToSpanForConditionalGeneration",
        } | (getattr(config, "auto_map", None) or {})
        self.byte_to_span = ByteToSpanModel(config)
        self.classifier = nn.Linear(config.hidden_size, len(config.symbols))
        self.post_init()

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        # `generate` would make keys and values of attention; here the first forward pass makes the states.
        return False

    def get_encoder(self, modality: str | None = None) -> nn.Module:
        """
        The LSTM that reads.

        Args:
            modality (`str`, *optional*):
                Of no meaning here.
        """
        return self.byte_to_span.encoder

    def forward(
        self,
        input_ids: Tensor | None = None,
        labels: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        encoder_outputs: ByteToSpanEncoderOutput | None = None,
        past_key_values: LSTMStates | None = None,
        use_cache: bool | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs,
    ) -> Seq2SeqLMOutput:
        """
        Scores of every symbol at each step, and the loss when the right symbols are given.

        Args:
            input_ids (`LongTensor` of shape `(batch, bytes)`, *optional*):
                Bytes, 0 on padding. Not needed with `encoder_outputs`.
            labels (`LongTensor` of shape `(batch, steps)`, *optional*):
                The right symbols, STOP behind the last span, -100 on padding.
            decoder_input_ids (`LongTensor` of shape `(batch, steps)`, *optional*):
                What was written before each step; made from `labels` if these are given.
            encoder_outputs ([`ByteToSpanEncoderOutput`], *optional*):
                Of the bytes.
            past_key_values ([`LSTMStates`], *optional*):
                Of the symbols before.
            use_cache (`bool`, *optional*):
                Whether to give back the states behind the last symbol.
            num_items_in_batch (`int` or `Tensor` of shape `()`, *optional*):
                Symbols that the loss is averaged over, defaults to those of this batch.
            kwargs:
                Ignored; what transformers hands to every model.

        Returns:
            `Seq2SeqLMOutput`: `loss` is the cross-entropy in nats per symbol; `logits` are of shape
            `(batch, steps, symbols)`.
        """
        if decoder_input_ids is None and labels is not None:
            before = labels[:, :-1].masked_fill(labels[:, :-1] == PADDING_LABEL, PADDING)
            decoder_input_ids = nn.functional.pad(before, (1, 0), value=GO)  # (batch, steps)
        outputs = self.byte_to_span(input_ids, decoder_input_ids, encoder_outputs, past_key_values)
        logits = self.classifier(outputs.last_hidden_state)  # (batch, steps, symbols)

        loss = None
        if labels is not None:
            total = nn.functional.cross_entropy(
                logits.float().flatten(0, 1), labels.flatten(), ignore_index=PADDING_LABEL, reduction="sum"
            )
            loss = mean_over_labels(total, labels, num_items_in_batch)
        return Seq2SeqLMOutput(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values if use_cache else None,
            encoder_last_hidden_state=outputs.encoder_last_hidden_state,
        )

    @torch.no_grad()
    def generate(self, inputs: Tensor | None = None, *, logits_processor: list | None = None, **kwargs):
        """
        Symbols of each segment, GO at their head, 0 behind STOP: transformers' `generate`, held to [`SpanGrammar`].

        Args:
            inputs (`LongTensor` of shape `(batch, bytes)`):
                Bytes, 0 on padding; `input_ids` is another name for it.
            logits_processor (`list[LogitsProcessor]`, *optional*):
                What else changes the scores.
            kwargs:
                As in transformers, such as `num_beams`. Beams are compared by the probability of the whole sequence,
                unless `length_penalty` says otherwise.

        Returns:
            `LongTensor` of shape `(batch, steps)`, or what `return_dict_in_generate` asks for.
        """
        input_ids = kwargs.pop("input_ids", None) if inputs is None else inputs
        symbols = self.config.symbols
        grammar = SpanGrammar(symbols, input_ids.ne(PADDING).sum(1))
        num_beams = kwargs.get("num_beams", self.generation_config.num_beams) or 1
        defaults = {"max_new_tokens": symbols.most_symbols} if "max_length" not in kwargs else {}
        defaults |= {"length_penalty": 0.0} if num_beams > 1 else {}
        defaults |= {"pad_token_id": PADDING, "decoder_start_token_id": GO, "eos_token_id": STOP}
        processors = LogitsProcessorList([*(logits_processor or []), grammar])
        output = super().generate(input_ids, logits_processor=processors, **defaults | kwargs)
        sequences = output if isinstance(output, Tensor) else output.sequences
        # Where the id of padding is 0, beam search fills up with STOP.
        is_stop = sequences.eq(STOP)
        sequences.masked_fill_(is_stop.cumsum(1) > is_stop.long(), PADDING)
        return output

    @torch.no_grad()
    def find_spans(self, texts: Sequence[bytes], batch_size: int = 128) -> list[ReadBytes]:
        """
        The spans of texts of any length, read in segments that overlap.

        Beams are as many as `generation_config.num_beams` says.

        Args:
            texts (`Sequence[bytes]`):
                UTF-8.
            batch_size (`int`, *optional*, defaults to 128):
                Segments read at once.
        """
        size = self.config.segment_bytes
        segments = [
            (text, first, content[first : first + size])
            for text, content in enumerate(texts)
            for first in segment_starts(len(content), size, self.config.segment_overlap)
        ]
        # Full segments together: see the encoder.
        segments.sort(key=lambda segment: -len(segment[2]))
        found: list[list[tuple[int, list[ScoredSpan]]]] = [[] for _ in texts]
        start_probabilities = [np.zeros(len(content), dtype=np.float32) for content in texts]
        was_training = self.training
        self.eval()
        for begin in range(0, len(segments), batch_size):
            batch = segments[begin : begin + batch_size]
            spans, starts = self._read_segments([content for _, _, content in batch])
            for (text, first, content), of_segment, probabilities in zip(batch, spans, starts, strict=True):
                found[text].append((first, of_segment))
                known = start_probabilities[text][first : first + len(content)]
                np.maximum(known, probabilities[: len(content)], out=known)
        self.train(was_training)
        return [
            ReadBytes(merge_spans(of_text), probabilities)
            for of_text, probabilities in zip(found, start_probabilities, strict=True)
        ]

    def _read_segments(self, contents: list[bytes]) -> tuple[list[list[ScoredSpan]], np.ndarray]:
        """Spans of each segment, in its own bytes, and the probability that one starts at each, `(batch, bytes)`."""
        symbols = self.config.symbols
        input_ids = segment_ids(contents).to(self.device)
        written = self.generate(input_ids)[:, 1:]  # (batch, steps)
        labels = written.masked_fill(written == PADDING, PADDING_LABEL)
        probabilities = self(input_ids, labels=labels).logits.float().softmax(2)  # (batch, steps, symbols)
        chosen = probabilities.gather(2, written[:, :, None]).squeeze(2).tolist()  # (batch, steps)
        spans = [
            [
                ScoredSpan(start, end, entity_type, float(np.prod(scores[3 * index : 3 * index + 3])))
                for index, (start, end, entity_type) in enumerate(symbols.decode(ids))
            ]
            for ids, scores in zip(written.tolist(), chosen, strict=True)
        ]
        is_written = written[:, ::3].ne(PADDING)[:, :, None]
        starts = probabilities[:, ::3, FIRST_START : symbols.first_length] * is_written
        return spans, starts.amax(1).cpu().numpy()  # (batch, bytes)


def segment_ids(contents: Sequence[bytes]) -> Tensor:
    """
    Input ids of segments, of shape `(batch, bytes)`: the value of a byte plus 2, 0 on padding.

    Args:
        contents (`Sequence[bytes]`):
            Bytes of each segment.

    Example:
        >>> segment_ids([b"abc", b"a"]).tolist()
        [[99, 100, 101], [99, 0, 0]]
    """
    rows = [torch.from_numpy(np.frombuffer(content, dtype=np.uint8).astype(np.int64)) for content in contents]
    return nn.utils.rnn.pad_sequence([row + FIRST_BYTE for row in rows], batch_first=True, padding_value=PADDING)


def _lstm(config: ByteToSpanConfig) -> nn.LSTM:
    dropout = config.layer_dropout if config.num_hidden_layers > 1 else 0
    return nn.LSTM(
        config.embedding_size, config.hidden_size, config.num_hidden_layers, batch_first=True, dropout=dropout
    )


def _run_lstm(lstm: nn.LSTM, inputs, states: tuple[Tensor, Tensor] | None = None):
    """The LSTM's outputs and last states, in its own precision on a CPU."""
    if not lstm.weight_hh_l0.is_cpu:
        return lstm(inputs, states)
    # On processors without bfloat16 instructions torch's LSTM raises an error under autocast.
    dtype: Any = lstm.weight_hh_l0.dtype
    with torch.autocast("cpu", enabled=False):
        states = None if states is None else (states[0].to(dtype), states[1].to(dtype))
        return lstm(inputs.to(dtype), states)


ByteToSpanModel.register_for_auto_class("AutoModel")
ByteToSpanForConditionalGeneration.register_for_auto_class("AutoModelForSeq2SeqLM")
