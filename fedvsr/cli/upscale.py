"""`fedvsr upscale`."""

import time
from datetime import timedelta
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from fedvsr.cli.progress import print_line
from fedvsr.cli.stores import open_model, store_option, tracking_option


@click.command()
@click.argument("source", metavar="INPUT", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUTPUT", type=click.Path(path_type=Path))
@click.option(
    "--model",
    default="models:/fedvsr@champion",
    show_default=True,
    help="models:/NAME@ALIAS, models:/NAME/VERSION, or a folder with weights.safetensors and model.json.",
)
@click.option("--window", default=16, show_default=True, help="Frames upscaled at once; 0: all.")
@click.option("--tile", default=256, show_default=True, help="Input pixels a side upscaled at once; 0: all.")
@click.option(
    "--self-ensemble", is_flag=True, help="Average over flips and transpositions: 8 times the work."
)
@click.option(
    "--features-on-cpu",
    is_flag=True,
    help="Keep a recurrent model's features in the CPU's memory: for more frames at once than the GPU holds.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@store_option
@tracking_option
def upscale(
    source: Path,
    target: Path,
    model: str,
    window: int,
    tile: int,
    self_ensemble: bool,
    features_on_cpu: bool,
    device: str,
    store: str,
    tracking_uri: str,
) -> None:
    """Upscale the video INPUT, a file or a folder of frames, into OUTPUT.

    OUTPUT is .mp4 (lossy), .avi or .mkv (FFV1, lossless), or a folder of PNG frames. Frames are read,
    upscaled and written in overlapping windows and tiles, so that memory does not grow with the
    video. The frame rate is kept; sound is not.
    """
    from fedvsr.device import select_device
    from fedvsr.errors import InputError
    from fedvsr.inference.ensemble import SelfEnsemble
    from fedvsr.inference.windows import WindowSettings, upscale_frames
    from fedvsr.models.feature_cache import keep_features_on_cpu
    from fedvsr.video.decode import FOLDER_FRAMES_PER_SECOND, VideoReader
    from fedvsr.video.encode import VideoWriter

    settings = WindowSettings(window, tile)
    where = select_device(device)
    if source.resolve() == target.resolve():
        raise InputError(f"{target} is the input; name another output")
    with VideoReader(source) as reader:
        # It refuses a name that it cannot write before a model is fetched.
        output = VideoWriter(target, reader.fps or FOLDER_FRAMES_PER_SECOND)
        found = open_model(model, store, tracking_uri)
        network = found.network.to(where)
        if features_on_cpu:
            keep_features_on_cpu(network)
        if self_ensemble:
            network = SelfEnsemble(network)
        console = Console()
        with (
            output as writer,
            Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                console=console,
            ) as bars,
        ):
            task = bars.add_task(target.name, total=reader.frame_count, rate="")
            start = time.monotonic()
            for frame in upscale_frames(network, reader, where, settings):
                writer.write(frame)
                rate = _rate(writer.frames_written, reader.frame_count, time.monotonic() - start)
                bars.update(task, advance=1, rate=rate)
    scale = found.record.scale
    print_line(
        console,
        f"{target}: {writer.frames_written} frames of {reader.width * scale}×{reader.height * scale}",
    )


def _rate(done: int, total: int | None, seconds: float) -> str:
    """Frames a second since the start, and how long the rest takes.

    A window's frames come all at once, so that the time between two of them says nothing.
    """
    text = f"{done / max(seconds, 1e-9):.1f} fps"
    if total:
        left = timedelta(seconds=round(seconds / done * max(0, total - done)))
        text += f"  {left} left"
    return text
