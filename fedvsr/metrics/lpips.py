"""LPIPS: how different two frames look, measured on the features of a network trained on ImageNet.

Version 0.1 with AlexNet. Needs the optional packages of ``pip install fedvsr[lpips]``.

Source: Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018,
https://arxiv.org/abs/1801.03924.
"""

import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from fedvsr.errors import InputError, WeightsError
from fedvsr.metrics.frames import check_frames, crop

_MIN_SIDE = 31
"""In pixels. AlexNet's strides would reduce a smaller frame to nothing."""

_FRAMES_AT_ONCE = 8

_SLICES = {0: 1, 3: 2, 6: 3, 8: 4, 10: 5}
"""Maps a layer of torchvision's ``alexnet.features`` to one of the five slices of the lpips package."""


class LPIPS:
    """Measures LPIPS with AlexNet. Build it once and use it for many videos.

    Args:
        backbone: A safetensors file with the convolutions of torchvision's ImageNet AlexNet under
            torchvision's names, ``features.0.weight`` …; None lets torchvision download them.
        device: The device to compute on.

    Raises:
        fedvsr.errors.InputError: The optional packages are missing, the file does not exist, or the
            download failed.
        fedvsr.errors.WeightsError: The file is damaged or does not hold AlexNet's weights.
    """

    def __init__(self, backbone: Path | None = None, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self._network = _build(backbone).to(self.device)

    def __call__(
        self, a: NDArray[np.uint8], b: NDArray[np.uint8], crop_border: int = 0
    ) -> NDArray[np.float64]:
        """Returns the LPIPS distance of every frame.

        Args:
            a: (T, H, W, 3) uint8, RGB, of at least 31 × 31 pixels.
            b: Of the same shape.
            crop_border: Pixels to leave out at each of the four sides.

        Returns:
            (T,) float64, from 0 (equal) upwards; 1 is very different.

        Raises:
            fedvsr.errors.InputError: The videos cannot be compared.
        """
        check_frames(a, b, crop_border, _MIN_SIDE)
        distances: list[float] = []
        with torch.inference_mode():
            for start in range(0, len(a), _FRAMES_AT_ONCE):
                x, y = (
                    self._tensor(crop(frames[start : start + _FRAMES_AT_ONCE], crop_border))
                    for frames in (a, b)
                )
                distances += self._network(x, y).flatten().tolist()
        return np.array(distances)

    def _tensor(self, frames: NDArray[np.uint8]) -> Tensor:
        """Returns the frames as (T, 3, H, W) in [−1, 1], the network's input."""
        channels_first = np.ascontiguousarray(frames.transpose(0, 3, 1, 2))
        return torch.from_numpy(channels_first).to(self.device).float() / 127.5 - 1


def _build(backbone: Path | None) -> nn.Module:
    package = _import_lpips()
    tensors = None if backbone is None else _read_tensors(backbone)
    # New layers draw random weights. This must not change the random numbers of training.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # lpips 0.1.4 asks for weights with an argument that torchvision 0.13 deprecated.
        warnings.filterwarnings("ignore", "The parameter 'pretrained' is deprecated", UserWarning)
        warnings.filterwarnings("ignore", "Arguments other than a weight enum", UserWarning)
        try:
            network: nn.Module = package.LPIPS(net="alex", pnet_rand=tensors is not None, verbose=False)
        except OSError as error:
            raise InputError(
                f"AlexNet's weights could not be downloaded ({error}); name a file that holds them"
            ) from error
    if tensors is not None:
        _load_backbone(network, tensors, str(backbone))
    return network.requires_grad_(False)


def _import_lpips() -> ModuleType:
    try:
        import lpips
    except ImportError as error:
        raise InputError(f"LPIPS needs optional packages ({error}): pip install fedvsr[lpips]") from error
    package: ModuleType = lpips
    return package


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise InputError(f"there is no file {path} with AlexNet's weights")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise WeightsError(
            f"{path} is not a safetensors file or is cut short ({error}); copy it again"
        ) from error


def _load_backbone(network: nn.Module, tensors: dict[str, Tensor], path: str) -> None:
    backbone = network.get_submodule("net")
    for layer, slice_number in _SLICES.items():
        for kind in ("weight", "bias"):
            name = f"features.{layer}.{kind}"
            parameter = backbone.get_parameter(f"slice{slice_number}.{layer}.{kind}")
            if name not in tensors or tensors[name].shape != parameter.shape:
                shape = tuple(tensors[name].shape) if name in tensors else "nothing"
                raise WeightsError(
                    f"{path}: expected {name} of shape {tuple(parameter.shape)}, found {shape}; "
                    "it must hold torchvision's AlexNet"
                )
            parameter.data.copy_(tensors[name])
