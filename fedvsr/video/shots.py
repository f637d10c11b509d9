"""Cuts a stream of frames into shots."""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import repeat

import cv2
import numpy as np
from scenedetect import FrameTimecode
from scenedetect.detectors import AdaptiveDetector

from fedvsr.errors import ConfigError
from fedvsr.video.frames import Frames

# PySceneDetect compares a frame's change with the changes of this many frames on either side.
_WINDOW = 2
# PySceneDetect's command line uses frames of about this width, in pixels. Larger ones are only slower.
_DETECTION_WIDTH = 256


def split_shots(
    frames: Iterable[Frames],
    *,
    fps: float,
    minimum_frames: int,
    maximum_frames: int,
    detect: bool = True,
) -> Iterator[tuple[int, Frames]]:
    """Cuts a video into pieces that each lie within one shot.

    A shot longer than ``maximum_frames`` is cut into pieces of that length and a shorter rest. A piece
    shorter than ``minimum_frames`` is dropped, whether it is a rest or a whole shot. PySceneDetect's adaptive
    detector finds the cuts (https://www.scenedetect.com/docs/latest/api/detectors.html). It detects hard
    cuts, but not fades. Memory holds the frames of at most two pieces.

    Args:
        frames: uint8 (H, W, 3) RGB frames, read one at a time.
        fps: The video's frames per second, above 0.
        minimum_frames: At least 1.
        maximum_frames: At least ``minimum_frames``.
        detect: Whether to detect cuts; if False, the whole video is one shot.

    Returns:
        An iterator over the pieces: the position of the first frame in the video, counted from 0, and the
        frames, uint8 (T, H, W, 3), minimum_frames ≤ T ≤ maximum_frames.

    Raises:
        fedvsr.errors.ConfigError: ``minimum_frames`` or ``maximum_frames`` is out of range.
    """
    if minimum_frames < 1:
        raise ConfigError("minimum_frames", minimum_frames, "it must be at least 1")
    if maximum_frames < minimum_frames:
        raise ConfigError(
            "maximum_frames", maximum_frames, f"it must be at least minimum_frames ({minimum_frames})"
        )
    marked_frames = _mark_cuts(frames, fps) if detect else zip(frames, repeat(False))
    return _cut_into_pieces(marked_frames, minimum_frames, maximum_frames)


def _cut_into_pieces(
    marked_frames: Iterable[tuple[Frames, bool]], minimum_frames: int, maximum_frames: int
) -> Iterator[tuple[int, Frames]]:
    piece: list[Frames] = []
    first_frame = 0
    for position, (frame, starts_shot) in enumerate(marked_frames):
        if starts_shot or len(piece) == maximum_frames:
            if len(piece) >= minimum_frames:
                yield first_frame, np.stack(piece)
            piece = []
            first_frame = position
        piece.append(frame)
    if len(piece) >= minimum_frames:
        yield first_frame, np.stack(piece)


def _mark_cuts(frames: Iterable[Frames], fps: float) -> Iterator[tuple[Frames, bool]]:
    """Yields each frame and whether it starts a shot; reads `_WINDOW` frames ahead."""
    detector = _CutDetector(fps)
    waiting: deque[Frames] = deque()
    yielded = 0
    # The detector finds no cut within a window of either end, so the first and last frame are repeated.
    # This shifts all positions by one window.
    for frame in frames:
        if detector.frames_shown == 0:
            detector.show(frame, times=_WINDOW)
        detector.show(frame)
        waiting.append(frame)
        if len(waiting) > _WINDOW:
            yield waiting.popleft(), detector.is_cut(yielded + _WINDOW)
            yielded += 1
    if waiting:
        detector.show(waiting[-1], times=_WINDOW)
    for frame in waiting:
        yield frame, detector.is_cut(yielded + _WINDOW)
        yielded += 1


class _CutDetector:
    """PySceneDetect's detector, with the cuts detected so far.

    Attributes:
        frames_shown: Number of frames passed to `show`.
    """

    def __init__(self, fps: float) -> None:
        self.frames_shown = 0
        self._fps = fps
        # With a minimum of 1, a short shot is detected and dropped, not merged with the next one.
        self._detector = AdaptiveDetector(min_scene_len=1, window_width=_WINDOW)
        self._cuts: set[int] = set()

    def show(self, frame: Frames, times: int = 1) -> None:
        small_frame = _shrink(frame)
        for _ in range(times):
            timecode = FrameTimecode(self.frames_shown, fps=self._fps)
            cuts = self._detector.process_frame(timecode, small_frame)
            self._cuts.update(cut.frame_num for cut in cuts)
            self.frames_shown += 1

    def is_cut(self, position: int) -> bool:
        """Returns whether a shot starts at the position, among the frames shown so far."""
        return position in self._cuts


def _shrink(frame: Frames) -> Frames:
    """Returns a smaller frame in OpenCV's order of colours, blue first."""
    height, width = frame.shape[:2]
    factor = max(1, round(width / _DETECTION_WIDTH))
    if factor > 1:
        size = (max(1, width // factor), max(1, height // factor))
        frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    blue_first: Frames = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    return blue_first
