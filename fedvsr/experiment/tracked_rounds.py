"""A run's rounds, each sent to MLflow when it ends."""

from contextlib import suppress

from fedvsr.errors import FedVSRError, TrackingError
from fedvsr.federation.records import EvaluationRecord, RoundRecord, RunRecord
from fedvsr.federation.run.rounds import OnRound, run_rounds
from fedvsr.federation.run.training_round import ClientRunner
from fedvsr.progress import Progress
from fedvsr.store.workspace import Workspace
from fedvsr.tracking.connection import MlflowConnection
from fedvsr.tracking.runs import RunTracker


def run_tracked_rounds(
    workspace: Workspace,
    record: RunRecord,
    connection: MlflowConnection,
    *,
    runner: ClientRunner | None = None,
    on_round: OnRound,
    progress: Progress,
) -> None:
    """Runs the rounds that have not ended, and sends every round to MLflow.

    Args:
        workspace: The stores, with the shards in them.
        record: The run's record.
        connection: The connection to MLflow. Rounds that had already ended are sent too, if MLflow does not
            have them.
        runner: Runs the clients; None trains them in this process.
        on_round: Called with every round's record.
        progress: Reports progress per round, client and step.

    Raises:
        fedvsr.errors.FedVSRError: The run cannot continue. It is marked as failed in MLflow.
    """
    tracker = RunTracker(connection, record)

    def record_round(round_record: RoundRecord, evaluation: EvaluationRecord | None) -> None:
        tracker.log_round(round_record)
        if evaluation:
            tracker.log_evaluation(evaluation)
        on_round(round_record, evaluation)

    try:
        run_rounds(workspace, record, runner=runner, on_round=record_round, progress=progress)
    except FedVSRError:
        # The error that ended the run is reported, even if MLflow fails as well.
        with suppress(TrackingError):
            tracker.finish(succeeded=False)
        raise
