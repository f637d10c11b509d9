"""The shape of pixels in Matroska, which PyAV cannot pass to FFmpeg's muxer."""

from pathlib import Path

from fedvsr.video.writing.video_encoder import VideoSettings

MUXER_OPTIONS = {"write_crc32": "0"}
"""The options of the muxer without which `write_display_width` would make a checksum wrong."""

STREAM_METADATA = {"stereo_mode": "mono"}
"""The metadata with which the muxer leaves room for `write_display_width`."""

# RFC 9559: StereoMode 0 (mono, the default) and DisplayUnit 4 (unknown), four bytes each.
_ROOM = bytes.fromhex("53b88100 54b28104")
# The element DisplayWidth with five bytes of payload takes the same room. Without a DisplayUnit it is in
# pixels, and without a DisplayHeight the height is that of the frames.
_DISPLAY_WIDTH = bytes.fromhex("54b085")
_PAYLOAD_BYTES = 5
_HEADER_BYTES = 1 << 20


def needs_display_width(settings: VideoSettings) -> bool:
    """Whether a video is Matroska with pixels that are not square."""
    return settings.output_format.container == "matroska" and settings.pixel_aspect != 1


def write_display_width(path: Path, settings: VideoSettings) -> None:
    """Writes the width at which a player shows the video into a complete Matroska file."""
    width = round(settings.size[1] * settings.pixel_aspect)
    with path.open("r+b") as file:
        header = file.read(_HEADER_BYTES)
        position = header.find(_ROOM)
        assert position > 0, "FFmpeg's muxer left no room for the display width"
        file.seek(position)
        file.write(_DISPLAY_WIDTH + width.to_bytes(_PAYLOAD_BYTES, "big"))
