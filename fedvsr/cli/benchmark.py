"""`fedvsr benchmark`: scores a model on a published test set as papers do."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from fedvsr.cli.options import store_option, tracking_option
from fedvsr.cli.progress import print_line, show_progress
from fedvsr.cli.stores import open_model
from fedvsr.testsets.registry import get_test_set, known_test_sets
from fedvsr.video.degradations.registry import degradation_names, get_degradation

if TYPE_CHECKING:
    from torch import nn

    from fedvsr.inference.windows import WindowSettings
    from fedvsr.testsets.base import VideoTestSet
    from fedvsr.testsets.score import BenchmarkScores

_BICUBIC = "bicubic"
_BICUBIC_SCALE = 4


@click.command(epilog=f"Test sets: {', '.join(known_test_sets())}.")
@click.argument("test_set_name", metavar="TEST_SET")
@click.option("--root", type=click.Path(path_type=Path), required=True, help="The folder of the test set.")
@click.option(
    "--model",
    default="models:/fedvsr@champion",
    show_default=True,
    help="models:/NAME@ALIAS, models:/NAME/VERSION, a folder with weights.safetensors and model.json, or "
    f"{_BICUBIC} (×{_BICUBIC_SCALE}).",
)
@click.option(
    "--degradation",
    help="How low-resolution frames are made, or which ready-made ones are used: "
    f"{', '.join(degradation_names())} (matlab-bd is the papers' BD). [default: the degradation that the "
    "model was trained on, or else the test set's usual one]",
)
@click.option(
    "--window",
    type=int,
    help="Number of frames to upscale at once; 0 for all. [default: all for a recurrent model, as papers "
    "test it; 16 for other models, whose result is the same]",
)
@click.option(
    "--tile",
    default=0,
    show_default=True,
    help="Side of a tile, in input pixels; 0 for no tiles.",
)
@click.option(
    "--self-ensemble", is_flag=True, help="Average over flips and transpositions. It takes 8 times as long."
)
@click.option(
    "--mirror",
    is_flag=True,
    help="Append the clip played backwards, and average. BasicVSR and RVRT are tested so on vimeo90k-t.",
)
@click.option("--lpips", "with_lpips", is_flag=True, help="Measure LPIPS too; needs fedvsr[lpips].")
@click.option("--vmaf", "with_vmaf", is_flag=True, help="Measure VMAF too; needs an ffmpeg with libvmaf.")
@click.option(
    "--features-on-cpu",
    is_flag=True,
    help="Keep a recurrent model's features in CPU memory. Then more frames fit on the GPU at once.",
)
@click.option("--device", "device_name", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@store_option
@tracking_option
def benchmark(
    test_set_name: str,
    root: Path,
    model: str,
    degradation: str | None,
    window: int | None,
    tile: int,
    self_ensemble: bool,
    mirror: bool,
    with_lpips: bool,
    with_vmaf: bool,
    features_on_cpu: bool,
    device_name: str,
    store: str,
    tracking_uri: str,
) -> None:
    """Score a model on a published test set.

    PSNR and SSIM are means over a clip's frames, then over clips, as in papers. If the test set's folder
    contains low-resolution frames (BIx4, BDx4, train_sharp_bicubic/X4, …), they are used; otherwise they are
    made from the ground truth.
    """
    from functools import partial

    from fedvsr.cli.tables import benchmark_table
    from fedvsr.device import select_device
    from fedvsr.inference.windows import upscale_frames
    from fedvsr.scoring.lpips import open_lpips
    from fedvsr.testsets.degradation_check import describe_mismatch
    from fedvsr.testsets.folders import locate_clips
    from fedvsr.testsets.score import score_test_set

    test_set = get_test_set(test_set_name)
    device = select_device(device_name, "--device")
    if with_vmaf:
        _check_vmaf(test_set)
    lpips = open_lpips(device) if with_lpips else None
    candidate = _open_candidate(model, store, tracking_uri)
    degrade = get_degradation(degradation or candidate.degradation or test_set.degradations[0])
    clips = locate_clips(test_set, root, degrade.name, candidate.scale)
    settings = _window_settings(candidate.network, window, tile)
    network = _wrap(candidate.network.to(device), features_on_cpu, mirror, self_ensemble)
    console = Console()
    warning = describe_mismatch(clips[0], degrade, candidate.scale)
    if warning:
        print_line(console, f"warning: {warning}")
    upscaler = partial(upscale_frames, network, device=device, settings=settings, scale=candidate.scale)
    with show_progress(console) as progress:
        scores = score_test_set(
            test_set, clips, upscaler, degrade, candidate.scale, lpips, with_vmaf, progress
        )
    title = f"{test_set.title} ×{candidate.scale} {degrade.name}, {candidate.name}"
    print_line(console, f"{title}: {test_set.convention}")
    console.print(benchmark_table(scores))
    note = _incompleteness_note(test_set, scores)
    if note:
        print_line(console, f"note: {note}")


@dataclass(frozen=True)
class _Candidate:
    """A model to score, with the degradation that it was trained on; None if that is unknown."""

    name: str
    network: "nn.Module"
    scale: int
    degradation: str | None


def _open_candidate(model: str, store: str, tracking_uri: str) -> _Candidate:
    from fedvsr.models.registry import build_model

    if model == _BICUBIC:
        return _Candidate(_BICUBIC, build_model(_BICUBIC, _BICUBIC_SCALE), _BICUBIC_SCALE, None)
    trained = open_model(model, store, tracking_uri)
    return _Candidate(trained.record.name, trained.network, trained.record.scale, trained.record.degradation)


def _check_vmaf(test_set: "VideoTestSet") -> None:
    from fedvsr.errors import InputError
    from fedvsr.metrics.vmaf import require_ffmpeg

    if test_set.centre_only:
        raise InputError(f"VMAF judges moving pictures, but of {test_set.title} only single frames count")
    require_ffmpeg()


def _window_settings(network: "nn.Module", window: int | None, tile: int) -> "WindowSettings":
    from fedvsr.inference.windows import WindowSettings
    from fedvsr.models.base import contexts

    if window is None:
        # A recurrent network gets the whole clip, as in papers. For other networks, windows change nothing.
        is_recurrent = contexts(network).temporal is None
        window = 0 if is_recurrent else WindowSettings().frames
    return WindowSettings(window, tile)


def _wrap(network: "nn.Module", features_on_cpu: bool, mirror: bool, self_ensemble: bool) -> "nn.Module":
    from fedvsr.inference.ensemble import SelfEnsemble
    from fedvsr.inference.mirror import MirroredClip
    from fedvsr.models.feature_cache import keep_features_on_cpu

    if features_on_cpu:
        keep_features_on_cpu(network)
    if mirror:
        network = MirroredClip(network)
    if self_ensemble:
        network = SelfEnsemble(network)
    return network


def _incompleteness_note(test_set: "VideoTestSet", scores: Sequence["BenchmarkScores"]) -> str:
    """Returns a sentence if the scores are not of the whole published test set; otherwise an empty string."""
    clips, frames = test_set.published
    scored_frames = sum(clip.frames for clip in scores)
    if (len(scores), scored_frames) == (clips, frames):
        return ""
    return (
        f"{test_set.title} has {clips} clips and {frames} frames that count, but this folder has "
        f"{len(scores)} and {scored_frames}: the mean is not comparable with that of papers"
    )
