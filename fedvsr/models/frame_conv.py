"""A 2-D convolution of each frame separately; its kernel has the shape of a 3-D convolution's."""

from torch import Tensor, nn
from torch.nn import functional


class FrameConv(nn.Conv3d):
    """Maps (N, T, I, H, W) to (N, T, O, H, W): the same square kernel for every frame.

    The published weights of RVRT and VRT are those of 3-D convolutions that are one frame deep. PyTorch
    computes the equivalent 2-D convolution faster: on a CPU in a third to two thirds of the time.

    Args:
        inputs: Number of input channels, I.
        outputs: Number of output channels, O.
        size: Rows and columns of the kernel, odd.
    """

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__(inputs, outputs, (1, size, size), padding=(0, size // 2, size // 2))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.conv2d(
            x.flatten(0, 1), self.weight[:, :, 0], self.bias, padding=self.kernel_size[1] // 2
        )
        return y.view(*x.shape[:2], *y.shape[1:])
