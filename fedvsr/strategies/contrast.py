"""What contrastive local terms share: a layer's features, weights as client state, InfoNCE with one negative.

van den Oord, Li and Vinyals, "Representation Learning with Contrastive Predictive Coding", 2018,
https://arxiv.org/abs/1807.03748.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from fedvsr.errors import ConfigError
from fedvsr.weights import Array

if TYPE_CHECKING:
    from torch import Tensor, nn

T = TypeVar("T")


class CallRecorder(Generic[T]):
    """Records the calls of one layer in a model's last forward pass.

    Args:
        model: The model.
        layer: One of its modules.
        record: Makes what is recorded from the layer's first input and its output.
    """

    def __init__(
        self, model: "nn.Module", layer: "nn.Module", record: "Callable[[Tensor, Tensor], T]"
    ) -> None:
        self._record = record
        self._calls: list[T] = []
        # Activation checkpointing calls the layer again in the backward pass, which is forgotten.
        self._hooks = (
            model.register_forward_pre_hook(self._forget),
            layer.register_forward_hook(self._keep),
        )

    def take(self) -> list[T]:
        """Returns what was recorded since the forward pass began, and forgets it."""
        calls, self._calls = self._calls, []
        return calls

    def remove(self) -> None:
        """Stops recording."""
        for hook in self._hooks:
            hook.remove()

    def _forget(self, model: "nn.Module", inputs: object) -> None:
        self._calls = []

    def _keep(self, layer: "nn.Module", inputs: "tuple[Tensor, ...]", output: "Tensor") -> None:
        self._calls.append(self._record(inputs[0], output))


def feature_layers(model: "nn.Module") -> list[str]:
    """Returns the names of a model's convolutions and linear layers, in the order in which it declares them.

    Raises:
        fedvsr.errors.ConfigError: It has none.
    """
    from torch import nn

    layers = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.Linear)
    ]
    if not layers:
        raise ConfigError("strategy.options.layer", "", "the model has no convolution or linear layer")
    return layers


def check_layer(name: str, layers: list[str]) -> str:
    """Returns a layer's name if the model has this layer.

    Raises:
        fedvsr.errors.ConfigError: It is not one of `feature_layers`.
    """
    if name not in layers:
        allowed = f"it must be one of the model's layers: {', '.join(layers)}"
        raise ConfigError("strategy.options.layer", name, allowed)
    return name


def module_arrays(module: "nn.Module") -> dict[str, Array]:
    """Converts a module's parameters and buffers to arrays."""
    return {name: value.detach().cpu().numpy() for name, value in module.state_dict().items()}


def load_arrays(module: "nn.Module", arrays: Mapping[str, Array]) -> None:
    """Loads a module's parameters and buffers from arrays."""
    import torch

    module.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})


def info_nce(anchor: "Tensor", positive: "Tensor", negative: "Tensor", temperature: float) -> "Tensor":
    """Returns the mean of −log(e^(s⁺/τ) / (e^(s⁺/τ) + e^(s⁻/τ))) with cosine similarities s⁺ and s⁻.

    Args:
        anchor: Features (N, C).
        positive: The features that the anchor is pulled towards, (N, C).
        negative: The features that it is pushed away from, (N, C).
        temperature: τ.
    """
    import torch
    from torch.nn import functional

    similarities = torch.stack(
        (
            functional.cosine_similarity(anchor, positive),
            functional.cosine_similarity(anchor, negative),
        ),
        dim=1,
    )
    target = torch.zeros(len(anchor), dtype=torch.long, device=anchor.device)
    return functional.cross_entropy(similarities / temperature, target)
