"""What a test set is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from fedvsr.metrics.frames import Channel


@dataclass(frozen=True)
class ClipFolders:
    """Where a clip's frames are.

    Attributes:
        name: As the papers call it.
        truth: The folder of its ground truth.
        low: The folder of its ready-made low resolution, or None where it is made from the ground truth.
    """

    name: str
    truth: Path
    low: Path | None


class VideoTestSet:
    """A test set and how the field scores it; a subclass fills in the attributes and cites its source.

    Attributes:
        name: Its name in the registry.
        title: Its name in papers.
        channel: What PSNR and SSIM compare.
        crop_border: Pixels left out at each side.
        centre_only: Whether only the middle frame of a clip counts, or all do.
        degradations: The degradations that papers report, the usual one first.
        clips: The names of its clips; empty where every folder of frames is one.
        published: How many clips the published set has, and how many frames of it count.
        truth_folders: Where below the root the clips' ground truth may be, besides the root itself.
        low_folders: Degradations, and where their ready-made low resolution may be; ``{scale}`` is replaced.
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
        """Returns the names of the clips that a root must have; empty where its folders say it.

        Raises:
            fedvsr.errors.VideoError: The root lacks the list of its clips.
        """
        return self.clips

    def counts(self, index: int, frames: int) -> bool:
        """Says whether a clip's frame counts, by its index and the clip's number of frames."""
        return not self.centre_only or index == frames // 2

    @property
    def convention(self) -> str:
        """How it is scored, in a few words."""
        channel = "Y (BT.601)" if self.channel == "y" else "RGB"
        frames = "the centre frame" if self.centre_only else "all frames"
        return f"PSNR/SSIM on {channel}, border {self.crop_border}, {frames}"
