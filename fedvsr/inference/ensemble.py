"""Self-ensemble: the mean of a model's outputs over the symmetries of a frame."""

import functools
import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from fedvsr.inference.outputs import checked_output
from fedvsr.inference.wrapper import Wrapper

_SYMMETRIES = 8


class SelfEnsemble(Wrapper):
    """Upscales a clip in its eight symmetries, and averages the outputs; takes eight times as long.

    Args:
        model: A model; it is not changed.

    Source: the "geometric self-ensemble" of Lim et al., "Enhanced Deep Residual Networks for Single Image
    Super-Resolution" (EDSR), CVPR Workshops 2017, https://arxiv.org/abs/1707.02921.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, T, 3, h, w) in [0, 1] to (N, T, 3, s·h, s·w)."""
        # The sum is kept rather than the eight outputs, which are the largest tensors there are.
        return functools.reduce(torch.add, self._outputs(x)) / _SYMMETRIES

    def _outputs(self, x: Tensor) -> Iterator[Tensor]:
        for vertical, horizontal, transposed in itertools.product((False, True), repeat=3):
            flips = [axis for axis, flip in ((-2, vertical), (-1, horizontal)) if flip]
            view = x.flip(flips)
            output = checked_output(self.model, view.mT if transposed else view)
            yield (output.mT if transposed else output).flip(flips)
