"""Runs a round whose clients are of two kinds: sites, and clients that another runner runs."""

import threading
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor

from fedvsr.federation.records import ClientOutcome, PlanRecord, RunRecord
from fedvsr.federation.run.sites import SiteRunner
from fedvsr.federation.run.training_round import ClientRunner, Delivered, PartRunner
from fedvsr.progress import MessagesOnly, Progress
from fedvsr.store.workspace import Workspace


class MixedRunner(ClientRunner):
    """Runs hosted clients and sites at the same time, with one quorum.

    Args:
        hosted: Runs the clients that are no sites.
        sites: The names of the federation's sites.
        site_runner: Runs the sites.
    """

    def __init__(
        self, hosted: PartRunner, sites: Collection[str], site_runner: SiteRunner | None = None
    ) -> None:
        self._hosted, self._sites = hosted, sites
        self._site_runner = site_runner or SiteRunner()

    def run(
        self, workspace: Workspace, record: RunRecord, plan: PlanRecord, progress: Progress
    ) -> Iterable[ClientOutcome]:
        hosted = [client for client in plan.clients if client not in self._sites]
        sites = [client for client in plan.clients if client in self._sites]
        delivered, stop = Delivered(), threading.Event()
        if not sites:
            return self._hosted.run_part(workspace, record, plan, hosted, delivered, stop, progress)
        if not hosted:
            return self._site_runner.run_part(workspace, record, plan, sites, delivered, stop, progress)
        with ThreadPoolExecutor(1, "sites") as pool:
            # In a thread of its own, because each of the two waits until its last client has ended.
            site_part = pool.submit(
                self._site_runner.run_part,
                workspace,
                record,
                plan,
                sites,
                delivered,
                stop,
                MessagesOnly(progress),
            )
            try:
                outcomes = self._hosted.run_part(workspace, record, plan, hosted, delivered, stop, progress)
            except BaseException:
                stop.set()
                raise
            outcomes += site_part.result()
        by_client = {outcome.client: outcome for outcome in outcomes}
        return [by_client[client] for client in plan.clients if client in by_client]
