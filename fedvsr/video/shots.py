"""Cutting a stream of frames into shots."""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import repeat

import cv2
import numpy as np
from scenedetect import FrameTimecode
from scenedetect.detectors import AdaptiveDetector

from fedvsr.errors import ConfigError
from fedvsr.video.frames import Frames

# PySceneDetect compares each frame's change with those of this many frames on either side.
_WINDOW = 2
# PySceneDetect's own command line looks at frames of about this width; more is only slower.
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

    A shot longer than ``maximum_frames`` is cut into pieces of that length and a rest; every
    piece shorter than ``minimum_frames``, be it a shot or a rest, is dropped. No piece crosses a
    cut. Cuts are found by PySceneDetect's adaptive detector (https://www.scenedetect.com), which
    finds hard cuts and not fades. Two pieces' frames are in memory at most.

    Args:
        frames: uint8 (H, W, 3) RGB frames, read one at a time.
        fps: The video's frames per second.
        minimum_frames: At least 1.
        maximum_frames: At least ``minimum_frames``.
        detect: False takes the whole video for one shot.

    Yields:
        The piece's first frame, counted from 0 in the video, and its frames, uint8 (T, H, W, 3).

    Raises:
        fedvsr.errors.ConfigError: The lengths are out of range.
    """
    if minimum_frames < 1:
        raise ConfigError("minimum_frames", minimum_frames, "a clip has at least 1 frame")
    if maximum_frames < minimum_frames:
        raise ConfigError(
            "maximum_frames", maximum_frames, f"it must be at least minimum_frames ({minimum_frames})"
        )
    marked = _mark_cuts(frames, fps) if detect else zip(frames, repeat(False))
    return _pieces(marked, minimum_frames, maximum_frames)


def _pieces(
    marked: Iterable[tuple[Frames, bool]], minimum_frames: int, maximum_frames: int
) -> Iterator[tuple[int, Frames]]:
    piece: list[Frames] = []
    first_frame = 0
    for index, (frame, starts_shot) in enumerate(marked):
        if starts_shot or len(piece) == maximum_frames:
            if len(piece) >= minimum_frames:
                yield first_frame, np.stack(piece)
            piece = []
            first_frame = index
        piece.append(frame)
    if len(piece) >= minimum_frames:
        yield first_frame, np.stack(piece)


def _mark_cuts(frames: Iterable[Frames], fps: float) -> Iterator[tuple[Frames, bool]]:
    """Yields each frame and whether a new shot starts with it, `_WINDOW` frames late."""
    # Shots of any length are found, so that a short one is dropped and not merged with the next.
    detector = AdaptiveDetector(min_scene_len=1, window_width=_WINDOW)
    waiting: deque[Frames] = deque()
    position = 0
    cuts: set[int] = set()

    def look(frame: Frames) -> None:
        nonlocal position
        timecode = FrameTimecode(position, fps=fps)
        cuts.update(cut.frame_num for cut in detector.process_frame(timecode, _small(frame)))
        position += 1

    yielded = 0
    for frame in frames:
        # The ends are repeated because the detector finds no cut within a window of either end.
        for _ in range(_WINDOW if position == 0 else 0):
            look(frame)
        look(frame)
        waiting.append(frame)
        if len(waiting) > _WINDOW:
            yield waiting.popleft(), yielded + _WINDOW in cuts
            yielded += 1
    for frame in list(waiting)[-1:] * _WINDOW:
        look(frame)
    for frame in waiting:
        yield frame, yielded + _WINDOW in cuts
        yielded += 1


def _small(frame: Frames) -> Frames:
    height, width = frame.shape[:2]
    factor = max(1, round(width / _DETECTION_WIDTH))
    if factor > 1:
        size = (max(1, width // factor), max(1, height // factor))
        frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    blue_first: Frames = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    return blue_first
