"""Writes frames to a video file or a folder of images."""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import av
import numpy as np

from fedvsr.errors import VideoError
from fedvsr.video.frames import AnyFrames
from fedvsr.video.writing.companion_streams import CompanionStreams
from fedvsr.video.writing.finished_files import discard
from fedvsr.video.writing.folder_sinks import FolderSink, ResumableFolderSink
from fedvsr.video.writing.frame_sinks import FileSink, FrameSink
from fedvsr.video.writing.output_formats import (
    FOLDER,
    HOLD_PIXEL_ASPECT,
    OutputFormat,
    find_alternative,
    find_caution,
    find_problem,
    output_format,
)
from fedvsr.video.writing.resume_record import ResumeRecord, make_record
from fedvsr.video.writing.segments import SegmentSink, segments_folder
from fedvsr.video.writing.video_encoder import VideoSettings, try_encoder

SEGMENT_FRAMES: Final = 256
"""A resumable video is kept in segments of this many frames."""

# A rate with more digits than this is a measured one; no container has room for them.
_MAX_RATE_DENOMINATOR = 100_000
_MAX_RATE = 1_000_000
# A time that is farther from its slot at the nominal rate, in slots, is not an error of rounding.
_MAX_SLOT_ERROR = Fraction(1, 4)


class VideoWriter:
    """Writes RGB frames to a video; a context manager.

    The suffix of ``path`` chooses the container and its default codec (`output_format`): ``.mp4``, ``.m4v``
    and ``.mov`` (H.264), ``.mkv`` and ``.avi`` (FFV1, lossless), ``.webm`` (AV1), or none for a folder of PNG
    frames named as in REDS (``00000000.png``, lossless).

    Colours are stored as BT.709 with limited range if the frames are HD (at least 1280 wide or 720 high), as
    BT.601 if not, and the file says so. FFV1 and PNG store RGB.

    The video is written under a hidden name next to ``path`` and renamed at the end, so an error leaves no
    incomplete video. An existing file is replaced then. An existing folder must be empty.

    Args:
        path: The video to write. Missing parent folders are created.
        fps: Nominal frames per second, above 0. A folder of images does not store it.
        size: Height and width of the frames in pixels. If it is passed, the container and the codec are tried
            with this size and rate at once, before any frame is made.
        output_format: How to write; None for the defaults of the suffix.
        pixel_aspect: Width of a pixel divided by its height.
        copy_from: The source of the frames, whose sound, subtitles, chapters and metadata go along. A folder
            has none.
        start: Where in the source the frames start, in seconds.
        duration: How long the part of the source lasts, in seconds; None for all of the rest.
        resume: Keep finished parts if the writing stops, and continue those of a run with the same settings.
            The video then has segments of ``segment_frames`` frames, which begin with a key frame.
        frame_settings: What the frames depend on besides their source, by name, for example the digest of
            the model. Kept parts are continued only by a run with the same.
        segment_frames: The number of frames after which a part is finished.

    Attributes:
        frames_written: Number of frames written so far, with those of an earlier run that is continued.
        notes: What could not be carried over as it was, in sentences.

    Raises:
        fedvsr.errors.VideoError: On creation, if the suffix is unknown, ``fps`` is out of range, the format
            cannot hold ``size``, or the folder has files. On entering, if ``path`` cannot be written. On
            writing, if a frame has a wrong shape or dtype, differs in size from the first, or does not fit
            the format. On leaving, if no frame was written. Whenever the encoder or the disk fails.
    """

    def __init__(
        self,
        path: Path,
        fps: Fraction | float,
        *,
        size: tuple[int, int] | None = None,
        output_format: OutputFormat | None = None,
        pixel_aspect: Fraction = Fraction(1),
        copy_from: Path | None = None,
        start: Fraction = Fraction(0),
        duration: Fraction | None = None,
        resume: bool = False,
        frame_settings: Mapping[str, str] | None = None,
        segment_frames: int = SEGMENT_FRAMES,
    ) -> None:
        self.path = path
        self.frames_written = 0
        self.notes: list[str] = []
        self._format = output_format or _default_format(path)
        self._fps = _exact_rate(path, fps)
        if path.is_dir() and (self._format.container != FOLDER or any(path.iterdir())):
            raise VideoError(f"{path}: the folder already exists; delete it or choose another name")
        if self._format.bit_depth > self._format.stored_bits:
            self.notes.append(
                f"The frames have {self._format.bit_depth} bits per sample; {self._format.title} keeps "
                f"{self._format.stored_bits}. FFV1 in .mkv and PNG keep all."
            )
        if pixel_aspect != 1 and self._format.container not in HOLD_PIXEL_ASPECT:
            self.notes.append(
                f"The pixels have the aspect ratio {pixel_aspect.numerator}:{pixel_aspect.denominator}; "
                f"{self._format.container} does not hold it, but .mp4, .mov and .mkv do."
            )
        self._pixel_aspect = pixel_aspect
        self._copy_from = copy_from
        self._start = start
        self._duration = duration
        self._resume = resume
        self._frame_settings = frame_settings or {}
        self._segment_frames = segment_frames
        self._settings: VideoSettings | None = None
        self._dtype: np.dtype | None = None
        self._has_lost_times = False
        self._last_duration: Fraction | None = None
        self._companions: CompanionStreams | None = None
        self._sink: FrameSink | None = None
        if size is not None:
            self._set_size(size)

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._sink = self._open_sink()
            self.frames_written = self._sink.frames_kept
            if self._settings is None and self._sink.kept_size is not None:
                self._set_size(self._sink.kept_size)
        except OSError as error:
            self._close()
            raise VideoError(
                f"{self.path}: cannot be written ({error.strerror}); choose a folder that you may write to"
            ) from error
        except BaseException:
            self._close()
            raise
        return self

    def write(self, frame: AnyFrames, time: Fraction | None = None, duration: Fraction | None = None) -> None:
        """Appends one frame, uint8 or uint16 (H, W, 3) RGB.

        Args:
            frame: The pixels. uint16 only if the format's ``bit_depth`` is above 8.
            time: When it is shown, in seconds on the source's clock; None for the next frame at the nominal
                rate.
            duration: For how long it is shown if it is the last one, in seconds; None for a frame at the
                nominal rate.

        Raises:
            fedvsr.errors.VideoError: The frame has the wrong shape or dtype, or cannot be written.
        """
        assert self._sink is not None
        self._check_frame(frame)
        size = (frame.shape[0], frame.shape[1])
        if self._settings is None:
            self._set_size(size)
        assert self._settings is not None
        if size != self._settings.size:
            height, width = self._settings.size
            raise VideoError(
                f"{self.path}: frame {self.frames_written} is {size[1]}×{size[0]} pixels, but "
                f"the first is {width}×{height}; give frames of one size"
            )
        time = self._start + self.frames_written / self._fps if time is None else time
        self._note_lost_time(time)
        ticks = round((time - self._start) / self._settings.time_base)
        try:
            if self._dtype is None:
                self._sink.open(self._settings)
                self._dtype = frame.dtype
            self._sink.write(frame, ticks)
        except (OSError, av.FFmpegError) as error:
            raise self._write_error(error) from error
        self._last_duration = duration
        self.frames_written += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._finish()
        finally:
            self._close()

    def _close(self) -> None:
        """Deletes what is not complete, and closes the source."""
        if self._sink is not None:
            self._sink.discard()
        if self._companions is not None:
            self._companions.close()

    def _open_sink(self) -> FrameSink:
        kept = segments_folder(self.path)
        if self._format.container == FOLDER:
            if self._resume:
                return ResumableFolderSink(self.path, kept, self._record())
            return FolderSink(self.path)
        self._companions = CompanionStreams(self._copy_from, self._format, self._start, self._duration)
        # The list grows if the source proves to be damaged.
        self._companions.notes[:0] = self.notes
        self.notes = self._companions.notes
        if self._resume:
            return SegmentSink(self.path, kept, self._companions, self._record())
        return FileSink(self.path, self._companions)

    def _record(self) -> ResumeRecord:
        record = make_record(
            self._format,
            self._fps,
            self._pixel_aspect,
            self._copy_from,
            (self._start, self._duration),
            self._frame_settings,
            self._segment_frames,
        )
        return record.model_copy(update={"size": self._settings.size if self._settings else None})

    def _set_size(self, size: tuple[int, int]) -> None:
        """Tries the format with frames of a size."""
        settings = VideoSettings(self._format, size, self._fps, self._pixel_aspect)
        problem = find_problem(self._format, size, self._fps)
        if problem is None and self._format.container != FOLDER:
            problem = try_encoder(settings)
        if problem is not None:
            raise VideoError(f"{self.path}: {problem}; use {find_alternative(size, self._fps)}")
        self._settings = settings
        caution = find_caution(self._format, size)
        if caution is not None:
            self.notes.append(caution)

    def _note_lost_time(self, time: Fraction) -> None:
        """Says once that the container has one rate and the frames have not."""
        lost_in = {"avi": "AVI has one frame rate", FOLDER: "A folder of images has no times"}
        words = lost_in.pop(self._format.container, None)
        if words is None or self._has_lost_times:
            return
        slots = (time - self._start) * self._fps
        expected = round(slots) if self._format.container == "avi" else self.frames_written
        if abs(slots - expected) > _MAX_SLOT_ERROR:
            self._has_lost_times = True
            self.notes.append(f"{words}, but these frames have their own times; .mp4 and .mkv hold them.")

    def _check_frame(self, frame: AnyFrames) -> None:
        dtypes = ["uint8", "uint16"] if self._format.bit_depth > 8 else ["uint8"]
        if frame.dtype not in dtypes or frame.ndim != 3 or frame.shape[2] != 3:
            raise VideoError(
                f"{self.path}: expected a {' or '.join(dtypes)} frame of shape (H, W, 3), got {frame.dtype} "
                f"{frame.shape}; convert it first"
            )
        if self._dtype is not None and frame.dtype != self._dtype:
            raise VideoError(
                f"{self.path}: frame {self.frames_written} is {frame.dtype}, but the first is {self._dtype}; "
                "give frames of one dtype"
            )

    def _finish(self) -> None:
        assert self._sink is not None
        if self._settings is None or self.frames_written == 0:
            raise VideoError(f"{self.path}: no frame was written; give at least one")
        ticks: int | None = None
        if self._last_duration is not None:
            ticks = max(1, round(self._last_duration / self._settings.time_base))
        try:
            self._sink.finish(self._settings, ticks)
            # Parts that a run with resume=True kept are of no use now.
            discard(segments_folder(self.path))
        except (OSError, av.FFmpegError) as error:
            raise self._write_error(error) from error

    def _write_error(self, error: OSError | av.FFmpegError) -> VideoError:
        return VideoError(f"{self.path}: cannot be written ({error.strerror}); check for a full disk")


def _default_format(path: Path) -> OutputFormat:
    return output_format(path)


def _exact_rate(path: Path, fps: Fraction | float) -> Fraction:
    """Returns frames per second as a fraction: 23.976023976 is 24000/1001."""
    if not 0 < fps < float("inf"):
        raise VideoError(f"{path}: the frame rate {fps} is invalid; give a positive number")
    rate = Fraction(fps).limit_denominator(_MAX_RATE_DENOMINATOR)
    if not 0 < rate <= _MAX_RATE:
        raise VideoError(
            f"{path}: the frame rate {float(fps):g} is not in 1/{_MAX_RATE_DENOMINATOR}..{_MAX_RATE}; "
            "give one in this range"
        )
    return rate
