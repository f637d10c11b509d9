"""A run's rounds, each told to MLflow as it ends."""

from contextlib import suppress

from fedvsr.config.experiment import Experiment
from fedvsr.config.run import RunConfig
from fedvsr.device import select_device
from fedvsr.errors import FedVSRError, TrackingError
from fedvsr.federation.records import EvaluationRecord, RoundRecord, RunRecord
from fedvsr.federation.run.prepare import check_run, new_model
from fedvsr.federation.run.rounds import OnRound, run_rounds
from fedvsr.federation.run.training_round import ClientRunner
from fedvsr.progress import Progress
from fedvsr.report.summary import summarise_run
from fedvsr.store.base import Store
from fedvsr.store.workspace import Workspace
from fedvsr.tracking.connection import Connection, connect
from fedvsr.tracking.runs import RunTracker
from fedvsr.tracking.warm_start import weights_of_new_run
from fedvsr.weights import Tensors


def check_config(store: Store, config: RunConfig) -> RunRecord | None:
    """Checks a run as far as that goes without its clips; returns its record if it was begun."""
    begun = check_run(store, config)
    if not begun:
        new_model(config)
        select_device(config.training.device)
    return begun


def open_tracking(
    experiment: Experiment, store: Store, config: RunConfig
) -> tuple[Connection, Tensors | None]:
    """Connects to an experiment's MLflow; returns it with the weights that a new run starts from.

    Args:
        experiment: The experiment.
        store: The federation's store.
        config: The experiment's run.

    Raises:
        fedvsr.errors.TrackingError: MLflow cannot be reached, which is told of before anything is trained.
        fedvsr.errors.InputError: What ``warm_start`` names cannot be had.
    """
    connection = connect(experiment.tracking, experiment.store)
    connection.experiment_id()
    return connection, weights_of_new_run(connection, store, config, experiment.tracking.registered_model)


def run_tracked_rounds(
    workspace: Workspace,
    config: RunConfig,
    connection: Connection,
    *,
    initial: Tensors | None,
    runner: ClientRunner | None,
    on_round: OnRound,
    progress: Progress,
) -> None:
    """Runs what is left of a run's rounds, as `fedvsr.federation.run.rounds.run_rounds` does.

    Args:
        workspace: The stores, with the shards in them.
        config: The run.
        connection: The MLflow that is told of every round, also of those that had ended before.
        initial: Weights that a new run starts from; seeded random ones when None.
        runner: How the clients are run; in this process when None.
        on_round: Called with every round's record.
        progress: Shows where it is.

    Raises:
        fedvsr.errors.FedVSRError: The run cannot go on; MLflow is told that it failed.
    """
    store = workspace.federation()
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
        run_rounds(
            workspace, config, initial=initial, runner=runner, on_round=record_round, progress=progress
        )
    except FedVSRError:
        if tracker:
            # Whether MLflow takes this or not, the error that is told is the one that ended the run.
            with suppress(TrackingError):
                tracker.finish(succeeded=False)
        raise
