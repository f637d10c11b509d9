"""A convolution of every frame by itself, with a kernel stored as that of a 3-D convolution."""

from torch import Tensor, nn
from torch.nn import functional


class FrameConv(nn.Conv3d):
    """Maps (N, T, I, H, W) to (N, T, O, H, W): the same square kernel over every frame.

    RVRT's published weights are those of 3-D convolutions that are one frame deep. PyTorch computes the
    2-D convolution that they amount to in a half to a third of the time on a CPU.

    Args:
        inputs: I.
        outputs: O.
        size: The kernel's rows and columns, odd.
    """

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__(inputs, outputs, (1, size, size), padding=(0, size // 2, size // 2))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.conv2d(
            x.flatten(0, 1), self.weight[:, :, 0], self.bias, padding=self.kernel_size[1] // 2
        )
        return y.view(*x.shape[:2], *y.shape[1:])
