"""Upscales a short clip together with its mirror image in time."""

import torch
from torch import Tensor

from fedvsr.inference.outputs import checked_output
from fedvsr.inference.wrapper import Wrapper


class MirroredClip(Wrapper):
    """Upscales a clip followed by its time reversal, and averages the two outputs of each frame.

    BasicVSR and RVRT were trained and tested this way on the septuplets of Vimeo-90K: ``flip_seq`` in
    BasicSR. It takes twice as long.

    Args:
        model: A model; it is not changed.

    Sources:
        Chan et al., "BasicVSR: The Search for Essential Components in Video Super-Resolution and Beyond",
        CVPR 2021, https://arxiv.org/abs/2012.02181.
        Liang et al., "Recurrent Video Restoration Transformer with Guided Deformable Attention" (RVRT),
        NeurIPS 2022, https://arxiv.org/abs/2206.02146.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, T, 3, h, w) in [0, 1] to (N, T, 3, s·h, s·w)."""
        output = checked_output(self.model, torch.cat((x, x.flip(1)), 1))
        forwards, backwards = output.chunk(2, 1)
        return (forwards + backwards.flip(1)) / 2
