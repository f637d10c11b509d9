"""Converts a model's state dict to NumPy arrays, and back."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from fedvsr.errors import WeightsError
from fedvsr.weights import Array, TensorSpec, find_misfit, specs_of


def state_of(model: nn.Module) -> dict[str, Array]:
    """Returns copies of all parameters and buffers, on the CPU.

    Raises:
        fedvsr.errors.WeightsError: A tensor has a dtype that NumPy lacks.
    """
    state_specs(model)
    return {
        name: tensor.detach().cpu().contiguous().numpy().copy() for name, tensor in model.state_dict().items()
    }


def load_state(model: nn.Module, tensors: Mapping[str, Array], name: str) -> None:
    """Loads all parameters and buffers.

    Args:
        model: The model, on any device.
        tensors: All of its tensors, and no others.
        name: The name of the weights in an error.

    Raises:
        fedvsr.errors.WeightsError: A name, shape or dtype differs.
    """
    problem = find_misfit(specs_of(tensors), state_specs(model))
    if problem:
        raise WeightsError(f"{name} does not fit the model: {problem}")
    model.load_state_dict({key: torch.from_numpy(np.array(array)) for key, array in tensors.items()})


def state_specs(model: nn.Module) -> dict[str, TensorSpec]:
    """Returns the shape and dtype of every parameter and buffer, without copying them.

    Raises:
        fedvsr.errors.WeightsError: A tensor has a dtype that NumPy lacks.
    """
    return {
        name: TensorSpec(tuple(tensor.shape), _numpy_dtype(name, tensor.dtype))
        for name, tensor in model.state_dict().items()
    }


def _numpy_dtype(name: str, dtype: torch.dtype) -> np.dtype[np.generic]:
    try:
        return torch.empty(0, dtype=dtype).numpy().dtype
    except TypeError:
        raise WeightsError(f"tensor {name!r} has dtype {dtype}; keep weights in float32") from None
