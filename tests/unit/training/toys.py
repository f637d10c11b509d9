"""A small model and batches for it."""

import numpy as np
import torch
from torch import nn

from fedvsr.video.patches import PatchBatch

CPU = torch.device("cpu")


class Stack(nn.Module):
    """Three consecutive convolutions, then upscaling by 2."""

    def __init__(self) -> None:
        super().__init__()
        self.flow = nn.Conv2d(3, 8, 3, padding=1)
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
        self.tail = nn.Conv2d(8, 12, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (N, T, 3, h, w) to (N, T, 3, 2h, 2w)."""
        output = nn.functional.pixel_shuffle(self.tail(self.body(self.flow(x.flatten(0, 1)))), 2)
        return output.reshape(*x.shape[:2], *output.shape[1:])


def make_batches(count: int, size: int = 3) -> list[PatchBatch]:
    """Returns ``count`` batches of ``size`` random patches, the same ones every time."""
    random = np.random.default_rng(0)
    return [
        PatchBatch(
            random.random((size, 2, 3, 8, 8), np.float32),
            random.random((size, 2, 3, 16, 16), np.float32),
            tuple(f"clip-{index}" for index in range(size)),
        )
        for _ in range(count)
    ]
