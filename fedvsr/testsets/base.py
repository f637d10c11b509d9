"""Interface of a test set."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from fedvsr.metrics.frames import Channel


@dataclass(frozen=True)
class ClipFolders:
    """The folders of a clip's frames.

    Attributes:
        name: As the papers call it.
        truth: The folder of its ground truth.
        low: The folder of its ready-made low resolution; None if it is made from the ground truth.
    """

    name: str
    truth: Path
    low: Path | None


class VideoTestSet:
    """A test set and its scoring convention; a subclass sets the attributes and cites its source.

    Attributes:
        name: Its name in the registry.
        title: Its name in papers.
        channel: What PSNR and SSIM compare.
        crop_border: Pixels left out at each of the four sides.
        centre_only: Whether only the middle frame of a clip counts, and not all frames.
        degradations: The degradations that papers report, the usual one first.
        clips: The names of its clips; empty if every folder of frames is a clip.
        published: The published set's number of clips, and its number of frames that count.
        truth_folders: Folders below the root that may hold the ground truth, if the root itself does not.
        low_folders: Pairs of a degradation and a folder that may hold its ready-made low resolution;
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
            fedvsr.errors.VideoError: The test set comes with a list of its clips, and the root has none.
        """
        return self.clips

    def counts(self, index: int, frames: int) -> bool:
        """Returns whether a frame counts.

        Args:
            index: The frame's index in its clip, from 0.
            frames: The clip's number of frames.
        """
        return not self.centre_only or index == frames // 2

    @property
    def convention(self) -> str:
        """How it is scored, in a few words for a table's title."""
        channel = "Y (BT.601)" if self.channel == "y" else "RGB"
        frames = "the centre frame" if self.centre_only else "all frames"
        return f"PSNR/SSIM on {channel}, border {self.crop_border}, {frames}"
