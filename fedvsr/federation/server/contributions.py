"""What a strategy gets to know about a round besides the clients' tensors."""

import math
from collections.abc import Iterable

from fedvsr.config.run import RunConfig
from fedvsr.federation.records import PlanRecord, ReportRecord
from fedvsr.federation.secure_records import TrainedRecord
from fedvsr.strategies.base import Contribution, RoundContext, Strategy


def round_context(config: RunConfig, plan: PlanRecord, strategy: Strategy) -> RoundContext:
    """Returns the round, with the bound on a client's share that the run or the strategy sets."""
    max_share = config.robustness.max_share
    if max_share is None:
        max_share = strategy.max_share
    return RoundContext(plan.round, plan.rounds, len(config.federation.clients), max_share or math.inf)


def contributions(reports: Iterable[ReportRecord | TrainedRecord]) -> tuple[Contribution, ...]:
    """Returns what clients say about their training, in the same order."""
    return tuple(
        Contribution(report.client, report.loss, report.clips, report.steps, report.samples)
        for report in reports
    )
