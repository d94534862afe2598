"""Adam's state by parameter name: kept beside the weights, and carried into the training that continues them.

A file `adam_state.safetensors` has the tensors `exp_avg/NAME`, `exp_avg_sq/NAME` and `step/NAME` for every parameter
that was trained, NAME as in the model's `state_dict`. The moments may be in 16 bits; the step counts never are.

Reference:
    Mueller, Andrews and Dredze (2020), whose finetuned models start from the polyglot model's Adam settings.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer
from transformers.utils import cached_file

ADAM_STATE_FILE = "adam_state.safetensors"

# {parameter name: {"exp_avg", "exp_avg_sq", "step": tensor}}
AdamState = dict[str, dict[str, Tensor]]


@dataclass(frozen=True)
class CarriedAdamState:
    """
    Which parameters of a model go on with Adam's state, and which start with none.

    Args:
        carried (`tuple[str, ...]`):
            Those whose state was there and has their shape.
        fresh (`tuple[str, ...]`):
            All others: new ones, those of another shape, and those that were frozen.
    """

    carried: tuple[str, ...]
    fresh: tuple[str, ...]

    def __str__(self) -> str:
        carried, fresh = (", ".join(names) or "none" for names in (self.carried, self.fresh))
        return f"Adam's state is carried for {len(self.carried)} parameters: {carried}.\nFresh: {fresh}."


def is_adam(optimizer: Optimizer) -> bool:
    """
    Whether an optimizer's state can be carried: Adam's or AdamW's, fused or not.

    Args:
        optimizer (`Optimizer`):
            As torch made it, or as accelerate wrapped it.
    """
    return isinstance(_unwrapped(optimizer), Adam | AdamW)


def adam_state_by_name(model: nn.Module, optimizer: Optimizer) -> AdamState:
    """
    Adam's state of every parameter that has one; not copied.

    Args:
        model (`nn.Module`):
            The model, without a wrapper around it.
        optimizer (`Optimizer`):
            Adam or AdamW over its parameters.

    Returns:
        `dict[str, dict[str, Tensor]]`: `exp_avg`, `exp_avg_sq` and `step` by parameter name.
    """
    state = _checked(optimizer).state
    return {name: dict(state[parameter]) for name, parameter in model.named_parameters() if state.get(parameter)}


def save_adam_state(folder: str | Path, state: Mapping[str, Mapping[str, Tensor]], dtype: torch.dtype) -> None:
    """
    Write `adam_state.safetensors`.

    Args:
        folder (`str` or `Path`):
            Folder of the model.
        state (`Mapping[str, Mapping[str, Tensor]]`):
            Of [`adam_state_by_name`].
        dtype (`torch.dtype`):
            Of the moments: `torch.float32`, or `torch.bfloat16`, which halves them. Not float16: squares of small
            gradients would be 0 in it.
    """
    tensors = {
        f"{key}/{name}": (value if key == "step" else value.to(dtype)).contiguous()
        for name, of_parameter in state.items()
        for key, value in of_parameter.items()
    }
    save_file(tensors, Path(folder) / ADAM_STATE_FILE, metadata={"format": "pt"})


def load_adam_state(model_name: str | Path) -> AdamState:
    """
    Adam's state that lies beside a model.

    Args:
        model_name (`str` or `Path`):
            Folder or Hub id of the model.

    Raises:
        ValueError: if there is none.
    """
    path = cached_file(str(model_name), ADAM_STATE_FILE, _raise_exceptions_for_missing_entries=False)
    if path is None:
        raise ValueError(
            f"`{model_name}` has no {ADAM_STATE_FILE}; expected Adam's state beside the model. It was trained with "
            "another optimizer or with `save_adam_state` no, or is an average of epochs. Start with a fresh state: "
            "--adam_state fresh."
        )
    state: AdamState = {}
    for key, value in load_file(path).items():
        moment, _, name = key.partition("/")
        state.setdefault(name, {})[moment] = value
    return state


def carry_adam_state(
    model: nn.Module, optimizer: Optimizer, state: Mapping[str, Mapping[str, Tensor]]
) -> CarriedAdamState:
    """
    Let an optimizer go on with the state of another, parameter by parameter; rates and decay stay its own.

    Args:
        model (`nn.Module`):
            The model, without a wrapper around it.
        optimizer (`Optimizer`):
            Adam or AdamW over its parameters.
        state (`Mapping[str, Mapping[str, Tensor]]`):
            By parameter name, copied.

    Returns:
        [`CarriedAdamState`].
    """
    optimizer = _checked(optimizer)
    names = {parameter: name for name, parameter in model.named_parameters()}
    optimizer_state = optimizer.state_dict()
    carried = []
    for group, indices in zip(optimizer.param_groups, optimizer_state["param_groups"], strict=True):
        for parameter, index in zip(group["params"], indices["params"], strict=True):
            of_parameter = state.get(names[parameter], {})
            if "exp_avg" in of_parameter and of_parameter["exp_avg"].shape == parameter.shape:
                # The step count travels with the moments. Adam divides them by 1 - beta ** step, so at a count of zero
                # these full-grown moments would pass for newborn ones.
                optimizer_state["state"][index] = {key: value.clone() for key, value in of_parameter.items()}
                carried.append(names[parameter])
    optimizer.load_state_dict(optimizer_state)  # moves to each parameter's device, and casts the moments to its dtype
    return CarriedAdamState(tuple(carried), tuple(name for name in names.values() if name not in set(carried)))


def _checked(optimizer: Optimizer) -> Optimizer:
    """
    The optimizer without accelerate's wrapper.

    Raises:
        ValueError: if it is no Adam.
    """
    if not is_adam(optimizer):
        raise ValueError(
            f"The optimizer is {type(_unwrapped(optimizer)).__name__}; expected Adam or AdamW, whose state this is. "
            "Use `optim` adamw_torch or adamw_torch_fused."
        )
    return _unwrapped(optimizer)


def _unwrapped(optimizer: Optimizer) -> Optimizer:
    return getattr(optimizer, "optimizer", optimizer)
