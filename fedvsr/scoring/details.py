"""Pictures for an evaluation: details of clips, by bicubic interpolation, the model and the ground truth."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from fedvsr.metrics.psnr import psnr
from fedvsr.text import printable
from fedvsr.video.frames import Frames
from fedvsr.video.resize import upscale

_SIZE = 96
"""Height and width of a detail, in pixels."""
# A longer name would not fit beside its row of pictures.
_MAX_LABEL = 40


@dataclass(frozen=True)
class Detail:
    """One part of a frame in three versions, uint8 RGB (h, w, 3), and the whole frame's PSNR (Y) in dB."""

    clip: str
    bicubic: Frames
    output: Frames
    ground_truth: Frames
    bicubic_psnr: float
    output_psnr: float


def cut_detail(clip: str, low_resolution: Frames, output: Frames, ground_truth: Frames, scale: int) -> Detail:
    """Cuts the most detailed part out of a clip's middle frame.

    Args:
        clip: The clip's name.
        low_resolution: The low-resolution frames, (T, h, w, 3) uint8 RGB.
        output: The frames that the model upscaled, (T, s·h, s·w, 3) uint8 RGB.
        ground_truth: The ground truth, of the same shape as the output.
        scale: The scale, s.
    """
    middle = len(ground_truth) // 2
    middle_frame = slice(middle, middle + 1)
    bicubic = upscale(low_resolution[middle_frame], scale)
    output, ground_truth = output[middle_frame], ground_truth[middle_frame]
    top, left = _find_most_detailed(ground_truth[0])
    part = (0, slice(top, top + _SIZE), slice(left, left + _SIZE))
    return Detail(
        clip,
        bicubic[part],
        output[part],
        ground_truth[part],
        float(psnr(bicubic, ground_truth, channel="y")[0]),
        float(psnr(output, ground_truth, channel="y")[0]),
    )


def draw_details(details: Sequence[Detail], model: str, file: IO[bytes]) -> None:
    """Draws a row of three pictures for each detail: bicubic, the model's output and the ground truth.

    Args:
        details: At least one detail.
        model: The model's name, for the titles.
        file: Where to write the PNG. The same details give the same bytes.
    """
    with matplotlib.rc_context({"font.size": 8}):
        figure = Figure(figsize=(6.6, 2.3 * len(details)), dpi=130, layout="constrained")
        rows = figure.subplots(len(details), 3, squeeze=False)
        for axes, detail in zip(rows, details, strict=True):
            for ax, picture, title in zip(
                axes,
                (detail.bicubic, detail.output, detail.ground_truth),
                (
                    f"bicubic  {detail.bicubic_psnr:.2f} dB",
                    f"{model}  {detail.output_psnr:.2f} dB",
                    "ground truth",
                ),
                strict=True,
            ):
                ax.imshow(picture, interpolation="nearest")
                ax.set_title(title)
                ax.set_xticks([])
                ax.set_yticks([])
            # A dollar sign would start a formula.
            axes[0].set_ylabel(printable(detail.clip, _MAX_LABEL), parse_math=False)
        with warnings.catch_warnings():
            # A character that the font does not have is drawn as a box, which is all that a label can do.
            warnings.filterwarnings("ignore", message=r"Glyph \d+", category=UserWarning)
            # Without a date or version in the file, the same details give the same bytes.
            figure.savefig(file, format="png", metadata={"Software": None})


def _find_most_detailed(frame: Frames) -> tuple[int, int]:
    """Returns the top and left, in pixels, of the part with the largest sum of gradients."""
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
