"""A client's delivery for a round: its report, and the files that the report names."""

from dataclasses import dataclass

from fedvsr.errors import DataError, NotFoundError
from fedvsr.federation import layout
from fedvsr.federation.records import PlanRecord, ReportRecord, RunRecord, read_untrusted_record
from fedvsr.store.base import Store

# Two files with the same tensors may have headers of different sizes.
_HEADER_BYTES = 1 << 20
# For each tensor of the model, a strategy sends at most two tensors, or one with twice the element size.
_MAX_STRATEGY_TENSORS_FACTOR = 2


@dataclass(frozen=True)
class DeliveredFile:
    """A file that a report names.

    Attributes:
        key: Its key in the federation's store.
        digest: Its SHA-256, as the report says.
        size: Its size in bytes, as the report says.
        max_size: The largest size that the run's model allows, in bytes.
    """

    key: str
    digest: str
    size: int
    max_size: int


def find_delivery(store: Store, plan: PlanRecord, client: str) -> ReportRecord | None:
    """Returns a client's report if its delivery is complete and fits the round's plan, else None.

    Nothing is downloaded: see `fedvsr.store.base.Store.is_damaged`. A damaged delivery counts as missing, so
    the client trains and delivers again.

    Args:
        store: The federation's store.
        plan: The round's plan.
        client: The client's name.
    """
    report = find_report(store, plan, client)
    if report is None:
        return None
    try:
        files = delivered_files(store, plan, client, report)
    except (DataError, NotFoundError):
        return None
    return None if any(store.is_damaged(file.key, file.digest) for file in files if file) else report


def find_complete_delivery(
    store: Store, record: RunRecord, plan: PlanRecord, client: str
) -> ReportRecord | None:
    """Returns a client's report if it has nothing more to do for the round, else None.

    With secure aggregation, a client that has delivered must still open its shares.

    Args:
        store: The federation's store.
        record: The run's record.
        plan: The round's plan.
        client: The client's name.
    """
    if record.config.privacy.secure_aggregation and not has_opened_shares(store, plan, client):
        return None
    return find_delivery(store, plan, client)


def has_opened_shares(store: Store, plan: PlanRecord, client: str) -> bool:
    """Returns whether a client has sent its last message of a round with secure aggregation."""
    last = layout.secure_message(plan.run, plan.round, client, layout.LAST_SECURE_PHASE)
    return store.exists(last)


def find_report(store: Store, plan: PlanRecord, client: str) -> ReportRecord | None:
    """Returns a client's report if it is valid and for the round's base weights, else None.

    Args:
        store: The federation's store.
        plan: The round's plan.
        client: The client's name.
    """
    try:
        report = read_untrusted_record(store, layout.report(plan.run, plan.round, client), ReportRecord)
    except (DataError, NotFoundError):
        return None
    return report if report.base_digest == plan.base_digest else None


def delivered_files(
    store: Store, plan: PlanRecord, client: str, report: ReportRecord
) -> tuple[DeliveredFile, DeliveredFile | None]:
    """Describes the two files of a client's delivery, after a check of their sizes.

    Args:
        store: The federation's store.
        plan: The round's plan.
        client: The client's name.
        report: The client's report.

    Returns:
        The update, and the strategy tensors; None if the client sent none.

    Raises:
        fedvsr.errors.NotFoundError: A file is missing.
        fedvsr.errors.DataError: A file is larger than the run's model allows, or has another size than the
            report says.
    """
    base_size = store.size(layout.global_weights(plan.run, plan.round - 1))
    update = DeliveredFile(
        layout.update(plan.run, plan.round, client),
        report.update_digest,
        report.update_bytes,
        base_size + _HEADER_BYTES,
    )
    strategy_tensors = None
    if report.extra_digest is not None:
        strategy_tensors = DeliveredFile(
            layout.strategy_tensors(plan.run, plan.round, client),
            report.extra_digest,
            report.extra_bytes,
            _MAX_STRATEGY_TENSORS_FACTOR * base_size + _HEADER_BYTES,
        )
    elif report.extra_bytes:
        raise DataError(f"its report names {report.extra_bytes} bytes of strategy tensors and no digest")
    _check_size(store, update)
    if strategy_tensors:
        _check_size(store, strategy_tensors)
    return update, strategy_tensors


def _check_size(store: Store, file: DeliveredFile) -> None:
    size = store.size(file.key)
    if size > file.max_size:
        raise DataError(f"{file.key}: {size} bytes, the model explains at most {file.max_size}")
    if size != file.size:
        raise DataError(
            f"{file.key}: its report says {file.size} bytes, found {size}; "
            "the object was changed or cut short"
        )
