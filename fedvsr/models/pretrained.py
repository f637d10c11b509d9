"""Pretrained parts of a model, such as the optical flow network that published recipes start from."""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import nn

from fedvsr.config.run import ParameterRule, PretrainedFile
from fedvsr.errors import ConfigError, InputError, WeightsError
from fedvsr.models.checkpoint import read_part
from fedvsr.models.checkpoint_file import find_wrong_digest
from fedvsr.models.state import state_specs
from fedvsr.store.base import file_digest
from fedvsr.weights import Array, Tensors

_FIELD = "training.pretrained"
_WEIGHTS = "weights.safetensors"
"""The file in the folder of a converted model."""


def load_pretrained(
    model: nn.Module, tensors: Tensors, files: Mapping[str, PretrainedFile]
) -> dict[str, Array]:
    """Replaces parts of a model's initial weights by those of files.

    Args:
        model: The model.
        tensors: All of its parameters and buffers.
        files: The file of each part, by the prefix of its tensors' names without the last dot: ``spynet``.

    Returns:
        All parameters and buffers of the model.

    Raises:
        fedvsr.errors.ConfigError: The model has no such part.
        fedvsr.errors.InputError: A file does not exist.
        fedvsr.errors.WeightsError: A file is not the one that its digest names, or does not fit the part.
    """
    result = dict(tensors)
    specs = state_specs(model)
    parameters = {name for name, _ in model.named_parameters()}
    for part, file in files.items():
        prefix = f"{part}."
        names = {name.removeprefix(prefix) for name in parameters if name.startswith(prefix)}
        if not names:
            parts = ", ".join(sorted({name.partition(".")[0] for name in parameters}))
            raise ConfigError(f"{_FIELD}.{part}", file.path, f"the model has no such part; it has {parts}")
        path = Path(file.path) / _WEIGHTS if Path(file.path).is_dir() else Path(file.path)
        _check_digest(part, path, file.sha256)
        arrays = read_part(path, part, specs, names)
        result |= {prefix + name: array for name, array in arrays.items()}
    return result


def find_random_frozen(
    model: nn.Module, rules: Mapping[str, ParameterRule], pretrained: Mapping[str, object]
) -> list[str]:
    """Finds rules that keep random parameters frozen, which trains the others against noise.

    Args:
        model: A model whose weights are random, except for the pretrained parts.
        rules: The rules by pattern; a parameter's rule is the first one whose pattern is found in its name.
        pretrained: The pretrained parts, by the prefix of their tensors' names.

    Returns:
        A sentence for each such rule.
    """
    warnings = []
    left = [name for name, value in model.named_parameters() if value.requires_grad]
    for pattern, rule in rules.items():
        names = [name for name in left if re.search(pattern, name)]
        left = [name for name in left if name not in names]
        random = [name for name in names if not any(name.startswith(f"{part}.") for part in pretrained)]
        if random and rule.frozen_steps:
            warnings.append(
                f"training.parameters.{pattern} freezes {len(random)} parameters at random values for "
                f"{rule.frozen_steps} steps, first {random[0]!r}; give them weights with "
                "training.pretrained or warm_start"
            )
    return warnings


def _check_digest(part: str, path: Path, expected: str) -> None:
    if not path.is_file():
        raise InputError(
            f"{_FIELD}.{part}: {path}: no such file; give a checkpoint, or a converted model's folder"
        )
    if expected:
        digest = file_digest(path)
        wrong = f"its SHA-256 is {digest}, not {expected}" if digest != expected else None
    else:
        wrong = find_wrong_digest(path)
    if wrong:
        raise WeightsError(f"{_FIELD}.{part}: {path}: {wrong}; download it again, or set its sha256")
