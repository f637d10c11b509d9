"""The clients of a round that train on this machine: their outcomes, and secure aggregation among them."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fedvsr.errors import FedVSRError
from fedvsr.federation.client.secure_delivery import SecureDelivery
from fedvsr.federation.records import ClientOutcome, Outcome
from fedvsr.federation.run.round_part import RoundPart

CLIENT_FAILURES = (FedVSRError, OSError, RuntimeError, MemoryError)
"""Errors that end only the work of one client, as they would end its Job on a cluster.

PyTorch raises RuntimeError if memory runs out or an operator refuses its input.
"""

# How often clients that wait for the server look at its lists, in seconds.
_POLL_SECONDS = 0.05


class LocalClients:
    """The clients of one part of a round, and their outcomes.

    Args:
        part: The part.
    """

    def __init__(self, part: RoundPart) -> None:
        self.part = part
        self._outcomes: dict[str, ClientOutcome] = {}
        self._seconds: dict[str, float] = {}

    @property
    def outcomes(self) -> list[ClientOutcome]:
        """The outcome of each client, in the order of the part."""
        return [
            self._outcomes[client].model_copy(update={"seconds": self._seconds.get(client, 0.0)})
            for client in self.part.clients
        ]

    def deliver(self, client: str) -> None:
        """Records that a client has delivered."""
        self.part.delivered.add(client)
        self.conclude(client, Outcome.OK)

    def fail(self, client: str, reason: str) -> None:
        """Records that a client has failed, and tells it."""
        self.part.progress.message(f"client {client}: {reason}")
        self.conclude(client, Outcome.FAILED, reason)

    def conclude(self, client: str, outcome: Outcome, reason: str = "") -> None:
        """Records a client's outcome."""
        self._outcomes[client] = ClientOutcome(client=client, outcome=outcome, reason=reason)
        self.part.gone.add(client)

    def add_seconds(self, client: str, seconds: float) -> None:
        """Counts the time of a client's work."""
        self._seconds[client] = self._seconds.get(client, 0.0) + seconds

    @contextmanager
    def failing(self, client: str, tell: Callable[[str], None] = lambda text: None) -> Iterator[None]:
        """Makes an error of a client's work its outcome, and counts the seconds of the work.

        Args:
            client: The client.
            tell: Called with a short text if the work fails.
        """
        start = time.monotonic()
        try:
            yield
        except CLIENT_FAILURES as error:
            tell(f"{client} failed")
            self.fail(client, str(error) or type(error).__name__)
        finally:
            self.add_seconds(client, time.monotonic() - start)

    def exchange(self, deliveries: dict[str, SecureDelivery]) -> None:
        """Takes clients through the phases of secure aggregation, until none of them waits any more.

        Args:
            deliveries: The deliveries of the clients that have trained. It is empty afterwards.
        """
        pause = threading.Event()
        while deliveries:
            for client, delivery in list(deliveries.items()):
                with self.failing(client):
                    if not (delivery.is_finished or delivery.advance()):
                        continue
                    self.deliver(client)
                del deliveries[client]
            pause.wait(_POLL_SECONDS)
