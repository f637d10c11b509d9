"""What a client has delivered for a round already."""

from pathlib import Path

from fedvsr.errors import DataError, NotFoundError
from fedvsr.federation import layout
from fedvsr.federation.records import PlanRecord, ReportRecord, read_client_record
from fedvsr.store.base import Store

# A file of the same tensors may have another header than the global weights' file.
_HEADER_BYTES = 1 << 20
# A strategy sends at most two tensors in place of one, or one of twice the width.
_EXTRA_FACTOR = 2


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
        fetch_sent(store, plan, client, report)
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
        report = read_client_record(store, layout.report(plan.run, plan.round, client), ReportRecord)
    except (DataError, NotFoundError):
        return None
    return report if report.base_digest == plan.base_digest else None


def fetch_sent(store: Store, plan: PlanRecord, client: str, report: ReportRecord) -> tuple[Path, Path | None]:
    """Returns files with a client's update and its strategy tensors; what is too large is left where it is.

    Args:
        store: The federation's store.
        plan: The round's plan.
        client: The client's name.
        report: What it says of them.

    Raises:
        fedvsr.errors.NotFoundError: Something is not there.
        fedvsr.errors.DataError: Something is larger than the round's model explains, or of another size
            or digest than the report says.
    """
    base = store.size(layout.global_weights(plan.run, plan.round - 1))
    key = layout.update(plan.run, plan.round, client)
    update = _fetch(store, key, report.update_digest, report.update_bytes, base + _HEADER_BYTES)
    if report.extra_digest is None:
        if report.extra_bytes:
            raise DataError(f"its report names {report.extra_bytes} bytes of strategy tensors and no digest")
        return update, None
    key = layout.update_extra(plan.run, plan.round, client)
    most = _EXTRA_FACTOR * base + _HEADER_BYTES
    return update, _fetch(store, key, report.extra_digest, report.extra_bytes, most)


def _fetch(store: Store, key: str, digest: str, said: int, most: int) -> Path:
    size = store.size(key)
    if size > most:
        raise DataError(f"{key}: {size} bytes, the model explains at most {most}")
    if size != said:
        raise DataError(
            f"{key}: its report says {said} bytes, found {size}; the object was changed or cut short"
        )
    return store.local(key, digest)
