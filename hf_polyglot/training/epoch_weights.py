"""The trained weights at the end of every epoch of a run, each epoch in a file of its own, and their mean."""

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

EPOCH_WEIGHTS = "epoch_weights"


class EpochWeights:
    """
    The weights at the ends of a run's epochs, of which `max_steps` may cut the last one short.

    Args:
        folder (`str` or `Path`):
            Of the run. The files lie below it until [`EpochWeights.remove`].
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder) / EPOCH_WEIGHTS

    @property
    def epochs(self) -> list[int]:
        """Epochs that are there, in order, counted from 1."""
        return sorted(int(path.stem) for path in self.folder.glob("*.safetensors"))

    def keep(self, epoch: int, step: int, weights: Mapping[str, Tensor]) -> None:
        """
        Write a file that is whole or not there. One of the same epoch is replaced.

        Args:
            epoch (`int`):
                The one that has ended, counted from 1.
            step (`int`):
                Its last step.
            weights (`Mapping[str, Tensor]`):
                By name.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self._path(epoch).with_suffix(".unfinished")
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
        save_file(tensors, unfinished, metadata={"step": str(step)})
        unfinished.replace(self._path(epoch))

    def read(self, epoch: int) -> dict[str, Tensor]:
        """
        The weights at the end of an epoch, by name.

        Args:
            epoch (`int`):
                Counted from 1.
        """
        return load_file(self._path(epoch))

    def step(self, epoch: int) -> int:
        """
        The last step of an epoch.

        Args:
            epoch (`int`):
                Counted from 1.
        """
        with safe_open(self._path(epoch), framework="pt") as file:
            return int(file.metadata()["step"])

    def average(self, names: Collection[str]) -> dict[str, Tensor]:
        """
        The mean of the weights over all epochs, each counting alike.

        Args:
            names (`Collection[str]`):
                What is averaged, where it is no integer; all else is as at the end of the last epoch.

        Reference:
            Schmidt, Vulić and Glavaš (2023). https://aclanthology.org/2023.acl-long.314
        """
        epochs = self.epochs
        average = self.read(epochs[-1])
        averaged = [name for name in average if name in names and average[name].is_floating_point()]
        sums = {name: torch.zeros_like(average[name], dtype=torch.float64) for name in averaged}
        for epoch in epochs:
            weights = self.read(epoch)
            for name in averaged:
                sums[name] += weights[name]
        return average | {name: (sums[name] / len(epochs)).to(average[name].dtype) for name in averaged}

    def remove(self, after_step: int | None = None) -> None:
        """
        Remove what is there.

        Args:
            after_step (`int`, *optional*):
                Only of epochs that ended behind this step. By default, all of it.
        """
        if after_step is None:
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        for epoch in self.epochs:
            if self.step(epoch) > after_step:
                self._path(epoch).unlink()

    def _path(self, epoch: int) -> Path:
        return self.folder / f"{epoch:04d}.safetensors"
