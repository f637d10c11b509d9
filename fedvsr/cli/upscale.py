"""`fedvsr upscale`: upscales a video with a trained model."""

import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from fedvsr.cli.frame_progress import show_frames
from fedvsr.cli.options import store_option, tracking_option
from fedvsr.cli.parameters import AutoInteger, TimeParameter
from fedvsr.cli.progress import print_line
from fedvsr.cli.stopping import when_stopped
from fedvsr.cli.stores import open_model
from fedvsr.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from fedvsr.inference.windows import WindowSettings
    from fedvsr.trained import TrainedModel
    from fedvsr.video.decode import VideoReader
    from fedvsr.video.encode import VideoWriter
    from fedvsr.video.frames import AnyFrames, TimedFrame
    from fedvsr.video.writing.output_formats import OutputFormat

_SHOWN_FRAMES = 20
_BITS_OF_A_BYTE = 8


@click.command()
@click.argument("source", metavar="INPUT", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUTPUT", type=click.Path(path_type=Path))
@click.option(
    "--model",
    default="models:/fedvsr@champion",
    show_default=True,
    help="models:/NAME@ALIAS, models:/NAME/VERSION, or a folder with weights.safetensors and model.json.",
)
@click.option("--start", type=TimeParameter(), default="0", help="Begin here: seconds, MM:SS or HH:MM:SS.")
@click.option("--duration", type=TimeParameter(), help="Stop after this long: seconds, MM:SS or HH:MM:SS.")
@click.option(
    "--compare", is_flag=True, help="Write bicubic interpolation on the left and the model on the right."
)
@click.option(
    "--resume", is_flag=True, help="If stopped, keep finished parts; the same command goes on there."
)
@click.option("--codec", help="h264, h265, av1, ffv1 or prores. [default: OUTPUT's suffix decides]")
@click.option("--crf", type=int, help="Quality of h264, h265 and av1: lower is better and larger; 0 is best.")
@click.option(
    "--preset", help="Speed of the encoder: ultrafast to veryslow for h264 and h265, 13 (fast) to 0 for av1."
)
@click.option(
    "--pictures-only", is_flag=True, help="Leave out sound, subtitles, chapters and metadata of INPUT."
)
@click.option("--skip-damaged", is_flag=True, help="Skip and list frames that do not decode.")
@click.option(
    "--window",
    type=AutoInteger(),
    default="auto",
    show_default=True,
    help="Frames to upscale at once; 0 for all. auto: what fits into half of the free memory.",
)
@click.option(
    "--tile",
    type=AutoInteger(),
    default="auto",
    show_default=True,
    help="Side of a tile, in input pixels; 0 for no tiles. auto: what fits.",
)
@click.option(
    "--self-ensemble", is_flag=True, help="Average over flips and transpositions. It takes 8 times as long."
)
@click.option(
    "--features-on-cpu",
    is_flag=True,
    help="Keep a recurrent model's features in CPU memory. Then more frames fit on the GPU at once.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@store_option
@tracking_option
def upscale(source: Path, target: Path, store: str, tracking_uri: str, **values: Any) -> None:
    """Upscale a video of any length with a trained model.

    INPUT is a video file or a folder of frames. OUTPUT is .mp4 or .mov (H.264, which browsers play), .mkv or
    .avi (FFV1, lossless), .webm (AV1), or a folder of PNG frames; --codec chooses another codec. Sound,
    subtitles, chapters and metadata go along, and every frame keeps its time.

    Frames are read, upscaled and written in overlapping windows and tiles, whose sizes are chosen from the
    free memory. Memory use does not grow with the length of the video.
    """
    from fedvsr.device import select_device
    from fedvsr.inference.windows import WindowSettings
    from fedvsr.video.decode import VideoReader

    options = _Options(**values)
    WindowSettings(options.window or 0, options.tile or 0)  # refuses negative sizes
    device = select_device(options.device, "--device")
    output_format, deep = _output_format(target, options)
    if source.resolve() == target.resolve():
        raise InputError(f"{target} is the input; name another output")
    if options.duration is not None and options.duration <= 0:
        raise InputError("--duration: 0 is not allowed; it must be above 0")
    reader: VideoReader[AnyFrames] = VideoReader(
        source,
        deep=deep,
        skip_damaged=options.skip_damaged,
        start=options.start,
        duration=options.duration,
    )
    console = Console()
    with when_stopped(lambda: _what_is_left(target, options.resume)), reader:
        if deep:
            output_format = replace(output_format, bit_depth=reader.bit_depth)
        trained = open_model(options.model, store, tracking_uri)
        upscaler = _prepare(trained, device, reader, output_format.bit_depth, target, options)
        digest = trained.record.weights_digest
        writer = _open_writer(reader, target, output_format, digest, upscaler, options)
        with _explained_lack_of_memory(upscaler.sizes):
            _upscale(reader, upscaler, writer, _expected_frames(reader, options), console)
    for note in writer.notes:
        print_line(console, f"note: {note}")
    if reader.damaged:
        print_line(console, f"note: these frames do not decode and were skipped: {_numbers(reader.damaged)}")
    height, width = _output_size(reader, upscaler)
    print_line(console, f"{target}: {writer.frames_written} frames of {width}×{height}")


@dataclass(frozen=True)
class _Options:
    """The options of the command, as their help describes them; None stands for auto or the default."""

    model: str
    start: Fraction
    duration: Fraction | None
    compare: bool
    resume: bool
    codec: str | None
    crf: int | None
    preset: str | None
    pictures_only: bool
    skip_damaged: bool
    window: int | None
    tile: int | None
    self_ensemble: bool
    features_on_cpu: bool
    device: str


@dataclass(frozen=True)
class _Upscaler:
    """A model that is ready to upscale one video.

    Attributes:
        network: The model on its device, with its wrappers.
        device: The device.
        sizes: The sizes of windows and tiles.
        scale: How many times larger the output's sides are.
        compare: Whether a written frame has the bicubic interpolation on the left.
    """

    network: "nn.Module"
    device: "torch.device"
    sizes: "WindowSettings"
    scale: int
    compare: bool

    def frames(self, source: "Iterator[TimedFrame]", first: int) -> "Iterator[TimedFrame]":
        """Yields the frames to write from number ``first`` on, with the times of the source's frames."""
        from fedvsr.inference.comparison import beside_bicubic
        from fedvsr.inference.windows import upscale_frames

        waiting: deque[TimedFrame] = deque()

        def read() -> "Iterator[AnyFrames]":
            for number, timed in enumerate(source):
                if number >= first:
                    waiting.append(timed)
                yield timed.pixels

        for pixels in upscale_frames(
            self.network, read(), self.device, self.sizes, scale=self.scale, first=first
        ):
            timed = waiting.popleft()
            if self.compare:
                pixels = beside_bicubic(timed.pixels, pixels, self.device)
            yield replace(timed, pixels=pixels)
            # A frame can have 400 MB, so it must not wait here for the next window.
            del pixels, timed


def _prepare(
    trained: "TrainedModel",
    device: "torch.device",
    reader: "VideoReader[AnyFrames]",
    bit_depth: int,
    target: Path,
    options: _Options,
) -> _Upscaler:
    from fedvsr.inference.ensemble import SelfEnsemble
    from fedvsr.inference.sizes import choose_sizes
    from fedvsr.models.feature_cache import keep_features_on_cpu

    network = trained.network.to(device)
    if options.features_on_cpu:
        keep_features_on_cpu(network)
    if options.self_ensemble:
        network = SelfEnsemble(network)
    window, tile = _decided_sizes(target, options)
    sizes = choose_sizes(
        network,
        device,
        reader.height,
        reader.width,
        scale=trained.record.scale,
        window=window,
        tile=tile,
        length=_expected_frames(reader, options),
        bytes_per_value=1 if bit_depth == _BITS_OF_A_BYTE else 2,
    )
    return _Upscaler(network, device, sizes, trained.record.scale, options.compare)


def _output_format(target: Path, options: _Options) -> "tuple[OutputFormat, bool]":
    """Returns the output's format, and whether it can hold more than 8 bits per sample."""
    from fedvsr.video.writing.output_formats import H264, output_format

    chosen = output_format(target, codec=options.codec, crf=options.crf, preset=options.preset)
    return chosen, chosen.codec != H264


def _decided_sizes(target: Path, options: _Options) -> tuple[int | None, int | None]:
    """Returns the window and the tile of the options, or those of the parts that a stopped run has kept.

    With as much free memory as now, the run that is continued may have chosen other sizes.
    """
    from fedvsr.video.writing.resume_record import read_record
    from fedvsr.video.writing.segments import segments_folder

    record = read_record(segments_folder(target)) if options.resume else None
    kept = {} if record is None else record.frame_settings
    window, tile = (
        int(kept[name]) if value is None and name in kept else value
        for name, value in (("window", options.window), ("tile", options.tile))
    )
    return window, tile


def _open_writer(
    reader: "VideoReader[AnyFrames]",
    target: Path,
    output_format: "OutputFormat",
    digest: str,
    upscaler: _Upscaler,
    options: _Options,
) -> "VideoWriter":
    from fedvsr.video.encode import VideoWriter
    from fedvsr.video.reading.image_folder import FOLDER_FRAMES_PER_SECOND

    return VideoWriter(
        target,
        reader.fps or FOLDER_FRAMES_PER_SECOND,
        size=_output_size(reader, upscaler),
        output_format=output_format,
        pixel_aspect=reader.pixel_aspect,
        copy_from=None if options.pictures_only else reader.path,
        start=options.start,
        duration=options.duration,
        resume=options.resume,
        frame_settings={
            "input": str(reader.path.resolve()),
            "model": digest,
            "window": str(upscaler.sizes.frames),
            "tile": str(upscaler.sizes.tile),
            "self-ensemble": str(options.self_ensemble),
            "compare": str(options.compare),
            "skip-damaged": str(options.skip_damaged),
        },
    )


def _output_size(reader: "VideoReader[AnyFrames]", upscaler: _Upscaler) -> tuple[int, int]:
    """Returns the height and width of a written frame."""
    pictures = 2 if upscaler.compare else 1
    return reader.height * upscaler.scale, reader.width * upscaler.scale * pictures


def _expected_frames(reader: "VideoReader[AnyFrames]", options: _Options) -> int | None:
    """Returns the number of frames to read, as the file states it; None if it does not."""
    if reader.frame_count is None or reader.fps is None:
        return reader.frame_count
    frames = reader.frame_count - int(options.start * reader.fps)
    if options.duration is not None:
        frames = min(frames, math.ceil(options.duration * reader.fps))
    return max(1, frames)


def _upscale(
    reader: "VideoReader[AnyFrames]",
    upscaler: _Upscaler,
    writer: "VideoWriter",
    total: int | None,
    console: Console,
) -> None:
    with writer:
        first = writer.frames_written
        if first:
            print_line(console, f"{first} frames are there, going on")
        with show_frames(console, writer.path.name, total, first) as show:
            for frame in upscaler.frames(reader.timed_frames(), first):
                writer.write(frame.pixels, frame.time, frame.duration)
                del frame
                show(writer.frames_written)


@contextmanager
def _explained_lack_of_memory(sizes: "WindowSettings") -> Iterator[None]:
    """Turns the errors of NumPy and PyTorch into one sentence."""
    import torch

    try:
        yield
    except (MemoryError, RuntimeError) as error:
        is_memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not is_memory and "can't allocate memory" not in str(error):
            raise
        tiles = f"tiles of {sizes.tile} pixels" if sizes.tile else "whole frames"
        raise InputError(
            f"there is not enough memory for windows of {sizes.frames or 'all'} frames and {tiles}; use a "
            "smaller --window or --tile"
        ) from error


def _what_is_left(target: Path, resume: bool) -> str:
    from fedvsr.video.writing.kept_frames import count_kept_frames

    kept = count_kept_frames(target) if resume else 0
    return f"the same command goes on at frame {kept}" if kept else "nothing was written"


def _numbers(frames: list[int]) -> str:
    shown = ", ".join(map(str, frames[:_SHOWN_FRAMES]))
    return shown if len(frames) <= _SHOWN_FRAMES else f"{shown} and {len(frames) - _SHOWN_FRAMES} more"
