"""Runs a round's clients in this process, one after the other."""

import time

from fedvsr.errors import FedVSRError
from fedvsr.federation.client.train import train_client
from fedvsr.federation.records import ClientOutcome, Outcome
from fedvsr.federation.run.training_round import PartRunner, RoundPart

# Errors that end only the work of one client, as they would end its Job on a cluster. PyTorch raises
# RuntimeError if memory runs out or an operator refuses its input.
_CLIENT_FAILURES = (FedVSRError, OSError, RuntimeError)


class InProcessRunner(PartRunner):
    """Runs the clients one after the other in this process.

    A client that fails gets the outcome ``failed``. A client whose turn comes after the deadline gets
    ``timed-out`` and does not train.
    """

    def run_part(self, part: RoundPart) -> list[ClientOutcome]:
        outcomes = []
        round_start = time.monotonic()
        with part.progress.stage("clients", len(part.clients)) as advance:
            for number, client in enumerate(part.clients, start=1):
                client_start = time.monotonic()
                if client_start - round_start > part.plan.deadline_seconds:
                    reason = f"the round's {part.plan.deadline_seconds} s were over before its turn"
                    outcomes.append(ClientOutcome(client=client, outcome=Outcome.TIMED_OUT, reason=reason))
                    continue
                try:
                    report = train_client(
                        part.workspace.federation(),
                        part.workspace.client(client),
                        part.record,
                        part.plan.round,
                        client,
                        part.progress,
                    )
                except _CLIENT_FAILURES as error:
                    advance(number, f"{client} failed")
                    part.progress.message(f"client {client}: {error}")
                    outcome, reason = Outcome.FAILED, str(error) or type(error).__name__
                else:
                    part.delivered.add(client)
                    advance(number, f"{client} loss {report.loss:.4f}")
                    outcome, reason = Outcome.OK, ""
                seconds = time.monotonic() - client_start
                outcomes.append(ClientOutcome(client=client, outcome=outcome, reason=reason, seconds=seconds))
        return outcomes
