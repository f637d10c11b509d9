"""Upscaling a short clip together with its mirror image in time."""

import torch
from torch import Tensor, nn

from fedvsr.models.base import contexts


class MirroredClip(nn.Module):
    """Upscales a clip followed by itself backwards, and averages the two outputs of each frame.

    So BasicVSR (Chan et al., CVPR 2021) and RVRT (Liang et al., NeurIPS 2022) are tested on the septuplets
    of Vimeo-90K, on which they were trained that way: ``flip_seq`` in BasicSR. Twice the work.

    Args:
        model: A model; it is not changed.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.temporal_context, self.spatial_context = contexts(model).temporal, contexts(model).spatial

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, T, 3, h, w) to (N, T, 3, s·h, s·w)."""
        output: Tensor = self.model(torch.cat((x, x.flip(1)), 1))
        forwards, backwards = output.chunk(2, 1)
        return (forwards + backwards.flip(1)) / 2
