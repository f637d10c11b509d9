"""A round's clients as Jobs, each in its client's namespace."""

import threading
from collections.abc import Sequence

from fedvsr.cluster.api import Cluster
from fedvsr.cluster.client_job import ClientJob, CutOff, start_jobs
from fedvsr.cluster.job_follower import JobFollower
from fedvsr.cluster.job_spec import JobSpec
from fedvsr.cluster.settings import NO_CLIENT, Clients
from fedvsr.cluster.verdict import Verdict
from fedvsr.federation.delivery import find_delivery, find_report
from fedvsr.federation.records import ClientOutcome, Outcome, PlanRecord, RunRecord
from fedvsr.federation.run.training_round import Delivered, PartRunner
from fedvsr.progress import Advance, Progress
from fedvsr.store.base import Store
from fedvsr.store.workspace import Workspace


class JobRunner(PartRunner):
    """Runs a round's clients as Kubernetes Jobs, all at once.

    A client that has delivered for this round gets no Job. If this process is stopped, the Jobs continue; a
    second call for the same round adopts them with the rest of their deadlines.

    Args:
        cluster: The cluster.
        clients: The deployment's clients.
    """

    def __init__(self, cluster: Cluster, clients: Clients) -> None:
        self._cluster = cluster
        self._clients = clients

    def run_part(
        self,
        workspace: Workspace,
        record: RunRecord,
        plan: PlanRecord,
        clients: Sequence[str],
        delivered: Delivered,
        stop: threading.Event,
        progress: Progress,
    ) -> list[ClientOutcome]:
        store = workspace.federation()
        round_jobs = _RoundJobs(self._cluster, self._clients, store, record, plan, delivered, progress)
        return round_jobs.run(clients)


class _RoundJobs:
    """The Jobs of one round and their clients' outcomes."""

    def __init__(
        self,
        cluster: Cluster,
        clients: Clients,
        store: Store,
        record: RunRecord,
        plan: PlanRecord,
        delivered: Delivered,
        progress: Progress,
    ) -> None:
        self._cluster, self._clients, self._store = cluster, clients, store
        self._record, self._plan, self._progress = record, plan, progress
        self._outcomes: dict[str, ClientOutcome] = {}
        self._delivered = delivered

    def run(self, clients: Sequence[str]) -> list[ClientOutcome]:
        jobs = [job for client in clients if (job := self._prepare(client))]
        start_jobs(self._cluster, jobs)
        with self._progress.stage("clients", len(clients)) as advance:

            def on_verdict(job: ClientJob, verdict: Verdict) -> None:
                self._conclude(job.client, verdict, advance)

            JobFollower(self._cluster, jobs, self._progress, on_verdict, self._find_cut_off).follow()
        return [self._outcomes[client] for client in clients]

    def _prepare(self, client: str) -> ClientJob | None:
        """Returns the Job to follow, or None if the client's outcome is known without a Job."""
        if client not in self._clients:
            reason = NO_CLIENT.format(", ".join(self._clients))
            self._outcomes[client] = ClientOutcome(client=client, outcome=Outcome.FAILED, reason=reason)
            return None
        job = ClientJob(train_job(self._record, self._plan, client), self._clients[client])
        report = find_delivery(self._store, self._plan, client)
        if report is None:
            return job
        self._delivered.add(client)
        # A step that was stopped may have left the Job, which shows what failed before the delivery.
        job.state = job.find(self._cluster)
        if job.state is None:
            self._outcomes[client] = ClientOutcome(client=client, outcome=Outcome.OK, seconds=report.seconds)
            return None
        return job

    def _conclude(self, client: str, verdict: Verdict, advance: Advance) -> None:
        """Records a client's outcome and reports it."""
        outcome, reason = verdict.outcome, verdict.reason
        report = find_report(self._store, self._plan, client)
        if report:
            self._delivered.add(client)
        elif outcome is Outcome.OK:
            outcome = Outcome.FAILED
            reason = "its Job ended well and left no report; is its image of the same version?"
        self._outcomes[client] = ClientOutcome(
            client=client, outcome=outcome, reason=reason, seconds=verdict.seconds
        )
        result = f"loss {report.loss:.4f}" if report and outcome is Outcome.OK else str(outcome)
        advance(len(self._outcomes), f"{client} {result}")
        if reason:
            self._progress.message(f"{client}: {outcome}: {reason}")

    def _find_cut_off(self) -> CutOff | None:
        """Returns why the remaining Jobs must be ended, or None if the round waits for them."""
        waits_for_all = self._record.config.federation.wait_for == "all"
        if waits_for_all or len(self._delivered) < self._plan.quorum:
            return None
        return CutOff(Outcome.CUT_OFF, f"the quorum of {self._plan.quorum} had delivered")


def train_job(record: RunRecord, plan: PlanRecord, client: str) -> JobSpec:
    """Returns the Job in which a client trains for a round."""
    jobs = record.config.jobs
    return JobSpec(
        component="train",
        client=client,
        run=plan.run,
        round_number=plan.round,
        key=f"{record.identity} {plan.base_digest}",
        arguments=("train", "--run", plan.run, "--round", str(plan.round), "--client", client),
        gpus=jobs.gpus,
        retries=jobs.retries,
        deadline_seconds=plan.deadline_seconds,
    )
