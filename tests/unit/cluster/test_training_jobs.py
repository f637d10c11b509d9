"""A round's clients as Jobs: outcomes when pods, Jobs, steps or connections fail."""

import copy
import threading

import pytest

from fedvsr.cluster.job_spec import job_manifest
from fedvsr.cluster.runner import JobRunner, train_job
from fedvsr.cluster.settings import ClientSettings
from fedvsr.errors import ClusterError
from fedvsr.federation import layout
from fedvsr.federation.delivery import find_delivery
from fedvsr.federation.records import Outcome, ReportRecord, read_record, write_record
from fedvsr.federation.run.training_round import train_round
from fedvsr.federation.runs import load_run
from tests.unit.cluster.fake_kubernetes import RESET, lines_of

RUN = "test"


@pytest.fixture
def train(kubernetes, clients, workspace, progress):
    """Trains round 1 as the step does; returns the outcomes by client."""

    def run():
        run_record = load_run(workspace.federation(), RUN)
        record = train_round(workspace, run_record, 1, JobRunner(kubernetes.cluster(), clients), progress)
        return {outcome.client: outcome for outcome in record.outcomes}

    return run


@pytest.fixture
def play_jobs(kubernetes, deliver):
    """Plays the Jobs of the named clients; the other clients train and deliver."""

    def set_up(plan, **scripts):
        def succeed(job, client):
            pod = kubernetes.start_pod(job, f"{client}-0", (f"{client} trains",))
            deliver(plan, client)
            kubernetes.end_pod(pod, 0, "Completed")
            kubernetes.end_job(job, "Complete")

        def play(job):
            client = job["metadata"]["labels"]["fedvsr/client"]
            scripts.get(client, succeed)(job, client)

        kubernetes.on_job = play
        return succeed

    return set_up


def test_each_client_trains_in_its_namespace_and_its_log_is_shown_under_its_name(
    kubernetes, make_plan, play_jobs, train, progress
):
    play_jobs(make_plan())
    outcomes = train()
    assert list(outcomes) == ["ann", "bob", "cleo"]
    assert {(client.outcome, client.reason, client.seconds) for client in outcomes.values()} == {
        (Outcome.OK, "", 7.0)
    }
    assert kubernetes.request_count("POST", "/namespaces/client-ann/jobs") == 1
    assert kubernetes.request_count("POST", "/namespaces/client-bob/jobs") == 2
    for client in outcomes:
        assert list(lines_of(progress.messages, client)) == [f"{client} trains"]
    assert sorted(text for _, _, text in progress.steps) == [f"{name} loss 0.5000" for name in outcomes]
    assert [done for _, done, _ in progress.steps] == [1, 2, 3]
    assert kubernetes.objects == {}, "Jobs are removed in the end"


def test_all_jobs_run_at_the_same_time(kubernetes, make_plan, play_jobs, train):
    plan = make_plan()
    together = threading.Barrier(3, timeout=20)
    succeed = play_jobs(plan)

    def meet(job, client):
        together.wait()
        succeed(job, client)

    play_jobs(plan, ann=meet, bob=meet, cleo=meet)
    assert {outcome.outcome for outcome in train().values()} == {Outcome.OK}


def fails(kubernetes, code, reason="Error", message="", job_reason="BackoffLimitExceeded", tries=1, **status):
    def play(job, client):
        for number in range(tries):
            pod = kubernetes.start_pod(job, f"{client}-{number}")
            kubernetes.end_pod(pod, code, reason, message, **status)
        kubernetes.end_job(job, "Failed", job_reason, "it failed")

    return play


EVICTED = {"reason": "Evicted", "message": 'Usage of EmptyDir volume "tmp" exceeds its limit.'}
PREEMPTED = {
    "conditions": [
        {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "PreemptionByScheduler",
            "message": "for another",
        }
    ]
}


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (
            {"code": 65, "message": "shard cut short", "job_reason": "PodFailurePolicy"},
            "exit code 65: shard cut short",
        ),
        ({"code": 1, "tries": 3}, "exit code 1, 3 tries"),
        ({"code": 1, "message": "line\n  Error: the end\n\n"}, "exit code 1: Error: the end"),
        ({"code": 139}, "exit code 139, SIGSEGV"),
        (
            {"code": 137, "reason": "OOMKilled"},
            "OOMKilled: it needed more memory than its limit of 2Gi (exit code 137)",
        ),
        ({"code": 137, "status": EVICTED}, 'Evicted: Usage of EmptyDir volume "tmp" exceeds its limit'),
        ({"code": 137, "status": PREEMPTED}, "PreemptionByScheduler: for another"),
    ],
)
def test_a_failed_client_is_recorded_with_the_reason_from_kubernetes(
    kubernetes, make_plan, play_jobs, train, clients, failure, reason
):
    clients["ann"] = clients["ann"].model_validate(
        {"namespace": "client-ann", "image": "x", "resources": {"limits": {"memory": "2Gi"}}}
    )
    status = failure.pop("status", {})
    if "reason" in status:
        kwargs = {"phase": "Failed", **status}
        play_jobs(make_plan(), ann=_ends_with(kubernetes, failure["code"], kwargs))
    else:
        play_jobs(make_plan(), ann=fails(kubernetes, **failure, **status))
    outcomes = train()
    assert (outcomes["ann"].outcome, outcomes["ann"].reason) == (Outcome.FAILED, reason)
    assert outcomes["bob"].outcome is Outcome.OK


def _ends_with(kubernetes, code, status):
    def play(job, client):
        pod = kubernetes.start_pod(job, f"{client}-0")
        ended = copy.deepcopy(pod)
        ended["status"] = status
        kubernetes.ended_logs.add(f"{client}-0")
        kubernetes.put("pods", pod["metadata"]["namespace"], ended)
        kubernetes.end_job(job, "Failed", "BackoffLimitExceeded")

    return play


def test_a_clients_output_cannot_harm_the_log_or_the_record(
    kubernetes, make_plan, play_jobs, train, progress
):
    evil = "\x1b[2J\x07" + "x" * 100_000

    def play(job, client):
        pod = kubernetes.start_pod(job, "ann-0", (evil, "y" * 100_000, "end"))
        kubernetes.end_pod(pod, 65, message=evil)
        kubernetes.end_job(job, "Failed", "PodFailurePolicy")

    play_jobs(make_plan(), ann=play)
    reason = train()["ann"].reason
    lines = list(lines_of(progress.messages, "ann"))
    assert lines[0].startswith("\\x1b[2J\\x07xxx")
    assert lines[-1] == "end"
    for text in (reason, *lines):
        assert text.isprintable()
        assert len(text) < 5000
    assert len(reason) < 1000


def test_a_deleted_pod_is_recorded_although_a_retry_delivered(
    kubernetes, make_plan, play_jobs, train, progress
):
    plan = make_plan()
    succeed = play_jobs(plan)

    def deleted(job, client):
        pod = kubernetes.start_pod(job, "ann-lost", ("step 1",))
        kubernetes.wait_for(lambda: kubernetes.request_count("GET", "pods/ann-lost/log") > 0)
        # Force-deleted: it is gone before it has ended.
        kubernetes.remove("pods", "client-ann", pod["metadata"]["name"])
        succeed(job, client)

    play_jobs(plan, ann=deleted)
    outcomes = train()
    assert outcomes["ann"].outcome is Outcome.OK
    assert outcomes["ann"].reason == "ok after 1 retry: the pod was deleted"
    assert list(lines_of(progress.messages, "ann")) == ["step 1", "ann trains"]


def test_a_failed_pod_that_was_never_observed_is_counted(kubernetes, make_plan, play_jobs, train, deliver):
    plan = make_plan()

    def play(job, client):
        deliver(plan, client)
        seen = copy.deepcopy(job)
        seen["status"] = {"startTime": kubernetes.moment(0), "failed": 2}
        kubernetes.put("jobs", "client-ann", seen)
        kubernetes.end_job(job, "Complete")

    play_jobs(plan, ann=play)
    assert train()["ann"].reason == "ok after 2 retries: a pod was deleted before it was seen"


PENDING = {
    "phase": "Pending",
    "conditions": [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. preemption: no",
        }
    ],
}


def waiting(reason, message):
    return {
        "phase": "Pending",
        "containerStatuses": [{"state": {"waiting": {"reason": reason, "message": message}}}],
    }


@pytest.mark.parametrize(
    ("status", "outcome", "reason"),
    [
        (
            PENDING,
            Outcome.UNSCHEDULABLE,
            "no node can take it: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu",
        ),
        (
            waiting("ImagePullBackOff", "not found"),
            Outcome.FAILED,
            "its image registry/trainer:1 cannot be pulled: ImagePullBackOff: not found",
        ),
        (
            waiting("CreateContainerConfigError", 'secret "fedvsr-client" not found'),
            Outcome.FAILED,
            'its container cannot start: CreateContainerConfigError: secret "fedvsr-client" not found',
        ),
    ],
)
def test_why_a_client_does_not_start_is_shown_at_once_and_recorded(
    kubernetes, make_plan, play_jobs, train, progress, status, outcome, reason
):
    def play(job, client):
        pod = kubernetes.start_pod(job, "ann-0", **status)
        kubernetes.wait_for(lambda: f"ann: {reason}" in progress.messages)
        # At the deadline Kubernetes deletes the pod, which then no longer says what it waited for.
        ended = copy.deepcopy(pod)
        ended["status"] = {
            "phase": "Failed",
            "containerStatuses": [{"state": {"terminated": {"exitCode": 137, "startedAt": None}}}],
        }
        ended["metadata"]["deletionTimestamp"] = kubernetes.moment(9)
        kubernetes.put("pods", "client-ann", ended)
        kubernetes.remove("pods", "client-ann", "ann-0")
        kubernetes.end_job(job, "Failed", "DeadlineExceeded")

    play_jobs(make_plan(federation__deadline_seconds=40), ann=play)
    ann = train()["ann"]
    assert (ann.outcome, ann.reason) == (outcome, f"{reason} (for all of its 40 s)")


def test_a_client_whose_pods_are_refused_is_recorded_with_the_quotas_message(
    kubernetes, make_plan, play_jobs, train, monkeypatch
):
    monkeypatch.setattr("fedvsr.cluster.client_job._LOOK_SECONDS", 0.0)
    message = 'pods "x" is forbidden: exceeded quota: fedvsr-client, requested: pods=1'

    def play(job, client):
        event = {
            "metadata": {"name": "e1"},
            "involvedObject": {"uid": job["metadata"]["uid"]},
            "reason": "FailedCreate",
            "message": message,
        }
        kubernetes.put("events", "client-ann", event)
        kubernetes.end_job(job, "Failed", "DeadlineExceeded")

    play_jobs(make_plan(federation__deadline_seconds=9), ann=play)
    ann = train()["ann"]
    assert ann.outcome is Outcome.UNSCHEDULABLE
    assert ann.reason == f"Kubernetes makes no pod for it: {message} (for all of its 9 s)"


def test_a_client_that_trains_too_long_is_timed_out(kubernetes, make_plan, play_jobs, train):
    def play(job, client):
        kubernetes.start_pod(job, "ann-0")
        kubernetes.end_job(job, "Failed", "DeadlineExceeded")
        kubernetes.ended_logs.add("ann-0")
        kubernetes.drop_streams()

    play_jobs(make_plan(federation__deadline_seconds=9), ann=play)
    ann = train()["ann"]
    assert (ann.outcome, ann.reason) == (Outcome.TIMED_OUT, "its 9 s were over")


def test_a_job_that_kubernetes_does_not_end_in_time_is_ended_by_fedvsr(
    kubernetes, make_plan, play_jobs, train, monkeypatch
):
    monkeypatch.setattr("fedvsr.cluster.client_job.LATE_SECONDS", -3600.0)
    play_jobs(make_plan(), ann=lambda job, client: kubernetes.start_pod(job, "ann-0") and None)
    ann = train()["ann"]
    assert ann.outcome is Outcome.TIMED_OUT
    assert "its Job did not end although its 3600 s were over" in ann.reason
    assert kubernetes.names("jobs") == []


def test_a_job_that_somebody_deletes_has_failed(kubernetes, make_plan, play_jobs, train):
    def play(job, client):
        kubernetes.start_pod(job, "ann-0")
        kubernetes.wait_for(lambda: kubernetes.request_count("GET", "pods/ann-0/log") > 0)
        kubernetes.remove("jobs", "client-ann", job["metadata"]["name"])

    play_jobs(make_plan(), ann=play)
    ann = train()["ann"]
    assert (ann.outcome, ann.reason) == (Outcome.FAILED, "its Job was deleted by somebody else")


def test_a_job_that_ends_well_without_a_report_has_failed(kubernetes, make_plan, play_jobs, train):
    def play(job, client):
        kubernetes.end_pod(kubernetes.start_pod(job, "ann-0"), 0)
        kubernetes.end_job(job, "Complete")

    play_jobs(make_plan(), ann=play)
    ann = train()["ann"]
    assert ann.outcome is Outcome.FAILED
    assert "left no report" in ann.reason


# Quorum.


@pytest.mark.parametrize(
    "change",
    [
        {"update_digest": "/proc/x"},
        {"loss": 1e300},
        {"downloaded_bytes": 10**400},
        {"device": "x" * (1 << 21)},
    ],
)
def test_a_malformed_report_counts_as_no_report(
    kubernetes, make_plan, play_jobs, train, deliver, workspace, change
):
    plan = make_plan()

    def play(job, client):
        deliver(plan, client)
        key, store = layout.report(plan.run, plan.round, client), workspace.federation()
        write_record(store, key, read_record(store, key, ReportRecord).model_copy(update=change))
        kubernetes.end_pod(kubernetes.start_pod(job, "ann-0"), 0)
        kubernetes.end_job(job, "Complete")

    play_jobs(plan, ann=play)
    outcomes = train()
    assert outcomes["ann"].outcome is Outcome.FAILED
    assert "left no report" in outcomes["ann"].reason
    assert outcomes["bob"].outcome is Outcome.OK
    # In another step the client would get another Job.
    assert find_delivery(workspace.federation(), plan, "ann") is None


def test_with_wait_for_quorum_the_slow_clients_are_cut_off(kubernetes, make_plan, play_jobs, train):
    plan = make_plan(federation__wait_for="quorum", federation__quorum=1)
    play_jobs(
        plan,
        bob=lambda job, client: kubernetes.start_pod(job, "bob-0") and None,
        cleo=lambda job, client: kubernetes.start_pod(job, "cleo-0", **PENDING) and None,
    )
    outcomes = train()
    assert outcomes["ann"].outcome is Outcome.OK
    assert (outcomes["bob"].outcome, outcomes["bob"].reason) == (
        Outcome.CUT_OFF,
        "the quorum of 1 had delivered",
    )
    assert outcomes["cleo"].outcome is Outcome.CUT_OFF
    assert kubernetes.objects == {}


def test_without_wait_for_quorum_the_round_waits_for_all_clients(kubernetes, make_plan, play_jobs, train):
    plan = make_plan(federation__quorum=1)
    succeed = play_jobs(plan)

    def slow(job, client):
        kubernetes.wait_for(lambda: kubernetes.request_count("DELETE", "client-ann/jobs") > 0)
        succeed(job, client)

    play_jobs(plan, bob=slow)
    assert {outcome.outcome for outcome in train().values()} == {Outcome.OK}


# A step that is run again.


def test_a_client_that_has_delivered_gets_no_job(kubernetes, make_plan, play_jobs, train, deliver):
    plan = make_plan()
    play_jobs(plan)
    deliver(plan, "ann")
    outcomes = train()
    assert (outcomes["ann"].outcome, outcomes["ann"].seconds) == (Outcome.OK, 2.5)
    assert kubernetes.request_count("POST", "client-ann") == 0


def test_a_running_job_is_adopted_with_its_whole_log(
    kubernetes, make_plan, play_jobs, train, workspace, progress
):
    plan = make_plan()
    succeed = play_jobs(plan)
    kubernetes.cluster().create_job(earlier_job(workspace, plan, "ann", kubernetes, succeed))
    outcomes = train()
    assert outcomes["ann"].outcome is Outcome.OK
    assert kubernetes.request_count("POST", "client-ann") == 1
    assert list(lines_of(progress.messages, "ann")) == ["before the step died", "ann trains"]


def earlier_job(workspace, plan, client, kubernetes, succeed):
    """Returns a client's Job as an earlier step left it: running, with a line in its log."""

    def goes_on(job):
        name = job["metadata"]["labels"]["fedvsr/client"]
        if name != client:
            succeed(job, name)
            return
        pod = kubernetes.start_pod(job, "ann-early", ("before the step died",))
        kubernetes.wait_for(lambda: kubernetes.request_count("GET", "ann-early/log") > 0)
        kubernetes.end_pod(pod, 1)
        succeed(job, name)

    kubernetes.on_job = goes_on
    spec = train_job(load_run(workspace.federation(), RUN), plan, client)
    settings = ClientSettings.model_validate({"namespace": "client-ann", "image": "registry/trainer:1"})
    return job_manifest(spec, settings)


@pytest.mark.parametrize("condition", ["Failed", "Complete"])
def test_a_job_that_ended_without_an_update_is_created_again(
    kubernetes, make_plan, play_jobs, train, workspace, condition
):
    plan = make_plan()
    succeed = play_jobs(plan)
    old = earlier_job(workspace, plan, "ann", kubernetes, succeed)
    old["status"] = {"startTime": kubernetes.moment(0)}
    kubernetes.end_job(kubernetes.put("jobs", "client-ann", old), condition)
    play_jobs(plan)
    outcomes = train()
    assert (outcomes["ann"].outcome, outcomes["ann"].reason) == (Outcome.OK, "")
    assert kubernetes.request_count("POST", "client-ann") == 1


def test_a_step_that_finds_a_job_done_records_its_failed_attempts(
    kubernetes, make_plan, play_jobs, train, workspace, deliver
):
    plan = make_plan()
    succeed = play_jobs(plan)
    old = earlier_job(workspace, plan, "ann", kubernetes, succeed)
    old["status"] = {"startTime": kubernetes.moment(0), "failed": 1}
    job = kubernetes.put("jobs", "client-ann", old)
    kubernetes.end_pod(kubernetes.start_pod(job, "ann-0"), 137, "OOMKilled")
    kubernetes.end_job(job, "Complete")
    deliver(plan, "ann")
    play_jobs(plan)
    outcomes = train()
    assert outcomes["ann"].outcome is Outcome.OK
    assert outcomes["ann"].reason.startswith("ok after 1 retry: OOMKilled")
    assert kubernetes.request_count("POST", "client-ann") == 0
    assert kubernetes.objects == {}


def test_a_client_that_left_the_deployment_has_failed(kubernetes, make_plan, play_jobs, train, clients):
    play_jobs(make_plan())
    del clients["bob"]
    bob = train()["bob"]
    assert bob.outcome is Outcome.FAILED
    assert "no client of this deployment any more; known: ann, cleo" in bob.reason


# An API that fails.


def test_requests_that_fail_are_retried(kubernetes, make_plan, play_jobs, train, progress):
    seen = {}

    def first_fails(method, path, query):
        key = (method, path, query.get("watch"))
        seen[key] = seen.get(key, 0) + 1
        return (RESET if method == "GET" else 503) if seen[key] == 1 else None

    kubernetes.faults.append(first_fails)
    play_jobs(make_plan())
    assert {outcome.outcome for outcome in train().values()} == {Outcome.OK}
    for client in ("ann", "bob", "cleo"):
        assert list(lines_of(progress.messages, client)) == [f"{client} trains"]


def test_a_lost_answer_to_a_creation_makes_no_second_job(kubernetes, make_plan, play_jobs, train, deliver):
    plan = make_plan()
    play_jobs(plan)
    original = kubernetes.play
    lost = []

    def lose(job):
        original(job)
        if not lost:
            lost.append(job["metadata"]["name"])
            raise ConnectionResetError

    kubernetes.play = lose
    assert {outcome.outcome for outcome in train().values()} == {Outcome.OK}
    assert lost


def test_broken_connections_and_forgotten_histories_lose_nothing(
    kubernetes, make_plan, play_jobs, train, progress, deliver
):
    plan = make_plan()

    def troubled(job, client):
        pod = kubernetes.start_pod(job, "ann-0", ("one",))
        kubernetes.wait_for(lambda: kubernetes.request_count("GET", "ann-0/log") > 0)
        kubernetes.drop_streams()
        kubernetes.write("ann-0", "two")
        kubernetes.wait_for(lambda: kubernetes.request_count("GET", "ann-0/log") > 1)
        kubernetes.forget_history()
        kubernetes.write("ann-0", "three")
        deliver(plan, client)
        kubernetes.end_pod(pod, 0)
        kubernetes.end_job(job, "Complete")

    play_jobs(plan, ann=troubled)
    assert train()["ann"].outcome is Outcome.OK
    assert list(lines_of(progress.messages, "ann")) == ["one", "two", "three"]


def test_a_deletion_during_a_gap_of_the_watch_is_noticed(kubernetes, make_plan, play_jobs, train):
    def vanishes(job, client):
        kubernetes.start_pod(job, "ann-0")
        kubernetes.wait_for(lambda: kubernetes.request_count("GET", "ann-0/log") > 0)
        kubernetes.faults.append(lambda method, path, query: 503 if "watch" in query else None)
        kubernetes.forget_history()
        kubernetes.remove("jobs", "client-ann", job["metadata"]["name"])

    play_jobs(make_plan(federation__clients=["ann"]), ann=vanishes)
    assert train()["ann"].reason == "its Job was deleted by somebody else"


@pytest.mark.parametrize("status", [403, 404, 422])
def test_a_client_whose_job_is_refused_has_failed(kubernetes, make_plan, play_jobs, train, status):
    kubernetes.faults.append(
        lambda method, path, query: status if method == "POST" and "client-ann" in path else None
    )
    play_jobs(make_plan())
    outcomes = train()
    assert outcomes["ann"].outcome is Outcome.FAILED
    assert f"the test wants {status}" in outcomes["ann"].reason
    assert "namespace client-ann" in outcomes["ann"].reason
    assert outcomes["bob"].outcome is Outcome.OK


def test_a_client_whose_namespace_may_not_be_watched_has_failed(kubernetes, make_plan, play_jobs, train):
    kubernetes.faults.append(
        lambda method, path, query: 403 if method == "GET" and path.endswith("client-ann/pods") else None
    )
    play_jobs(make_plan(), ann=lambda job, client: None)
    ann = train()["ann"]
    assert ann.outcome is Outcome.FAILED
    assert "list pods in namespace client-ann" in ann.reason


def test_an_unreachable_api_stops_the_step(kubernetes, make_plan, train):
    make_plan()
    kubernetes.faults.append(lambda method, path, query: RESET)
    with pytest.raises(ClusterError, match="Kubernetes did not answer when asked to"):
        train()


def test_an_interrupted_step_leaves_its_jobs_and_no_thread(kubernetes, make_plan, play_jobs, train, progress):
    def interrupted(text):
        raise KeyboardInterrupt

    progress.message = interrupted
    play_jobs(make_plan(), ann=lambda job, client: kubernetes.start_pod(job, "ann-0", ("at work",)) and None)
    with pytest.raises(KeyboardInterrupt):
        train()
    assert any("client-ann" in str(key) for key in kubernetes.objects)
