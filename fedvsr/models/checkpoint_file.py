"""The tensors of a checkpoint file that another framework wrote."""

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from fedvsr.errors import InputError, WeightsError
from fedvsr.store.base import file_digest
from fedvsr.weights import Array

# Keys under which training frameworks store the weights. If a file has several, the first one is taken. The
# scripts with which BasicSR, VRT, RVRT and IART are scored read `params`.
_PLAIN = ("params", "state_dict", "model")
_AVERAGED = ("params_ema",)
# Packages whose objects stand beside the weights in mmengine's checkpoints, such as logged losses.
_BOOKKEEPING = ("mmcv.", "mmengine.", "numpy.", "_codecs.encode")
# PyTorch's convention for names of published files: the first digits of the SHA-256 before the suffix. What
# looks like a date is one.
_DIGEST_IN_NAME = re.compile(r"-(?!(?:19|20)\d{6}$)([0-9a-f]{8,64})$")
# How PyTorch's unpickler names an object that it refuses, and any other reason.
_REFUSED_OBJECT = re.compile(r"(?:GLOBAL|global) (\w+(?:\.\w+)+)")
_UNPICKLER_REASON = re.compile(r"WeightsUnpickler error: (.+)")


@dataclass(frozen=True)
class FileTensors:
    """The tensors of a checkpoint file, under the names that they have there.

    Attributes:
        tensors: The tensors.
        averaged: Whether the file says that they are a moving average of the weights.
        notes: What a user should know about the choice.
    """

    tensors: dict[str, Tensor]
    averaged: bool
    notes: tuple[str, ...]


def read_file(path: Path, averaged: bool | None = None) -> FileTensors:
    """Reads a checkpoint file.

    PyTorch's restricted unpickler reads only tensors from a PyTorch file, and runs no code.

    Args:
        path: A PyTorch file (``.pth``, ``.pt``) or a safetensors file.
        averaged: Whether to take the moving average of the weights or the plain weights, if the file has
            both; None takes the plain weights, as the official scripts do.

    Raises:
        fedvsr.errors.InputError: The file does not exist or cannot be read.
        fedvsr.errors.WeightsError: The file holds no tensors, is damaged, or holds objects other than
            tensors.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a .pth, .pt or .safetensors checkpoint")
    try:
        path.open("rb").close()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if path.suffix == ".safetensors":
        content: Any = _read_safetensors(path)
    else:
        content = _read_pickle(path)
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path} holds a {type(content).__name__}, not a state dict")
    entries = {key: _tensors(content.get(key)) for key in (*_PLAIN, *_AVERAGED)}
    plain = next((key for key in _PLAIN if entries[key]), None)
    average = next((key for key in _AVERAGED if entries[key]), None)
    key = average if plain is None or (averaged and average) else plain
    if key is None:
        tensors = _tensors(content)
        if not tensors:
            keys = ", ".join((*_PLAIN, *_AVERAGED))
            raise WeightsError(f"{path} holds no tensors under {keys} or at its top")
        return FileTensors(tensors, False, ())
    notes: tuple[str, ...] = ()
    if plain and average:
        other = "--no-ema takes the plain weights" if key == average else "--ema takes the moving average"
        notes = (f"the file has {plain} and {average}: {key} is taken; {other}",)
    return FileTensors(entries[key], key == average, notes)


def to_arrays(tensors: Mapping[str, Tensor], path: Path) -> tuple[dict[str, Array], int]:
    """Converts tensors to NumPy arrays. Floating-point tensors of 16 bits become float32.

    Returns:
        The arrays, and the number of tensors that were widened.

    Raises:
        fedvsr.errors.WeightsError: A tensor has a dtype or layout that NumPy lacks.
    """
    arrays = {}
    widened = 0
    for name, tensor in tensors.items():
        is_half = tensor.dtype in (torch.float16, torch.bfloat16)
        widened += is_half
        try:
            arrays[name] = (tensor.float() if is_half else tensor).detach().cpu().contiguous().numpy()
        except (TypeError, RuntimeError, NotImplementedError):
            kind = f"{tensor.dtype}, {tensor.layout}"
            raise WeightsError(
                f"{path}: tensor {name!r} ({kind}) cannot be read; save it as dense float32"
            ) from None
    return arrays, widened


def find_wrong_digest(path: Path) -> str | None:
    """Compares a file's SHA-256 with the digits in its name (``spynet_sintel_final-3d2a1287.pth``).

    Returns:
        The difference as a phrase; None if there is none, or no digits in the name.
    """
    match = _DIGEST_IN_NAME.search(path.stem)
    if match is None:
        return None
    digest = file_digest(path)
    if digest.startswith(match[1]):
        return None
    return f"its SHA-256 begins with {digest[: len(match[1])]}, not with {match[1]} as its name says"


def _tensors(content: object) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        return {}
    return {str(key): value for key, value in content.items() if isinstance(value, Tensor)}


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a whole safetensors file ({error}); download it again") from error


class _Bookkeeping:
    """Stands for an object beside the weights. It takes what the object was made of, and does nothing."""

    def __init__(self, *arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def _read_pickle(path: Path) -> object:
    if _is_torchscript(path):
        raise WeightsError(
            f"{path} is a TorchScript program; save the state dict of the model that it was made from"
        )
    allowed = {name for name in _other_objects(path) if name.startswith(_BOOKKEEPING)}
    while True:
        try:
            with safe_globals([(_Bookkeeping, name) for name in sorted(allowed)]):
                return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            # A damaged file may raise anything.
            refused = set(_REFUSED_OBJECT.findall(str(error)))
            if refused - allowed and all(name.startswith(_BOOKKEEPING) for name in refused):
                # A file from before PyTorch 1.6 names its objects one by one.
                allowed |= refused
                continue
            raise WeightsError(f"{path} {_problem(path, error, refused)}") from error


def _other_objects(path: Path) -> set[str]:
    """Returns the classes and functions that a PyTorch file names and that the unpickler would refuse.

    They are not known for a file from before PyTorch 1.6, or for one that is damaged.
    """
    try:
        return set(get_unsafe_globals_in_checkpoint(path))
    except Exception:
        # A damaged file may raise anything; reading it says what is wrong.
        return set()


def _problem(path: Path, error: Exception, refused: set[str]) -> str:
    """Says why a PyTorch file cannot be read; advises to download it again only if it is not whole."""
    others = sorted(name for name in _other_objects(path) | refused if not name.startswith(_BOOKKEEPING))
    if others:
        return (
            f"is not a PyTorch checkpoint of plain tensors: reading {', '.join(others[:3])} would run code; "
            "save the state dict alone, in the program that wrote the file"
        )
    if not path.stat().st_size:
        return "is empty; download it again"
    if wrong := find_wrong_digest(path):
        return f"is damaged: {wrong}; download it again"
    detail = _UNPICKLER_REASON.search(str(error))
    reason = detail[1] if detail else (str(error) or type(error).__name__).split(". ")[0].splitlines()[0]
    if _is_whole(path):
        return (
            f"is whole, and PyTorch {torch.__version__} cannot read it ({reason}); save the state dict alone"
        )
    return f"is not a whole PyTorch checkpoint ({reason}); download it again"


def _is_torchscript(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False


def _is_whole(path: Path) -> bool:
    if _DIGEST_IN_NAME.search(path.stem):
        # The digest was compared before.
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except zipfile.BadZipFile:
        return False
