"""Opens a video file's container, without ever following it to another file or address."""

import re
from fractions import Fraction
from pathlib import Path

import av
import av.error
from av.container import InputContainer
from av.video.stream import VideoStream

from fedvsr.errors import VideoError

# FFmpeg's names of the formats that hold their video in the one file. Formats that name other files or
# addresses (playlists, concat scripts, image sequences) are not among them.
_DEMUXERS = (
    "asf,av1,avi,dirac,dv,flv,gxf,h261,h263,h264,hevc,ivf,live_flv,lxf,m4v,matroska,mjpeg,mov,mpeg,mpegts,"
    "mpegvideo,mxf,nsv,nut,obu,ogg,rm,vc1,vc1test,vvc,webm,wtv,yuv4mpegpipe,gif,apng,apv,evc,cavsvideo"
)
_TICKS_PER_SECOND = 1_000_000  # of a container's own times


def open_container(path: Path) -> InputContainer:
    """Opens a local file for reading.

    The name is taken as it is, whatever it contains (``12:30:05.mp4``, ``concat:a``, ``%05d.mp4``), and no
    other file or address is opened, whatever the file contains.

    Raises:
        fedvsr.errors.VideoError: The file cannot be opened as a video.
    """
    try:
        return av.open(
            f"file:{path}",
            metadata_errors="replace",
            container_options={"protocol_whitelist": "file", "format_whitelist": _DEMUXERS},
        )
    except (av.error.FFmpegError, OSError) as error:
        reason = error.strerror or "unknown"
        raise VideoError(
            f"{path}: cannot be opened as a video ({reason}): it is not a video file, is cut short, or only "
            "names other files; copy it again or re-encode it, for example to H.264"
        ) from error


def video_stream(path: Path, container: InputContainer) -> VideoStream:
    """Returns the stream that a player shows.

    Raises:
        fedvsr.errors.VideoError: The file has no video stream, or FFmpeg has no decoder for it.
    """
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream) or "attached_pic" in str(stream.disposition):
        raise VideoError(f"{path}: has no video, only sound or data; leave this file out")
    if stream.codec_context is None:
        raise VideoError(
            f"{path}: the installed FFmpeg has no decoder for its codec {_codec_name(container, stream)}; "
            "re-encode it, for example to H.264"
        )
    return stream


def start_time(container: InputContainer, stream: VideoStream) -> Fraction:
    """Returns the time of the file's first stream in seconds: zero on the clock of `TimedFrame`."""
    start = Fraction(container.start_time or 0, _TICKS_PER_SECOND)
    if stream.start_time is None or stream.time_base is None:
        return start
    # The container's start is rounded to microseconds. If it is the video's start, the exact one is known.
    exact = stream.start_time * stream.time_base
    return exact if abs(exact - start) * _TICKS_PER_SECOND <= 1 else start


def _codec_name(container: InputContainer, stream: VideoStream) -> str:
    # PyAV has no name for a codec without a decoder, but FFmpeg's description of the file has.
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        description: str = container.dumps_format()  # type: ignore[attr-defined]  # is not in its stubs
    finally:
        av.logging.set_level(level)
    names = re.findall(rf"Stream #0:{stream.index}\b.*?: Video: ([^\s,]+)", description)
    return names[0] if names else "unknown"
