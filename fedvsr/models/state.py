"""A model's state dict as NumPy tensors, and back."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from fedvsr.errors import WeightsError
from fedvsr.weights import Array, check_fit, specs_of


def state_of(model: nn.Module) -> dict[str, Array]:
    """Returns copies of all parameters and buffers, on the CPU.

    Raises:
        fedvsr.errors.WeightsError: One has a dtype that NumPy lacks.
    """
    result: dict[str, Array] = {}
    for name, tensor in model.state_dict().items():
        try:
            result[name] = tensor.detach().cpu().contiguous().numpy().copy()
        except TypeError:
            raise WeightsError(f"tensor {name!r} has dtype {tensor.dtype}; keep weights in float32") from None
    return result


def load_state(model: nn.Module, tensors: Mapping[str, Array], name: str) -> None:
    """Loads all parameters and buffers.

    Args:
        model: The model, on any device.
        tensors: Exactly its tensors.
        name: How to call the weights in an error.

    Raises:
        fedvsr.errors.WeightsError: A name, shape or dtype differs.
    """
    problem = check_fit(specs_of(tensors), specs_of(state_of(model)))
    if problem:
        raise WeightsError(f"{name} does not fit the model: {problem}")
    model.load_state_dict({key: torch.from_numpy(np.array(array)) for key, array in tensors.items()})
