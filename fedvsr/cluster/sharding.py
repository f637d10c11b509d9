"""Sharding as Jobs, each in its client's namespace: only there can the client's videos be read."""

from collections.abc import Sequence

from fedvsr.cluster.api import Cluster
from fedvsr.cluster.client_job import ClientJob, start_jobs
from fedvsr.cluster.job_follower import JobFollower
from fedvsr.cluster.job_spec import JobSpec
from fedvsr.cluster.settings import NO_CLIENT, Clients
from fedvsr.cluster.verdict import Verdict, read_result
from fedvsr.errors import RecordError
from fedvsr.federation.records import RunRecord
from fedvsr.federation.shard_records import ShardSummary
from fedvsr.progress import Progress
from fedvsr.store.base import bytes_digest


class ShardJobs:
    """The Jobs in which a run's clients make their shards, or keep those that are up to date.

    Args:
        cluster: The cluster.
        clients: The deployment's clients.
        record: The run.
        progress: Receives each client's log lines.
        names: The clients that make shards; None for all of the run's.

    Attributes:
        summaries: After `wait`, a summary of each client's shards.
        failures: After `wait`, the reason for each client without shards.
    """

    def __init__(
        self,
        cluster: Cluster,
        clients: Clients,
        record: RunRecord,
        progress: Progress,
        names: Sequence[str] | None = None,
    ) -> None:
        self._progress = progress
        self._cluster = cluster
        names = record.config.federation.clients if names is None else names
        self._jobs = [ClientJob(shard_job(record, name), clients[name]) for name in names if name in clients]
        self.summaries: dict[str, ShardSummary] = {}
        self.failures = {name: NO_CLIENT.format(", ".join(clients)) for name in names if name not in clients}

    def start(self) -> None:
        """Starts every client's Job.

        Raises:
            fedvsr.errors.ClusterError: Kubernetes does not answer.
        """
        start_jobs(self._cluster, self._jobs)

    def wait(self) -> None:
        """Waits until every Job has ended, and fills `summaries` and `failures`."""
        with self._progress.stage("shards", len(self._jobs)) as advance:

            def on_verdict(job: ClientJob, verdict: Verdict) -> None:
                self._conclude(job, verdict)
                advance(len(self.summaries) + len(self.failures), job.client)

            JobFollower(self._cluster, self._jobs, self._progress, on_verdict).follow()

    def _conclude(self, job: ClientJob, verdict: Verdict) -> None:
        source = f"the termination message of {job.client}'s Job"
        try:
            summary = ShardSummary.from_bytes(read_result(job, verdict), source)
        except RecordError as error:
            self.failures[job.client] = str(error)
            self._progress.message(f"{job.client}: {error}")
            return
        self.summaries[job.client] = summary
        if summary.skipped:
            self._progress.message(
                f"{job.client}: {summary.skipped} videos are left out; the log of its Job has the reasons"
            )


def shard_job(record: RunRecord, client: str, arguments: tuple[str, ...] = ()) -> JobSpec:
    """Returns the Job in which a client makes its shards.

    Args:
        record: The run's record.
        client: The client's name.
        arguments: The arguments of `fedvsr client`; empty for those of a hosted client.
    """
    config = record.config
    return JobSpec(
        component="shard",
        client=client,
        run=config.name,
        round_number=None,
        key=bytes_digest(config.data.model_dump_json().encode()),
        arguments=arguments or ("shard", "--run", config.name, "--client", client),
        gpus=0,
        retries=config.jobs.retries,
        deadline_seconds=config.jobs.sharding_deadline_seconds,
    )
