"""A round's virtual clients as one Indexed Job."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from fedvsr.cluster.api import Cluster
from fedvsr.cluster.client_job import ClientJob
from fedvsr.cluster.indexed_follower import IndexedFollower
from fedvsr.cluster.indexed_job import IndexedJob
from fedvsr.cluster.indexed_job_spec import VIRTUAL, IndexedJobSpec
from fedvsr.cluster.job_spec import JobSpec
from fedvsr.cluster.settings import VirtualSettings
from fedvsr.cluster.verdict import Verdict
from fedvsr.federation.delivery import find_complete_delivery, find_report
from fedvsr.federation.records import ClientOutcome, Outcome, PlanRecord, ReportRecord, RunRecord
from fedvsr.federation.run.round_part import RoundPart
from fedvsr.federation.run.training_round import PartRunner
from fedvsr.progress import Advance

# Looking for the deliveries of hundreds of clients one after the other would take many seconds.
_PARALLEL_LOOKS = 16


class VirtualRunner(PartRunner):
    """Runs a round's virtual clients as one Indexed Job.

    A client that has delivered for this round is not in the Job. A second call for the same round adopts the
    Job if it still runs, or makes another one for the clients that are left.

    Args:
        cluster: The cluster.
        settings: The settings of the deployment's virtual clients.
    """

    def __init__(self, cluster: Cluster, settings: VirtualSettings) -> None:
        self._cluster, self._settings = cluster, settings

    def run_part(self, part: RoundPart) -> list[ClientOutcome]:
        return _VirtualRound(self._cluster, self._settings, part).run()


class _VirtualRound:
    """The Indexed Job of one round and its clients' outcomes."""

    def __init__(self, cluster: Cluster, settings: VirtualSettings, part: RoundPart) -> None:
        self._cluster, self._settings, self._part = cluster, settings, part
        self._store, self._plan = part.workspace.federation(), part.plan
        self._outcomes: dict[str, ClientOutcome] = {}
        self._failed = 0

    def run(self) -> list[ClientOutcome]:
        clients = self._part.clients
        for client, report in zip(clients, self._find_deliveries(), strict=True):
            if report:
                self._part.delivered.add(client)
                self._record(client, Outcome.OK, seconds=report.seconds)
        missing = [client for client in clients if client not in self._outcomes]
        reason = self._part.find_cut_off()
        if reason:
            for client in missing:
                self._record(client, Outcome.CUT_OFF, reason)
        elif missing:
            self._train(missing)
        return [self._outcomes[client] for client in clients]

    def _find_deliveries(self) -> list[ReportRecord | None]:
        def find(client: str) -> ReportRecord | None:
            return find_complete_delivery(self._store, self._part.record, self._plan, client)

        with ThreadPoolExecutor(_PARALLEL_LOOKS) as pool:
            return list(pool.map(find, self._part.clients))

    def _train(self, missing: Sequence[str]) -> None:
        delivered = len(self._part.delivered)
        if delivered:
            self._part.progress.message(f"{delivered} virtual clients have delivered already")
        spec = train_spec(self._part.record, self._plan, missing, delivered, self._settings.parallelism)
        job = IndexedJob(spec, self._settings)
        job.start(self._cluster)
        with self._part.progress.stage("virtual clients", len(self._part.clients)) as advance:

            def on_verdict(client: ClientJob, verdict: Verdict) -> None:
                self._conclude(client.client, verdict, advance)

            IndexedFollower(self._cluster, job, self._part.progress, on_verdict).follow()

    def _conclude(self, client: str, verdict: Verdict, advance: Advance) -> None:
        """Records a client's outcome and reports it."""
        if client in self._outcomes or client not in self._part.clients:
            # An adopted Job also has the clients that delivered before this process began.
            return
        outcome, reason = verdict.outcome, verdict.reason
        if find_report(self._store, self._plan, client):
            self._part.delivered.add(client)
        elif outcome is Outcome.OK:
            outcome = Outcome.FAILED
            reason = "its pod ended well and left no report; is its image of the same version?"
        self._record(client, outcome, reason, verdict.seconds)
        if outcome not in (Outcome.OK, Outcome.CUT_OFF):
            self._failed += 1
            self._part.progress.message(f"{client}: {outcome}: {reason}")
        trained = f"{len(self._part.delivered)} trained"
        advance(len(self._outcomes), f"{trained}, {self._failed} failed" if self._failed else trained)

    def _record(self, client: str, outcome: Outcome, reason: str = "", seconds: float = 0.0) -> None:
        self._outcomes[client] = ClientOutcome(client=client, outcome=outcome, reason=reason, seconds=seconds)
        self._part.gone.add(client)


def train_spec(
    record: RunRecord, plan: PlanRecord, clients: Sequence[str], delivered: int, parallelism: int
) -> IndexedJobSpec:
    """Returns the Indexed Job in which virtual clients train for a round.

    Args:
        record: The run's record.
        plan: The round's plan.
        clients: The clients that have not delivered.
        delivered: Number of clients that have delivered.
        parallelism: Largest number of pods at one time. With secure aggregation, all clients must train at
            the same time, since they wait for each other.
    """
    config = record.config
    if config.privacy.secure_aggregation:
        parallelism = len(clients)
    return IndexedJobSpec(
        work=JobSpec(
            component="train",
            client=VIRTUAL,
            run=plan.run,
            round_number=plan.round,
            key=f"{record.identity} {plan.base_digest}",
            arguments=("train", "--run", plan.run, "--round", str(plan.round)),
            gpus=config.jobs.gpus,
            retries=config.jobs.retries,
            deadline_seconds=plan.deadline_seconds,
        ),
        clients=tuple(clients),
        needed=min(len(clients), max(0, plan.quorum - delivered)),
        ends_early=config.federation.wait_for == "quorum",
        parallelism=parallelism,
    )
