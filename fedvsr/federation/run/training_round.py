"""A round's training: every client of the plan gets its chance, and what became of it is recorded."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable

from fedvsr.federation import layout
from fedvsr.federation.records import ClientOutcome, OutcomesRecord, PlanRecord, RunRecord, write_record
from fedvsr.federation.run.prepare import plan_round
from fedvsr.federation.runs import load_run
from fedvsr.progress import Progress
from fedvsr.store.workspace import Workspace


class ClientRunner(ABC):
    """Runs the clients of a round; where and how is up to the subclass."""

    @abstractmethod
    def run(
        self, workspace: Workspace, record: RunRecord, plan: PlanRecord, progress: Progress
    ) -> Iterable[ClientOutcome]:
        """Trains the plan's clients and returns what became of each; a client's failure is no error."""


def train_round(
    workspace: Workspace,
    run: str,
    round_number: int,
    runner: ClientRunner,
    progress: Progress | None = None,
) -> OutcomesRecord:
    """Plans a round, has its clients train, and records the outcomes.

    It ends well whatever becomes of a client; whether enough delivered is for the aggregation to say.

    Args:
        workspace: The stores.
        run: The run's name.
        round_number: The round; the one before it has ended.
        runner: How to run the clients.
        progress: Shows the clients and their steps.
    """
    store = workspace.federation()
    record = load_run(store, run)
    plan = plan_round(store, record, round_number)
    start = time.monotonic()
    outcomes = tuple(runner.run(workspace, record, plan, progress or Progress()))
    seconds = time.monotonic() - start
    outcomes_record = OutcomesRecord(run=run, round=round_number, outcomes=outcomes, seconds=seconds)
    write_record(store, layout.outcomes(run, round_number), outcomes_record)
    return outcomes_record
