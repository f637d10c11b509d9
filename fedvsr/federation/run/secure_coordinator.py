"""Publishes the lists of secure aggregation while a round's clients train and answer."""

import threading
from collections.abc import Callable

from fedvsr.errors import FedVSRError, SecureAggregationError
from fedvsr.federation.records import ClientOutcome, Outcome
from fedvsr.federation.run.round_part import RoundPart
from fedvsr.federation.server.secure_round import SecureRound

# How often the server looks for the clients' messages, in seconds.
_POLL_SECONDS = 0.25


class SecureCoordinator:
    """The server's part of one round of secure aggregation, in a thread of its own. Use `run_coordinated`.

    Args:
        part: The whole round.
    """

    def __init__(self, part: RoundPart) -> None:
        self._part = part
        self._round = SecureRound(part.workspace.federation(), part.record, part.plan)
        self._runners_ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="secure-aggregation")
        self._told: set[str] = set()
        self._error: Exception | None = None

    def start(self) -> None:
        """Begins to publish lists."""
        self._round.begin_again()
        self._thread.start()

    def stop(self) -> None:
        """Ends, after a last look at what the clients have sent. Raises what the thread could not handle."""
        self._runners_ended.set()
        self._thread.join()
        if self._error:
            raise self._error

    def refuse(self, outcomes: list[ClientOutcome]) -> list[ClientOutcome]:
        """Returns the outcomes, with ``refused`` for the clients whose messages were refused."""
        refused = self._round.refused
        return [
            outcome.model_copy(update={"outcome": Outcome.REFUSED, "reason": refused[outcome.client]})
            if outcome.client in refused
            else outcome
            for outcome in outcomes
        ]

    def _follow(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._runners_ended.wait(_POLL_SECONDS)
            try:
                if self._round.advance(frozenset(self._part.gone)):
                    return
            except SecureAggregationError as error:
                self._part.progress.message(str(error))
                return
            except FedVSRError as error:
                # The next look may succeed; if none does, the clients wait until the deadline.
                self._part.progress.message(f"secure aggregation: {error}")
            except Exception as error:
                # Without a word from the server, the clients would wait until the deadline.
                self._round.end("the server failed")
                self._error = error
                return
            self._tell_refusals()

    def _tell_refusals(self) -> None:
        for client, reason in self._round.refused.items():
            if client not in self._told:
                self._told.add(client)
                self._part.progress.message(f"client {client}: {reason}")


def run_coordinated(part: RoundPart, run: Callable[[RoundPart], list[ClientOutcome]]) -> list[ClientOutcome]:
    """Runs a round's clients, beside the server's part of secure aggregation if the run has it.

    Args:
        part: The whole round.
        run: Runs its clients and returns their outcomes.

    Returns:
        The outcomes; clients whose messages were refused have the outcome ``refused``.
    """
    if not part.record.config.privacy.secure_aggregation:
        return run(part)
    coordinator = SecureCoordinator(part)
    coordinator.start()
    try:
        outcomes = run(part)
    finally:
        coordinator.stop()
    return coordinator.refuse(outcomes)
