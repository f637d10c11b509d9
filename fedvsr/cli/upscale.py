"""`fedvsr upscale`: upscales a video with a trained model."""

import time
from datetime import timedelta
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from fedvsr.cli.options import store_option, tracking_option
from fedvsr.cli.progress import print_line
from fedvsr.cli.stores import open_model


@click.command()
@click.argument("source", metavar="INPUT", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUTPUT", type=click.Path(path_type=Path))
@click.option(
    "--model",
    default="models:/fedvsr@champion",
    show_default=True,
    help="models:/NAME@ALIAS, models:/NAME/VERSION, or a folder with weights.safetensors and model.json.",
)
@click.option("--window", default=16, show_default=True, help="Frames to upscale at once; 0 for all.")
@click.option(
    "--tile", default=256, show_default=True, help="Side of a tile, in input pixels; 0 for no tiles."
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
    """Upscale a video of any length with a trained model.

    INPUT is a video file or a folder of frames. OUTPUT is .mp4 (lossy), .avi or .mkv (FFV1, lossless), or
    a folder of PNG frames. Frames are read, upscaled and written in overlapping windows and tiles, so
    memory use does not grow with the video. OUTPUT keeps the frame rate and has no sound.
    """
    from fedvsr.device import select_device
    from fedvsr.errors import InputError
    from fedvsr.inference.ensemble import SelfEnsemble
    from fedvsr.inference.windows import WindowSettings, upscale_frames
    from fedvsr.models.feature_cache import keep_features_on_cpu
    from fedvsr.video.decode import VideoReader
    from fedvsr.video.encode import VideoWriter
    from fedvsr.video.image_folder import FOLDER_FRAMES_PER_SECOND

    settings = WindowSettings(window, tile)
    target_device = select_device(device)
    if source.resolve() == target.resolve():
        raise InputError(f"{target} is the input; name another output")
    with VideoReader(source) as reader:
        # A wrong output name is refused before the model is downloaded.
        output = VideoWriter(target, reader.fps or FOLDER_FRAMES_PER_SECOND)
        trained = open_model(model, store, tracking_uri)
        network = trained.network.to(target_device)
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
            for frame in upscale_frames(network, reader, target_device, settings):
                writer.write(frame)
                rate = _rate(writer.frames_written, reader.frame_count, time.monotonic() - start)
                bars.update(task, advance=1, rate=rate)
    scale = trained.record.scale
    print_line(
        console,
        f"{target}: {writer.frames_written} frames of {reader.width * scale}×{reader.height * scale}",
    )


def _rate(done: int, total: int | None, seconds: float) -> str:
    """Returns the mean frames per second since the start, and the remaining time.

    The frames of a window arrive all at once, so the time between two frames has no meaning.
    """
    text = f"{done / max(seconds, 1e-9):.1f} fps"
    if total:
        remaining = timedelta(seconds=round(seconds / done * max(0, total - done)))
        text += f"  {remaining} left"
    return text
