"""Promotion: the challenger becomes the champion if it is better."""

from collections.abc import Sequence
from dataclasses import dataclass

from fedvsr.device import select_device
from fedvsr.errors import InputError
from fedvsr.federation import layout
from fedvsr.federation.owner.clips import open_clips
from fedvsr.federation.runs import load_run
from fedvsr.progress import Progress
from fedvsr.scoring.clip_scores import mean_over_frames
from fedvsr.scoring.clips import score_bicubic, score_model
from fedvsr.store.base import Store
from fedvsr.tracking.connection import Connection
from fedvsr.tracking.registry import CHALLENGER, CHAMPION, download_model, find_alias
from fedvsr.trained import TrainedModel
from fedvsr.video.patches import ClipPair


@dataclass(frozen=True)
class Promotion:
    """The result of a promotion.

    Attributes:
        challenger: The challenger's version.
        champion: The version that was champion, None if there was none.
        challenger_psnr: The challenger's PSNR (Y) on the held-out clips, in dB; None if not compared.
        champion_psnr: The champion's, or bicubic interpolation's if there was no champion.
        promoted: Whether the alias was moved.
    """

    challenger: str
    champion: str | None
    challenger_psnr: float | None
    champion_psnr: float | None
    promoted: bool


def promote(
    connection: Connection,
    store: Store,
    registered_model: str,
    threshold: float,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> Promotion:
    """Makes the challenger champion if it is better on the held-out clips.

    Both are scored now, on the held-out clips of the challenger's run. Without a champion the
    challenger must be better than bicubic interpolation. A champion that was chosen by hand in MLflow
    counts like any other: only the registry's aliases are read.

    Args:
        connection: The connection to MLflow.
        store: The federation's store, which holds the held-out clips.
        registered_model: The registered model's name.
        threshold: By how many dB of PSNR (Y) the challenger must be better.
        force: Moves the alias without a comparison.
        progress: Shows the clips.

    Raises:
        fedvsr.errors.InputError: There is no challenger, it has no run, or the two have different scales.
    """
    challenger = find_alias(connection, registered_model, CHALLENGER)
    if challenger is None:
        raise InputError(f"{registered_model!r} has no challenger; `fedvsr register RUN` makes one")
    champion = find_alias(connection, registered_model, CHAMPION)
    if champion == challenger:
        return Promotion(challenger, champion, None, None, promoted=False)
    challenger_psnr = champion_psnr = None
    if not force:
        challenger_psnr, champion_psnr = _compare(
            connection, store, registered_model, challenger, champion, progress
        )
        if challenger_psnr < champion_psnr + threshold:
            return Promotion(challenger, champion, challenger_psnr, champion_psnr, promoted=False)
    with connection.failures("move the alias"):
        connection.client.set_registered_model_alias(registered_model, CHAMPION, challenger)
    return Promotion(challenger, champion, challenger_psnr, champion_psnr, promoted=True)


def _compare(
    connection: Connection,
    store: Store,
    registered_model: str,
    challenger: str,
    champion: str | None,
    progress: Progress | None,
) -> tuple[float, float]:
    """Returns the PSNR (Y) of the challenger, and of the champion or else of bicubic interpolation, in dB."""
    challenger_model = download_model(connection, f"models:/{registered_model}/{challenger}")
    if challenger_model.record.run is None:
        raise InputError(
            "the challenger comes from no run, so its held-out clips are unknown; promote with --force"
        )
    config = load_run(store, challenger_model.record.run).config
    clips = open_clips(store, layout.evaluation_clips(config.data.dataset), config.data)
    border = config.evaluation.crop_border
    challenger_psnr = _mean_psnr(challenger_model, clips, border, progress)
    if champion is None:
        return challenger_psnr, mean_over_frames(score_bicubic(clips, border), "psnr_y")
    champion_model = download_model(connection, f"models:/{registered_model}/{champion}")
    if champion_model.record.scale != challenger_model.record.scale:
        raise InputError(
            f"the challenger upscales by {challenger_model.record.scale} and the champion by "
            f"{champion_model.record.scale}, so they cannot be compared; "
            "promote with --force or register them under different names"
        )
    return challenger_psnr, _mean_psnr(champion_model, clips, border, progress)


def _mean_psnr(
    model: TrainedModel, clips: Sequence[ClipPair], crop_border: int, progress: Progress | None
) -> float:
    device = select_device("auto")
    scores, _ = score_model(model.network.to(device), clips, device, crop_border, progress=progress)
    return mean_over_frames(scores, "psnr_y")
