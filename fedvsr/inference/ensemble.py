"""Self-ensemble: the mean of a model's outputs over the symmetries of a frame."""

import itertools

import torch
from torch import Tensor, nn

from fedvsr.models.base import contexts


class SelfEnsemble(nn.Module):
    """Upscales a clip in its eight symmetries, and averages the outputs; takes eight times as long.

    Args:
        model: A model; it is not changed.

    Source: the "geometric self-ensemble" of Lim et al., "Enhanced Deep Residual Networks for Single Image
    Super-Resolution" (EDSR), CVPR Workshops 2017, https://arxiv.org/abs/1707.02921.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.temporal_context, self.spatial_context = contexts(model).temporal, contexts(model).spatial

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, T, 3, h, w) in [0, 1] to (N, T, 3, s·h, s·w)."""
        outputs = []
        for vertical, horizontal, transposed in itertools.product((False, True), repeat=3):
            flips = [axis for axis, flip in ((-2, vertical), (-1, horizontal)) if flip]
            view = x.flip(flips)
            output = self.model(view.mT if transposed else view)
            outputs.append((output.mT if transposed else output).flip(flips))
        return torch.stack(outputs).mean(0)
