"""Residual blocks without normalisation, as in BasicVSR and its descendants, and in RRN.

Modules are named so that the published weights load.
"""

from torch import Tensor, nn
from torch.nn import functional

_NEGATIVE_SLOPE = 0.1
_INITIAL_SCALE = 0.1


class ResidualTrunk(nn.Module):
    """Maps (N, I, H, W) to (N, C, H, W): a 3 × 3 convolution, a leaky ReLU, and residual blocks.

    Args:
        inputs: Number of input channels, I.
        channels: Number of output channels, C.
        blocks: Number of residual blocks.
    """

    def __init__(self, inputs: int, channels: int, blocks: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(inputs, channels, 3, padding=1),
            nn.LeakyReLU(_NEGATIVE_SLOPE),
            nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks))),
        )

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.main(x)
        return features


class ResidualBlock(nn.Module):
    """Adds the result of two 3 × 3 convolutions to its input, (N, C, H, W).

    Args:
        channels: Number of channels, C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        for conv in (self.conv1, self.conv2):
            initialize_small(conv)

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.conv2(functional.relu(self.conv1(x)))
        return x + residual


def initialize_small(conv: nn.Conv2d) -> None:
    """Initialises a convolution after He et al. 2015, times 0.1.

    Small initial weights keep many consecutive blocks close to the identity.
    """
    nn.init.kaiming_normal_(conv.weight)
    conv.weight.data.mul_(_INITIAL_SCALE)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
