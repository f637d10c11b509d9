"""Trains a round: plans the round, runs its clients and records their outcomes."""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from fedvsr.federation import layout
from fedvsr.federation.records import ClientOutcome, OutcomesRecord, PlanRecord, RunRecord, write_record
from fedvsr.federation.run.prepare import plan_round
from fedvsr.progress import Progress
from fedvsr.store.workspace import Workspace


class ClientRunner(ABC):
    """Runs the clients of a round. A subclass decides where and how."""

    @abstractmethod
    def run(
        self, workspace: Workspace, record: RunRecord, plan: PlanRecord, progress: Progress
    ) -> Iterable[ClientOutcome]:
        """Trains the plan's clients and yields their outcomes. A client's failure raises no error."""


@dataclass(frozen=True)
class RoundPart:
    """Some clients of a round, for one of the runners that share the round.

    Attributes:
        workspace: The stores.
        record: The run's record.
        plan: The round's plan, with all clients of the round.
        clients: The clients of this part.
        progress: Reports progress per client.
        delivered: The clients of the whole round that have delivered. Every runner adds its own.
        stop: When it is set, the result is not needed any more.
    """

    workspace: Workspace
    record: RunRecord
    plan: PlanRecord
    clients: Sequence[str]
    progress: Progress
    delivered: set[str] = field(default_factory=set)
    stop: threading.Event = field(default_factory=threading.Event)

    def find_cut_off(self) -> str | None:
        """Returns why the clients that have not delivered must stop, or None if the round waits for them."""
        waits_for_all = self.record.config.federation.wait_for == "all"
        if waits_for_all or len(self.delivered) < self.plan.quorum:
            return None
        return f"the quorum of {self.plan.quorum} had delivered"


class PartRunner(ClientRunner):
    """A runner that can run a part of a round's clients, beside another runner."""

    def run(
        self, workspace: Workspace, record: RunRecord, plan: PlanRecord, progress: Progress
    ) -> Iterable[ClientOutcome]:
        return self.run_part(RoundPart(workspace, record, plan, plan.clients, progress))

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

    A client's failure is an outcome, not an error. The aggregation checks the quorum later.

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
    outcomes = OutcomesRecord(
        run=plan.run,
        round=round_number,
        outcomes=tuple(runner.run(workspace, record, plan, progress or Progress())),
        seconds=time.monotonic() - start,
    )
    write_record(store, layout.outcomes(plan.run, round_number), outcomes)
    return outcomes
