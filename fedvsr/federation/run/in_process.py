"""Runs a round's clients in this process, one after the other."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from fedvsr.errors import FedVSRError
from fedvsr.federation.client.secure_delivery import SecureDelivery
from fedvsr.federation.client.train import begin_secure_delivery, train_client
from fedvsr.federation.records import ClientOutcome, Outcome, ReportRecord
from fedvsr.federation.run.round_part import RoundPart
from fedvsr.federation.run.training_round import PartRunner

# Errors that end only the work of one client, as they would end its Job on a cluster. PyTorch raises
# RuntimeError if memory runs out or an operator refuses its input.
_CLIENT_FAILURES = (FedVSRError, OSError, RuntimeError)
# How often clients that wait for the server look at its lists, in seconds.
_POLL_SECONDS = 0.05


class InProcessRunner(PartRunner):
    """Runs the clients one after the other in this process.

    A client that fails gets the outcome ``failed``. A client whose turn comes after the deadline gets
    ``timed-out`` and does not train.
    """

    def run_part(self, part: RoundPart) -> list[ClientOutcome]:
        return _InProcessClients(part).run()


class _InProcessClients:
    """The clients of one round and their outcomes."""

    def __init__(self, part: RoundPart) -> None:
        self._part = part
        self._outcomes: dict[str, ClientOutcome] = {}
        self._seconds: dict[str, float] = {}

    def run(self) -> list[ClientOutcome]:
        part, round_start = self._part, time.monotonic()
        deliveries: dict[str, SecureDelivery] = {}
        with part.progress.stage("clients", len(part.clients)) as advance:
            for number, client in enumerate(part.clients, start=1):
                if time.monotonic() - round_start > part.plan.deadline_seconds:
                    reason = f"the round's {part.plan.deadline_seconds} s were over before its turn"
                    self._conclude(client, Outcome.TIMED_OUT, reason)
                    continue
                with self._failing(client, partial(advance, number)):
                    if part.record.config.privacy.secure_aggregation:
                        deliveries[client] = self._begin_secure(client)
                        advance(number, f"{client} trained")
                    else:
                        report = self._train(client)
                        advance(number, f"{client} loss {report.loss:.4f}")
            self._exchange(deliveries)
        return [self._outcomes[client] for client in part.clients]

    def _train(self, client: str) -> ReportRecord:
        part = self._part
        report = train_client(
            part.workspace.federation(),
            part.workspace.client(client),
            part.record,
            part.plan.round,
            client,
            part.progress,
        )
        part.delivered.add(client)
        self._conclude(client, Outcome.OK)
        return report

    def _begin_secure(self, client: str) -> SecureDelivery:
        part = self._part
        federation, own = part.workspace.federation(), part.workspace.client(client)
        return begin_secure_delivery(federation, own, part.record, part.plan, client, part.progress)

    def _exchange(self, deliveries: dict[str, SecureDelivery]) -> None:
        """Takes all clients through the phases of secure aggregation, until none of them waits any more."""
        pause = threading.Event()
        while deliveries:
            for client, delivery in list(deliveries.items()):
                with self._failing(client, lambda text: None):
                    if not (delivery.is_finished or delivery.advance()):
                        continue
                    self._part.delivered.add(client)
                    self._conclude(client, Outcome.OK)
                del deliveries[client]
            pause.wait(_POLL_SECONDS)

    @contextmanager
    def _failing(self, client: str, tell: Callable[[str], None]) -> Iterator[None]:
        """Makes an error of a client's work its outcome, and counts the seconds of the work."""
        start = time.monotonic()
        try:
            yield
        except _CLIENT_FAILURES as error:
            tell(f"{client} failed")
            self._part.progress.message(f"client {client}: {error}")
            self._conclude(client, Outcome.FAILED, str(error) or type(error).__name__)
        finally:
            self._seconds[client] = self._seconds.get(client, 0.0) + time.monotonic() - start
            if client in self._outcomes:
                seconds = {"seconds": self._seconds[client]}
                self._outcomes[client] = self._outcomes[client].model_copy(update=seconds)

    def _conclude(self, client: str, outcome: Outcome, reason: str = "") -> None:
        self._outcomes[client] = ClientOutcome(client=client, outcome=outcome, reason=reason)
        self._part.gone.add(client)
