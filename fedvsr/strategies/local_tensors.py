"""The tensors of a model in local training, for local terms that keep one tensor per parameter."""

from typing import TYPE_CHECKING

import numpy as np

from fedvsr.errors import ConfigError
from fedvsr.weights import Array

if TYPE_CHECKING:
    from torch import Tensor, nn


def trainable_parameters(model: "nn.Module") -> "dict[str, nn.Parameter]":
    """Returns the parameters that are trained, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def tensor_like(parameter: "Tensor", value: Array | None) -> "Tensor":
    """Converts a value to the parameter's dtype and device; None gives zeros."""
    if value is None:
        return parameter.detach().new_zeros(parameter.shape)
    return parameter.detach().new_tensor(np.array(value))


def float32_array(tensor: "Tensor") -> Array:
    """Converts a tensor to a float32 array."""
    array: Array = tensor.detach().float().cpu().numpy()
    return array


def refuse_running_statistics(model: "nn.Module", strategy: str) -> None:
    """Refuses a model with running statistics, for a strategy that does not only average.

    The server treats all floating-point tensors like parameters. A step beyond the clients' mean can make a
    running variance negative.

    Raises:
        fedvsr.errors.ConfigError: A module of the model has a running variance.
    """
    for name, module in model.named_modules():
        if getattr(module, "running_var", None) is not None:
            raise ConfigError(
                "strategy.name",
                strategy,
                f"the model's module {name!r} has running statistics, which this strategy would change as if "
                "they were parameters; choose fedavg or fedvsr",
            )
