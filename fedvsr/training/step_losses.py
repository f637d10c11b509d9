"""The losses of the steps, read from the device without waiting for the step that it computes."""

import math
from collections import deque
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fedvsr.errors import NonFiniteLossError


@dataclass(frozen=True)
class _Pending:
    """A loss on its way to the CPU."""

    step: int
    loss: Tensor
    clips: tuple[str, ...]
    arrived: torch.cuda.Event | None


@dataclass
class StepLosses:
    """The losses of the steps so far.

    A GPU computes a step while the next one is prepared. Reading the loss of the step that it computes would
    end that, so its loss is read one step later. On a CPU a step's loss is read at once.

    Attributes:
        lag: How many steps later a loss is read.
        values: The losses that were read, in the order of the steps.
    """

    lag: int
    values: list[float] = field(default_factory=list)
    _pending: deque[_Pending] = field(default_factory=deque)

    @classmethod
    def on(cls, device: torch.device) -> "StepLosses":
        """Returns the losses of a training on a device."""
        return cls(lag=1 if device.type == "cuda" else 0)

    def add(self, step: int, loss: Tensor, clips: tuple[str, ...]) -> None:
        """Adds a step's loss, a scalar that the device may still have to compute."""
        arrived = None
        if loss.is_cuda:
            with torch.cuda.device(loss.device):
                target = torch.empty_like(loss, device="cpu", pin_memory=True)
                loss = target.copy_(loss, non_blocking=True)
                arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
                arrived.record()
        self._pending.append(_Pending(step, loss, clips, arrived))

    def take(self, lag: int | None = None) -> list[tuple[int, float]]:
        """Reads the losses that are due.

        Args:
            lag: How many of the newest ones are left for later; None for `lag`.

        Returns:
            The steps that were read, and their losses.

        Raises:
            fedvsr.errors.NonFiniteLossError: A loss is NaN or infinite.
        """
        taken = []
        while len(self._pending) > (self.lag if lag is None else lag):
            pending = self._pending.popleft()
            if pending.arrived:
                pending.arrived.synchronize()
            value = float(pending.loss)
            if not math.isfinite(value):
                raise NonFiniteLossError(pending.step, value, pending.clips)
            self.values.append(value)
            taken.append((pending.step, value))
        return taken
