"""What a site has trained and not delivered yet: a restart uploads it and does not train again."""

import shutil
from collections.abc import Callable
from pathlib import Path

from fedvsr.errors import DataError, NotFoundError
from fedvsr.federation import layout
from fedvsr.federation.delivery import find_report
from fedvsr.federation.records import PlanRecord, ReportRecord
from fedvsr.store.base import OnBytes, Store
from fedvsr.store.forwarding import ForwardingStore
from fedvsr.store.local import LocalStore


class SpooledStore(ForwardingStore):
    """The federation's store as the training sees it: a delivery is written to the site's disk first.

    Everything else is read from the federation. `push` delivers.

    Args:
        store: The federation's store.
        spool: The folder for the deliveries of one run.
        plan: The round's plan.
        site: The site's name.
        delivered: The folder for the last delivery, so that its owner can look at what was sent.
    """

    def __init__(self, store: Store, spool: LocalStore, plan: PlanRecord, site: str, delivered: Path) -> None:
        super().__init__(store)
        self._spool, self._plan, self._site = spool, plan, site
        self._delivered = delivered
        self._update = layout.update(plan.run, plan.round, site)
        self._strategy_tensors = layout.strategy_tensors(plan.run, plan.round, site)
        self._report = layout.report(plan.run, plan.round, site)

    def find_spooled(self) -> ReportRecord | None:
        """Returns the report of a complete delivery for the round's plan in the spool, else None."""
        report = find_report(self._spool, self._plan, self._site)
        if report is None:
            return None
        files = {self._update: report.update_digest}
        if report.extra_digest:
            files[self._strategy_tensors] = report.extra_digest
        try:
            is_damaged = any(self._spool.is_damaged(key, digest) for key, digest in files.items())
        except NotFoundError:
            return None
        return None if is_damaged else report

    def push(self, on_bytes: OnBytes) -> None:
        """Uploads the spooled delivery, the report last, and moves it to the folder of the last delivery.

        Args:
            on_bytes: Receives the number of bytes that are uploaded, and of all.

        Raises:
            fedvsr.errors.DataError: The spool holds no complete delivery.
            fedvsr.errors.StoreError: The federation's store failed; push again.
        """
        report = self.find_spooled()
        if report is None:
            raise DataError(f"{self._spool.uri} holds no complete delivery; train again")
        keys = [self._update, *([self._strategy_tensors] if report.extra_digest else []), self._report]
        sizes = [self._spool.size(key) for key in keys]
        for index, key in enumerate(keys):
            path = self._spool.root / key
            self._store.upload(key, path, _offset(on_bytes, sum(sizes[:index]), sum(sizes)))
        shutil.rmtree(self._delivered, ignore_errors=True)
        self._delivered.mkdir(parents=True)
        # The report first: without it, the spool holds no complete delivery.
        for key in reversed(keys):
            path = self._spool.root / key
            path.replace(self._delivered / path.name)

    def write(self, key: str, data: bytes) -> None:
        self._spool.write(key, data)

    def upload(self, key: str, path: Path, on_bytes: OnBytes | None = None) -> None:
        self._spool.upload(key, path, on_bytes)

    def delete(self, key: str) -> None:
        self._spool.delete(key)


def _offset(on_bytes: OnBytes, before: int, total: int) -> Callable[[int, int], None]:
    return lambda done, _: on_bytes(before + done, total)
