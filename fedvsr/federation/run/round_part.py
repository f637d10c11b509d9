"""A part of a round: some of its clients, and what the runners that share the round tell each other."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from fedvsr.federation.records import PlanRecord, RunRecord
from fedvsr.progress import Progress
from fedvsr.store.workspace import Workspace


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
        gone: The clients of the whole round that have an outcome. Every runner adds its own.
        stop: When it is set, the result is not needed any more.
    """

    workspace: Workspace
    record: RunRecord
    plan: PlanRecord
    clients: Sequence[str]
    progress: Progress
    delivered: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    stop: threading.Event = field(default_factory=threading.Event)

    def find_cut_off(self) -> str | None:
        """Returns why the clients that have not delivered must stop, or None if the round waits for them."""
        waits_for_all = self.record.config.federation.wait_for == "all"
        if waits_for_all or len(self.delivered) < self.plan.quorum:
            return None
        return f"the quorum of {self.plan.quorum} had delivered"

    def late_reason(self, when: str) -> str:
        """Returns the reason of a client that the deadline left behind.

        Args:
            when: What the deadline came before or during, such as "before its turn".
        """
        return f"the round's {self.plan.deadline_seconds} s were over {when}"
