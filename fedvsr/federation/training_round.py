"""A round's training: every client of the plan gets its chance, and what became of it is recorded."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable

from fedvsr.errors import FedVSRError
from fedvsr.federation import layout
from fedvsr.federation.client import train_client
from fedvsr.federation.prepare import load_run, plan_round
from fedvsr.federation.records import ClientOutcome, Outcome, OutcomesRecord, PlanRecord, write_record
from fedvsr.progress import Progress
from fedvsr.store.workspace import Workspace

# What ends a client's Job ends only the client here too: PyTorch tells a lack of memory, and all else that
# its operators refuse, as a RuntimeError.
_CLIENT_FAILURES = (FedVSRError, OSError, RuntimeError)


class ClientRunner(ABC):
    """Runs the clients of a round; where and how is up to the subclass."""

    @abstractmethod
    def run(self, workspace: Workspace, plan: PlanRecord, progress: Progress) -> Iterable[ClientOutcome]:
        """Trains the plan's clients and returns what became of each; a client's failure is no error."""


class InProcessRunner(ClientRunner):
    """Runs the clients one after the other in this process.

    A client that fails is an outcome; those whose turn would come after the deadline are timed out.
    """

    def run(self, workspace: Workspace, plan: PlanRecord, progress: Progress) -> Iterable[ClientOutcome]:
        start = time.monotonic()
        with progress.stage("clients", len(plan.clients)) as advance:
            for done, client in enumerate(plan.clients, start=1):
                begun = time.monotonic()
                if begun - start > plan.deadline_seconds:
                    reason = f"the round's {plan.deadline_seconds} s were over before its turn"
                    yield ClientOutcome(client=client, outcome=Outcome.TIMED_OUT, reason=reason)
                    continue
                try:
                    report = train_client(workspace, plan.run, plan.round, client, progress)
                except _CLIENT_FAILURES as error:
                    advance(done, f"{client} failed")
                    progress.message(f"client {client}: {error}")
                    yield ClientOutcome(
                        client=client,
                        outcome=Outcome.FAILED,
                        reason=str(error) or type(error).__name__,
                        seconds=time.monotonic() - begun,
                    )
                else:
                    advance(done, f"{client} loss {report.loss:.4f}")
                    yield ClientOutcome(client=client, outcome=Outcome.OK, seconds=time.monotonic() - begun)


def train_round(
    workspace: Workspace,
    run: str,
    round: int,
    runner: ClientRunner | None = None,
    progress: Progress | None = None,
) -> OutcomesRecord:
    """Plans a round, has its clients train, and records the outcomes.

    It ends well whatever becomes of a client; whether enough delivered is for the aggregation to say.

    Args:
        workspace: The stores.
        run: The run's name.
        round: The round; the one before it has ended.
        runner: How to run the clients; in this process when None.
        progress: Shows the clients and their steps.
    """
    store = workspace.federation()
    plan = plan_round(store, load_run(store, run), round)
    start = time.monotonic()
    outcomes = tuple((runner or InProcessRunner()).run(workspace, plan, progress or Progress()))
    record = OutcomesRecord(run=run, round=round, outcomes=outcomes, seconds=time.monotonic() - start)
    write_record(store, layout.outcomes(run, round), record)
    return record
