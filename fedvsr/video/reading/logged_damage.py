"""Decodes with decoders that notice damage, but only log it."""

import av.error
import av.logging
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

# FFV1 compares the checksum of each slice. If one differs, it takes the slice from the frame before, and no
# option makes that an error.
_LOGGED = {"ffv1": "CRC mismatch"}


def logs_damage(codec: str) -> bool:
    """Returns whether a decoder only logs that a frame is damaged.

    Its log tells nothing of frames that it decodes in the background, so decode one frame at a time.
    """
    return codec in _LOGGED


def decode(packet: "Packet[VideoStream]") -> list[VideoFrame]:
    """Decodes a packet. Raises av.error.FFmpegError if the decoder reports or logs damage."""
    sign = _LOGGED.get(packet.stream.codec_context.name)
    if sign is None:
        return packet.decode()
    level, skips_repeated = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    # The same damage may have been logged before, when the file was read for the first time.
    av.logging.set_skip_repeated(False)
    try:
        # Slices are decoded by several threads.
        with av.logging.Capture(local=False) as lines:
            frames = packet.decode()
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(skips_repeated)
    if any(sign in text for _, _, text in lines):
        raise av.error.InvalidDataError(0, "a checksum does not match")
    return frames
