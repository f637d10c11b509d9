"""A round's clients as Jobs, each in its client's namespace."""

from collections.abc import Iterable

from fedvsr.cluster.api import Cluster
from fedvsr.cluster.course import Course, CutOff
from fedvsr.cluster.following import Following
from fedvsr.cluster.job import JobSpec
from fedvsr.cluster.outcome import Judgement
from fedvsr.cluster.settings import NO_CLIENT, Clients
from fedvsr.cluster.starting import find_job, start_jobs
from fedvsr.federation.delivery import find_delivery, find_report
from fedvsr.federation.records import ClientOutcome, Outcome, PlanRecord, RunRecord
from fedvsr.federation.run.training_round import ClientRunner
from fedvsr.progress import Progress
from fedvsr.store.workspace import Workspace


class JobRunner(ClientRunner):
    """Runs a round's clients as Kubernetes Jobs, all at once.

    A client that has delivered for this round gets no Job. Where this is stopped, the Jobs go on; called
    again for the same round it takes them over, with what is left of their deadlines.

    Args:
        cluster: The cluster.
        clients: Where each client's Jobs run.
    """

    def __init__(self, cluster: Cluster, clients: Clients) -> None:
        self._cluster = cluster
        self._clients = clients

    def run(
        self, workspace: Workspace, record: RunRecord, plan: PlanRecord, progress: Progress
    ) -> Iterable[ClientOutcome]:
        store = workspace.federation()
        outcomes: dict[str, ClientOutcome] = {}
        courses: list[Course] = []
        delivered: set[str] = set()
        for client in plan.clients:
            if client not in self._clients:
                reason = NO_CLIENT.format(", ".join(self._clients))
                outcomes[client] = ClientOutcome(client=client, outcome=Outcome.FAILED, reason=reason)
                continue
            course = Course(train_job(record, plan, client), self._clients[client])
            report = find_delivery(store, plan, client)
            if report:
                delivered.add(client)
                # Where a step that was stopped left its Job, that says what the client went through.
                course.job = find_job(self._cluster, course)
            if report and course.job is None:
                outcomes[client] = ClientOutcome(client=client, outcome=Outcome.OK, seconds=report.seconds)
            else:
                courses.append(course)
        start_jobs(self._cluster, courses)
        with progress.stage("clients", len(plan.clients)) as advance:

            def ended(course: Course, judgement: Judgement) -> None:
                outcome, reason = judgement.outcome, judgement.reason
                report = find_report(store, plan, course.client)
                if report:
                    delivered.add(course.client)
                elif outcome is Outcome.OK:
                    outcome = Outcome.FAILED
                    reason = "its Job ended well and left no report; is its image of the same version?"
                outcomes[course.client] = ClientOutcome(
                    client=course.client, outcome=outcome, reason=reason, seconds=judgement.seconds
                )
                told = f"loss {report.loss:.4f}" if report and outcome is Outcome.OK else str(outcome)
                advance(len(outcomes), f"{course.client} {told}")
                if reason:
                    progress.message(f"{course.client}: {outcome}: {reason}")

            def enough() -> CutOff | None:
                if record.config.federation.wait_for == "all" or len(delivered) < plan.quorum:
                    return None
                return CutOff(Outcome.CUT_OFF, f"the quorum of {plan.quorum} had delivered")

            Following(self._cluster, courses, progress).wait(ended, enough)
        return [outcomes[client] for client in plan.clients]


def train_job(record: RunRecord, plan: PlanRecord, client: str) -> JobSpec:
    """Returns the Job in which a client trains for a round."""
    jobs = record.config.jobs
    return JobSpec(
        component="train",
        client=client,
        run=plan.run,
        round_number=plan.round,
        key=f"{record.identity} {plan.base_digest}",
        command=("train", "--run", plan.run, "--round", str(plan.round), "--client", client),
        gpus=jobs.gpus,
        retries=jobs.retries,
        deadline_seconds=plan.deadline_seconds,
    )
