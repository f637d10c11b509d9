"""A whole experiment on this machine: videos in; report, registered model and upscaled clip out."""

import csv
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedvsr.config.experiment import Experiment, SplitConfig, VideosConfig
from fedvsr.config.run import RunConfig
from fedvsr.device import find_device
from fedvsr.errors import ConfigError, FedVSRError, NotFoundError, TrackingError, UnknownNameError
from fedvsr.federation import layout
from fedvsr.federation.clips import low_resolution_kind, open_clips, read_manifest
from fedvsr.federation.engine import OnRound, Videos, run_rounds, shard_all
from fedvsr.federation.prepare import check_run, new_model, run_names
from fedvsr.federation.records import (
    EvaluationRecord,
    ExperimentRecord,
    RegistrationRecord,
    RoundRecord,
    RunRecord,
    read_record,
    write_record,
)
from fedvsr.federation.sources import LocalSource, local_sources
from fedvsr.inference.windows import upscale_frames
from fedvsr.progress import Progress
from fedvsr.report.page import render_page
from fedvsr.report.summary import RunSummary, summarise_run
from fedvsr.store.base import Store
from fedvsr.store.local import LocalStore
from fedvsr.store.workspace import Workspace
from fedvsr.tracking.connection import Connection, connect
from fedvsr.tracking.registry import download_model, register_run
from fedvsr.tracking.runs import RunTracker
from fedvsr.tracking.warm_start import initial_weights
from fedvsr.video.encode import VideoWriter
from fedvsr.video.frames import Frames
from fedvsr.video.partition import partition
from fedvsr.video.patches import PatchSampler
from fedvsr.video.shards import open_shard

_RESULTS = "results"


@dataclass(frozen=True)
class ExperimentResult:
    """What an experiment leaves."""

    summary: RunSummary
    registration: RegistrationRecord
    tracking_uri: str
    report: Path
    picture: Path
    upscaled: Path


def run_experiment(
    experiment: Experiment,
    progress: Progress | None = None,
    on_round: OnRound = lambda record, evaluation: None,
) -> ExperimentResult:
    """Runs an experiment, or what is left of it.

    Args:
        experiment: The experiment.
        progress: Shows where it is.
        on_round: Called with every round's record, also of rounds that had ended before.

    Raises:
        fedvsr.errors.FedVSRError: It cannot go on; running it again continues.
    """
    progress = progress or Progress()
    workspace = Workspace.below(experiment.store)
    store = workspace.federation()
    videos = find_clients_videos(experiment)
    config = experiment.run_config(tuple(videos.clients))
    begun = _check(store, config)
    connection = connect(experiment.tracking, experiment.store)
    # An MLflow that cannot be reached is told of now, not after the first round.
    connection.experiment_id()
    # What a begun run started from is in its store; the champion of today may be another.
    initial = None if begun else initial_weights(connection, config, experiment.tracking.registered_model)
    # From here on `fedvsr resume` finds it.
    write_record(
        store, layout.experiment(experiment.name), ExperimentRecord(experiment=_absolute(experiment))
    )
    shard_all(workspace, videos, config.data, progress)
    if not begun:
        _check_clips(workspace, config)
    tracker: RunTracker | None = None

    def record_round(record: RoundRecord, evaluation: EvaluationRecord | None) -> None:
        nonlocal tracker
        # Made with the first round: the run's record, which names it in MLflow, is there then.
        tracker = tracker or RunTracker(connection, summarise_run(store, config.name).record)
        tracker.log_round(record)
        if evaluation:
            tracker.log_evaluation(evaluation)
        on_round(record, evaluation)

    try:
        run_rounds(workspace, config, initial=initial, on_round=record_round, progress=progress)
    except FedVSRError:
        if tracker:
            # Whether MLflow takes this or not, the error that is told is the one that ended the run.
            with suppress(TrackingError):
                tracker.finish(succeeded=False)
        raise
    return _conclude(experiment, workspace, connection, progress)


def find_experiment(store: str, run: str) -> Experiment:
    """Returns an experiment that was begun; raises `fedvsr.errors.UnknownNameError` if there is none."""
    federation = Workspace.below(store).federation()
    try:
        found = read_record(federation, layout.experiment(run), ExperimentRecord).experiment
    except NotFoundError:
        hint = "`fedvsr run` starts one, --store or FEDVSR_STORE names another store"
        raise UnknownNameError(f"run (in {federation.uri})", run, run_names(federation), hint) from None
    # The folder may have been moved since.
    return found.model_copy(update={"store": store})


def find_clients_videos(experiment: Experiment) -> Videos:
    """Finds each client's videos and the held-out ones.

    Raises:
        fedvsr.errors.ConfigError: There are no clients or no held-out videos.
        fedvsr.errors.VideoError: A folder holds no video.
    """
    clients: dict[str, list[LocalSource]] = {}
    if experiment.clients.split:
        clients = _split(experiment.clients.split, experiment.seed)
    for name, source in experiment.clients.videos.items():
        clients[name] = local_sources(Path(source.path), source.pattern)
    wanted = experiment.federation.clients
    for name in wanted:
        if name not in clients:
            raise ConfigError("federation.clients", name, f"the clients section has {', '.join(clients)}")
    if wanted:
        clients = {name: clients[name] for name in wanted}
    if not clients:
        raise ConfigError("clients", "nothing", "give clients.videos or clients.split: at least one client")
    if experiment.evaluation_videos is None:
        raise ConfigError("evaluation_videos", "nothing", "name the held-out videos")
    held_out: VideosConfig = experiment.evaluation_videos
    found = Videos(clients, local_sources(Path(held_out.path), held_out.pattern))
    _check_outside(found, experiment.store)
    return found


def _check_outside(videos: Videos, store: str) -> None:
    """Refuses videos below the store: a run's own results would be the next run's videos."""
    root = Path(store).resolve()
    for found in (*videos.clients.values(), videos.evaluation):
        for video in found:
            if "://" not in store and video.path.resolve().is_relative_to(root):
                raise ConfigError("store", store, f"the video {video.path} lies in it; put one elsewhere")


def plan_experiment(experiment: Experiment) -> tuple[Experiment, RunConfig, dict[str, int]]:
    """Resolves an experiment without writing anything.

    Returns:
        The experiment, its run with the clients' names filled in, and how many videos each client
        has, and the evaluation as ``held-out``.

    Raises:
        fedvsr.errors.InputError: Running it would be refused.
    """
    videos = find_clients_videos(experiment)
    config = experiment.run_config(tuple(videos.clients))
    _check(Workspace.below(experiment.store).federation(), config)
    counts = {name: len(found) for name, found in videos.clients.items()}
    return experiment, config, {**counts, "held-out": len(videos.evaluation)}


def _check(store: Store, config: RunConfig) -> RunRecord | None:
    """Checks a run as far as that goes without its clips; returns its record if it was begun."""
    begun = check_run(store, config)
    if not begun:
        new_model(config)
        find_device(config.training.device)
    return begun


def _check_clips(workspace: Workspace, config: RunConfig) -> None:
    """Refuses clips that no patch fits into, before the run is begun with these settings."""
    training, folder = config.training, layout.training_clips(config.data.dataset)
    for client in config.federation.clients:
        PatchSampler(
            open_clips(workspace.client(client), folder, config.data),
            frames=training.frames,
            patch_size=training.patch_size,
            batch_size=training.batch_size,
            seed=0,
        )


def _split(split: SplitConfig, seed: int) -> dict[str, list[LocalSource]]:
    found = {each.name: each for each in local_sources(Path(split.path), split.pattern)}
    labels = _read_labels(Path(split.labels)) if split.labels else None
    try:
        parts = partition(list(found), split.count, split.scheme, seed, split.alpha, labels)
    except ConfigError as error:
        field = error.field.replace("clients.", "clients.split.")
        raise ConfigError(field, error.value, error.allowed) from None
    digits = len(str(split.count))
    return {
        f"client-{number:0{digits}d}": [found[name] for name in part]
        for number, part in enumerate(parts, start=1)
    }


def _read_labels(path: Path) -> dict[str, str]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return {row[0].strip(): row[1].strip() for row in csv.reader(file) if len(row) > 1}
    except OSError as error:
        raise ConfigError(
            "clients.split.labels", str(path), f"it must be readable ({error.strerror})"
        ) from None


def _absolute(experiment: Experiment) -> Experiment:
    """Makes paths independent of the working folder, so that it can be resumed from another."""

    def source(found: VideosConfig) -> VideosConfig:
        return found.model_copy(update={"path": str(Path(found.path).absolute())})

    split = experiment.clients.split
    if split:
        labels = str(Path(split.labels).absolute()) if split.labels else ""
        split = split.model_copy(update={"path": str(Path(split.path).absolute()), "labels": labels})
    clients = experiment.clients.model_copy(
        update={
            "videos": {name: source(each) for name, each in experiment.clients.videos.items()},
            "split": split,
        }
    )
    held_out = experiment.evaluation_videos
    store = experiment.store if "://" in experiment.store else str(Path(experiment.store).absolute())
    return experiment.model_copy(
        update={
            "clients": clients,
            "evaluation_videos": source(held_out) if held_out else None,
            "store": store,
        }
    )


def _conclude(
    experiment: Experiment, workspace: Workspace, connection: Connection, progress: Progress
) -> ExperimentResult:
    store = workspace.federation()
    name = experiment.name
    registration = register_run(connection, store, name, experiment.tracking.registered_model)
    summary = summarise_run(store, name)
    tracker = RunTracker(connection, summary.record)
    tracker.log_summary(summary)
    tracker.finish()
    folder = results_folder(experiment.store, name)
    results = LocalStore(folder)
    report, picture = folder / "report.html", folder / "before-after.png"
    results.write(report.name, render_page(summary).encode())
    results.write(picture.name, summary.crops or b"")
    upscaled = _upscale_held_out(summary, workspace, connection, registration, folder, progress)
    return ExperimentResult(summary, registration, connection.uri, report, picture, upscaled)


def results_folder(store: str, run: str) -> Path:
    """Returns where a run's report and pictures go: below a local store, else the working folder."""
    root = Path("runs") if "://" in store else Path(store)
    return root / _RESULTS / run


def _upscale_held_out(
    summary: RunSummary,
    workspace: Workspace,
    connection: Connection,
    registration: RegistrationRecord,
    folder: Path,
    progress: Progress,
) -> Path:
    """Upscales the first held-out clip with the registered model, as a user of it would."""
    config = summary.record.config
    store, held_out = workspace.federation(), layout.evaluation_clips(config.data.dataset)
    kind = low_resolution_kind(config.data)
    digest = read_manifest(store, held_out, kind).shards[0].digest
    shard = open_shard(store.local(layout.shard(held_out, kind, digest), digest))
    clip = next(iter(shard.clips.values()))
    model = download_model(connection, f"models:/{registration.model}/{registration.model_version}")
    device = find_device(config.training.device)
    target = folder / f"{Path(clip.name).name}-x{config.data.scale}.mp4"
    frames: Frames = np.asarray(shard[clip.name])
    # The file cannot hold an odd height or width, which ×3 may give.
    height, width = (side * config.data.scale // 2 * 2 for side in frames.shape[1:3])
    with (
        progress.stage("upscale", len(frames)) as advance,
        VideoWriter(target, clip.fps) as writer,
    ):
        for done, frame in enumerate(upscale_frames(model.network.to(device), frames, device), start=1):
            writer.write(frame[:height, :width])
            advance(done, target.name)
    return target
