"""
The teacher of a distillation: any tagger, and what it says of words or of pieces.

Axes:
    batch      sentences
    positions  words of the longest sentence in the batch, or its pieces
    windows    rows of pieces that an encoder reads
    pieces     positions of the longest window
    labels     label ids of the teacher
    kept       most probable labels, or paths
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForTokenClassification, PreTrainedModel

from hf_polyglot.model_files import checked_model_name
from hf_polyglot.models.label_scheme import PADDING_LABEL
from hf_polyglot.models.piece_encoder import max_pieces_of, vectors_at
from hf_polyglot.models.word_pieces import load_tokenizer_of
from hf_polyglot.models.word_tagger import WordTagger
from hf_polyglot.training.adapters import refuse_adapter


class StockTagger(WordTagger, nn.Module):
    """
    One of transformers' own `...ForTokenClassification`, read as the taggers of this package are.

    Args:
        model (`PreTrainedModel`):
            The model; words are its first pieces.
        tokenizer (`PreTrainedTokenizerFast`):
            Its tokenizer.
        label_scheme (`str`):
            Scheme of its labels, which its configuration does not say.
    """

    input_form = "pieces"
    classifies_pieces = True

    def __init__(self, model: PreTrainedModel, tokenizer, label_scheme: str):
        super().__init__()
        self.model = model
        self.config: Any = model.config
        self.config.max_pieces = max_pieces_of(model.config, tokenizer)
        self.config.label_scheme = label_scheme

    @property
    def encoder(self) -> nn.Module:
        """The model without its head."""
        return self.model.base_model

    def get_input_embeddings(self) -> nn.Module:
        """The embeddings of its pieces."""
        return self.model.get_input_embeddings()

    def forward(self, input_ids: Tensor, attention_mask: Tensor, word_positions: Tensor, **kwargs):
        """
        Scores of the labels at the positions.

        Args:
            input_ids (`LongTensor` of shape `(windows, pieces)`):
                Pieces.
            attention_mask (`LongTensor` of shape `(windows, pieces)`):
                1 on real pieces.
            word_positions (`LongTensor` of shape `(batch, positions)`):
                Index of each in the flattened `input_ids`, -1 on padding.
            kwargs:
                Further arguments of the model.
        """
        outputs = self.model(input_ids=input_ids, attention_mask=attention_mask, **kwargs)
        outputs.logits = vectors_at(outputs.logits, word_positions)  # (batch, positions, labels)
        return outputs


def load_teacher(name: str, label_scheme: str) -> tuple[Any, Any]:
    """
    A tagger that is only asked, and its tokenizer.

    Args:
        name (`str`):
            Folder or Hub id.
        label_scheme (`str`):
            Scheme of the labels of a stock model; those of this package know their own.

    Raises:
        ValueError: if it is no tagger, or one that reads segments of bytes.
    """
    refuse_adapter(checked_model_name(name))
    architectures = AutoConfig.from_pretrained(name).architectures or ["none"]
    if not architectures[0].endswith("ForTokenClassification"):
        raise ValueError(
            f"`teacher` is {name}, a {architectures[0]}; expected a model ...ForTokenClassification. Fine-tune it "
            "first, or distil the encoder alone with recipes/distill_encoder.py."
        )
    model = AutoModelForTokenClassification.from_pretrained(name, dtype=torch.float32).eval().requires_grad_(False)
    form = getattr(model, "input_form", None)
    if form == "byte_segments":
        raise ValueError(
            f"`teacher` is {name}, which writes spans and has no distribution of labels for a word; expected a "
            "tagger of words, such as a byte-CRF. Take another one."
        )
    tokenizer = load_tokenizer_of(model, name)
    return (StockTagger(model, tokenizer, label_scheme).eval() if form is None else model), tokenizer


def has_crf(model: nn.Module) -> bool:
    """
    Whether a tagger labels the words of a sentence jointly, by a CRF.

    Args:
        model (`nn.Module`):
            Any tagger.
    """
    return getattr(model, "crf", None) is not None


def check_sequence_nbest(model: nn.Module, role: str) -> None:
    """
    Refuse to compare paths where there are none.

    Args:
        model (`nn.Module`):
            Teacher or student.
        role (`str`):
            Which of them it is.

    Raises:
        ValueError: if it has no CRF.
    """
    if not has_crf(model):
        raise ValueError(
            f"`sequence_nbest` is given, and the {role} has no CRF; expected one in teacher and student, whose paths "
            "have probabilities. Leave it out."
        )


@torch.no_grad()
def teacher_targets(
    teacher: Any,
    outputs: Any,
    mask: Tensor,
    *,
    scheme: str,
    temperature: float,
    num_kept: int | None,
    sequence_nbest: int,
) -> dict[str, Tensor]:
    """
    What the student is to say of a task: labels and their probabilities, or paths and theirs.

    Args:
        teacher (`nn.Module`):
            Any tagger.
        outputs (`TokenClassifierOutput`):
            Its output.
        mask (`BoolTensor` of shape `(batch, positions)`):
            True on real positions.
        scheme (`str`):
            Of the task.
        temperature (`float`):
            What scores are divided by.
        num_kept (`int`, *optional*):
            How many labels, the most probable ones. Defaults to all.
        sequence_nbest (`int`):
            How many paths of each sentence; 0 for labels.

    Returns:
        `target_ids` of shape `(batch, positions, kept)`, and `target_probabilities` of the same shape, or of paths
        `(batch, 1, kept)`, which sum to one.
    """
    if sequence_nbest:
        emissions, crf = teacher.logits_of_task(outputs, scheme), teacher.crf_of_task(scheme)
        paths, scores = crf.n_best(emissions, mask, sequence_nbest, outputs.language_ids)
        # (batch, kept, positions), (batch, kept)
        return {
            "target_ids": paths.mT.clamp(min=0),
            "target_probabilities": (scores / temperature).softmax(1)[:, None],
        }
    probabilities = teacher.label_log_probabilities(outputs, mask, temperature, scheme).exp()
    kept, ids = probabilities.topk(min(num_kept or probabilities.shape[2], probabilities.shape[2]), 2)
    return {"target_ids": ids, "target_probabilities": kept}


# What a configuration says of where it comes from, and not of what the model computes.
UNREAD_SETTINGS = {"_name_or_path", "architectures", "auto_map", "dtype", "transformers_version"}


def teacher_digest(teacher: nn.Module, tokenizer) -> str:
    """
    Digest of all that decides what a teacher says: weights, configuration, tokenizer.

    Args:
        teacher (`nn.Module`):
            Any model with a configuration.
        tokenizer (`PreTrainedTokenizerFast`):
            Its tokenizer.
    """
    digest = hashlib.sha256()
    for name, weights in sorted(teacher.state_dict().items()):
        digest.update(f"{name} {tuple(weights.shape)} {weights.dtype}".encode())
        digest.update(weights.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    config: Any = teacher.config
    settings = _without(config.to_dict(), UNREAD_SETTINGS)
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    digest.update(tokenizer.backend_tokenizer.to_str().encode())
    digest.update(json.dumps(getattr(tokenizer, "word_settings", None), sort_keys=True).encode())
    return digest.hexdigest()


def _without(settings: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """The settings without these names, at any depth."""
    return {
        name: _without(value, names) if isinstance(value, dict) else value
        for name, value in settings.items()
        if name not in names
    }


def mask_of_lengths(lengths: Sequence[int]) -> Tensor:
    """
    `(batch, positions)`, True on so many positions of each sentence.

    Args:
        lengths (`Sequence[int]`):
            Positions of each sentence.
    """
    longest = torch.arange(max(lengths))
    return longest < torch.tensor(list(lengths))[:, None]


def labels_of_mask(mask: Tensor) -> Tensor:
    """
    What stands for labels in a batch without any: 0, and -100 on padding, by which the Trainer counts positions.

    Args:
        mask (`BoolTensor` of shape `(batch, positions)`):
            True on real ones.
    """
    return torch.zeros(mask.shape, dtype=torch.long).masked_fill(~mask, PADDING_LABEL)
