"""The interface of a test set."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from fedvsr.metrics.frames import Channel


@dataclass(frozen=True)
class ClipFolders:
    """The folders of a clip's frames.

    Attributes:
        name: The clip's name in papers.
        ground_truth: The folder of the ground truth.
        low_resolution: The folder of ready-made low-resolution frames; None if they are made from the ground
            truth.
    """

    name: str
    ground_truth: Path
    low_resolution: Path | None


class VideoTestSet:
    """A test set and its scoring convention. A subclass sets the attributes and cites its source.

    Attributes:
        name: Its name in the registry.
        title: Its name in papers.
        channel: The channel that PSNR and SSIM compare.
        crop_border: Pixels left out at each of the four sides.
        centre_only: Whether to score only a clip's middle frame, and not all frames.
        degradations: The degradations that papers report, the usual one first.
        clips: The names of its clips; empty if every folder of frames is a clip.
        published: Number of clips, and number of scored frames, of the published set.
        truth_folders: Folders in the root that may hold the ground truth, if the root itself does not.
        low_folders: Pairs of a degradation and a folder that may hold its ready-made low-resolution frames;
            ``{scale}`` stands for the scale.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    channel: ClassVar[Channel]
    crop_border: ClassVar[int] = 0
    centre_only: ClassVar[bool] = False
    degradations: ClassVar[tuple[str, ...]]
    clips: ClassVar[tuple[str, ...]] = ()
    published: ClassVar[tuple[int, int]]
    truth_folders: ClassVar[tuple[str, ...]]
    low_folders: ClassVar[tuple[tuple[str, str], ...]]

    def clip_names(self, root: Path) -> Sequence[str]:
        """Returns the names of the clips that a root must have; empty if every folder of frames is a clip.

        Raises:
            fedvsr.errors.VideoError: The test set's clips are named in a list, and the root does not have it.
        """
        return self.clips

    def counts(self, index: int, frames: int) -> bool:
        """Returns whether a frame is scored.

        Args:
            index: The frame's index in its clip, from 0.
            frames: Number of frames of the clip.
        """
        return not self.centre_only or index == frames // 2

    @property
    def convention(self) -> str:
        """The scoring convention in a few words, for a table's title."""
        channel = "Y (BT.601)" if self.channel == "y" else "RGB"
        frames = "the centre frame" if self.centre_only else "all frames"
        return f"PSNR/SSIM on {channel}, border {self.crop_border}, {frames}"
