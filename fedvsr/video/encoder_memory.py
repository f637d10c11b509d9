"""Options that bound the memory of encoders for frames beyond 4K."""

from typing import Final

from fedvsr.video.output_formats import H264, H265

# Measured with the defaults. x264 takes 1.3 GB at 3840×2160, 3.7 GB at 7680×4320 and more than 5 GB after 6
# frames of 15360×8640. x265 takes 1.4 GB and 4.3 GB.
MAX_PIXELS_BY_DEFAULT: Final = 4096 * 2304
"""Larger frames (beyond 4K) are encoded with few references and a short look at the frames ahead."""

MAX_PIXELS_WITH_SUBPIXELS: Final = 8192 * 4608
"""Larger frames (beyond 8K) are also encoded without interpolated references, which x264 keeps four times."""

_FEW_REFERENCES = ("ref=1", "bframes=0")


def encoder_parameters(codec: str, size: tuple[int, int]) -> list[str]:
    """Returns x264's or x265's own parameters that bound its memory for frames of a size.

    At 7680×4320, x264 then takes 1.0 GB and x265 2.0 GB. At 15360×8640, x264 takes 1.4 GB.

    Args:
        codec: A key of `fedvsr.video.output_formats.CODECS`.
        size: Height and width in pixels.
    """
    pixels = size[0] * size[1]
    if pixels <= MAX_PIXELS_BY_DEFAULT or codec not in (H264, H265):
        return []
    if codec == H265:
        return [*_FEW_REFERENCES, "rc-lookahead=5", "frame-threads=1"]
    # Slices share their frame; threads with a frame each would keep several.
    parameters = [*_FEW_REFERENCES, "sync-lookahead=0", "sliced-threads=1"]
    if pixels <= MAX_PIXELS_WITH_SUBPIXELS:
        return [*parameters, "rc-lookahead=5"]
    return [*parameters, "rc-lookahead=0", "mbtree=0", "subme=0"]
