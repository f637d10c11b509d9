"""The shards of virtual clients, made in one Indexed Job."""

from collections.abc import Sequence

from fedvsr.cluster.api import Cluster
from fedvsr.cluster.client_job import ClientJob
from fedvsr.cluster.indexed_follower import IndexedFollower
from fedvsr.cluster.indexed_job import IndexedJob
from fedvsr.cluster.indexed_job_spec import VIRTUAL, IndexedJobSpec
from fedvsr.cluster.settings import VirtualSettings
from fedvsr.cluster.sharding import shard_job
from fedvsr.cluster.verdict import Verdict, read_result
from fedvsr.errors import RecordError
from fedvsr.federation.records import RunRecord
from fedvsr.federation.shard_records import ShardSummary
from fedvsr.progress import Progress


class VirtualShards:
    """The Indexed Job in which virtual clients make their shards, or keep those that are up to date.

    Args:
        cluster: The cluster.
        settings: The settings of the deployment's virtual clients.
        record: The run, whose clients are all virtual.
        progress: Receives what goes wrong, by the clients' names.

    Attributes:
        summaries: After `wait`, a summary of each client's shards.
        failures: After `wait`, the reason for each client without shards.
    """

    def __init__(
        self, cluster: Cluster, settings: VirtualSettings, record: RunRecord, progress: Progress
    ) -> None:
        self._cluster, self._progress = cluster, progress
        self._clients = record.config.federation.clients
        self._job = IndexedJob(shard_spec(record, self._clients, settings.parallelism), settings)
        self.summaries: dict[str, ShardSummary] = {}
        self.failures: dict[str, str] = {}

    def start(self) -> None:
        """Starts the Job, or adopts it.

        Raises:
            fedvsr.errors.ClusterError: Kubernetes does not answer.
        """
        self._job.start(self._cluster)

    def wait(self) -> None:
        """Waits until every client has its shards or has failed, and fills `summaries` and `failures`."""
        with self._progress.stage("shards", len(self._clients)) as advance:

            def on_verdict(client: ClientJob, verdict: Verdict) -> None:
                self._conclude(client, verdict)
                done, failed = len(self.summaries), len(self.failures)
                advance(done + failed, f"{failed} failed" if failed else "")

            IndexedFollower(self._cluster, self._job, self._progress, on_verdict).follow()

    def _conclude(self, job: ClientJob, verdict: Verdict) -> None:
        source = f"the termination message of {job.client}'s pod"
        try:
            summary = ShardSummary.from_bytes(read_result(job, verdict), source)
        except RecordError as error:
            self.failures[job.client] = str(error)
            self._progress.message(f"{job.client}: {error}")
            return
        self.summaries[job.client] = summary
        if summary.skipped:
            self._progress.message(f"{job.client}: {summary.skipped} videos are left out")


def shard_spec(record: RunRecord, clients: Sequence[str], parallelism: int) -> IndexedJobSpec:
    """Returns the Indexed Job in which virtual clients make their shards.

    Args:
        record: The run's record.
        clients: The clients.
        parallelism: Largest number of pods at one time.
    """
    return IndexedJobSpec(
        work=shard_job(record, VIRTUAL, ("shard", "--run", record.config.name)),
        clients=tuple(clients),
        # A client without shards fails in its training, and the quorum decides there.
        needed=0,
        ends_early=False,
        parallelism=parallelism,
    )
