"""Models that need something, or return something wrong."""

import torch
from torch import nn


class Twice(nn.Module):
    """Repeats pixels."""

    temporal_context = 0
    spatial_context = 0

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.register_buffer("weight", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.repeat_interleave(2, -1).repeat_interleave(2, -2)


class MultiplesOf8(Twice):
    """Fails for other sizes, and adds to every 8 × 8 block a part of its mean, so that their places count."""

    size_multiple = 8
    spatial_context = 7

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        blocks = nn.functional.avg_pool2d(x.flatten(0, 1), 8).unflatten(0, x.shape[:2])
        means = blocks.repeat_interleave(8, -1).repeat_interleave(8, -2)
        return super().forward(0.75 * x + 0.25 * means)


class NotFinite(Twice):
    """Returns NaN for bright pictures."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(torch.where(x.amax() > 0.6, torch.nan, x))


class AlwaysNotFinite(Twice):
    """Returns NaN."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + torch.nan


class OneRowShort(Twice):
    """Returns a row less than it should."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x)[..., :-1, :]


class ThreeTimes(Twice):
    """Upscales by 3, whatever it is asked for."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.repeat_interleave(3, -1).repeat_interleave(3, -2)


class Slow(Twice):
    """Takes a moment for each frame, so that a test can stop it in between."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        work = torch.rand(64, 64)
        for _ in range(60 * x.shape[1]):
            work = (work @ work).softmax(-1)
        return super().forward(x)
