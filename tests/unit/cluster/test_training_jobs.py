"""A round's clients as Jobs: what becomes of each, whatever happens to pods, Jobs, steps and connections."""

import copy
import threading

import pytest

from fedvsr.cluster.job import job_manifest
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
def train(kubernetes, clients, workspace, told):
    """Trains round 1 as the step does; returns each client's outcome."""

    def run():
        run_record = load_run(workspace.federation(), RUN)
        record = train_round(workspace, run_record, 1, JobRunner(kubernetes.cluster(), clients), told)
        return {each.client: each for each in record.outcomes}

    return run


@pytest.fixture
def fates(kubernetes, deliver):
    """Gives each client's Job a life: by its name; the others train well."""

    def give(plan, **lives):
        def well(job, client):
            pod = kubernetes.start_pod(job, f"{client}-0", (f"{client} trains",))
            deliver(plan, client)
            kubernetes.end_pod(pod, 0, "Completed")
            kubernetes.end_job(job, "Complete")

        def live(job):
            client = job["metadata"]["labels"]["fedvsr/client"]
            lives.get(client, well)(job, client)

        kubernetes.on_job = live
        return well

    return give


def test_every_client_trains_in_its_namespace_and_says_so_under_its_name(
    kubernetes, planned, fates, train, told
):
    fates(planned())
    outcomes = train()
    assert list(outcomes) == ["ann", "bob", "cleo"]
    assert {(each.outcome, each.reason, each.seconds) for each in outcomes.values()} == {
        (Outcome.OK, "", 7.0)
    }
    assert kubernetes.asked("POST", "/namespaces/site-ann/jobs") == 1
    assert kubernetes.asked("POST", "/namespaces/site-bob/jobs") == 2
    for client in outcomes:
        assert list(lines_of(told.messages, client)) == [f"{client} trains"]
    assert sorted(text for _, _, text in told.steps) == [f"{name} loss 0.5000" for name in outcomes]
    assert [done for _, done, _ in told.steps] == [1, 2, 3]
    assert kubernetes.objects == {}, "Jobs are removed in the end"


def test_all_jobs_are_there_before_the_first_has_ended(kubernetes, planned, fates, train):
    plan = planned()
    together = threading.Barrier(3, timeout=20)
    well = fates(plan)

    def meet(job, client):
        together.wait()
        well(job, client)

    fates(plan, ann=meet, bob=meet, cleo=meet)
    assert {each.outcome for each in train().values()} == {Outcome.OK}


def fails(kubernetes, code, reason="Error", message="", job_reason="BackoffLimitExceeded", tries=1, **status):
    def live(job, client):
        for number in range(tries):
            pod = kubernetes.start_pod(job, f"{client}-{number}")
            kubernetes.end_pod(pod, code, reason, message, **status)
        kubernetes.end_job(job, "Failed", job_reason, "it failed")

    return live


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
    ("life", "reason"),
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
def test_a_client_that_fails_is_told_with_the_reason_kubernetes_gives(
    kubernetes, planned, fates, train, clients, life, reason
):
    clients["ann"] = clients["ann"].model_validate(
        {"namespace": "site-ann", "image": "x", "resources": {"limits": {"memory": "2Gi"}}}
    )
    status = life.pop("status", {})
    if "reason" in status:
        kwargs = {"phase": "Failed", **status}
        fates(planned(), ann=_ends_with(kubernetes, life["code"], kwargs))
    else:
        fates(planned(), ann=fails(kubernetes, **life, **status))
    outcomes = train()
    assert (outcomes["ann"].outcome, outcomes["ann"].reason) == (Outcome.FAILED, reason)
    assert outcomes["bob"].outcome is Outcome.OK


def _ends_with(kubernetes, code, status):
    def live(job, client):
        pod = kubernetes.start_pod(job, f"{client}-0")
        ended = copy.deepcopy(pod)
        ended["status"] = status
        kubernetes.ended_logs.add(f"{client}-0")
        kubernetes.put("pods", pod["metadata"]["namespace"], ended)
        kubernetes.end_job(job, "Failed", "BackoffLimitExceeded")

    return live


def test_what_a_client_says_cannot_harm_the_log_or_the_record(kubernetes, planned, fates, train, told):
    evil = "\x1b[2J\x07" + "x" * 100_000

    def live(job, client):
        pod = kubernetes.start_pod(job, "ann-0", (evil, "y" * 100_000, "end"))
        kubernetes.end_pod(pod, 65, message=evil)
        kubernetes.end_job(job, "Failed", "PodFailurePolicy")

    fates(planned(), ann=live)
    reason = train()["ann"].reason
    lines = list(lines_of(told.messages, "ann"))
    assert lines[0].startswith("\\x1b[2J\\x07xxx")
    assert lines[-1] == "end"
    for text in (reason, *lines):
        assert text.isprintable()
        assert len(text) < 5000
    assert len(reason) < 1000


def test_a_deleted_pod_is_named_although_the_client_delivered_in_the_end(
    kubernetes, planned, fates, train, told
):
    plan = planned()
    well = fates(plan)

    def deleted(job, client):
        pod = kubernetes.start_pod(job, "ann-lost", ("step 1",))
        kubernetes.wait_for(lambda: kubernetes.asked("GET", "pods/ann-lost/log") > 0)
        # Force-deleted: it is gone without ever having ended.
        kubernetes.remove("pods", "site-ann", pod["metadata"]["name"])
        well(job, client)

    fates(plan, ann=deleted)
    outcomes = train()
    assert outcomes["ann"].outcome is Outcome.OK
    assert outcomes["ann"].reason == "ok after 1 retry: the pod was deleted"
    assert list(lines_of(told.messages, "ann")) == ["step 1", "ann trains"]


def test_a_pod_that_nobody_saw_is_counted(kubernetes, planned, fates, train, deliver):
    plan = planned()

    def live(job, client):
        deliver(plan, client)
        seen = copy.deepcopy(job)
        seen["status"] = {"startTime": kubernetes.moment(0), "failed": 2}
        kubernetes.put("jobs", "site-ann", seen)
        kubernetes.end_job(job, "Complete")

    fates(plan, ann=live)
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
def test_a_client_that_never_starts_is_told_at_once_and_in_the_end(
    kubernetes, planned, fates, train, told, status, outcome, reason
):
    def live(job, client):
        pod = kubernetes.start_pod(job, "ann-0", **status)
        kubernetes.wait_for(lambda: f"ann: {reason}" in told.messages)
        # At the deadline Kubernetes takes the pod down, and it forgets what it waited for.
        ended = copy.deepcopy(pod)
        ended["status"] = {
            "phase": "Failed",
            "containerStatuses": [{"state": {"terminated": {"exitCode": 137, "startedAt": None}}}],
        }
        ended["metadata"]["deletionTimestamp"] = kubernetes.moment(9)
        kubernetes.put("pods", "site-ann", ended)
        kubernetes.remove("pods", "site-ann", "ann-0")
        kubernetes.end_job(job, "Failed", "DeadlineExceeded")

    fates(planned(federation__deadline_seconds=40), ann=live)
    found = train()["ann"]
    assert (found.outcome, found.reason) == (outcome, f"{reason} (for all of its 40 s)")


def test_a_client_whose_pods_kubernetes_refuses_is_told_with_the_quotas_words(
    kubernetes, planned, fates, train, monkeypatch
):
    monkeypatch.setattr("fedvsr.cluster.following._LOOK_SECONDS", 0.0)
    said = 'pods "x" is forbidden: exceeded quota: fedvsr-client, requested: pods=1'

    def live(job, client):
        event = {
            "metadata": {"name": "e1"},
            "involvedObject": {"uid": job["metadata"]["uid"]},
            "reason": "FailedCreate",
            "message": said,
        }
        kubernetes.put("events", "site-ann", event)
        kubernetes.end_job(job, "Failed", "DeadlineExceeded")

    fates(planned(federation__deadline_seconds=9), ann=live)
    found = train()["ann"]
    assert found.outcome is Outcome.UNSCHEDULABLE
    assert found.reason == f"Kubernetes makes no pod for it: {said} (for all of its 9 s)"


def test_a_client_that_trains_too_long_is_timed_out(kubernetes, planned, fates, train):
    def live(job, client):
        kubernetes.start_pod(job, "ann-0")
        kubernetes.end_job(job, "Failed", "DeadlineExceeded")
        kubernetes.ended_logs.add("ann-0")
        kubernetes.drop_streams()

    fates(planned(federation__deadline_seconds=9), ann=live)
    found = train()["ann"]
    assert (found.outcome, found.reason) == (Outcome.TIMED_OUT, "its 9 s were over")


def test_a_job_that_kubernetes_does_not_end_is_ended_from_here(
    kubernetes, planned, fates, train, monkeypatch
):
    monkeypatch.setattr("fedvsr.cluster.following._LATE_SECONDS", -3600.0)
    fates(planned(), ann=lambda job, client: kubernetes.start_pod(job, "ann-0") and None)
    found = train()["ann"]
    assert found.outcome is Outcome.TIMED_OUT
    assert "its Job did not end although its 3600 s were over" in found.reason
    assert kubernetes.names("jobs") == []


def test_a_job_that_somebody_deletes_is_an_outcome(kubernetes, planned, fates, train):
    def live(job, client):
        kubernetes.start_pod(job, "ann-0")
        kubernetes.wait_for(lambda: kubernetes.asked("GET", "pods/ann-0/log") > 0)
        kubernetes.remove("jobs", "site-ann", job["metadata"]["name"])

    fates(planned(), ann=live)
    found = train()["ann"]
    assert (found.outcome, found.reason) == (Outcome.FAILED, "its Job was deleted by somebody else")


def test_a_job_that_ends_well_without_a_report_has_failed(kubernetes, planned, fates, train):
    def live(job, client):
        kubernetes.end_pod(kubernetes.start_pod(job, "ann-0"), 0)
        kubernetes.end_job(job, "Complete")

    fates(planned(), ann=live)
    found = train()["ann"]
    assert found.outcome is Outcome.FAILED
    assert "left no report" in found.reason


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
def test_a_report_that_harms_counts_as_none(kubernetes, planned, fates, train, deliver, workspace, change):
    plan = planned()

    def live(job, client):
        deliver(plan, client)
        key, store = layout.report(plan.run, plan.round, client), workspace.federation()
        write_record(store, key, read_record(store, key, ReportRecord).model_copy(update=change))
        kubernetes.end_pod(kubernetes.start_pod(job, "ann-0"), 0)
        kubernetes.end_job(job, "Complete")

    fates(plan, ann=live)
    outcomes = train()
    assert outcomes["ann"].outcome is Outcome.FAILED
    assert "left no report" in outcomes["ann"].reason
    assert outcomes["bob"].outcome is Outcome.OK
    # Asked again, it gets another Job.
    assert find_delivery(workspace.federation(), plan, "ann") is None


def test_with_a_quorum_the_stragglers_are_cut_off(kubernetes, planned, fates, train):
    plan = planned(federation__wait_for="quorum", federation__quorum=1)
    fates(
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


def test_without_wait_for_a_quorum_everybody_is_waited_for(kubernetes, planned, fates, train):
    plan = planned(federation__quorum=1)
    well = fates(plan)

    def slow(job, client):
        kubernetes.wait_for(lambda: kubernetes.asked("DELETE", "site-ann/jobs") > 0)
        well(job, client)

    fates(plan, bob=slow)
    assert {each.outcome for each in train().values()} == {Outcome.OK}


# A step that runs again.


def test_a_client_that_has_delivered_gets_no_job(kubernetes, planned, fates, train, deliver):
    plan = planned()
    fates(plan)
    deliver(plan, "ann")
    outcomes = train()
    assert (outcomes["ann"].outcome, outcomes["ann"].seconds) == (Outcome.OK, 2.5)
    assert kubernetes.asked("POST", "site-ann") == 0


def test_a_job_at_work_is_taken_over_with_its_whole_log(kubernetes, planned, fates, train, workspace, told):
    plan = planned()
    well = fates(plan)
    kubernetes.cluster().create_job(job_manifest_of(workspace, plan, "ann", kubernetes, well))
    outcomes = train()
    assert outcomes["ann"].outcome is Outcome.OK
    assert kubernetes.asked("POST", "site-ann") == 1
    assert list(lines_of(told.messages, "ann")) == ["before the step died", "ann trains"]


def job_manifest_of(workspace, plan, client, kubernetes, well):
    """Its Job as an earlier step left it: at work, with a line in its log."""

    def goes_on(job):
        name = job["metadata"]["labels"]["fedvsr/client"]
        if name != client:
            well(job, name)
            return
        pod = kubernetes.start_pod(job, "ann-early", ("before the step died",))
        kubernetes.wait_for(lambda: kubernetes.asked("GET", "ann-early/log") > 0)
        kubernetes.end_pod(pod, 1)
        well(job, name)

    kubernetes.on_job = goes_on
    spec = train_job(load_run(workspace.federation(), RUN), plan, client)
    settings = ClientSettings.model_validate({"namespace": "site-ann", "image": "registry/trainer:1"})
    return job_manifest(spec, settings)


@pytest.mark.parametrize("condition", ["Failed", "Complete"])
def test_a_job_that_has_ended_without_an_update_is_made_anew(
    kubernetes, planned, fates, train, workspace, condition
):
    plan = planned()
    well = fates(plan)
    old = job_manifest_of(workspace, plan, "ann", kubernetes, well)
    old["status"] = {"startTime": kubernetes.moment(0)}
    kubernetes.end_job(kubernetes.put("jobs", "site-ann", old), condition)
    fates(plan)
    outcomes = train()
    assert (outcomes["ann"].outcome, outcomes["ann"].reason) == (Outcome.OK, "")
    assert kubernetes.asked("POST", "site-ann") == 1


def test_what_a_job_went_through_is_told_by_the_step_that_finds_it_done(
    kubernetes, planned, fates, train, workspace, deliver
):
    plan = planned()
    well = fates(plan)
    old = job_manifest_of(workspace, plan, "ann", kubernetes, well)
    old["status"] = {"startTime": kubernetes.moment(0), "failed": 1}
    job = kubernetes.put("jobs", "site-ann", old)
    kubernetes.end_pod(kubernetes.start_pod(job, "ann-0"), 137, "OOMKilled")
    kubernetes.end_job(job, "Complete")
    deliver(plan, "ann")
    fates(plan)
    outcomes = train()
    assert outcomes["ann"].outcome is Outcome.OK
    assert outcomes["ann"].reason.startswith("ok after 1 retry: OOMKilled")
    assert kubernetes.asked("POST", "site-ann") == 0
    assert kubernetes.objects == {}


def test_a_client_that_left_the_deployment_is_an_outcome(kubernetes, planned, fates, train, clients):
    fates(planned())
    del clients["bob"]
    found = train()["bob"]
    assert found.outcome is Outcome.FAILED
    assert "no client of this deployment any more; known: ann, cleo" in found.reason


# The API's own troubles.


def test_an_api_that_hiccups_is_asked_again(kubernetes, planned, fates, train, told):
    seen = {}

    def first_fails(method, path, query):
        key = (method, path, query.get("watch"))
        seen[key] = seen.get(key, 0) + 1
        return (RESET if method == "GET" else 503) if seen[key] == 1 else None

    kubernetes.faults.append(first_fails)
    fates(planned())
    assert {each.outcome for each in train().values()} == {Outcome.OK}
    for client in ("ann", "bob", "cleo"):
        assert list(lines_of(told.messages, client)) == [f"{client} trains"]


def test_a_creation_whose_answer_was_lost_makes_no_second_job(kubernetes, planned, fates, train, deliver):
    plan = planned()
    fates(plan)
    original = kubernetes.play
    lost = []

    def lose(job):
        original(job)
        if not lost:
            lost.append(job["metadata"]["name"])
            raise ConnectionResetError

    kubernetes.play = lose
    assert {each.outcome for each in train().values()} == {Outcome.OK}
    assert lost


def test_connections_that_break_and_histories_that_are_forgotten_lose_nothing(
    kubernetes, planned, fates, train, told, deliver
):
    plan = planned()

    def troubled(job, client):
        pod = kubernetes.start_pod(job, "ann-0", ("one",))
        kubernetes.wait_for(lambda: kubernetes.asked("GET", "ann-0/log") > 0)
        kubernetes.drop_streams()
        kubernetes.write("ann-0", "two")
        kubernetes.wait_for(lambda: kubernetes.asked("GET", "ann-0/log") > 1)
        kubernetes.forget_history()
        kubernetes.write("ann-0", "three")
        deliver(plan, client)
        kubernetes.end_pod(pod, 0)
        kubernetes.end_job(job, "Complete")

    fates(plan, ann=troubled)
    assert train()["ann"].outcome is Outcome.OK
    assert list(lines_of(told.messages, "ann")) == ["one", "two", "three"]


def test_an_end_that_fell_into_a_gap_of_the_watch_is_seen(kubernetes, planned, fates, train):
    def vanishes(job, client):
        kubernetes.start_pod(job, "ann-0")
        kubernetes.wait_for(lambda: kubernetes.asked("GET", "ann-0/log") > 0)
        kubernetes.faults.append(lambda method, path, query: 503 if "watch" in query else None)
        kubernetes.forget_history()
        kubernetes.remove("jobs", "site-ann", job["metadata"]["name"])

    fates(planned(federation__clients=["ann"]), ann=vanishes)
    assert train()["ann"].reason == "its Job was deleted by somebody else"


@pytest.mark.parametrize("status", [403, 404, 422])
def test_a_client_whose_job_kubernetes_refuses_is_an_outcome(kubernetes, planned, fates, train, status):
    kubernetes.faults.append(
        lambda method, path, query: status if method == "POST" and "site-ann" in path else None
    )
    fates(planned())
    outcomes = train()
    assert outcomes["ann"].outcome is Outcome.FAILED
    assert f"told to answer {status}" in outcomes["ann"].reason
    assert "namespace site-ann" in outcomes["ann"].reason
    assert outcomes["bob"].outcome is Outcome.OK


def test_a_namespace_that_may_not_be_watched_is_its_clients_outcome(kubernetes, planned, fates, train):
    kubernetes.faults.append(
        lambda method, path, query: 403 if method == "GET" and path.endswith("site-ann/pods") else None
    )
    fates(planned(), ann=lambda job, client: None)
    found = train()["ann"]
    assert found.outcome is Outcome.FAILED
    assert "list pods in namespace site-ann" in found.reason


def test_an_api_that_is_away_for_good_stops_the_step_and_leaves_the_jobs(kubernetes, planned, train):
    planned()
    kubernetes.faults.append(lambda method, path, query: RESET)
    with pytest.raises(ClusterError, match="Kubernetes does not answer"):
        train()


def test_whoever_is_interrupted_leaves_the_jobs_to_the_next_try_and_no_thread(
    kubernetes, planned, fates, train, told
):
    def interrupted(text):
        raise KeyboardInterrupt

    told.message = interrupted
    fates(planned(), ann=lambda job, client: kubernetes.start_pod(job, "ann-0", ("at work",)) and None)
    with pytest.raises(KeyboardInterrupt):
        train()
    assert any("site-ann" in str(key) for key in kubernetes.objects)
