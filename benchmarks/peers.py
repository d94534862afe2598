"""The networks of this package as one would write them with packed LSTMs, and the taggers of flair and spaCy."""

import importlib
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchcrf import CRF
from transformers import PreTrainedConfig

PADDING_LABEL = -100


def read_packed(lstm: nn.LSTM, vectors: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Output at every step, and the last state of the top layer in each direction side by side."""
    packed = nn.utils.rnn.pack_padded_sequence(vectors, lengths.cpu(), batch_first=True, enforce_sorted=False)
    states, (hidden, _) = lstm(packed)
    padded, _ = nn.utils.rnn.pad_packed_sequence(states, batch_first=True, total_length=vectors.shape[1])
    return padded, torch.cat([hidden[-2], hidden[-1]], 1)


class PackedByteCRF(nn.Module):
    """A byte-CRF of the same sizes that spells every word of a batch."""

    def __init__(self, config: PreTrainedConfig):
        super().__init__()
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        sizes = {"batch_first": True, "bidirectional": True}
        self.spelling = nn.LSTM(config.embedding_size, config.unit_hidden_size, config.num_unit_layers, **sizes)
        self.reading = nn.LSTM(2 * config.unit_hidden_size, config.hidden_size, config.num_hidden_layers, **sizes)
        self.dropouts = nn.ModuleList(
            map(nn.Dropout, (config.embedding_dropout, config.word_dropout, config.sentence_dropout))
        )
        self.classifier = nn.Linear(2 * config.hidden_size, config.num_labels)
        self.crf = CRF(config.num_labels, batch_first=True)

    def emissions(self, input_ids: Tensor, word_indices: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of the labels, and which words there are."""
        mask = word_indices >= 0
        spelled = input_ids[word_indices[mask]]  # (words, units)
        lengths = spelled.ne(0).sum(1)
        spelled = spelled[:, : int(lengths.max())]
        _, vectors = read_packed(self.spelling, self.dropouts[0](self.embedding(spelled)), lengths)
        words = vectors.new_zeros(*mask.shape, vectors.shape[1])
        words[mask] = self.dropouts[1](vectors)
        states, _ = read_packed(self.reading, words, mask.sum(1))
        return self.classifier(self.dropouts[2](states)), mask

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        """Negative log-likelihood a word."""
        emissions, mask = self.emissions(batch["input_ids"], batch["word_indices"])
        return -self.crf(emissions, batch["labels"].clamp(min=0), mask, reduction="token_mean")

    def decode(self, batch: dict[str, Tensor]) -> list[list[int]]:
        """Label ids of every sentence."""
        return self.crf.decode(*self.emissions(batch["input_ids"], batch["word_indices"]))


class PackedCharNER(nn.Module):
    """A CharNER of the same sizes."""

    def __init__(self, config: PreTrainedConfig, num_types: int):
        super().__init__()
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        self.lstm = nn.LSTM(
            config.embedding_size, config.hidden_size, config.num_hidden_layers,
            batch_first=True, bidirectional=True, dropout=config.layer_dropout,
        )  # fmt: skip
        self.classifier = nn.Linear(2 * config.hidden_size, num_types)

    def loss(self, input_ids: Tensor, types: Tensor) -> Tensor:
        """Cross-entropy a unit."""
        states, _ = read_packed(self.lstm, self.embedding(input_ids), input_ids.ne(0).sum(1))
        return nn.functional.cross_entropy(
            self.classifier(states).flatten(0, 1), types.flatten(), ignore_index=PADDING_LABEL
        )


class PackedByteToSpan(nn.Module):
    """A Byte-to-Span of the same sizes."""

    def __init__(self, config: PreTrainedConfig, num_symbols: int):
        super().__init__()
        sizes = {"num_layers": config.num_hidden_layers, "batch_first": True}
        sizes["dropout"] = config.layer_dropout if config.num_hidden_layers > 1 else 0
        self.reads = nn.Embedding(config.vocab_size + 1, config.embedding_size)
        self.writes = nn.Embedding(num_symbols, config.embedding_size)
        self.encoder = nn.LSTM(config.embedding_size, config.hidden_size, **sizes)
        self.decoder = nn.LSTM(config.embedding_size, config.hidden_size, **sizes)
        self.classifier = nn.Linear(config.hidden_size, num_symbols)

    def loss(self, input_ids: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy a symbol."""
        lengths = input_ids.ne(0).sum(1).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(
            self.reads(input_ids), lengths, batch_first=True, enforce_sorted=False
        )
        _, states = self.encoder(packed)
        before = nn.functional.pad(labels[:, :-1].clamp(min=0), (1, 0), value=1)
        steps = labels.ne(PADDING_LABEL).sum(1).cpu()
        written = nn.utils.rnn.pack_padded_sequence(self.writes(before), steps, batch_first=True, enforce_sorted=False)
        outputs, _ = nn.utils.rnn.pad_packed_sequence(self.decoder(written, states)[0], batch_first=True)
        return nn.functional.cross_entropy(
            self.classifier(outputs).flatten(0, 1), labels.flatten(), ignore_index=PADDING_LABEL
        )


def flair_tagger(
    config: PreTrainedConfig, sentences: Sequence[Sequence[str]], tags: Sequence[Sequence[str]]
) -> tuple[Any, list]:
    """flair's BiLSTM-CRF with a character LSTM of the same sizes, and its sentences."""
    # flair 0.15 asks transformers for what version 5 no longer has, for embeddings that are not used here.
    missing = types.ModuleType("flair.embeddings.transformer")

    def stand_in(name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})

    missing.__getattr__ = stand_in  # type: ignore[method-assign]
    sys.modules.setdefault("flair.embeddings.transformer", missing)
    data, embeddings, models = (importlib.import_module(f"flair.{name}") for name in ("data", "embeddings", "models"))
    importlib.import_module("flair").device = torch.device("cpu")
    labels = data.Dictionary(add_unk=False)
    for tag in sorted({tag.split("-")[-1] for of_sentence in tags for tag in of_sentence}):
        labels.add_item(tag)
    characters = data.Dictionary()
    for character in sorted({letter for words in sentences for word in words for letter in word}):
        characters.add_item(character)
    tagger = models.SequenceTagger(
        embeddings.CharacterEmbeddings(characters, config.embedding_size, config.unit_hidden_size),
        labels, "ner", tag_format="BIO", hidden_size=config.hidden_size, rnn_layers=config.num_hidden_layers,
        reproject_embeddings=False,
    )  # fmt: skip
    prepared = []
    for words, of_sentence in zip(sentences, tags, strict=True):
        sentence = data.Sentence(list(words))
        start = 0
        while start < len(words):
            end = start + 1
            if of_sentence[start] != "O":
                while end < len(words) and of_sentence[end].startswith("I-"):
                    end += 1
                sentence[start:end].add_label("ner", of_sentence[start].split("-")[-1])
            start = end
        prepared.append(sentence)
    return tagger, prepared


def spacy_pipeline(labels: Sequence[str]) -> Any:
    """spaCy's blank multi-language pipeline with its default CNN and transition parser, untrained."""
    pipeline = importlib.import_module("spacy").blank("xx")
    recogniser = pipeline.add_pipe("ner")
    for label in labels:
        recogniser.add_label(label)
    pipeline.initialize()
    return pipeline


def spacy_tagger(labels: Sequence[str]) -> Callable[[Sequence[Sequence[str]], int], Any]:
    """Tags sentences with [`spacy_pipeline`]."""
    pipeline = spacy_pipeline(labels)
    documents = importlib.import_module("spacy.tokens")

    def tag(sentences: Sequence[Sequence[str]], batch_size: int) -> Any:
        made = (documents.Doc(pipeline.vocab, words=list(words)) for words in sentences)
        return [document.ents for document in pipeline.pipe(made, batch_size=batch_size)]

    return tag
