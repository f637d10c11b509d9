"""Conversion of published checkpoints to weights of fedvsr's models."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedvsr.errors import InputError, WeightsError
from fedvsr.models.registry import build_model
from fedvsr.models.state import state_of
from fedvsr.weights import Array, WeightsFile, find_misfit, specs_of

# Keys under which training frameworks store the weights, in order of preference: BasicSR's moving average
# comes before its plain weights.
_CONTAINERS = ("params_ema", "params", "state_dict", "model")
# Prefixes of every name: by DataParallel, and by MMEditing's generator.
_PREFIXES = ("module.", "generator.")


def read_checkpoint(path: Path, name: str, scale: int, options: Mapping[str, object]) -> dict[str, Array]:
    """Reads a checkpoint file as the weights of a model.

    The names must be those of the model, after prefixes of known wrappers are removed. PyTorch's restricted
    unpickler reads only tensors from a PyTorch file, and runs no code.

    Args:
        path: A PyTorch file (``.pth``, ``.pt``) or a safetensors file.
        name: The model's name, as for `fedvsr.models.registry.build_model`.
        scale: The model's scale.
        options: The model's options.

    Returns:
        Every parameter and buffer of the model.

    Raises:
        fedvsr.errors.InputError: The file does not exist.
        fedvsr.errors.WeightsError: The file does not contain weights, or those of another model. The error
            names the first tensor that is missing or unknown, or has another shape.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a .pth, .pt or .safetensors checkpoint")
    expected = state_of(build_model(name, scale, options))
    if path.suffix == ".safetensors":
        tensors = WeightsFile(path).load()
    else:
        tensors = {key: tensor.detach().cpu().numpy() for key, tensor in _read_pickle(path).items()}
    tensors = _without_prefix(tensors, expected)
    problem = find_misfit(specs_of(tensors), specs_of(expected))
    if problem:
        raise WeightsError(f"{path} does not hold weights of {name} ×{scale} with these options: {problem}")
    return tensors


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = (str(error) or "it is empty").splitlines()[0]
        raise WeightsError(
            f"{path} is not a PyTorch checkpoint of plain tensors ({reason}); download it again"
        ) from error
    for container in _CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(container), Mapping):
            content = content[container]
            break
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path} holds a {type(content).__name__}, not a state dict")
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise WeightsError(f"{path} holds no tensors under {', '.join(_CONTAINERS)} or at its top")
    return tensors


def _without_prefix(tensors: dict[str, Array], expected: Mapping[str, Array]) -> dict[str, Array]:
    for prefix in _PREFIXES:
        has_prefix = bool(tensors) and all(key.startswith(prefix) for key in tensors)
        if has_prefix and not tensors.keys() <= expected.keys():
            tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
    return tensors
