"""The clients' sharding as Jobs, each in its client's namespace: nobody else can read its videos."""

from fedvsr.cluster.api import Cluster
from fedvsr.cluster.course import Course
from fedvsr.cluster.following import Following
from fedvsr.cluster.job import JobSpec
from fedvsr.cluster.outcome import Judgement
from fedvsr.cluster.settings import NO_CLIENT, Clients
from fedvsr.cluster.starting import start_jobs
from fedvsr.errors import RecordError
from fedvsr.federation.records import Outcome, RunRecord
from fedvsr.federation.shard_records import ShardSummary
from fedvsr.progress import Progress
from fedvsr.store.base import bytes_digest


class ShardJobs:
    """A run's clients that make their shards, or find them current.

    Args:
        cluster: The cluster.
        clients: Where each client's Jobs run.
        record: The run.
        progress: Shows each client's log.
    """

    def __init__(self, cluster: Cluster, clients: Clients, record: RunRecord, progress: Progress) -> None:
        self._progress = progress
        self._cluster = cluster
        names = record.config.federation.clients
        self._courses = [Course(shard_job(record, name), clients[name]) for name in names if name in clients]
        self.summaries: dict[str, ShardSummary] = {}
        self.failures = {name: NO_CLIENT.format(", ".join(clients)) for name in names if name not in clients}

    def start(self) -> None:
        """Starts every client's Job; raises `fedvsr.errors.ClusterError` if Kubernetes does not answer."""
        start_jobs(self._cluster, self._courses)

    def wait(self) -> None:
        """Waits for all of them; then `summaries` has what they made and `failures` why others did not."""
        with self._progress.stage("shards", len(self._courses)) as advance:

            def ended(course: Course, judgement: Judgement) -> None:
                client = course.client
                try:
                    self.summaries[client] = _summary(course, judgement)
                except RecordError as error:
                    self.failures[client] = str(error)
                    self._progress.message(f"{client}: {error}")
                advance(len(self.summaries) + len(self.failures), client)

            Following(self._cluster, self._courses, self._progress).wait(ended)


def shard_job(record: RunRecord, client: str) -> JobSpec:
    """Returns the Job in which a client makes its shards."""
    config = record.config
    return JobSpec(
        component="shard",
        client=client,
        run=config.name,
        round_number=None,
        key=bytes_digest(config.data.model_dump_json().encode()),
        command=("shard", "--run", config.name, "--client", client),
        gpus=0,
        retries=config.jobs.retries,
        deadline_seconds=config.jobs.sharding_deadline_seconds,
    )


def _summary(course: Course, judgement: Judgement) -> ShardSummary:
    """Reads what a Job that ended well left in its termination message."""
    if judgement.outcome is not Outcome.OK:
        raise RecordError(f"{judgement.outcome}: {judgement.reason}")
    said = next((pod.exit_message for pod in reversed(course.tries()) if pod.exit_code == 0), "")
    return ShardSummary.from_bytes(said.encode(), f"the termination message of {course.client}'s Job")
