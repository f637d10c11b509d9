"""Pictures of an evaluation: bicubic interpolation, the model and the ground truth side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from fedvsr.metrics.psnr import psnr
from fedvsr.video.frames import Frames
from fedvsr.video.resize import upscale

_SIZE = 96
"""Height and width of a crop, in pixels."""


@dataclass(frozen=True)
class Crop:
    """The same piece of one frame three times, uint8 (h, w, 3), with the frame's PSNR (Y) in dB."""

    clip: str
    bicubic: Frames
    output: Frames
    truth: Frames
    bicubic_psnr: float
    output_psnr: float


def cut_crop(clip: str, low: Frames, output: Frames, truth: Frames, scale: int) -> Crop:
    """Cuts the most detailed piece out of a clip's middle frame.

    Args:
        clip: The clip's name.
        low: The low resolution, (T, h, w, 3) uint8 RGB.
        output: What the model made of it, (T, s·h, s·w, 3) uint8 RGB.
        truth: The ground truth, of the same shape.
        scale: s.
    """
    middle = len(truth) // 2
    middle_frame = slice(middle, middle + 1)
    bicubic, output, truth = upscale(low[middle_frame], scale), output[middle_frame], truth[middle_frame]
    top, left = _most_detailed(truth[0])
    piece = (0, slice(top, top + _SIZE), slice(left, left + _SIZE))
    return Crop(
        clip,
        bicubic[piece],
        output[piece],
        truth[piece],
        float(psnr(bicubic, truth, channel="y")[0]),
        float(psnr(output, truth, channel="y")[0]),
    )


def draw_crops(crops: Sequence[Crop], model: str, file: IO[bytes]) -> None:
    """Draws three pictures in a row for each crop.

    Args:
        crops: At least one crop.
        model: The model's name, for the titles.
        file: Where to write the PNG; the same crops give the same bytes.
    """
    with matplotlib.rc_context({"font.size": 8}):
        figure = Figure(figsize=(6.6, 2.3 * len(crops)), dpi=130, layout="constrained")
        rows = figure.subplots(len(crops), 3, squeeze=False)
        for axes, crop in zip(rows, crops, strict=True):
            for ax, picture, title in zip(
                axes,
                (crop.bicubic, crop.output, crop.truth),
                (
                    f"bicubic  {crop.bicubic_psnr:.2f} dB",
                    f"{model}  {crop.output_psnr:.2f} dB",
                    "ground truth",
                ),
                strict=True,
            ):
                ax.imshow(picture, interpolation="nearest")
                ax.set_title(title)
                ax.set_xticks([])
                ax.set_yticks([])
            axes[0].set_ylabel(crop.clip)
        # Without a date or version in the file, the same crops give the same bytes.
        figure.savefig(file, format="png", metadata={"Software": None})


def _most_detailed(frame: Frames) -> tuple[int, int]:
    """Returns the top and left of the piece with the largest sum of gradients."""
    grey = frame.mean(axis=2)
    detail = np.abs(np.diff(grey, axis=0))[:, :-1] + np.abs(np.diff(grey, axis=1))[:-1]
    height, width = (max(1, side - _SIZE + 1) for side in detail.shape)
    sums = np.pad(detail.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    bottom = np.minimum(np.arange(height) + _SIZE, detail.shape[0])
    right = np.minimum(np.arange(width) + _SIZE, detail.shape[1])
    energy = (
        sums[np.ix_(bottom, right)]
        - sums[np.ix_(np.arange(height), right)]
        - sums[np.ix_(bottom, np.arange(width))]
        + sums[:height, :width]
    )
    top, left = np.unravel_index(int(energy.argmax()), energy.shape)
    return int(top), int(left)
