"""An Indexed Job: what was observed of it, as one `ClientJob` for each of its clients."""

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from fedvsr.cluster.api import Cluster, is_transient
from fedvsr.cluster.client_job import LATE_SECONDS, ClientJob, CutOff, remove_job
from fedvsr.cluster.indexed_job_spec import IndexedJobSpec, clients_of, indexed_job_manifest
from fedvsr.cluster.settings import VirtualSettings
from fedvsr.cluster.states import JobState, Json, PodState, read_job
from fedvsr.errors import ClusterError
from fedvsr.federation.records import Outcome


class IndexedJob:
    """An Indexed Job.

    Each of its clients is a `ClientJob` that is never created: its state is the part of the Indexed Job's
    state that concerns its index, so that its verdict is reached as that of a Job.

    Args:
        spec: The work.
        settings: The settings of virtual clients.

    Attributes:
        state: The Job as last observed; None before it exists.
        is_gone: Whether it no longer exists.
        is_refused: Whether Kubernetes refused to create it.
        refusal: Why Kubernetes refused to create the Job or all of its pods.
        clients: Each client's part, by the client's name, in the order of the indexes. If the Job was
            adopted, they are the clients that an earlier process gave it.
        ends_at: When this process ends it if Kubernetes does not, on the clock of `time.monotonic`.
    """

    def __init__(self, spec: IndexedJobSpec, settings: VirtualSettings) -> None:
        self.spec, self._settings = spec, settings
        self.state: JobState | None = None
        self.is_gone = False
        self.is_refused = False
        self.refusal = ""
        self.clients: dict[str, ClientJob] = {}
        self.ends_at = 0.0
        self._by_index: Sequence[ClientJob] = ()
        self._set_clients(spec.clients)

    @property
    def namespace(self) -> str:
        return self._settings.namespace

    @property
    def has_ended(self) -> bool:
        """Whether no pod will follow."""
        return self.is_refused or self.is_gone or bool(self.state and self.state.ended)

    @property
    def has_pods(self) -> bool:
        """Whether a pod has been observed."""
        return any(client.attempts for client in self.clients.values())

    # Actions on the cluster.

    def start(self, cluster: Cluster) -> None:
        """Adopts the Job if it is running and has all the clients; otherwise creates it with these clients.

        If Kubernetes refuses the Job, all clients fail and nothing is raised.

        Raises:
            fedvsr.errors.ClusterError: Kubernetes does not answer.
        """
        age = 0.0
        try:
            manifest = self._find_running(cluster)
            if manifest is None:
                manifest = cluster.create_job(indexed_job_manifest(self.spec, self._settings))
            else:
                age = (datetime.now(UTC) - read_job(manifest).created).total_seconds()
            self._set_clients(clients_of(manifest))
            self.observe(read_job(manifest))
        except ClusterError as error:
            if is_transient(error):
                raise
            self.is_refused = True
            self.observe_refusal(str(error))
        self.ends_at = time.monotonic() + self.spec.work.deadline_seconds - max(0.0, age) + LATE_SECONDS

    def _find_running(self, cluster: Cluster) -> Json | None:
        manifest = cluster.find_job(self.namespace, self.spec.name)
        if manifest is None:
            return None
        state = read_job(manifest)
        if state.ended or state.deleting or not set(clients_of(manifest)).issuperset(self.spec.clients):
            remove_job(cluster, state)
            return None
        return manifest

    def delete(self, cluster: Cluster, *, keep_until_pods_end: bool = False) -> None:
        """Deletes the Job and its pods, if it exists."""
        if self.state and not self.is_gone:
            state = self.state
            cluster.delete_job(
                state.namespace, state.name, state.uid, keep_until_pods_end=keep_until_pods_end
            )

    # Observations.

    def observe(self, state: JobState, *, deleted: bool = False) -> None:
        """Records the Job's new state."""
        self.state = state
        self.is_gone = self.is_gone or deleted
        for index, client in enumerate(self._by_index):
            client.observe(_state_of(index, state, client.attempts), deleted=deleted)

    def observe_missing(self) -> None:
        """Records that the Job is missing in a listing."""
        self.is_gone = True
        for client in self._by_index:
            client.observe_missing()

    def observe_refusal(self, reason: str) -> None:
        """Records why Kubernetes creates neither the Job nor any of its pods."""
        self.refusal = reason
        for client in self._by_index:
            client.observe_refusal(reason)

    def observe_pod(self, pod: PodState, *, deleted: bool = False) -> ClientJob | None:
        """Records the new state of a pod; returns the client whose attempt it is, or None."""
        is_own = self.state is not None and pod.job_uid == self.state.uid
        if not is_own or pod.index is None or not 0 <= pod.index < len(self._by_index):
            return None
        client = self._by_index[pod.index]
        if not self.has_pods:
            self.observe_refusal("")
        client.observe_attempt(pod, deleted=deleted)
        return client

    def observe_listed_pods(self, pods: Sequence[PodState]) -> None:
        """Records a complete listing of the Job's pods; the others have vanished."""
        uids = [pod.uid for pod in pods]
        for client in self._by_index:
            client.observe_listed_attempts(uids)

    # Each client's end.

    def is_settled(self, client: str) -> bool:
        """Whether all is known that a client's verdict needs, before the Job has ended.

        The Job may report that an index has succeeded before its pod reports with what message.
        """
        job = self.clients[client]
        if any(pod.phase == "Succeeded" for pod in job.attempts):
            return True
        has_failed = bool(job.state and job.state.ended == "Failed")
        return has_failed and bool(job.attempts) and not any(map(job.is_running, job.attempts))

    def cut_off_rest(self, cut_off: CutOff | None = None) -> None:
        """Gives the clients that neither succeeded nor failed the reason for which the Job has ended.

        Args:
            cut_off: The reason if this process ended the Job; None if Kubernetes did.
        """
        cut_off = cut_off or self._own_cut_off()
        for client in self._by_index:
            ended = client.state.ended if client.state else ""
            if cut_off and not client.succeeded and ended != "Failed":
                client.cut_off = cut_off

    def _own_cut_off(self) -> CutOff | None:
        state = self.state
        if state is None or not state.ended:
            return None
        if state.ended == "Complete":
            return CutOff(Outcome.CUT_OFF, f"the {self.spec.needed} clients that were needed had delivered")
        if state.reason == "DeadlineExceeded":
            late = f"the {self.spec.work.deadline_seconds} s of all clients together were over"
            return CutOff(Outcome.TIMED_OUT, late)
        if state.reason == "MaxFailedIndexesExceeded":
            return CutOff(Outcome.CUT_OFF, "so many clients had failed that the quorum could not be reached")
        return CutOff(Outcome.FAILED, f"its Job ended: {state.reason}: {state.message}")

    def _set_clients(self, clients: Sequence[str]) -> None:
        by_index = [ClientJob(self.spec.of_client(client), self._settings) for client in clients]
        self._by_index = by_index
        self.clients = {job.client: job for job in by_index}
        if self.refusal:
            self.observe_refusal(self.refusal)


def _state_of(index: int, state: JobState, attempts: Sequence[PodState]) -> JobState:
    """Returns the part of an Indexed Job's state that concerns one index."""
    ended = ""
    if index in state.completed_indexes:
        ended = "Complete"
    elif index in state.failed_indexes:
        ended = "Failed"
    return replace(
        state,
        # A client waits for its turn, which is no time of its own.
        started=attempts[0].created if attempts else None,
        finished=None,
        ended=ended,
        reason="BackoffLimitExceeded" if ended == "Failed" else "",
        message="its tries are used up" if ended == "Failed" else "",
        # Failed pods are counted for the Job as a whole.
        failed=0,
    )
