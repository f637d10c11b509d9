"""A recurrent network's features of a video's frames, in the device's memory or the CPU's.

A network that depends on all frames keeps several tensors of each frame until its last pass: BasicVSR++ has
320 channels per pixel, 7.4 GB for a hundred frames of 320 × 180. On request they are kept in the CPU's
memory, and each one is copied to the device when it is read. BasicVSR++'s authors do the same if a video has
more than ``cpu_cache_length`` frames.
"""

from collections.abc import Iterable, Sequence
from typing import overload

import torch
from torch import Tensor, nn

from fedvsr.errors import ConfigError

_ATTRIBUTE = "features_on_cpu"


class FeatureCache(Sequence[Tensor]):
    """A list of tensors, one per frame or frame pair, that can be kept in the CPU's memory.

    Reading a tensor copies it to its original device. A slice is a cache of the same tensors and copies none.
    Page-locked memory would be faster, but it takes gigabytes that the system could not swap out and that
    PyTorch would not free.

    Args:
        tensors: The first tensors.
        on_cpu: Whether to keep the tensors in the CPU's memory.
    """

    def __init__(self, tensors: Iterable[Tensor] = (), *, on_cpu: bool) -> None:
        self._on_cpu = on_cpu
        # Each tensor as it is kept, and its original device.
        self._entries: list[tuple[Tensor, torch.device]] = []
        for tensor in tensors:
            self.append(tensor)

    def append(self, tensor: Tensor) -> None:
        """Adds a tensor; a cache on the CPU keeps only a copy there."""
        self._entries.append((tensor.cpu() if self._on_cpu else tensor, tensor.device))

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...

    @overload
    def __getitem__(self, index: slice) -> "FeatureCache": ...

    def __getitem__(self, index: int | slice) -> "Tensor | FeatureCache":
        if isinstance(index, slice):
            part = FeatureCache(on_cpu=self._on_cpu)
            part._entries = self._entries[index]
            return part
        tensor, device = self._entries[index]
        return tensor.to(device)

    def joined(self) -> Tensor:
        """Returns all tensors (N, t, …), concatenated to (N, T, …) on the device where they are kept."""
        return torch.cat([tensor for tensor, _ in self._entries], 1)


def keep_features_on_cpu(model: nn.Module) -> None:
    """Makes a network keep its features in the CPU's memory and return its output there.

    Raises:
        fedvsr.errors.ConfigError: The network has no attribute ``features_on_cpu``.
    """
    if not hasattr(model, _ATTRIBUTE):
        raise ConfigError(
            _ATTRIBUTE,
            True,
            f"{type(model).__name__} has no features that wait for a later step; "
            "if memory is short, use shorter windows and smaller tiles",
        )
    setattr(model, _ATTRIBUTE, True)
