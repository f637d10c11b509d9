"""What `fedvsr evaluate --dataset` does."""

import os
from functools import partial
from pathlib import Path

from rich.console import Console
from torch import nn

from fedvsr.cli.progress import print_line, show_progress
from fedvsr.cli.stores import open_model
from fedvsr.cli.tables import benchmark_table
from fedvsr.device import select_device
from fedvsr.errors import InputError
from fedvsr.federation.server.evaluate import LPIPS_WEIGHTS_VARIABLE
from fedvsr.inference.ensemble import SelfEnsemble
from fedvsr.inference.mirror import MirroredClip
from fedvsr.inference.windows import WindowSettings, upscale_frames
from fedvsr.metrics.vmaf import require_ffmpeg
from fedvsr.models.base import contexts
from fedvsr.models.feature_cache import keep_features_on_cpu
from fedvsr.models.registry import build_model
from fedvsr.testsets.agreement import disagreement
from fedvsr.testsets.base import VideoTestSet
from fedvsr.testsets.folders import locate_clips
from fedvsr.testsets.registry import get_test_set
from fedvsr.testsets.score import ClipScore, Lpips, score_test_set
from fedvsr.video.degradations.registry import get_degradation

_FLOOR = "bicubic"
_FLOOR_SCALE = 4


def evaluate_dataset(
    dataset: str,
    root: Path,
    model: str,
    degradation: str | None,
    window: int | None,
    tile: int,
    self_ensemble: bool,
    mirror: bool,
    lpips: bool,
    vmaf: bool,
    features_on_cpu: bool,
    device: str,
    store: str,
    tracking_uri: str,
) -> None:
    """Scores a model on a published test set and prints the papers' table; see `fedvsr evaluate --help`."""
    test_set = get_test_set(dataset)
    where = select_device(device)
    if vmaf:
        if test_set.centre_only:
            raise InputError(f"VMAF judges moving pictures, but of {test_set.title} only single frames count")
        require_ffmpeg()
    measure_lpips = _open_lpips(device) if lpips else None
    name, network, scale, trained_on = _open_model(model, store, tracking_uri)
    degrade = get_degradation(degradation or trained_on or test_set.degradations[0])
    clips = locate_clips(test_set, root, degrade.name, scale)
    settings = WindowSettings(_frames_at_once(network) if window is None else window, tile)
    network = network.to(where)
    if features_on_cpu:
        keep_features_on_cpu(network)
    for wanted, wrapper in ((mirror, MirroredClip), (self_ensemble, SelfEnsemble)):
        network = wrapper(network) if wanted else network
    console = Console()
    warning = disagreement(clips[0], degrade, scale)
    if warning:
        print_line(console, f"warning: {warning}")
    with show_progress(console) as progress:
        upscaler = partial(upscale_frames, network, device=where, settings=settings)
        scores = score_test_set(test_set, clips, upscaler, degrade, scale, measure_lpips, vmaf, progress)
    print_line(console, f"{test_set.title} ×{scale} {degrade.name}, {name}: {test_set.convention}")
    console.print(benchmark_table(scores))
    note = _incomplete(test_set, scores)
    if note:
        print_line(console, f"note: {note}")


def _open_model(model: str, store: str, tracking_uri: str) -> tuple[str, nn.Module, int, str | None]:
    """Returns a model's name, network, scale, and the degradation it was trained on where that is known."""
    if model == _FLOOR:
        return _FLOOR, build_model(_FLOOR, _FLOOR_SCALE), _FLOOR_SCALE, None
    found = open_model(model, store, tracking_uri)
    return found.record.name, found.network, found.record.scale, found.record.degradation


def _open_lpips(device: str) -> Lpips:
    # Imported here because it is an extra.
    from fedvsr.metrics.lpips import LPIPS

    backbone = os.environ.get(LPIPS_WEIGHTS_VARIABLE)
    return LPIPS(Path(backbone) if backbone else None, select_device(device))


def _frames_at_once(network: nn.Module) -> int:
    """Papers give a recurrent network a clip as a whole; for others, windows give the same numbers."""
    return 0 if contexts(network).temporal is None else WindowSettings().frames


def _incomplete(test_set: VideoTestSet, scores: list[ClipScore]) -> str:
    clips, frames = test_set.published
    found = sum(each.frames for each in scores)
    if (len(scores), found) == (clips, frames):
        return ""
    return (
        f"{test_set.title} has {clips} clips and {frames} frames that count, and here are {len(scores)} and "
        f"{found}: the mean is not comparable with that of papers"
    )
