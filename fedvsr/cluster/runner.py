"""A round's clients as Jobs, each in its client's namespace."""

from fedvsr.cluster.api import Cluster
from fedvsr.cluster.client_job import ClientJob, CutOff, start_jobs
from fedvsr.cluster.job_follower import JobFollower
from fedvsr.cluster.job_spec import JobSpec
from fedvsr.cluster.settings import NO_CLIENT, Clients
from fedvsr.cluster.verdict import Verdict
from fedvsr.federation.delivery import find_complete_delivery, find_report
from fedvsr.federation.records import ClientOutcome, Outcome, PlanRecord, RunRecord
from fedvsr.federation.run.round_part import RoundPart
from fedvsr.federation.run.training_round import PartRunner
from fedvsr.progress import Advance


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

    def run_part(self, part: RoundPart) -> list[ClientOutcome]:
        return _RoundJobs(self._cluster, self._clients, part).run()


class _RoundJobs:
    """The Jobs of one round and their clients' outcomes."""

    def __init__(self, cluster: Cluster, clients: Clients, part: RoundPart) -> None:
        self._cluster, self._clients, self._part = cluster, clients, part
        self._store, self._plan = part.workspace.federation(), part.plan
        self._outcomes: dict[str, ClientOutcome] = {}

    def run(self) -> list[ClientOutcome]:
        clients, progress = self._part.clients, self._part.progress
        jobs = [job for client in clients if (job := self._prepare(client))]
        start_jobs(self._cluster, jobs)
        with progress.stage("hosted clients", len(clients)) as advance:

            def on_verdict(job: ClientJob, verdict: Verdict) -> None:
                self._conclude(job.client, verdict, advance)

            JobFollower(self._cluster, jobs, progress, on_verdict, self._find_cut_off).follow()
        return [self._outcomes[client] for client in clients]

    def _prepare(self, client: str) -> ClientJob | None:
        """Returns the Job to follow, or None if the client's outcome is known without a Job."""
        if client not in self._clients:
            reason = NO_CLIENT.format(", ".join(self._clients))
            self._outcomes[client] = ClientOutcome(client=client, outcome=Outcome.FAILED, reason=reason)
            self._part.gone.add(client)
            return None
        job = ClientJob(train_job(self._part.record, self._plan, client), self._clients[client])
        report = find_complete_delivery(self._store, self._part.record, self._plan, client)
        if report is None:
            return job
        self._part.delivered.add(client)
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
            self._part.delivered.add(client)
        elif outcome is Outcome.OK:
            outcome = Outcome.FAILED
            reason = "its Job ended well and left no report; is its image of the same version?"
        self._outcomes[client] = ClientOutcome(
            client=client, outcome=outcome, reason=reason, seconds=verdict.seconds
        )
        self._part.gone.add(client)
        result = f"loss {report.loss:.4f}" if report and outcome is Outcome.OK else str(outcome)
        advance(len(self._outcomes), f"{client} {result}")
        if reason:
            self._part.progress.message(f"{client}: {outcome}: {reason}")

    def _find_cut_off(self) -> CutOff | None:
        """Returns why the remaining Jobs must be ended, or None if the round waits for them."""
        reason = self._part.find_cut_off()
        return CutOff(Outcome.CUT_OFF, reason) if reason else None


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
