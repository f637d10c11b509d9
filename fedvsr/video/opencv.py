"""Silences OpenCV's log on stderr; fedvsr raises errors instead."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

# OpenCV reads this when its FFmpeg backend is first used; -8 is FFmpeg's AV_LOG_QUIET.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2

_SILENT = 0


@contextmanager
def quiet() -> Iterator[None]:
    """Silences OpenCV's log inside a ``with`` block, in all threads of the process."""
    previous = cv2.utils.logging.setLogLevel(_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(previous)
