"""Models that behave differently in rank 1 of several training processes."""

import os
import signal
import time
from pathlib import Path

import torch
from torch import nn

FOLDER_VARIABLE = "ODD_RANKS_FOLDER"


class Even(nn.Module):
    """One convolution, rearranged to the larger size."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.mix = nn.Conv2d(3, 3 * scale**2, 3, padding=1)
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if self.calls == 2 and os.environ.get("RANK") == "1":
            self.misbehave()
        frames = nn.functional.pixel_shuffle(self.mix(x.flatten(0, 1)), self.scale)
        return frames.reshape(*x.shape[:2], *frames.shape[1:])

    def misbehave(self) -> None:
        """Is called in rank 1, in the second step."""


class Slow(Even):
    def misbehave(self) -> None:
        time.sleep(1)


class Killed(Even):
    def misbehave(self) -> None:
        print("its last words", flush=True)
        os.write(2, b"its last error\n")
        os.kill(os.getpid(), signal.SIGKILL)


class OutOfMemory(Even):
    def misbehave(self) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB. GPU 1 has 16 GiB.")


class Endless(Even):
    """Says which process it is in, and never ends."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        Path(os.environ[FOLDER_VARIABLE], f"process-{os.getpid()}").touch()
        while True:
            time.sleep(1)
