"""Loads LPIPS with the AlexNet weights that this machine has."""

import os
from pathlib import Path

import torch

from fedvsr.metrics.lpips import LPIPS

LPIPS_WEIGHTS_VARIABLE = "FEDVSR_LPIPS_WEIGHTS"


def open_lpips(device: torch.device) -> LPIPS:
    """Returns LPIPS with the weights in FEDVSR_LPIPS_WEIGHTS. If it is not set, torchvision downloads them.

    Raises:
        fedvsr.errors.InputError: The extra ``lpips`` is not installed, or the weights cannot be read.
        fedvsr.errors.WeightsError: The file is damaged or does not hold AlexNet's weights.
    """
    backbone = os.environ.get(LPIPS_WEIGHTS_VARIABLE)
    return LPIPS(Path(backbone) if backbone else None, device)
