"""Conversion of published checkpoints to weights of fedvsr's models."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from fedvsr.errors import WeightsError
from fedvsr.models.checkpoint_file import find_wrong_digest, read_file, to_arrays
from fedvsr.models.registry import build_model
from fedvsr.models.state import state_specs
from fedvsr.weights import Array, TensorSpec, specs_of

T = TypeVar("T")

# The prefixes of a moving average and of plain weights in mmagic's checkpoints. mmagic scores the moving
# average if there is one.
_AVERAGED, _PLAIN = "generator_ema.", "generator."
# The prefix that DataParallel and mmengine's moving average put before every name.
_WRAPPER = "module."
# mmagic's names of modules, and BasicSR's names, which fedvsr's models have. The numbers of SPyNet's
# convolutions differ, too: mmagic counts convolutions, and BasicSR counts the activations between them.
_MMAGIC_FLOW = re.compile(r"(.*\bbasic_module\.\d+\.basic_module\.)(\d+)\.conv\.(\w+)$")
_MMAGIC_NAMES = (
    (re.compile(r"\b(forward|backward)_resblocks\."), r"\1_trunk."),
    (re.compile(r"\bupsample(\d)\.upsample_conv\."), r"upconv\1."),
)


@dataclass(frozen=True)
class Conversion:
    """The weights that a checkpoint was converted to.

    Attributes:
        tensors: Every parameter and buffer of the model.
        notes: What was chosen, left out, renamed and widened, as sentences for the user.
    """

    tensors: dict[str, Array]
    notes: tuple[str, ...]


def read_checkpoint(
    path: Path, name: str, scale: int, options: Mapping[str, object], averaged: bool | None = None
) -> Conversion:
    """Reads a checkpoint file as the weights of a model.

    The names must be those of the model, or mmagic's, after prefixes of known wrappers are removed. Tensors
    beside the network (``step_counter``, ``data_preprocessor.*``) are left out. Floating-point tensors of 16
    bits become float32.

    Args:
        path: A PyTorch file (``.pth``, ``.pt``) or a safetensors file.
        name: The model's name, as for `fedvsr.models.registry.build_model`.
        scale: The model's scale.
        options: The model's options.
        averaged: Whether to take the moving average of the weights (``params_ema``, ``generator_ema.*``) or
            the plain weights (``params``, ``generator.*``); None takes what the official scripts score.

    Raises:
        fedvsr.errors.InputError: The file does not exist.
        fedvsr.errors.WeightsError: The file does not contain weights, or those of another model. The error
            counts the tensors that are missing, unknown or of another shape, and names the first of each.
    """
    file = read_file(path, averaged)
    expected = state_specs(build_model(name, scale, options))
    notes = list(file.notes)
    tensors, is_average = _unwrap(file.tensors, expected, averaged, notes)
    if averaged is not None and averaged != (is_average or file.averaged):
        raise WeightsError(f"{path} has no {'moving average' if averaged else 'plain weights'}")
    tensors = _renamed(tensors, expected, notes)
    arrays, widened = to_arrays(tensors, path)
    if widened:
        notes.append(f"{_count(widened)} of 16 bits are widened to float32")
    problem = describe_misfits(specs_of(arrays), expected)
    if problem:
        raise WeightsError(f"{path} does not hold weights of {name} ×{scale} with these options: {problem}")
    if wrong := find_wrong_digest(path):
        notes.append(f"warning: {wrong}: it is a changed file")
    return Conversion(arrays, tuple(notes))


def read_part(
    path: Path, part: str, specs: Mapping[str, TensorSpec], parameters: Collection[str]
) -> dict[str, Array]:
    """Reads a checkpoint file as the weights of a part of a model.

    The file holds the part alone, or a whole model with the part. Buffers that the file does not have are
    left out: published flow networks come without the constants that they normalise frames with.

    Args:
        path: A file as in `read_checkpoint`.
        part: The prefix of the part's names in the model, without the last dot.
        specs: Shape and dtype of every tensor of the model.
        parameters: The names of the part's parameters, without the prefix.

    Returns:
        The part's parameters, and the buffers that the file has, without the prefix.

    Raises:
        fedvsr.errors.InputError: The file does not exist or cannot be read.
        fedvsr.errors.WeightsError: The file does not contain weights, or those of another network.
    """
    expected = _below(f"{part}.", specs)
    tensors, _ = _unwrap(read_file(path).tensors, specs, None, [])
    tensors = _below(f"{part}.", tensors) or tensors
    arrays, _ = to_arrays(_renamed(tensors, expected, []), path)
    wanted = {name: spec for name, spec in expected.items() if name in parameters or name in arrays}
    problem = describe_misfits(specs_of(arrays), wanted)
    if problem:
        raise WeightsError(f"{path} does not hold weights of the model's part {part!r}: {problem}")
    return arrays


def describe_misfits(actual: Mapping[str, TensorSpec], expected: Mapping[str, TensorSpec]) -> str | None:
    """Counts the differences in names, shapes and dtypes, with the first of each; None if there are none."""
    missing = sorted(expected.keys() - actual.keys())
    unknown = sorted(actual.keys() - expected.keys())
    different = [name for name in sorted(expected.keys() & actual.keys()) if actual[name] != expected[name]]
    parts = []
    if missing:
        parts.append(f"{_count(len(missing))} of the model {_are(missing)} missing, first {missing[0]!r}")
    if unknown:
        parts.append(f"{_count(len(unknown))} {_are(unknown)} not in the model, first {unknown[0]!r}")
    if different:
        name = different[0]
        first = f"first {name!r}: expected {expected[name]}, found {actual[name]}"
        parts.append(f"{_count(len(different))} {_are(different)} of another shape or dtype, {first}")
    return "; ".join(parts) or None


def _unwrap(
    tensors: dict[str, Tensor], expected: Iterable[str], averaged: bool | None, notes: list[str]
) -> tuple[dict[str, Tensor], bool]:
    """Takes the network's tensors out of those of its training wrappers.

    Returns:
        The tensors, and whether their names said that they are a moving average.
    """
    is_average = False
    expected = tuple(expected)
    first, second = (_PLAIN, _AVERAGED) if averaged is False else (_AVERAGED, _PLAIN)
    for prefix in (_WRAPPER, first, second, _WRAPPER):
        inner = _below(prefix, tensors)
        # A model may have a module of this name itself.
        if not inner or any(name.startswith(prefix) for name in expected):
            continue
        beside = [name for name in tensors if not name.startswith(prefix)]
        if beside:
            notes.append(f"{prefix}* is taken; left out beside it: {_names(beside)}")
        is_average |= prefix == _AVERAGED
        tensors = inner
    return tensors, is_average


def _below(prefix: str, tensors: Mapping[str, T]) -> dict[str, T]:
    """Returns the tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _renamed(tensors: dict[str, Tensor], expected: Iterable[str], notes: list[str]) -> dict[str, Tensor]:
    """Gives tensors with mmagic's names the model's names."""
    known = set(expected)
    result = {}
    renamed = 0
    for name, tensor in tensors.items():
        other = _from_mmagic(name)
        is_other = name not in known and other in known and other not in tensors
        renamed += is_other
        result[other if is_other else name] = tensor
    if renamed:
        notes.append(f"{_count(renamed)} had mmagic's names")
    return result


def _from_mmagic(name: str) -> str:
    if match := _MMAGIC_FLOW.match(name):
        return f"{match[1]}{2 * int(match[2])}.{match[3]}"
    for pattern, replacement in _MMAGIC_NAMES:
        name = pattern.sub(replacement, name)
    return name


def _names(names: Iterable[str]) -> str:
    """Returns names in few words: ``data_preprocessor.* (2), step_counter``."""
    counts = Counter(
        first + ("." if rest else "") for first, _, rest in (name.partition(".") for name in names)
    )
    return ", ".join(
        f"{first}* ({count})" if first.endswith(".") else first for first, count in sorted(counts.items())
    )


def _count(number: int) -> str:
    return f"{number} tensor{'' if number == 1 else 's'}"


def _are(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"
