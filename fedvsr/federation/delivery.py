"""What a client has delivered for a round already."""

from fedvsr.errors import DataError, NotFoundError
from fedvsr.federation import layout
from fedvsr.federation.records import PlanRecord, ReportRecord, read_record
from fedvsr.store.base import Store


def find_delivery(store: Store, plan: PlanRecord, client: str) -> ReportRecord | None:
    """Returns a client's report, if all that it names is there as it says and fits the round's plan.

    What was damaged counts as not delivered: it is made again.

    Args:
        store: The federation's store.
        plan: The round's plan.
        client: The client's name.
    """
    report = find_report(store, plan, client)
    if report is None:
        return None
    try:
        sent = [(layout.update(plan.run, plan.round, client), report.update_digest, report.update_bytes)]
        if report.extra_digest:
            key = layout.update_extra(plan.run, plan.round, client)
            sent.append((key, report.extra_digest, report.extra_bytes))
        for key, digest, size in sent:
            if store.size(key) != size:
                return None
            store.local(key, digest)
    except (DataError, NotFoundError):
        return None
    return report


def find_report(store: Store, plan: PlanRecord, client: str) -> ReportRecord | None:
    """Returns a client's report for the round's plan; what it names is not looked at.

    Args:
        store: The federation's store.
        plan: The round's plan.
        client: The client's name.
    """
    try:
        report = read_record(store, layout.report(plan.run, plan.round, client), ReportRecord)
    except (DataError, NotFoundError):
        return None
    return report if report.base_digest == plan.base_digest else None
