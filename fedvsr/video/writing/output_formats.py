"""What each kind of output holds: containers, codecs, pixel formats, sizes and rates."""

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Final

from fedvsr.errors import VideoError

FOLDER: Final = "folder"
"""The container of an `OutputFormat` for a folder of PNG frames."""

H264, H265, AV1, FFV1, PRORES, PNG = "h264", "h265", "av1", "ffv1", "prores", "png"

# x264, x265 and SVT-AV1 refuse larger sides, and FFmpeg refuses larger pictures of any codec.
MAX_SIDE: Final = 16384
MAX_PIXELS: Final = 16000 * 16000
# FFmpeg writes the times of Matroska in milliseconds, and AVI with a higher rate as 600 frames per second.
MAX_MATROSKA_RATE: Final = 1000
MAX_AVI_RATE: Final = 1000

_X26X_PRESETS = (
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
)


@dataclass(frozen=True)
class Codec:
    """A codec and its encoder.

    Attributes:
        title: Its name in messages.
        encoder: FFmpeg's name of the encoder.
        pixel_formats: FFmpeg's pixel format for each number of bits per sample. A number that is missing is
            written with the greatest one.
        crf: The default constant rate factor; None if the codec has none.
        max_crf: The greatest constant rate factor, which has the lowest quality.
        preset: The default preset; None if the codec has none.
        presets: The presets, fast ones first.
        reorder_delay: By how many frames packets may be out of the order of their times.
        needs_even_sides: Whether its chroma planes need an even height and width.
    """

    title: str
    encoder: str
    pixel_formats: dict[int, str]
    crf: int | None = None
    max_crf: int = 0
    preset: str | None = None
    presets: tuple[str, ...] = ()
    reorder_delay: int = 0
    needs_even_sides: bool = False


# The constant rate factors are such that an upscaled film looks like its frames; lower is better and larger.
CODECS: Final = {
    H264: Codec("H.264", "libx264", {8: "yuv420p"}, 17, 51, "medium", _X26X_PRESETS, 2, True),
    H265: Codec(
        "H.265",
        "libx265",
        {8: "yuv420p", 10: "yuv420p10le"},
        19,
        51,
        "medium",
        _X26X_PRESETS,
        2,
        True,
    ),
    AV1: Codec(
        "AV1",
        "libsvtav1",
        {8: "yuv420p", 10: "yuv420p10le"},
        24,
        63,
        "8",
        tuple(str(preset) for preset in range(13, -1, -1)),
        0,
        True,
    ),
    FFV1: Codec("FFV1", "ffv1", {8: "bgr0", 10: "gbrp10le", 12: "gbrp12le", 16: "gbrp16le"}),
    PRORES: Codec("ProRes", "prores_ks", {10: "yuv422p10le"}, needs_even_sides=True),
    PNG: Codec("PNG", "png", {8: "rgb24", 16: "rgb48"}),
}


@dataclass(frozen=True)
class Container:
    """A kind of file.

    Attributes:
        muxer: FFmpeg's name of it.
        codecs: The keys of `CODECS` that it holds; the first is the default.
    """

    muxer: str
    codecs: tuple[str, ...]


CONTAINERS: Final = {
    ".mp4": Container("mp4", (H264, H265, AV1)),
    ".m4v": Container("mp4", (H264, H265, AV1)),
    ".mov": Container("mov", (H264, H265, PRORES)),
    ".mkv": Container("matroska", (FFV1, H264, H265, AV1, PRORES)),
    ".webm": Container("webm", (AV1,)),
    ".avi": Container("avi", (FFV1,)),
}
"""The containers by the suffix of their names."""

HOLD_PIXEL_ASPECT: Final = ("mp4", "mov", "matroska")
"""FFmpeg's names of the containers that hold pixels that are not square."""

ACCEPTED: Final = f"{', '.join(CONTAINERS)}, or a name without a suffix for a folder of PNG frames"


# The largest frames of H.264's highest level, 6.2, in macroblocks of 16×16 pixels (ITU-T H.264, table A-1).
_MAX_H264_MACROBLOCKS = 139_264


@dataclass(frozen=True)
class OutputFormat:
    """How a video is written: made by `output_format`.

    Attributes:
        container: FFmpeg's name of the container, or `FOLDER`.
        codec: A key of `CODECS`.
        crf: The constant rate factor, 0 (best) to 51 (63 for AV1); None if the codec has none.
        preset: The encoder's preset; None if the codec has none.
        bit_depth: Bits per sample of the frames, 8 to 16. Frames may be uint16 if it is above 8.
    """

    container: str
    codec: str
    crf: int | None
    preset: str | None
    bit_depth: int

    @property
    def pixel_format(self) -> str:
        """FFmpeg's name of the pixel format."""
        formats = CODECS[self.codec].pixel_formats
        return (
            next((formats[depth] for depth in sorted(formats) if depth >= self.bit_depth), "")
            or (formats[max(formats)])
        )

    @property
    def stored_bits(self) -> int:
        """Bits per sample in the file, at most."""
        return max(CODECS[self.codec].pixel_formats)

    @property
    def is_rgb(self) -> bool:
        """Whether frames are stored as RGB, not as luma and chroma."""
        return self.codec in (FFV1, PNG)

    @property
    def title(self) -> str:
        """The codec and the container in words."""
        title = CODECS[self.codec].title
        return f"{title} in a folder" if self.container == FOLDER else f"{title} in {self.container}"


def output_format(
    path: Path,
    *,
    codec: str | None = None,
    crf: int | None = None,
    preset: str | None = None,
    bit_depth: int = 8,
) -> OutputFormat:
    """Returns how a video of this name is written.

    ==========  ===========================================================
    suffix      codecs; the first is the default
    ==========  ===========================================================
    .mp4 .m4v   h264, h265, av1
    .mov        h264, h265, prores
    .mkv        ffv1 (lossless), h264, h265, av1, prores
    .webm       av1
    .avi        ffv1 (lossless)
    none        a folder of PNG frames (lossless)
    ==========  ===========================================================

    Args:
        path: The video's name. An existing folder with any suffix is a folder of PNG frames.
        codec: One of the suffix's codecs; None for its default.
        crf: The constant rate factor, from 0 (best); None for the codec's default. FFV1, ProRes and PNG have
            none.
        preset: ``ultrafast`` to ``veryslow`` for H.264 and H.265, ``13`` (fast) to ``0`` for AV1; None for
            the codec's default.
        bit_depth: Bits per sample of the video's source, 8 to 16. H.265, AV1 and ProRes keep up to 10, FFV1
            up to 16, PNG all; H.264 has 8, because few players show more.

    Raises:
        fedvsr.errors.VideoError: The suffix is unknown, it does not hold the codec, or the codec does not
            have that option.
    """
    suffix = path.suffix.lower()
    if path.is_dir() or not suffix:
        container = Container(FOLDER, (PNG,))
    elif suffix in CONTAINERS:
        container = CONTAINERS[suffix]
    else:
        raise VideoError(f"{path}: videos with the suffix {suffix!r} cannot be written; use {ACCEPTED}")
    codec = container.codecs[0] if codec is None else codec
    if codec not in container.codecs:
        raise VideoError(f"{path}: {_codec_problem(codec, suffix, container)}")
    return _with_options(path, OutputFormat(container.muxer, codec, crf, preset, bit_depth))


def _codec_problem(codec: str, suffix: str, container: Container) -> str:
    codecs = ", ".join(container.codecs)
    holders = [other for other, held in CONTAINERS.items() if codec in held.codecs]
    if not holders:
        known = ", ".join(sorted({name for held in CONTAINERS.values() for name in held.codecs}))
        return f"there is no codec {codec!r}; use one of {known}"
    what = suffix if container.muxer != FOLDER else "a folder"
    return f"{what} does not hold {CODECS[codec].title}; use {' or '.join(holders)}, or the codec {codecs}"


def _with_options(path: Path, chosen: OutputFormat) -> OutputFormat:
    codec = CODECS[chosen.codec]
    if chosen.crf is not None and codec.crf is None:
        raise VideoError(f"{path}: {codec.title} has no constant rate factor; leave it out")
    if chosen.crf is not None and not 0 <= chosen.crf <= codec.max_crf:
        raise VideoError(
            f"{path}: the constant rate factor {chosen.crf} is not in 0..{codec.max_crf}, the range of "
            f"{codec.title}; {codec.crf} is the default"
        )
    if chosen.preset is not None and chosen.preset not in codec.presets:
        presets = f"use one of {', '.join(codec.presets)}" if codec.presets else "it has none; leave it out"
        raise VideoError(f"{path}: {codec.title} has no preset {chosen.preset!r}; {presets}")
    if not 8 <= chosen.bit_depth <= 16:
        raise VideoError(f"{path}: {chosen.bit_depth} bits per sample are not in 8..16")
    return replace(
        chosen,
        crf=codec.crf if chosen.crf is None else chosen.crf,
        preset=codec.preset if chosen.preset is None else chosen.preset,
    )


def find_problem(chosen: OutputFormat, size: tuple[int, int], fps: Fraction) -> str | None:
    """Returns why a format cannot hold frames of a size (height, width) at a rate, or None."""
    if chosen.container == FOLDER:
        return None
    height, width = size
    codec = CODECS[chosen.codec]
    if codec.needs_even_sides and (height % 2 or width % 2):
        return f"{codec.title} cannot hold the odd size {width}×{height}"
    if max(size) > MAX_SIDE and not chosen.is_rgb:
        return f"{codec.title} cannot hold {width}×{height} pixels: a side is at most {MAX_SIDE}"
    if height * width > MAX_PIXELS:
        return f"no video file can hold frames of {width}×{height} pixels"
    if chosen.container in ("matroska", "webm") and fps > MAX_MATROSKA_RATE:
        return f"{chosen.container} cannot hold {float(fps):g} frames per second: its times are milliseconds"
    if chosen.container == "avi" and fps > MAX_AVI_RATE:
        return f"avi cannot hold {float(fps):g} frames per second, only up to {MAX_AVI_RATE}"
    return None


def find_caution(chosen: OutputFormat, size: tuple[int, int]) -> str | None:
    """Returns what to know about frames of a size (height, width) that a format can hold, or None."""
    macroblocks = -(-size[0] // 16) * -(-size[1] // 16)
    if chosen.codec == H264 and macroblocks > _MAX_H264_MACROBLOCKS:
        return (
            f"Few players show H.264 of {size[1]}×{size[0]} pixels: its highest level ends at 8192×4352. "
            "FFV1 in .mkv and a folder of PNG frames are for further work."
        )
    return None


def find_alternative(size: tuple[int, int], fps: Fraction) -> str:
    """Returns the kind of output, in words, that holds frames of a size (height, width) at a rate."""
    for suffix, words in (
        (".mkv", ".mkv (FFV1, lossless)"),
        (".mp4", ".mp4"),
        (".avi", ".avi (FFV1, lossless)"),
    ):
        container = CONTAINERS[suffix]
        candidate = OutputFormat(container.muxer, container.codecs[0], None, None, 8)
        if find_problem(candidate, size, fps) is None:
            return f"{words}, or a folder of PNG frames (a name without a suffix)"
    return "a folder of PNG frames (a name without a suffix)"
