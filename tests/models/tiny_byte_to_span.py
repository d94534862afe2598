"""A tiny Byte-to-Span and its sentences as segments."""

import torch
from transformers import set_seed

from hf_polyglot import ByteToSpanConfig, ByteToSpanForConditionalGeneration, SpellingTokenizer
from hf_polyglot.data.byte_segments import SentenceSegments
from hf_polyglot.data.collators import SegmentCollator

from .tiny_models import EXAMPLES, LABELS, label_settings

COLUMNS = {name: [example[name] for example in EXAMPLES] for name in EXAMPLES[0]}


def tiny_byte_to_span(**settings):
    set_seed(0)
    sizes = {"embedding_size": 12, "hidden_size": 16, "num_hidden_layers": 2, "segment_bytes": 24,
             "segment_overlap": 12, "initializer_range": 0.15}  # fmt: skip
    model = ByteToSpanForConditionalGeneration(ByteToSpanConfig(**sizes | label_settings() | settings))
    return model, SpellingTokenizer.of_bytes()


def sentence_segments(config, columns=COLUMNS):
    return SentenceSegments(columns, LABELS, config.symbols, context=config.context)


def segment_batch(segments, indices=None):
    return SegmentCollator()([segments[index] for index in (range(len(segments)) if indices is None else indices)])


def fit(model, segments, epochs, learning_rate=5e-3, batch_size=64):
    """Trains on all segments, those of one length together."""
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    generator = torch.Generator().manual_seed(0)
    model.train()
    for _ in range(epochs):
        for indices in torch.randperm(len(segments), generator=generator).split(batch_size):
            optimizer.zero_grad()
            model(**segment_batch(segments, indices.tolist())).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
    return model.eval()
