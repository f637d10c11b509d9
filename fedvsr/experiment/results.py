"""The results of an experiment: a registered model, a report, a picture and an upscaled clip."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedvsr.config.experiment import Experiment
from fedvsr.device import select_device
from fedvsr.federation import layout
from fedvsr.federation.owner.clips import open_clips
from fedvsr.federation.records import RegistrationRecord, RunRecord
from fedvsr.inference.sizes import choose_sizes
from fedvsr.inference.windows import upscale_frames
from fedvsr.progress import Progress
from fedvsr.report.page import render_page
from fedvsr.report.summary import RunSummary, summarise_run
from fedvsr.store.local import LocalStore
from fedvsr.store.workspace import Workspace
from fedvsr.tracking.connection import MlflowConnection
from fedvsr.tracking.model_registry import download_model, register_run
from fedvsr.tracking.runs import RunTracker
from fedvsr.video.encode import VideoWriter
from fedvsr.video.frames import Frames

_RESULTS = "results"
# File systems allow 255 bytes. The suffix, and the name of the file while it is written, need some of them.
_MAX_NAME_BYTES = 200
# By Windows, or with a meaning in addresses.
_REFUSED_CHARACTERS = frozenset('\\/:*?"<>|%#')


@dataclass(frozen=True)
class ExperimentResult:
    """The results of an experiment.

    Attributes:
        summary: The run's records.
        registration: The registered model version.
        tracking_uri: The address of MLflow, without a password.
        report: The path of the HTML report.
        picture: The path of a PNG with a detail of each held-out clip.
        upscaled: The path of the first held-out clip, upscaled.
    """

    summary: RunSummary
    registration: RegistrationRecord
    tracking_uri: str
    report: Path
    picture: Path
    upscaled: Path


def conclude(
    experiment: Experiment,
    record: RunRecord,
    workspace: Workspace,
    connection: MlflowConnection,
    progress: Progress,
    folder: Path | None = None,
) -> ExperimentResult:
    """Registers the best round of a run that has ended, and writes its report, picture and upscaled clip.

    Args:
        experiment: The experiment.
        record: The run's record.
        workspace: The stores.
        connection: The connection to MLflow.
        progress: Reports progress per frame that is upscaled.
        folder: The folder of the results; None for that of `results_folder`.
    """
    store = workspace.federation()
    registration = register_run(connection, store, record, experiment.tracking.registered_model)
    summary = summarise_run(store, record)
    tracker = RunTracker(connection, record)
    tracker.log_summary(summary)
    tracker.finish()
    folder = folder or results_folder(experiment.store, experiment.name)
    results = LocalStore(folder)
    report, picture = folder / "report.html", folder / "before-after.png"
    results.write(report.name, render_page(summary).encode())
    results.write(picture.name, summary.details_picture or b"")
    upscaled = _upscale_held_out(summary, workspace, connection, registration, folder, progress)
    return ExperimentResult(summary, registration, connection.address, report, picture, upscaled)


def results_folder(store: str, run: str) -> Path:
    """Returns the folder of a run's results: in a local store, or in ``runs`` for an S3 store."""
    root = Path("runs") if "://" in store else Path(store)
    return root / _RESULTS / run


def file_name(clip: str) -> str:
    """Returns the start of the name of a clip's file: characters that some file systems refuse become ``_``.

    It has at most 200 bytes, so that there is room for a suffix.
    """
    name = clip.rpartition("/")[2].strip()
    safe_name = "".join(
        "_" if character in _REFUSED_CHARACTERS or not character.isprintable() else character
        for character in name
    ).strip(". ")
    return safe_name.encode()[:_MAX_NAME_BYTES].decode(errors="ignore") or "clip"


def _upscale_held_out(
    summary: RunSummary,
    workspace: Workspace,
    connection: MlflowConnection,
    registration: RegistrationRecord,
    folder: Path,
    progress: Progress,
) -> Path:
    """Upscales the first held-out clip with the registered model, as a user of it would."""
    config = summary.record.config
    store, held_out = workspace.federation(), layout.held_out_clips(config.data.dataset)
    clip = open_clips(store, held_out, config.data)[0]
    model = download_model(connection, f"models:/{registration.model}/{registration.model_version}")
    device = select_device(config.training.device)
    target = folder / f"{file_name(clip.name)}-x{config.data.scale}.mp4"
    frames: Frames = np.asarray(clip.low_resolution[:])
    network = model.network.to(device)
    sizes = choose_sizes(network, device, *frames.shape[1:3], scale=config.data.scale, length=len(frames))
    # H.264 needs an even height and width. ×3 may give odd ones.
    height, width = (side * config.data.scale // 2 * 2 for side in frames.shape[1:3])
    with (
        progress.stage("upscale", len(frames)) as advance,
        VideoWriter(target, clip.fps, size=(height, width)) as writer,
    ):
        outputs = upscale_frames(network, iter(frames), device, sizes, scale=config.data.scale)
        for done, frame in enumerate(outputs, start=1):
            writer.write(frame[:height, :width])
            advance(done, target.name)
    return target
