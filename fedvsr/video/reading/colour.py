"""Converts decoded pictures to RGB as their colour tags say (numbers from ITU-T H.273)."""

from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorTrc, Interpolation, VideoReformatter

from fedvsr.video.frames import AnyFrames
from fedvsr.video.reading.filter_graph import FilterChain

_RGB, _BT709, _SMPTE170M, _BT2020, _BT2020_CONSTANT_LUMINANCE = 0, 1, 6, 9, 10
_MATRICES = frozenset({_BT709, 4, 5, _SMPTE170M, 7, _BT2020})
_FULL_RANGE = 2

_HDR_TRANSFERS = {int(ColorTrc.SMPTE2084): "smpte2084", int(ColorTrc.ARIB_STD_B67): "arib-std-b67"}
_WIDE_PRIMARIES = {int(ColorPrimaries.BT2020): "bt2020", int(ColorPrimaries.SMPTE432): "smpte432"}

# Untagged video from this size on is BT.709, and smaller video is BT.601, as players assume.
_MIN_HD_WIDTH, _MIN_HD_HEIGHT = 1280, 720

# These are converted as fast as possible, as OpenCV does. The others keep more of the colours' detail.
_PLAIN_FORMATS = frozenset({"yuv420p", "yuvj420p", "nv12"})
_PLAIN = Interpolation.BICUBIC
_DETAILED = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
)
_DETAILED_FLAGS = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"


class RgbConverter:
    """Converts pictures in any pixel format to RGB for a BT.709 display.

    - The matrix (BT.601, 709, 2020, FCC, SMPTE 240M) is the tagged one. Without a valid tag it is BT.709 from
      1280×720 on and BT.601 below; for BT.2020 primaries it is BT.2020.
    - Full and limited range are as tagged; limited if untagged.
    - HDR (PQ of SMPTE ST 2084, HLG of ARIB STD-B67) is tone-mapped by libswscale's perceptual intent: in the
      IPT colour space of ITU-R BT.2100, from the range of the mastering display, or of the transfer function
      if that is unknown, to an SDR display; the gamut is compressed to BT.709. Unlike a relative colorimetric
      conversion, which clips all above the reference white of 203 cd/m², it keeps highlights, and the
      reference white becomes darker.
    - SDR with the primaries of BT.2020 or Display P3 is converted to BT.709 relative to white; libswscale
      moves colours outside to the border of BT.709.

    Args:
        deep: Whether to return uint16 for pictures with more than 8 bits. All others are uint8.

    Raises:
        av.error.FFmpegError: On converting, if FFmpeg cannot convert a picture's format.
    """

    def __init__(self, *, deep: bool) -> None:
        self._deep = deep
        self._reformatter = VideoReformatter()
        self._chains: dict[_Colours, FilterChain] = {}

    def convert(self, picture: VideoFrame) -> AnyFrames:
        """Returns a picture as RGB, (H, W, 3)."""
        bits = max(component.bits for component in picture.format.components)
        target = "rgb48le" if self._deep and bits > 8 else "rgb24"
        primaries, transfer = _managed(picture)
        if not picture.format.is_rgb:
            picture.colorspace = _matrix(picture, primaries)
        if primaries is None:
            plain = picture.format.name in _PLAIN_FORMATS
            converted = self._reformatter.reformat(
                picture, format=target, interpolation=_PLAIN if plain else _DETAILED
            )
        else:
            converted = self._convert_managed(picture, target, primaries, transfer)
        pixels = _pixels(converted)
        if target == "rgb24" or picture.format.is_rgb or picture.format.name.startswith("gray"):
            return pixels
        # libswscale maps the white of YUV to 255 · 256 in 16 bits.
        return cast("AnyFrames", cv2.add(pixels, pixels >> 8))

    def _convert_managed(
        self, picture: VideoFrame, target: str, primaries: str, transfer: str | None
    ) -> VideoFrame:
        colours = _Colours(
            picture.width,
            picture.height,
            picture.format.name,
            int(picture.colorspace),
            _FULL_RANGE if int(picture.color_range) == _FULL_RANGE or picture.format.is_rgb else 1,
            primaries,
            transfer,
        )
        if colours not in self._chains:
            self._chains = {colours: _managed_chain(colours, target)}
        (converted,) = self._chains[colours].push(picture)
        return converted


@dataclass(frozen=True)
class _Colours:
    width: int
    height: int
    pixel_format: str
    matrix: int
    value_range: int
    primaries: str
    transfer: str | None


def _managed_chain(colours: _Colours, target: str) -> FilterChain:
    intent = "relative_colorimetric" if colours.transfer is None else "perceptual"
    return FilterChain(
        ("setparams", f"color_primaries={colours.primaries}:color_trc={colours.transfer or 'bt709'}"),
        (
            "scale",
            f"flags={_DETAILED_FLAGS}:intent={intent}:out_primaries=bt709:out_transfer=bt709:out_range=full",
        ),
        ("format", target),
        width=colours.width,
        height=colours.height,
        pixel_format=colours.pixel_format,
        matrix=colours.matrix,
        value_range=colours.value_range,
    )


def _managed(picture: VideoFrame) -> tuple[str | None, str | None]:
    """Returns the primaries and the HDR transfer function that need a conversion; None if not."""
    transfer = _HDR_TRANSFERS.get(int(picture.color_trc))
    primaries = _WIDE_PRIMARIES.get(int(picture.color_primaries))
    if transfer is not None and primaries is None:
        tagged_bt709 = int(picture.color_primaries) == int(ColorPrimaries.BT709)
        primaries = "bt709" if tagged_bt709 else "bt2020"
    return primaries, transfer


def _matrix(picture: VideoFrame, primaries: str | None) -> int:
    tagged = int(picture.colorspace)
    if tagged in _MATRICES:
        return tagged
    if tagged == _BT2020_CONSTANT_LUMINANCE or primaries == "bt2020":
        return _BT2020
    hd = picture.width >= _MIN_HD_WIDTH or picture.height >= _MIN_HD_HEIGHT
    return _BT709 if hd else _SMPTE170M


def _pixels(picture: VideoFrame) -> AnyFrames:
    """Returns a packed RGB picture's pixels, without a copy if its lines have no padding."""
    plane = picture.planes[0]
    dtype = np.uint16 if picture.format.name == "rgb48le" else np.uint8
    lines = np.frombuffer(memoryview(plane), dtype).reshape(picture.height, -1)
    row = picture.width * 3
    if lines.shape[1] != row:
        lines = np.ascontiguousarray(lines[:, :row])
    return cast("AnyFrames", lines.reshape(picture.height, picture.width, 3))
