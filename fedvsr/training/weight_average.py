"""The exponential moving average of a model's weights over local steps.

After t steps the average is Σ d^(t−i)·w_i / Σ d^(t−i) over i = 1 … t: the weights before the first step are
not in it. It follows from A ← A + s·(w − A) with s = (1 − d)/(1 − d^t). The division is the correction of the
bias that Adam has for its moments (Kingma and Ba, ICLR 2015, https://arxiv.org/abs/1412.6980).
"""

import torch
from torch import Tensor, nn


class WeightAverage:
    """Averages the floating-point parameters and buffers of a model over its local steps.

    It takes the memory of one copy of the model on the model's device. Integer and boolean buffers stay those
    of the last step.

    Args:
        model: The model.
        decay: The decay rate d, in (0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model = model
        self._decay = decay
        self._steps = 0
        self._averages: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self) -> None:
        """Adds the weights after a step."""
        self._steps += 1
        share = (1 - self._decay) / (1 - self._decay**self._steps)
        for name, value in self._values():
            if name in self._averages:
                self._averages[name].lerp_(value, share)
            else:
                self._averages[name] = value.clone()

    @torch.no_grad()
    def load(self) -> None:
        """Replaces the model's weights by the average; without a step, they stay."""
        for name, value in self._values():
            if name in self._averages:
                value.copy_(self._averages[name])

    def _values(self) -> list[tuple[str, Tensor]]:
        return [
            (name, value) for name, value in self._model.state_dict().items() if value.is_floating_point()
        ]
