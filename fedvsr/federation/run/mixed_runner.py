"""Runs a round whose clients are of two kinds: sites, and clients that another runner runs."""

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from fedvsr.federation.records import ClientOutcome
from fedvsr.federation.run.round_part import RoundPart
from fedvsr.federation.run.sites import SiteRunner
from fedvsr.federation.run.training_round import PartRunner
from fedvsr.progress import MessagesOnly


class MixedRunner(PartRunner):
    """Runs hosted clients and sites at the same time, with one quorum.

    Args:
        hosted: Runs the clients that are no sites.
        find_sites: Returns those of a round's clients that are sites.
        site_runner: Runs the sites.
    """

    def __init__(
        self,
        hosted: PartRunner,
        find_sites: Callable[[Sequence[str]], Collection[str]],
        site_runner: SiteRunner | None = None,
    ) -> None:
        self._hosted, self._find_sites = hosted, find_sites
        self._site_runner = site_runner or SiteRunner()

    def run_part(self, part: RoundPart) -> list[ClientOutcome]:
        names = self._find_sites(part.clients)
        hosted = replace(part, clients=[client for client in part.clients if client not in names])
        sites = replace(part, clients=[client for client in part.clients if client in names])
        if not sites.clients:
            return self._hosted.run_part(hosted)
        if not hosted.clients:
            return self._site_runner.run_part(sites)
        with ThreadPoolExecutor(1, "sites") as pool:
            # In a thread of its own, because each of the two waits until its last client has ended.
            beside = replace(sites, progress=MessagesOnly(part.progress))
            site_part = pool.submit(self._site_runner.run_part, beside)
            try:
                outcomes = self._hosted.run_part(hosted)
            except BaseException:
                part.stop.set()
                raise
            outcomes += site_part.result()
        by_client = {outcome.client: outcome for outcome in outcomes}
        return [by_client[client] for client in part.clients if client in by_client]
