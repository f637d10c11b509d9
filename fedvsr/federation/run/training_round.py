"""Trains a round: plans the round, runs its clients and records their outcomes."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable

from fedvsr.federation import layout
from fedvsr.federation.records import (
    ClientOutcome,
    Outcome,
    OutcomesRecord,
    PlanRecord,
    RunRecord,
    write_record,
)
from fedvsr.federation.run.prepare import plan_round
from fedvsr.federation.run.round_part import RoundPart
from fedvsr.federation.run.secure_coordinator import run_coordinated
from fedvsr.federation.sampling import failing_clients
from fedvsr.progress import Progress
from fedvsr.store.workspace import Workspace


class ClientRunner(ABC):
    """Runs the clients of a round. A subclass decides where and how."""

    @abstractmethod
    def run(
        self, workspace: Workspace, record: RunRecord, plan: PlanRecord, progress: Progress
    ) -> Iterable[ClientOutcome]:
        """Trains the plan's clients and yields their outcomes. A client's failure raises no error."""


class PartRunner(ClientRunner):
    """A runner that can run a part of a round's clients, beside another runner."""

    def run(
        self, workspace: Workspace, record: RunRecord, plan: PlanRecord, progress: Progress
    ) -> Iterable[ClientOutcome]:
        return run_coordinated(RoundPart(workspace, record, plan, plan.clients, progress), self.run_part)

    @abstractmethod
    def run_part(self, part: RoundPart) -> list[ClientOutcome]:
        """Trains some of a round's clients and returns their outcomes."""


def train_round(
    workspace: Workspace,
    record: RunRecord,
    round_number: int,
    runner: ClientRunner,
    progress: Progress | None = None,
) -> OutcomesRecord:
    """Plans a round, trains its clients, and records the outcomes.

    A client's failure is an outcome, not an error. The aggregation checks the quorum later. Clients that fail
    on purpose (``federation.failing_share``) are not asked.

    Args:
        workspace: The stores.
        record: The run's record.
        round_number: The round. The round before it has ended.
        runner: Runs the clients.
        progress: Reports progress per client and step.
    """
    store = workspace.federation()
    plan = plan_round(store, record, round_number)
    start = time.monotonic()
    config, count = record.config, record.config.federation.failing_count(len(plan.clients))
    failing = failing_clients(plan.clients, count, config.name, config.seed, round_number)
    asked = tuple(client for client in plan.clients if client not in failing)
    outcomes = OutcomesRecord(
        run=plan.run,
        round=round_number,
        outcomes=(
            *runner.run(
                workspace, record, plan.model_copy(update={"clients": asked}), progress or Progress()
            ),
            *(_simulated_failure(client) for client in sorted(failing)),
        ),
        seconds=time.monotonic() - start,
    )
    write_record(store, layout.outcomes(plan.run, round_number), outcomes)
    return outcomes


def _simulated_failure(client: str) -> ClientOutcome:
    return ClientOutcome(client=client, outcome=Outcome.FAILED, reason="simulated: federation.failing_share")
