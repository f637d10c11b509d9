"""Runs a round's clients in this process, one after the other."""

import time
from collections.abc import Iterable

from fedvsr.errors import FedVSRError
from fedvsr.federation.client.train import train_client
from fedvsr.federation.records import ClientOutcome, Outcome, PlanRecord, RunRecord
from fedvsr.federation.run.training_round import ClientRunner
from fedvsr.progress import Progress
from fedvsr.store.workspace import Workspace

# Errors that end only the work of one client, as they would end its Job on a cluster. PyTorch raises
# RuntimeError if memory runs out or an operator refuses its input.
_CLIENT_FAILURES = (FedVSRError, OSError, RuntimeError)


class InProcessRunner(ClientRunner):
    """Runs the clients one after the other in this process.

    A client that fails gets the outcome ``failed``. A client whose turn comes after the deadline gets
    ``timed-out`` and does not train.
    """

    def run(
        self, workspace: Workspace, record: RunRecord, plan: PlanRecord, progress: Progress
    ) -> Iterable[ClientOutcome]:
        round_start = time.monotonic()
        with progress.stage("clients", len(plan.clients)) as advance:
            for number, client in enumerate(plan.clients, start=1):
                client_start = time.monotonic()
                if client_start - round_start > plan.deadline_seconds:
                    reason = f"the round's {plan.deadline_seconds} s were over before its turn"
                    yield ClientOutcome(client=client, outcome=Outcome.TIMED_OUT, reason=reason)
                    continue
                try:
                    report = train_client(workspace, record, plan.round, client, progress)
                except _CLIENT_FAILURES as error:
                    advance(number, f"{client} failed")
                    progress.message(f"client {client}: {error}")
                    yield ClientOutcome(
                        client=client,
                        outcome=Outcome.FAILED,
                        reason=str(error) or type(error).__name__,
                        seconds=time.monotonic() - client_start,
                    )
                else:
                    advance(number, f"{client} loss {report.loss:.4f}")
                    seconds = time.monotonic() - client_start
                    yield ClientOutcome(client=client, outcome=Outcome.OK, seconds=seconds)
