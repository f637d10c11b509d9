"""Published checkpoints as weights of ours."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedvsr.errors import InputError, WeightsError
from fedvsr.models.registry import build_model
from fedvsr.models.state import state_of
from fedvsr.weights import Array, WeightsFile, check_fit, specs_of

# Where training frameworks put the weights of a generator, the best first: BasicSR keeps a moving average
# beside them, KAIR and most others name them plainly.
_CONTAINERS = ("params_ema", "params", "state_dict", "model")
# What wrappers put in front of every name: DataParallel, MMEditing's generator.
_PREFIXES = ("module.", "generator.")


def read_checkpoint(path: Path, name: str, scale: int, options: Mapping[str, object]) -> dict[str, Array]:
    """Reads a checkpoint file as the weights of a model.

    The names must be the model's own, after prefixes of known wrappers are taken away. Tensors are all
    that is read of a PyTorch file: PyTorch's restricted unpickler runs no code.

    Args:
        path: A ``.pth`` or ``.pt`` file of PyTorch's, or a safetensors file.
        name: The model, as `fedvsr.models.registry.build_model` takes it.
        scale: Its scale.
        options: Its options.

    Returns:
        Every parameter and buffer of the model.

    Raises:
        fedvsr.errors.InputError: There is no such file.
        fedvsr.errors.WeightsError: It holds no weights, or those of another model: the first tensor that
            is missing, unknown, or of another shape is named.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a .pth, .pt or .safetensors checkpoint")
    expected = state_of(build_model(name, scale, options))
    if path.suffix == ".safetensors":
        found = WeightsFile(path).load()
    else:
        found = {key: tensor.detach().cpu().numpy() for key, tensor in _read_pickle(path).items()}
    found = _without_prefix(found, expected)
    problem = check_fit(specs_of(found), specs_of(expected))
    if problem:
        raise WeightsError(f"{path} does not hold weights of {name} ×{scale} with these options: {problem}")
    return found


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = (str(error) or "it is empty").splitlines()[0]
        raise WeightsError(
            f"{path} is no PyTorch checkpoint of plain tensors ({reason}); download it again"
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


def _without_prefix(found: dict[str, Array], expected: Mapping[str, Array]) -> dict[str, Array]:
    for prefix in _PREFIXES:
        if found and all(key.startswith(prefix) for key in found) and not found.keys() <= expected.keys():
            found = {key.removeprefix(prefix): value for key, value in found.items()}
    return found
