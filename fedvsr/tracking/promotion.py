"""Promotion: makes the challenger the champion if it is better."""

from collections.abc import Sequence
from dataclasses import dataclass

from fedvsr.device import select_device
from fedvsr.errors import InputError
from fedvsr.federation.owner.clips import open_held_out_clips
from fedvsr.federation.runs import load_run
from fedvsr.progress import Progress
from fedvsr.scoring.clip_scores import mean_over_frames
from fedvsr.scoring.clips import score_bicubic, score_model
from fedvsr.store.base import Store
from fedvsr.tracking.connection import MlflowConnection
from fedvsr.tracking.model_registry import CHALLENGER, CHAMPION, download_model, find_version
from fedvsr.trained import TrainedModel
from fedvsr.video.patches import ClipPair


@dataclass(frozen=True)
class PromotionResult:
    """The result of a promotion.

    Attributes:
        challenger: The challenger's version.
        champion: The version that was the champion before; None if there was none.
        challenger_psnr: The challenger's PSNR (Y) on the held-out clips, in dB; None if nothing was scored.
        champion_psnr: That of the champion, or of bicubic interpolation if there was no champion.
        promoted: Whether the alias was moved.
    """

    challenger: str
    champion: str | None
    challenger_psnr: float | None
    champion_psnr: float | None
    promoted: bool


def promote(
    connection: MlflowConnection,
    store: Store,
    registered_model: str,
    threshold: float,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> PromotionResult:
    """Makes the challenger the champion if it is better on the held-out clips.

    Both are scored again, on the held-out clips of the challenger's run. Without a champion, the challenger
    must be better than bicubic interpolation. A champion that was chosen by hand in MLflow counts
    like any other, because only the registry's aliases are read.

    Args:
        connection: The connection to MLflow.
        store: The federation's store, which holds the held-out clips.
        registered_model: The registered model's name.
        threshold: By how many dB of PSNR (Y) the challenger must be better.
        force: Whether to move the alias without a comparison.
        progress: Reports progress per clip.

    Returns:
        The result. If the challenger is the champion already, nothing is scored or promoted.

    Raises:
        fedvsr.errors.InputError: There is no challenger, it does not belong to a run, or it has another
            scale than the champion.
    """
    challenger = find_version(connection, registered_model, CHALLENGER)
    if challenger is None:
        raise InputError(f"{registered_model!r} has no challenger; `fedvsr register RUN` makes one")
    champion = find_version(connection, registered_model, CHAMPION)
    if champion == challenger:
        return PromotionResult(challenger, champion, None, None, promoted=False)
    challenger_psnr = champion_psnr = None
    if not force:
        challenger_psnr, champion_psnr = _score_both(
            connection, store, registered_model, challenger, champion, progress
        )
        if challenger_psnr < champion_psnr + threshold:
            return PromotionResult(challenger, champion, challenger_psnr, champion_psnr, promoted=False)
    with connection.translating_errors("move the alias"):
        connection.client.set_registered_model_alias(registered_model, CHAMPION, challenger)
    return PromotionResult(challenger, champion, challenger_psnr, champion_psnr, promoted=True)


def _score_both(
    connection: MlflowConnection,
    store: Store,
    registered_model: str,
    challenger: str,
    champion: str | None,
    progress: Progress | None,
) -> tuple[float, float]:
    """Returns the PSNR (Y) of the challenger, and that of the champion, in dB.

    Without a champion, the second is that of bicubic interpolation.

    Raises:
        fedvsr.errors.InputError: The challenger does not belong to a run, or the scales differ.
    """
    challenger_model = download_model(connection, f"models:/{registered_model}/{challenger}")
    if challenger_model.record.run is None:
        raise InputError(
            "the challenger does not belong to a run, so its held-out clips are unknown; promote with --force"
        )
    config = load_run(store, challenger_model.record.run).config
    clips = open_held_out_clips(store, config)
    crop_border = config.evaluation.crop_border
    challenger_psnr = _mean_psnr(challenger_model, clips, crop_border, progress)
    if champion is None:
        return challenger_psnr, mean_over_frames(score_bicubic(clips, crop_border), "psnr_y")
    try:
        champion_model = download_model(connection, f"models:/{registered_model}/{champion}")
    except InputError as error:
        raise InputError(
            f"the files of the champion, version {champion} of {registered_model!r}, cannot be read, so it "
            "cannot be compared; `fedvsr promote --force` replaces it"
        ) from error
    if champion_model.record.scale != challenger_model.record.scale:
        raise InputError(
            f"the challenger upscales by {challenger_model.record.scale} and the champion by "
            f"{champion_model.record.scale}, so they cannot be compared; "
            "promote with --force or register them under different names"
        )
    return challenger_psnr, _mean_psnr(champion_model, clips, crop_border, progress)


def _mean_psnr(
    model: TrainedModel, clips: Sequence[ClipPair], crop_border: int, progress: Progress | None
) -> float:
    device = select_device("auto")
    scores, _ = score_model(model.network.to(device), clips, device, crop_border, progress=progress)
    return mean_over_frames(scores, "psnr_y")
