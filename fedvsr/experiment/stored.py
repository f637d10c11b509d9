"""What a run was given, kept beside it so that `fedvsr resume` needs no more than its name."""

from pathlib import Path

from fedvsr.config.experiment import Experiment, VideosConfig
from fedvsr.errors import NotFoundError, UnknownNameError
from fedvsr.federation import layout
from fedvsr.federation.records import ExperimentRecord, read_record, write_record
from fedvsr.federation.runs import run_names
from fedvsr.store.base import Store


def keep_experiment(store: Store, experiment: Experiment, namespace: str = "") -> None:
    """Keeps what a run is given; from here on `load_stored_experiment` finds it.

    Args:
        store: The federation's store.
        experiment: The experiment.
        namespace: The deployment's namespace, where the run's clients are on a cluster.
    """
    record = ExperimentRecord(experiment=_absolute(experiment), namespace=namespace)
    write_record(store, layout.experiment(experiment.name), record)


def load_stored_experiment(store: Store, run: str) -> ExperimentRecord:
    """Returns what a run was given; raises `fedvsr.errors.UnknownNameError` if there is none."""
    try:
        return read_record(store, layout.experiment(run), ExperimentRecord)
    except NotFoundError:
        hint = "`fedvsr run` starts one, --store or FEDVSR_STORE names another store"
        raise UnknownNameError(f"run (in {store.uri})", run, run_names(store), hint) from None


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
