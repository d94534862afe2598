"""Weights of epochs on the disk, and their mean."""

import pytest
import torch
from safetensors.torch import save_file

from hf_polyglot.training import epoch_weights
from hf_polyglot.training.epoch_weights import EpochWeights


def weights_of(epoch):
    generator = torch.Generator().manual_seed(epoch)
    return {
        "layer.weight": torch.randn(3, 4, generator=generator),
        "half": torch.randn(5, generator=generator).bfloat16(),
        "running_mean": torch.full((2,), float(epoch)),
        "steps": torch.tensor(epoch),
    }


def test_weights_come_back_and_their_average_is_the_mean_by_hand(tmp_path):
    kept = EpochWeights(tmp_path)
    for epoch in (2, 10, 1):  # in the order of numbers, not of texts
        kept.keep(epoch, 5 * epoch, weights_of(epoch))

    average = kept.average({"layer.weight", "half", "steps"})

    assert kept.epochs == [1, 2, 10]
    assert [kept.step(epoch) for epoch in kept.epochs] == [5, 10, 50]
    for name, tensor in weights_of(2).items():
        torch.testing.assert_close(kept.read(2)[name], tensor, rtol=0, atol=0)
    for name in ("layer.weight", "half"):
        by_hand = sum(weights_of(epoch)[name].double() for epoch in (1, 2, 10)) / 3
        torch.testing.assert_close(average[name], by_hand.to(average[name].dtype), rtol=0, atol=0)
    # No parameter, and no number that has a mean: as at the end of the last epoch.
    assert average["running_mean"].tolist() == [10, 10]
    assert average["steps"] == 10


def test_a_file_that_was_not_finished_is_not_there(tmp_path, monkeypatch):
    kept = EpochWeights(tmp_path)
    kept.keep(1, 5, weights_of(1))

    def fail(tensors, path, metadata):
        save_file({"half": tensors["half"]}, path, metadata)
        raise OSError("No space left on device")

    monkeypatch.setattr(epoch_weights, "save_file", fail)
    for epoch in (1, 2):
        with pytest.raises(OSError, match="No space left"):
            kept.keep(epoch, 9, weights_of(2))

    assert kept.epochs == [1]
    assert kept.step(1) == 5
    assert set(kept.read(1)) == set(weights_of(1))


def test_epochs_behind_a_step_are_removed_or_all(tmp_path):
    kept = EpochWeights(tmp_path)
    kept.remove()
    for epoch in (1, 2, 3):
        kept.keep(epoch, 5 * epoch, weights_of(epoch))

    kept.remove(after_step=10)

    assert kept.epochs == [1, 2]
    kept.remove()
    assert kept.epochs == []
    assert not list(tmp_path.iterdir())
