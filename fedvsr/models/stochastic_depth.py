"""Stochastic depth: leaves out residual branches at random during training.

Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016, https://arxiv.org/abs/1603.09382.
"""

import torch
from torch import Tensor, nn


class StochasticDepth(nn.Module):
    """Replaces a branch's output by zeros for random examples of a batch, during training only.

    The other examples are divided by the probability of keeping them, so the expected value stays the same.

    Args:
        rate: The probability of leaving the branch out, in [0, 1).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, …) to the same shape: the branch's output, with some examples set to zero."""
        if not self.training or self.rate == 0:
            return x
        kept = torch.rand(x.shape[0], *[1] * (x.ndim - 1), device=x.device) >= self.rate
        return x * kept.to(x.dtype) / (1 - self.rate)


def rising_rates(last: float, depths: list[int]) -> list[list[float]]:
    """Returns a rate for each branch of each group, rising evenly from 0 to ``last`` over all groups."""
    rates = iter(torch.linspace(0, last, sum(depths)).tolist())
    return [[next(rates) for _ in range(depth)] for depth in depths]
