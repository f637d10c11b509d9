"""Runs a round's clients in this process, one after the other."""

import time
from functools import partial

from fedvsr.federation.client.secure_delivery import SecureDelivery
from fedvsr.federation.client.train import begin_secure_delivery, train_client
from fedvsr.federation.records import ClientOutcome, Outcome
from fedvsr.federation.run.local_clients import LocalClients
from fedvsr.federation.run.round_part import RoundPart
from fedvsr.federation.run.training_round import PartRunner


class InProcessRunner(PartRunner):
    """Runs the clients one after the other in this process.

    A client that fails gets the outcome ``failed``. A client whose turn comes after the deadline gets
    ``timed-out`` and does not train.
    """

    def run_part(self, part: RoundPart) -> list[ClientOutcome]:
        clients, round_start = LocalClients(part), time.monotonic()
        deliveries: dict[str, SecureDelivery] = {}
        with part.progress.stage("clients", len(part.clients)) as advance:
            for number, client in enumerate(part.clients, start=1):
                if time.monotonic() - round_start > part.plan.deadline_seconds:
                    clients.conclude(client, Outcome.TIMED_OUT, part.late_reason("before its turn"))
                    continue
                with clients.failing(client, partial(advance, number)):
                    if part.record.config.privacy.secure_aggregation:
                        deliveries[client] = _begin_secure(part, client)
                        advance(number, f"{client} trained")
                    else:
                        loss = _train(part, client)
                        clients.deliver(client)
                        advance(number, f"{client} loss {loss:.4f}")
            clients.exchange(deliveries)
        return clients.outcomes


def _train(part: RoundPart, client: str) -> float:
    federation, own = part.workspace.federation(), part.workspace.client(client)
    return train_client(federation, own, part.record, part.plan.round, client, part.progress).loss


def _begin_secure(part: RoundPart, client: str) -> SecureDelivery:
    federation, own = part.workspace.federation(), part.workspace.client(client)
    return begin_secure_delivery(federation, own, part.record, part.plan, client, part.progress)
