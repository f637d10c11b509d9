"""The records that the federation and a site exchange; their keys are in `fedvsr.federation.layout`.

The federation asks by an assignment, the site answers by an answer and a heartbeat. The federation never
calls the site. All ages are measured by the store's clock (`fedvsr.store.base.Store.age`).
"""

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Final

from pydantic import AfterValidator, AwareDatetime, Field

import fedvsr
from fedvsr.config.run import Name
from fedvsr.federation.records import Count, Digest, PositiveCount, Record
from fedvsr.federation.shard_records import ShardSummary
from fedvsr.text import printable

PROTOCOL: Final = 1
"""The version of what a federation and a site exchange. It grows if an older side would misunderstand."""

POLL_SECONDS: Final = 10.0
"""How often an idle site asks for assignments."""

HEARTBEAT_SECONDS: Final = 30.0
"""How often a site's agent says that it is alive."""

LEASE_SECONDS: Final = 15.0
"""How often the round's step renews its lease."""

LEASE_EXPIRES_SECONDS: Final = 45.0
"""A site stops work if the lease of the round's step is older."""

_MAX_TEXT: Final = 500
Text = Annotated[str, Field(max_length=_MAX_TEXT), AfterValidator(printable)]


class FederationRecord(Record):
    """federation.json: what a site may know of the federation before a run."""

    what: ClassVar[str] = "federation record"

    name: Name
    fedvsr_version: str
    protocol: PositiveCount = PROTOCOL


class SiteRecord(Record):
    """site.json: a site of the federation, as the operator invited it.

    Attributes:
        site: The site's name, which is its name as a client.
        invited: When its keys were made.
        expires: When its keys expire; None if they do not.
        revoked: When the operator revoked it; None if it may take part.
    """

    what: ClassVar[str] = "site record"

    site: Name
    invited: AwareDatetime
    expires: AwareDatetime | None = None
    revoked: AwareDatetime | None = None

    def find_refusal(self, now: datetime) -> str | None:
        """Returns why the site may not take part at a moment, or None if it may."""
        if self.revoked is not None:
            return f"the operator revoked it on {self.revoked:%Y-%m-%d %H:%M} UTC"
        if self.expires is not None and self.expires <= now:
            return (
                f"its keys expired on {self.expires:%Y-%m-%d %H:%M} UTC; `fedvsr sites rotate` makes new ones"
            )
        return None


class LeaseRecord(Record):
    """lease.json: the round's step is alive and waits for sites. Its age is what counts."""

    what: ClassVar[str] = "lease"

    run: str
    round: int


class AssignmentRecord(Record):
    """assignments/<run>/<r>.json: what a site is asked to do.

    Attributes:
        attempt: Differs in each attempt of the round's step: an answer to an earlier one does not count.
        round: The round to train for; 0 to make the run's shards only.
        identity: The run's identity, `fedvsr.federation.records.RunRecord.identity`.
        base_digest: The digest of the round's base weights; empty in round 0.
        clients: Number of clients in the round.
        deadline_seconds: How long after this record was written the work must be done.
        retries: How often the site tries again after a failure that another attempt may cure.
    """

    what: ClassVar[str] = "assignment"

    run: Name
    round: Count
    site: Name
    attempt: str = Field(default_factory=lambda: uuid.uuid4().hex, max_length=64)
    identity: Digest
    base_digest: str = ""
    clients: PositiveCount
    deadline_seconds: PositiveCount
    gpus: Count = 0
    retries: Count = 0
    fedvsr_version: str
    protocol: PositiveCount = PROTOCOL

    def asks_the_same(self, other: "AssignmentRecord") -> bool:
        """Returns whether another assignment differs in its attempt only."""
        return self == other.model_copy(update={"attempt": self.attempt})


class SiteState(StrEnum):
    """How far a site is with an assignment."""

    ACCEPTED = "accepted"
    WAITING = "waiting"
    SHARDING = "sharding"
    TRAINING = "training"
    UPLOADING = "uploading"
    DONE = "done"
    DECLINED = "declined"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """Whether the site will do no more for the assignment."""
        return self in (SiteState.DONE, SiteState.DECLINED, SiteState.FAILED)


class AnswerRecord(Record):
    """answers/<run>/<r>.json: how far a site is with an assignment.

    Attributes:
        assignment_digest: The SHA-256 of the assignment that this answers.
        done: Completed steps of the state, of ``total``: videos, local steps or bytes.
        total: Number of steps of the state; 0 if it is not known.
        text: More about the last step, for example its loss.
        reason: Why it waits, declines or fails.
        seconds: Seconds of work until now.
        shards: The summary of the site's shards, once they are made.
    """

    what: ClassVar[str] = "answer"

    run: Name
    round: Count
    site: Name
    assignment_digest: Digest
    state: SiteState
    done: Count = 0
    total: Count = 0
    text: Text = ""
    reason: Text = ""
    seconds: Annotated[float, Field(ge=0, le=1e9)] = 0.0
    shards: ShardSummary | None = None

    def describe(self) -> str:
        """Returns the state as a phrase: ``training 120/400 (loss 0.0312)``."""
        words = str(self.state)
        if self.state is SiteState.UPLOADING and self.total:
            words += f" {100 * self.done // self.total} %"
        elif self.total:
            words += f" {self.done}/{self.total}"
        if self.text:
            words += f" ({self.text})"
        return f"{words}: {self.reason}" if self.reason else words


class HeartbeatRecord(Record):
    """heartbeat.json: a site's agent is alive.

    Attributes:
        agent: Identifies the agent's folder, so that a second agent with the same keys is noticed.
        activity: What it does now: ``idle``, ``paused``, ``demo round 3: training 120/400``.
        free_disk_bytes: Free space where shards and client state lie.
        gpus: The names of the GPUs that it may use.
    """

    what: ClassVar[str] = "heartbeat"

    site: Name
    agent: str = Field(min_length=1, max_length=64)
    fedvsr_version: str = Field(max_length=64)
    protocol: PositiveCount = PROTOCOL
    activity: Text = "idle"
    free_disk_bytes: Count = 0
    gpus: tuple[Text, ...] = Field((), max_length=64)


def find_skew(other: HeartbeatRecord | AssignmentRecord | FederationRecord) -> str:
    """Returns why this fedvsr and the one that wrote a record do not understand each other, or nothing.

    Args:
        other: The site's heartbeat if this is the federation; a record of the federation's if this is a site.
    """
    if other.protocol == PROTOCOL:
        return ""
    here, there = (fedvsr.__version__, PROTOCOL), (other.fedvsr_version, other.protocol)
    site, federation = (there, here) if isinstance(other, HeartbeatRecord) else (here, there)
    older = "the site" if site[1] < federation[1] else "the federation"
    return (
        f"the site's fedvsr {site[0]} speaks protocol {site[1]}, the federation's fedvsr {federation[0]} "
        f"speaks protocol {federation[1]}; upgrade {older}"
    )
