"""The sites of a federation, and what a run asks of them: shards, and a round of training."""

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import fedvsr
from fedvsr.federation import layout
from fedvsr.federation.delivery import find_complete_delivery, find_report
from fedvsr.federation.records import (
    ClientOutcome,
    Outcome,
    PlanRecord,
    ReportRecord,
    RunRecord,
    read_record,
)
from fedvsr.federation.run.round_part import RoundPart
from fedvsr.federation.run.site_follower import SiteFollower, SiteResult
from fedvsr.federation.run.training_round import PartRunner
from fedvsr.federation.shard_records import ShardSummary
from fedvsr.federation.site_records import AssignmentRecord, SiteRecord
from fedvsr.progress import Progress
from fedvsr.store.base import Store

_SITE = "/site.json"
_SHARDING = 0


def site_names(store: Store) -> tuple[str, ...]:
    """Returns the names of the federation's sites, sorted; also of those that were revoked."""
    keys = store.keys(layout.SITES)
    names = (key.removeprefix(layout.SITES).removesuffix(_SITE) for key in keys if key.endswith(_SITE))
    return tuple(sorted(name for name in names if "/" not in name))


def sites_among(store: Store, names: Iterable[str]) -> tuple[str, ...]:
    """Returns those of the clients that are sites, also revoked ones. It costs a request per name.

    `site_names` lists what all sites have ever answered, so a round does not use it.
    """
    return tuple(name for name in names if store.exists(layout.site(name)))


def active_sites(store: Store) -> tuple[str, ...]:
    """Returns the names of the sites that may take part now: neither revoked nor with expired keys."""
    now = datetime.now(UTC)
    records = [read_record(store, layout.site(name), SiteRecord) for name in site_names(store)]
    return tuple(record.site for record in records if record.find_refusal(now) is None)


class SiteRunner(PartRunner):
    """Runs a round's clients that are sites, all at once.

    Args:
        poll_seconds: Seconds between two looks at the answers; None chooses by the number of sites.
    """

    def __init__(self, poll_seconds: float | None = None) -> None:
        self._poll_seconds = poll_seconds

    def run_part(self, part: RoundPart) -> list[ClientOutcome]:
        store, plan, progress = part.workspace.federation(), part.plan, part.progress
        outcomes: dict[str, ClientOutcome] = {}
        assignments: dict[str, AssignmentRecord] = {}
        for site in part.clients:
            report = find_complete_delivery(store, part.record, plan, site)
            if report:
                part.delivered.add(site)
                outcomes[site] = ClientOutcome(client=site, outcome=Outcome.OK, seconds=report.seconds)
            else:
                assignments[site] = training_assignment(part.record, plan, site)

        def conclude(site: str, result: SiteResult) -> None:
            report = find_report(store, plan, site)
            outcomes[site] = outcome = _conclude(site, result, report)
            part.gone.add(site)
            if report:
                part.delivered.add(site)
            if report and outcome.outcome is Outcome.OK:
                progress.message(f"{site} | delivered: {report.describe()}")
            if outcome.reason:
                progress.message(f"{site}: {outcome.outcome}: {outcome.reason}")
            advance(len(outcomes), f"{site} {outcome.outcome}")

        with progress.stage("sites", len(part.clients)) as advance:
            SiteFollower(
                store, assignments, progress, conclude, part.find_cut_off, part.stop, self._poll_seconds
            ).follow()
        return [outcomes[site] for site in part.clients if site in outcomes]


class SiteShards:
    """Asks a run's sites to make their shards.

    Args:
        store: The federation's store.
        record: The run.
        sites: The sites.
        progress: Receives each site's answers as lines.
        poll_seconds: Seconds between two looks at the answers; None chooses by the number of sites.

    Attributes:
        summaries: After `wait`, a summary of each site's shards.
        failures: After `wait`, the reason for each site without shards.
    """

    def __init__(
        self,
        store: Store,
        record: RunRecord,
        sites: Sequence[str],
        progress: Progress,
        poll_seconds: float | None = None,
    ) -> None:
        self._store, self._record, self._progress = store, record, progress
        self._sites, self._poll_seconds = sites, poll_seconds
        self.summaries: dict[str, ShardSummary] = {}
        self.failures: dict[str, str] = {}
        self._pool, self._stop = ThreadPoolExecutor(1, "sites"), threading.Event()

    def start(self) -> None:
        """Begins to ask, in a thread of its own, because the federation's lease must be renewed."""
        self._asking = self._pool.submit(self._ask)

    def wait(self) -> None:
        """Waits until every site has made its shards, has declined, or is offline."""
        try:
            self._asking.result()
        finally:
            self.stop()

    def stop(self) -> None:
        """Takes back what is still asked."""
        self._stop.set()
        self._pool.shutdown()

    def _ask(self) -> None:
        assignments = {site: sharding_assignment(self._record, site) for site in self._sites}
        with self._progress.stage("sites' shards", len(assignments)) as advance:

            def conclude(site: str, result: SiteResult) -> None:
                summary = result.answer.shards if result.answer else None
                if result.outcome is Outcome.OK and summary:
                    self.summaries[site] = summary
                else:
                    reason = result.reason or "it made no shards"
                    self.failures[site] = f"{result.outcome}: {reason}"
                    self._progress.message(f"{site}: {result.outcome}: {reason}")
                advance(len(self.summaries) + len(self.failures), site)

            SiteFollower(
                self._store,
                assignments,
                self._progress,
                conclude,
                stop=self._stop,
                poll_seconds=self._poll_seconds,
            ).follow()


def training_assignment(record: RunRecord, plan: PlanRecord, site: str) -> AssignmentRecord:
    """Returns what a site is asked to do in a round."""
    jobs = record.config.jobs
    return AssignmentRecord(
        run=plan.run,
        round=plan.round,
        site=site,
        identity=record.identity,
        base_digest=plan.base_digest,
        clients=len(plan.clients),
        deadline_seconds=plan.deadline_seconds,
        gpus=jobs.gpus,
        retries=jobs.retries,
        fedvsr_version=fedvsr.__version__,
    )


def sharding_assignment(record: RunRecord, site: str) -> AssignmentRecord:
    """Returns what a site is asked to do before a run's first round."""
    config = record.config
    return AssignmentRecord(
        run=config.name,
        round=_SHARDING,
        site=site,
        identity=record.identity,
        clients=config.federation.clients_per_round or len(config.federation.clients),
        deadline_seconds=config.jobs.sharding_deadline_seconds,
        retries=config.jobs.retries,
        fedvsr_version=fedvsr.__version__,
    )


def _conclude(site: str, result: SiteResult, report: ReportRecord | None) -> ClientOutcome:
    outcome, reason = result.outcome, result.reason
    if outcome is Outcome.OK and report is None:
        outcome, reason = Outcome.FAILED, "it says that it has delivered, and there is no report"
    return ClientOutcome(client=site, outcome=outcome, reason=reason, seconds=result.seconds)
