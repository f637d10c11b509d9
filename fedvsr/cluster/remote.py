"""The clients that do not train in this process: those of a deployment, and the federation's sites."""

from collections.abc import Callable, Iterable, Sequence

from fedvsr.cluster.api import Cluster
from fedvsr.cluster.runner import JobRunner
from fedvsr.cluster.settings import Clients, VirtualSettings, choose_clients
from fedvsr.cluster.sharding import ShardJobs
from fedvsr.cluster.virtual_runner import VirtualRunner
from fedvsr.cluster.virtual_shards import VirtualShards
from fedvsr.errors import ConfigError
from fedvsr.federation.division_records import find_division
from fedvsr.federation.records import RunRecord
from fedvsr.federation.run.mixed_runner import MixedRunner
from fedvsr.federation.run.sites import SiteRunner, SiteShards, active_sites, site_names, sites_among
from fedvsr.federation.run.training_round import ClientRunner
from fedvsr.federation.shard_records import ShardSummary
from fedvsr.progress import MessagesOnly, Progress
from fedvsr.store.base import Store


class RemoteClients:
    """A federation's hosted clients and sites, or the virtual clients of a run.

    Args:
        store: The federation's store, which knows the sites.
        hosted: The deployment's clients; empty for a federation of sites alone, which needs no cluster.
        connect: Connects to the cluster. Called only if there are hosted or virtual clients.
        virtual: The settings of the deployment's virtual clients; None if it has none.
    """

    def __init__(
        self,
        store: Store,
        hosted: Clients,
        connect: Callable[[], Cluster] = Cluster,
        virtual: VirtualSettings | None = None,
    ) -> None:
        self._store, self._hosted, self._connect, self._virtual = store, hosted, connect, virtual

    def choose(self, requested: Sequence[str]) -> tuple[str, ...]:
        """Returns the requested clients, or all if none is requested; of the sites those with valid keys.

        Raises:
            fedvsr.errors.UnknownNameError: A requested client is neither hosted nor a site.
            fedvsr.errors.ConfigError: The federation has no clients.
        """
        if requested:
            return choose_clients({*self._hosted, *site_names(self._store)}, requested)
        return choose_clients({*self._hosted, *active_sites(self._store)}, ())

    def start_shards(self, record: RunRecord, progress: Progress) -> "RemoteShards":
        """Asks a run's clients to make their shards. Call `RemoteShards.wait` in any case.

        Raises:
            fedvsr.errors.ConfigError: The run's clients are virtual, and the deployment has none.
            fedvsr.errors.ClusterError: Kubernetes does not answer.
        """
        virtual = self._virtual_settings(record.config.name)
        if virtual:
            virtual_shards = VirtualShards(self._connect(), virtual, record, progress)
            virtual_shards.start()
            return RemoteShards(virtual_shards, None)
        sites = self._sites(record.config.federation.clients)
        hosted = [name for name in record.config.federation.clients if name not in sites]
        jobs = ShardJobs(self._connect(), self._hosted, record, progress, hosted) if hosted else None
        if jobs:
            jobs.start()
        site_progress = MessagesOnly(progress) if jobs else progress
        site_shards = SiteShards(self._store, record, sites, site_progress)
        site_shards.start()
        return RemoteShards(jobs, site_shards)

    def runner(self, run: str) -> ClientRunner:
        """Returns the runner of a run's clients.

        Raises:
            fedvsr.errors.ConfigError: The run's clients are virtual, and the deployment has none.
        """
        virtual = self._virtual_settings(run)
        if virtual:
            return VirtualRunner(self._connect(), virtual)
        if not self._hosted:
            return SiteRunner()
        return MixedRunner(JobRunner(self._connect(), self._hosted), self._sites)

    def _virtual_settings(self, run: str) -> VirtualSettings | None:
        """Returns the settings of the virtual clients; None if the run's clients are not virtual."""
        if find_division(self._store, run) is None:
            return None
        if self._virtual is None:
            allowed = "set virtualClients.enabled in the deployment's values: the run's clients are virtual"
            raise ConfigError("virtualClients.enabled", False, allowed)
        return self._virtual

    def _sites(self, names: Iterable[str]) -> tuple[str, ...]:
        """Returns those of the clients that are sites. A name that a hosted client took since is none."""
        return sites_among(self._store, [name for name in names if name not in self._hosted])


class RemoteShards:
    """The shards that clients are asked for.

    Attributes:
        summaries: After `wait`, a summary of each client's shards.
        failures: After `wait`, the reason for each client without shards.
    """

    def __init__(self, jobs: ShardJobs | VirtualShards | None, sites: SiteShards | None) -> None:
        self._jobs, self._sites = jobs, sites
        self.summaries: dict[str, ShardSummary] = {}
        self.failures: dict[str, str] = {}

    def stop(self) -> None:
        """Stops the sites, whose assignments are taken back. Jobs go on, and a later call follows them."""
        if self._sites:
            self._sites.stop()

    def wait(self) -> None:
        """Waits until every client has its shards or has failed."""
        try:
            if self._jobs:
                self._jobs.wait()
        except BaseException:
            self.stop()
            raise
        if self._sites:
            self._sites.wait()
        for part in (self._jobs, self._sites):
            if part:
                self.summaries |= part.summaries
                self.failures |= part.failures
