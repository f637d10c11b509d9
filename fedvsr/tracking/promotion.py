"""Whether the challenger becomes the champion."""

from dataclasses import dataclass

from fedvsr.device import select_device
from fedvsr.errors import InputError
from fedvsr.federation import layout
from fedvsr.federation.owner.clips import open_clips
from fedvsr.federation.records import mean_score
from fedvsr.federation.runs import load_run
from fedvsr.federation.server.evaluate import score_bicubic, score_clips
from fedvsr.progress import Progress
from fedvsr.store.base import Store
from fedvsr.tracking.connection import Connection
from fedvsr.tracking.registry import CHALLENGER, CHAMPION, download_model, find_alias


@dataclass(frozen=True)
class Promotion:
    """How the comparison came out.

    Attributes:
        challenger: The challenger's version.
        champion: The version that was champion, None if there was none.
        challenger_psnr: Its PSNR (Y) on the evaluation clips, dB; None if the two were not compared.
        champion_psnr: The champion's, or bicubic interpolation's where there was no champion.
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
    """Makes the challenger champion if it is better on the evaluation clips.

    Both are scored now, on the held-out clips of the challenger's run. Without a champion the
    challenger must be better than bicubic interpolation. Only the registry's aliases are read, so a
    champion that was chosen by hand in MLflow is the one that is compared.

    Args:
        connection: The MLflow.
        store: The federation's store, which holds the clips.
        registered_model: The registered model's name.
        threshold: By how many dB of PSNR (Y) the challenger must be better.
        force: Move the alias without a comparison.
        progress: Shows the clips.

    Raises:
        fedvsr.errors.InputError: There is no challenger, or the two have different scales.
    """
    challenger = find_alias(connection, registered_model, CHALLENGER)
    if challenger is None:
        raise InputError(f"{registered_model!r} has no challenger; `fedvsr register RUN` makes one")
    champion = find_alias(connection, registered_model, CHAMPION)
    if champion == challenger:
        return Promotion(challenger, champion, None, None, promoted=False)
    ours = theirs = None
    if not force:
        ours, theirs = _compare(connection, store, registered_model, challenger, champion, progress)
        if ours < theirs + threshold:
            return Promotion(challenger, champion, ours, theirs, promoted=False)
    with connection.failures("move the alias"):
        connection.client.set_registered_model_alias(registered_model, CHAMPION, challenger)
    return Promotion(challenger, champion, ours, theirs, promoted=True)


def _compare(
    connection: Connection,
    store: Store,
    registered_model: str,
    challenger: str,
    champion: str | None,
    progress: Progress | None,
) -> tuple[float, float]:
    ours = download_model(connection, f"models:/{registered_model}/{challenger}")
    if ours.record.run is None:
        raise InputError("the challenger comes from no run, so that no clips are known; promote with --force")
    config = load_run(store, ours.record.run).config
    clips = open_clips(store, layout.evaluation_clips(config.data.dataset), config.data)
    device = select_device("auto")
    border = config.evaluation.crop_border
    scores, _ = score_clips(ours.network.to(device), clips, device, border, progress=progress)
    if champion is None:
        return mean_score(scores, "psnr_y"), mean_score(score_bicubic(clips, border), "psnr_y")
    theirs = download_model(connection, f"models:/{registered_model}/{champion}")
    if theirs.record.scale != ours.record.scale:
        raise InputError(
            f"the challenger upscales by {ours.record.scale} and the champion by {theirs.record.scale}, "
            "which cannot be compared; promote with --force or register them under different names"
        )
    other, _ = score_clips(theirs.network.to(device), clips, device, border, progress=progress)
    return mean_score(scores, "psnr_y"), mean_score(other, "psnr_y")
