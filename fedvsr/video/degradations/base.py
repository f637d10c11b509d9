"""The base class of degradations.

A built-in degradation is one file and one line in `fedvsr.video.degradations.registry`. A package provides
another one through an entry point of the group ``fedvsr.degradations``, or a run names it
``package.module:name``.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

from fedvsr.errors import ConfigError, VideoError
from fedvsr.video.frames import Frames


class Degradation(ABC):
    """Makes low-resolution frames from ground truth. It has no state: equal input gives equal output.

    Attributes:
        name: Its name in the registry.
        description: What it is, in one line.
        source: The paper (authors, title, venue and link); empty if there is none.
        scales: The scales for which it is defined.
    """

    name: ClassVar[str]
    description: ClassVar[str] = ""
    source: ClassVar[str] = ""
    scales: ClassVar[tuple[int, ...]]

    def __call__(self, frames: Frames, scale: int) -> Frames:
        """Degrades a clip.

        Args:
            frames: Ground truth, uint8 (T, H, W, 3), H and W divisible by ``scale``.
            scale: How many times smaller the result is, one of `scales`.

        Returns:
            uint8 (T, H / scale, W / scale, 3).

        Raises:
            fedvsr.errors.ConfigError: The degradation is not defined for ``scale``.
            fedvsr.errors.VideoError: H or W is not divisible by ``scale``; see
                `fedvsr.video.frames.crop_to_multiple`.
        """
        if scale not in self.scales:
            allowed = ", ".join(map(str, self.scales))
            raise ConfigError("scale", scale, f"the degradation {self.name!r} is defined for {allowed}")
        height, width = frames.shape[-3:-1]
        if height % scale or width % scale:
            raise VideoError(
                f"frames of {width}×{height} pixels do not divide by the scale {scale}; "
                f"crop them to {width - width % scale}×{height - height % scale} first (crop_to_multiple)"
            )
        return self._degrade(frames, scale)

    def reach(self, scale: int) -> int | None:
        """Returns how far a low-resolution pixel depends on others, so that a part can be degraded alone.

        A pixel depends only on its own frame, and there only on the ground truth of the pixels up to this far
        away, in low-resolution pixels. Degrading any part that contains these gives exactly the same pixel.

        Args:
            scale: One of `scales`.

        Returns:
            None, as here, if only the degradation of the whole clip is sure to give the same pixels.
        """
        return None

    @abstractmethod
    def _degrade(self, frames: Frames, scale: int) -> Frames:
        """Returns the degraded frames; the caller has checked their size and the scale."""
