"""RRN: recurrent forwards, with a hidden state and without optical flow.

Isobe et al., "Revisiting Temporal Modeling for Video Super-resolution", BMVC 2020,
https://arxiv.org/abs/2008.05765. Modules are named so that the published weights load.
"""

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from fedvsr.config.base import Section
from fedvsr.models.base import check_scale
from fedvsr.models.bicubic import upscale_bicubic
from fedvsr.models.detail import RESIDUAL_GAIN, detail
from fedvsr.models.residual import ResidualBlock, initialize_small

_RGB = 3


class RRNOptions(Section):
    """The options of RRN."""

    channels: int = Field(128, ge=1, le=512, description="feature channels, also those of the hidden state")
    blocks: int = Field(5, ge=1, le=100, description="residual blocks: 5 in RRN-S, 10 in RRN-L")
    detail: bool = Field(
        False,
        description="compute the residual of a bicubic upscaling from the frames' detail: learns in minutes "
        "on a CPU, but is another network than the published one",
    )


class RRN(nn.Module):
    """Adds a residual to a bilinear upscaling, computed from a frame, the frame before it, and a state.

    The state is the hidden features and the output of the frame before. So an output frame depends on all
    earlier input frames and on no later one. The second frame stands in for the frame before the first, as
    in the authors' code.

    With the option ``detail`` the network sees the frames' detail instead (`fedvsr.models.detail`), and its
    residual is added to a bicubic upscaling. Its last convolution starts at zero, so the untrained network is
    exactly `fedvsr.models.bicubic.Bicubic`.

    Args:
        scale: 2, 3 or 4.
        options: The options; None stands for the defaults.

    Raises:
        fedvsr.errors.ConfigError: The scale is not 2, 3 or 4.
    """

    description = "forward recurrent network without flow, for live video"
    source = (
        "Isobe et al., Revisiting Temporal Modeling for Video Super-resolution, BMVC 2020, "
        "https://arxiv.org/abs/2008.05765"
    )
    parameter_count = 1_888_560
    Options = RRNOptions

    temporal_context = None
    spatial_context = 32

    def __init__(self, scale: int, options: RRNOptions | None = None) -> None:
        super().__init__()
        check_scale(scale, (2, 3, 4), "rrn")
        options = options or RRNOptions()
        self.scale = scale
        self.channels = options.channels
        self.detail = options.detail
        self.neuro = _Cell(options.channels, options.blocks, _RGB * scale**2)
        if options.detail:
            nn.init.kaiming_normal_(self.neuro.conv_1.weight)
            nn.init.kaiming_normal_(self.neuro.conv_h.weight)
            nn.init.zeros_(self.neuro.conv_o.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, T, 3, h, w) in [0, 1] to (N, T, 3, s·h, s·w); overshoots are not clipped."""
        N, T, _, h, w = x.shape
        inputs = detail(x.flatten(0, 1)).reshape(x.shape) if self.detail else x
        previous = inputs[:, min(1, T - 1)]
        hidden = x.new_zeros(N, self.channels, h, w)
        state = x.new_zeros(N, _RGB * self.scale**2, h, w)
        outputs = []
        for frame, current in zip(x.unbind(1), inputs.unbind(1), strict=True):
            hidden, residual = self.neuro(torch.cat((previous, current, hidden, state), 1))
            output = self._add(residual, frame)
            state = residual if self.detail else functional.pixel_unshuffle(output, self.scale)
            outputs.append(output)
            previous = current
        return torch.stack(outputs, 1)

    def _add(self, residual: Tensor, frame: Tensor) -> Tensor:
        """Adds the residual of an output frame to the upscaled input frame."""
        shuffled = functional.pixel_shuffle(residual, self.scale)
        if self.detail:
            return upscale_bicubic(frame, self.scale) + RESIDUAL_GAIN * shuffled
        return functional.interpolate(frame, scale_factor=self.scale, mode="bilinear") + shuffled


class _Cell(nn.Module):
    """Computes the next hidden state and a frame's residual."""

    def __init__(self, channels: int, blocks: int, outputs: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(2 * _RGB + channels + outputs, channels, 3, padding=1)
        self.recon_trunk = nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))
        self.conv_h = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_o = nn.Conv2d(channels, outputs, 3, padding=1)
        for conv in (self.conv_1, self.conv_h, self.conv_o):
            initialize_small(conv)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.recon_trunk(functional.relu(self.conv_1(x)))
        return functional.relu(self.conv_h(features)), self.conv_o(features)
