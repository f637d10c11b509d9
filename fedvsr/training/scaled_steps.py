"""Steps of the optimiser; with float16, the loss is scaled so that small gradients do not become zero.

Micikevicius et al., "Mixed Precision Training", ICLR 2018, https://arxiv.org/abs/1710.03740. The scale is
halved after a step whose gradients overflow, and doubled after many steps without one.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import Optimizer


class ScaledSteps:
    """Takes an optimiser's steps, and leaves out those whose float16 gradients overflow.

    The scale begins anew with every object, so a round depends on no earlier one. With float16, every step
    waits for the device: the decision about a step is made on the CPU.

    Args:
        optimizer: The optimiser.
        device: The device of its parameters.
        is_scaling: Whether losses are scaled.
        before_step: Called before each step that is taken, when the gradients are final and not scaled.

    Attributes:
        skipped: How many steps were left out.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        device: torch.device,
        *,
        is_scaling: bool,
        before_step: Callable[[], None],
    ) -> None:
        self.skipped = 0
        self._optimizer = optimizer
        self._before_step = before_step
        self._is_taken = False
        self._scaler = torch.amp.GradScaler(device.type, enabled=is_scaling)
        # The scaler gets its scale with the first loss, and a process may have no patch of the first batch.
        self._scaler.scale(torch.zeros((), device=device))
        # The scaler calls the optimiser only if no gradient overflowed.
        optimizer.register_step_pre_hook(self._begin_step)

    def backward(self, loss: Tensor) -> None:
        """Adds the gradients of a loss."""
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def step(self) -> bool:
        """Takes a step with the gradients; returns False if they overflowed and it was left out."""
        self._is_taken = False
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self.skipped += not self._is_taken
        return self._is_taken

    def _begin_step(self, *_: object) -> None:
        self._is_taken = True
        self._before_step()
