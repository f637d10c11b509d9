"""What a degradation is."""

from abc import ABC, abstractmethod
from typing import ClassVar

from fedvsr.errors import ConfigError, VideoError
from fedvsr.video.frames import Frames


class Degradation(ABC):
    """Makes low-resolution frames from ground truth; has no state, so equal input gives equal output.

    Attributes:
        name: Its name in the registry.
        scales: The scales that it is defined for.
    """

    name: ClassVar[str]
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
            fedvsr.errors.VideoError: H or W does not divide by ``scale``; see
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

    @abstractmethod
    def _degrade(self, frames: Frames, scale: int) -> Frames:
        """Degrades frames whose size and scale are checked."""
