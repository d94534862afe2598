"""Reading windows of like length together changes nothing but the time."""

import pytest
import torch

from hf_polyglot.models.length_groups import groups_of_like_length
from hf_polyglot.models.piece_encoder import encode_by_length

from .tiny_models import tiny_slicer


@pytest.fixture
def encoder_and_batch():
    """An encoder, and windows of very different lengths."""
    model, _ = tiny_slicer()
    lengths = torch.tensor([3, 40, 1, 18, 4, 19])
    mask = (torch.arange(40) < lengths[:, None]).long()
    input_ids = torch.randint(4, 20, mask.shape) * mask
    return model.encoder.eval(), input_ids, mask


def test_the_output_is_that_of_all_windows_at_once(encoder_and_batch):
    encoder, input_ids, mask = encoder_and_batch
    assert (
        len(groups_of_like_length(sorted(mask.sum(1).tolist(), reverse=True), min_rows=8, ratio=0.8, ratio_of_few=0.5))
        > 1
    )

    found = encode_by_length(encoder, input_ids, mask, output_hidden_states=True)

    expected = encoder(input_ids=input_ids, attention_mask=mask, output_hidden_states=True)
    for ours, theirs in zip(
        (found.last_hidden_state, *found.hidden_states), (expected[0], *expected.hidden_states), strict=True
    ):
        torch.testing.assert_close(ours * mask[:, :, None], theirs * mask[:, :, None], rtol=0, atol=1e-5)


def test_no_group_is_padded_to_the_longest_window_of_the_batch(encoder_and_batch, monkeypatch):
    encoder, input_ids, mask = encoder_and_batch
    read = []
    monkeypatch.setattr(encoder.embeddings, "forward", _noting(encoder.embeddings.forward, read))

    encode_by_length(encoder, input_ids, mask)

    assert sorted(read) == [(1, 1), (1, 40), (2, 4), (2, 19)]


def _noting(forward, shapes):
    def noted(*arguments, **options):
        shapes.append(tuple(options["input_ids"].shape))
        return forward(*arguments, **options)

    return noted


def test_attentions_are_those_of_the_whole_batch(encoder_and_batch):
    encoder, input_ids, mask = encoder_and_batch
    encoder.set_attn_implementation("eager")

    outputs = encode_by_length(encoder, input_ids, mask, output_attentions=True)

    assert outputs.attentions[0].shape == (6, 2, 40, 40)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_no_more_pieces_than_the_memory_is_meant_for_are_read_at_once(device, encoder_and_batch, monkeypatch):
    encoder, input_ids, mask = (part.to(device) for part in encoder_and_batch)
    monkeypatch.setattr("transformers.masking_utils._ignore_bidirectional_mask_sdpa", lambda *_: False)
    with torch.no_grad():
        expected = encoder(input_ids=input_ids, attention_mask=mask)[0]
    monkeypatch.setattr("hf_polyglot.models.piece_encoder.MOST_PIECES", 80)
    read = []
    monkeypatch.setattr(encoder.embeddings, "forward", _noting(encoder.embeddings.forward, read))

    with torch.no_grad():
        found = encode_by_length(encoder, input_ids, mask)[0]
    in_parts, read[:] = list(read), []
    encode_by_length(encoder, input_ids, mask)

    assert max(rows * pieces for rows, pieces in in_parts) <= 80
    assert found.shape == expected.shape
    if device == "cpu":
        torch.testing.assert_close(found * mask[:, :, None], expected * mask[:, :, None], rtol=0, atol=1e-5)
        assert sorted(read) == [(1, 1), (1, 40), (2, 4), (2, 19)]
    else:
        assert in_parts == [(2, 40)] * 3 and read == [(6, 40)]  # gradients need all of them anyway
