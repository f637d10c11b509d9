"""Whether a site does what it is asked to: the owner's policy decides, not the federation."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase

from fedvsr.config.run import RunConfig
from fedvsr.errors import ConfigError
from fedvsr.federation.client.allowed_code import check_code_allowed
from fedvsr.federation.records import RunRecord
from fedvsr.federation.site_records import AssignmentRecord
from fedvsr.registry import is_reference
from fedvsr.site.settings import PolicyConfig, Requirements, SiteSettings


class Verdict(StrEnum):
    """What the policy says to an assignment."""

    ACCEPT = "accept"
    WAIT = "wait"
    DECLINE = "decline"


@dataclass(frozen=True)
class Decision:
    """A verdict with its reason; an accepted assignment needs none."""

    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True)
class Situation:
    """What the policy looks at beside the assignment and the run.

    Attributes:
        now: The moment, with a time zone.
        seconds_left: Seconds until the assignment's deadline.
        approved: The identities of the runs that a person approved.
        rounds_today: The rounds of training that began today, of any run, without this one.
        free_disk_bytes: Free space where shards lie.
    """

    now: datetime
    seconds_left: float
    approved: AbstractSet[str]
    rounds_today: int
    free_disk_bytes: int


def decide(
    settings: SiteSettings, assignment: AssignmentRecord, record: RunRecord, situation: Situation
) -> Decision:
    """Returns whether the site accepts an assignment now, later or not at all.

    What will not change by waiting is asked first, so that the federation does not wait in vain.

    Args:
        settings: The site's settings.
        assignment: What the site is asked to do.
        record: The run's record.
        situation: The moment and the site's state.
    """
    refusal = _find_refusal(settings.policy, assignment, record, situation)
    if refusal:
        return Decision(Verdict.DECLINE, refusal)
    minimum = settings.resources.minimum_free_disk
    if situation.free_disk_bytes < minimum:
        free = f"{situation.free_disk_bytes / 1e9:.1f} GB of its disk are free"
        return Decision(
            Verdict.DECLINE, f"{free}, and it begins no work with less than {minimum / 1e9:.1f} GB"
        )
    if settings.policy.approve and record.identity not in situation.approved:
        return Decision(Verdict.WAIT, f"for its owner's approval: `fedvsr site approve {assignment.run}`")
    return _look_at_clock(settings.policy, situation)


def _find_refusal(
    policy: PolicyConfig, assignment: AssignmentRecord, record: RunRecord, situation: Situation
) -> str | None:
    """Returns why the site will not do the work, or None."""
    config = record.config
    if not _matches(config.name, policy.runs):
        return f"it accepts the runs {', '.join(policy.runs)} only"
    try:
        check_code_allowed(config, policy.allow_models)
    except ConfigError as error:
        return str(error)
    for kind, name, accepted in (
        ("strategy", config.strategy.name, policy.strategies),
        ("model", config.model.name, policy.models),
    ):
        # Foreign code has been allowed by its package.
        if accepted and not _matches(name, accepted) and not is_reference(name):
            return f"it accepts {kind} {', '.join(accepted)} only, and the run has {name}"
    if assignment.clients < policy.minimum_clients:
        return (
            f"the round has {assignment.clients} clients, and it takes part with "
            f"{policy.minimum_clients} or more only"
        )
    if assignment.round and policy.rounds_a_day and situation.rounds_today >= policy.rounds_a_day:
        return f"it has trained {situation.rounds_today} rounds today, and its limit is {policy.rounds_a_day}"
    missing = _missing_promises(policy.requires, config)
    return f"it requires {' and '.join(missing)}, and the run has not" if missing else None


def _look_at_clock(policy: PolicyConfig, situation: Situation) -> Decision:
    hours = policy.opening_hours
    if hours is None or hours.contains(situation.now):
        return Decision(Verdict.ACCEPT)
    begin = hours.next_begin(situation.now)
    text = policy.hours or f"days {', '.join(policy.days)}"
    if begin - situation.now > timedelta(seconds=situation.seconds_left):
        when = begin.astimezone(hours.zone)
        return Decision(
            Verdict.DECLINE, f"its hours ({text}) begin {when:%Y-%m-%d %H:%M}, after the round's deadline"
        )
    return Decision(Verdict.WAIT, f"for its hours ({text})")


def _missing_promises(required: Requirements, config: RunConfig) -> list[str]:
    """Returns the required promises that a run does not make.

    A run states its promises in the section ``privacy``. One without that section promises nothing.
    """
    section = config.model_dump().get("privacy") or {}
    promises = {
        "secure aggregation": (required.secure_aggregation, section.get("secure_aggregation")),
        "differential privacy": (required.differential_privacy, section.get("differential_privacy")),
    }
    return [name for name, (is_required, is_made) in promises.items() if is_required and not is_made]


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
