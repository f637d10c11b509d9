"""Stores the experiment of a run with the run, so that `fedvsr resume` needs only the run's name."""

import shlex
from pathlib import Path

from fedvsr.config.experiment import Experiment, VideosConfig
from fedvsr.errors import NotFoundError, UnknownNameError, VideoError
from fedvsr.federation import layout
from fedvsr.federation.records import ExperimentRecord, read_record, write_record
from fedvsr.federation.runs import run_names
from fedvsr.store.base import Store
from fedvsr.tracking.sqlite import database_path, sqlite_uri


def store_experiment(store: Store, experiment: Experiment, namespace: str = "", sites: bool = False) -> None:
    """Stores an experiment for `load_stored_experiment`.

    Args:
        store: The federation's store.
        experiment: The experiment.
        namespace: The deployment's namespace; empty if there is none.
        sites: Whether the clients are the federation's sites alone.
    """
    record = ExperimentRecord(experiment=_absolute(experiment), namespace=namespace, sites=sites)
    write_record(store, layout.experiment(experiment.name), record)


def load_stored_experiment(store: Store, run: str) -> ExperimentRecord:
    """Returns a run's experiment; raises `fedvsr.errors.UnknownNameError` if the run does not exist."""
    try:
        return read_record(store, layout.experiment(run), ExperimentRecord)
    except NotFoundError:
        hint = "`fedvsr run` starts one, --store or FEDVSR_STORE names another store"
        raise UnknownNameError(f"run (in {store.uri})", run, run_names(store), hint) from None


def check_videos_exist(experiment: Experiment) -> None:
    """Checks that a stored experiment's videos are where they were.

    Raises:
        fedvsr.errors.VideoError: A path does not exist, for example because the store is on another machine.
    """
    clients = experiment.clients
    sources = [*clients.videos.values(), clients.split, experiment.evaluation_videos]
    for path in (source.path for source in sources if source):
        if not Path(path).exists():
            raise VideoError(
                f"{path}: no such file or folder; if the videos of run {experiment.name!r} were moved, name "
                f"their new place in a CONFIG and continue with `fedvsr run CONFIG --name {experiment.name} "
                f"--store {shlex.quote(experiment.store)}`"
            )


def moved_experiment(experiment: Experiment, store: str) -> Experiment:
    """Returns a stored experiment whose store may have been moved since.

    Args:
        experiment: The experiment, as it was stored.
        store: Where its store is now. An SQLite file of MLflow that was inside the store has moved with it.
    """
    tracking = experiment.tracking
    database = database_path(tracking.uri)
    if database and database.is_relative_to(experiment.store):
        moved = Path(store).absolute() / database.relative_to(experiment.store)
        tracking = tracking.model_copy(update={"uri": sqlite_uri(moved)})
    return experiment.model_copy(update={"store": store, "tracking": tracking})


def _absolute(experiment: Experiment) -> Experiment:
    """Returns an experiment with absolute paths, so that it can be resumed from another working folder."""

    def absolute(videos: VideosConfig) -> VideosConfig:
        return videos.model_copy(update={"path": str(Path(videos.path).absolute())})

    split = experiment.clients.split
    if split:
        labels = str(Path(split.labels).absolute()) if split.labels else ""
        split = split.model_copy(update={"path": str(Path(split.path).absolute()), "labels": labels})
    clients = experiment.clients.model_copy(
        update={
            "videos": {name: absolute(videos) for name, videos in experiment.clients.videos.items()},
            "split": split,
        }
    )
    held_out = experiment.evaluation_videos
    store = experiment.store if "://" in experiment.store else str(Path(experiment.store).absolute())
    tracking = experiment.tracking
    if database := database_path(tracking.uri):
        tracking = tracking.model_copy(update={"uri": sqlite_uri(database)})
    return experiment.model_copy(
        update={
            "tracking": tracking,
            "clients": clients,
            "evaluation_videos": absolute(held_out) if held_out else None,
            "store": store,
        }
    )
