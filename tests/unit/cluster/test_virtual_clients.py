"""A round's virtual clients as one Indexed Job: outcomes when pods, the Job or the step end."""

import os
import signal
import threading

import pytest

from fedvsr.cluster.indexed_job_spec import clients_of, indexed_job_manifest
from fedvsr.cluster.settings import VirtualSettings
from fedvsr.cluster.states import read_job
from fedvsr.cluster.virtual_runner import VirtualRunner, train_spec
from fedvsr.federation.records import Outcome
from fedvsr.federation.run.training_round import train_round
from fedvsr.federation.runs import load_run
from fedvsr.steps.ending import exit_on_sigterm

RUN = "test"
NAMESPACE = "virtual"
NAMES = [f"client-{number}" for number in range(1, 7)]
SETTINGS = VirtualSettings(namespace=NAMESPACE, image="registry/trainer:1", parallelism=4)


@pytest.fixture
def plan(make_plan):
    """Plans round 1 of six virtual clients; takes the keywords of make_config."""
    return lambda **overrides: make_plan(federation__clients=NAMES, **overrides)


@pytest.fixture
def record(workspace):
    return lambda: load_run(workspace.federation(), RUN)


@pytest.fixture
def train(kubernetes, workspace, progress, record):
    """Trains round 1 as the step does; returns the outcomes by client."""

    def run():
        runner = VirtualRunner(kubernetes.cluster(), SETTINGS)
        outcomes = train_round(workspace, record(), 1, runner, progress).outcomes
        return {outcome.client: outcome for outcome in outcomes}

    return run


@pytest.fixture
def play(kubernetes, deliver):
    """Plays the pods of the named clients; the other clients train and deliver. Then the Job ends.

    A script returns whether the client succeeded, or None if its index goes on. The Job ends as ``ending``
    says: its condition, reason and message; as Kubernetes would, if it is empty.
    """

    def set_up(plan, ending=(), **scripts):
        def succeed(job, index, client):
            pod = kubernetes.start_pod(job, f"{client}-a", (f"{client} trains",), index)
            deliver(plan, client)
            kubernetes.end_pod(pod, 0, "Completed")
            return True

        def run(job):
            # A pod that is deleted before the step watches would never be seen.
            kubernetes.wait_for(lambda: watches(kubernetes) >= 2)
            results = []
            for index, client in enumerate(clients_of(job)):
                script = scripts.get(client.replace("-", "_"), succeed)
                results.append(script(job, index, client))
                if results[-1] is not None:
                    kubernetes.end_index(job, index, failed=not results[-1])
            failed = ("Failed", "FailedIndexes", "Job has failed indexes")
            kubernetes.end_job(job, *(ending or (("Complete",) if all(results) else failed)))

        kubernetes.on_job = run

    return set_up


def watches(kubernetes):
    """Returns how many watches have been opened."""
    return sum("watch=true" in path for _, path in kubernetes.requests)


def fail(kubernetes, code=1, message="error: no memory", lines=()):
    """Returns the script of a client whose only attempt fails."""

    def script(job, index, client):
        pod = kubernetes.start_pod(job, f"{client}-a", lines, index)
        kubernetes.end_pod(pod, code, message=message)
        return False

    return script


def wait(kubernetes):
    """Returns the script of a client whose pod does not end."""

    def script(job, index, client):
        kubernetes.start_pod(job, f"{client}-a", (), index)

    return script


def outcomes_of(outcomes):
    return {client: outcome.outcome for client, outcome in outcomes.items()}


def test_the_job_has_an_index_for_each_client_and_counts_failures_of_each(plan, record):
    planned = plan(federation__quorum=4)
    spec = train_spec(record(), planned, NAMES[1:], delivered=1, parallelism=4)
    manifest = indexed_job_manifest(spec, SETTINGS)
    job = manifest["spec"]
    assert (job["completionMode"], job["completions"], job["parallelism"]) == ("Indexed", 5, 4)
    assert (job["backoffLimitPerIndex"], "backoffLimit" in job) == (2, False)
    # Three of these five are still needed, so with a third failure the quorum is out of reach.
    assert job["maxFailedIndexes"] == 2
    assert "successPolicy" not in job, "the round waits for all"
    permanent, disruption = job["podFailurePolicy"]["rules"]
    assert (permanent["action"], permanent["onExitCodes"]["values"]) == ("FailIndex", [65])
    assert disruption["action"] == "Ignore"
    assert clients_of(manifest) == tuple(NAMES[1:])


def test_with_a_quorum_to_wait_for_the_job_ends_when_enough_have_succeeded(plan, record):
    planned = plan(federation__quorum=4, federation__wait_for="quorum")
    spec = train_spec(record(), planned, NAMES[2:], delivered=2, parallelism=16)
    job = indexed_job_manifest(spec, SETTINGS)["spec"]
    assert job["successPolicy"] == {"rules": [{"succeededCount": 2}]}
    assert job["parallelism"] == 4, "no more pods than clients"


def test_clients_of_a_secure_round_all_train_at_the_same_time(plan, record):
    secure = {
        "privacy__secure_aggregation": True,
        "communication__upload": "int8",
        "strategy__name": "fedavg",
    }
    planned = plan(**secure)
    assert train_spec(record(), planned, NAMES, delivered=0, parallelism=2).parallelism == len(NAMES)


def test_all_clients_train_in_one_job_that_is_deleted(plan, play, train, kubernetes, progress):
    play(plan())
    outcomes = train()
    assert list(outcomes) == NAMES
    assert set(outcomes_of(outcomes).values()) == {Outcome.OK}
    assert kubernetes.request_count("POST", "/jobs") == 1
    assert kubernetes.names("jobs") == []
    assert progress.messages == [], "what goes well is a count, not a line for each client"
    assert progress.steps[-1] == ("virtual clients", 6, "6 trained")


def test_a_killed_pod_is_tried_again(plan, play, train, kubernetes, deliver, progress):
    planned = plan()

    def killed(job, index, client):
        pod = kubernetes.start_pod(job, f"{client}-a", (), index)
        kubernetes.remove("pods", NAMESPACE, pod["metadata"]["name"])
        again = kubernetes.start_pod(job, f"{client}-b", (), index)
        deliver(planned, client)
        kubernetes.end_pod(again, 0)
        return True

    play(planned, client_2=killed, client_5=killed)
    outcomes = train()
    assert set(outcomes_of(outcomes).values()) == {Outcome.OK}
    assert outcomes["client-2"].reason == "ok after 1 retry: the pod was deleted"
    assert [line for line in progress.messages if "client-2" in line] == [
        "client-2: client-2-a failed, Kubernetes tries again: the pod was deleted"
    ]


def test_a_failure_is_told_with_the_clients_name_and_the_end_of_its_log(
    plan, play, train, kubernetes, progress
):
    lines = tuple(f"line {number}" for number in range(3))
    play(plan(), client_3=fail(kubernetes, 65, "error: its clips are too short", lines))
    outcomes = train()
    assert outcomes["client-3"].outcome is Outcome.FAILED
    assert outcomes["client-3"].reason == "exit code 65: error: its clips are too short"
    assert [line for line in progress.messages if line.startswith("client-3 | ")] == [
        f"client-3 | {line}" for line in lines
    ]
    assert progress.steps[-1] == ("virtual clients", 6, "5 trained, 1 failed")


def test_the_logs_of_a_wall_of_failures_are_not_shown(plan, play, train, kubernetes, progress):
    failing = {name.replace("-", "_"): fail(kubernetes, lines=("why",)) for name in NAMES}
    play(plan(), **failing)
    assert set(outcomes_of(train()).values()) == {Outcome.FAILED}
    assert sum("| why" in line for line in progress.messages) == 5


def test_a_second_step_trains_only_the_clients_that_have_not_delivered(
    plan, play, train, kubernetes, deliver
):
    planned = plan()
    play(planned, client_1=fail(kubernetes), client_4=fail(kubernetes))
    train()
    play(planned)
    jobs = []
    run = kubernetes.on_job
    kubernetes.on_job = lambda job: (jobs.append(clients_of(job)), run(job))
    assert set(outcomes_of(train()).values()) == {Outcome.OK}
    assert jobs == [("client-1", "client-4")]
    # Nobody is left, so there is no third Job.
    assert set(outcomes_of(train()).values()) == {Outcome.OK}
    assert len(jobs) == 1


def test_a_running_job_is_adopted_with_its_own_clients(plan, train, kubernetes, record, deliver):
    planned = plan()
    spec = train_spec(record(), planned, NAMES, delivered=0, parallelism=4)
    job = kubernetes.cluster().create_job(indexed_job_manifest(spec, SETTINGS))
    # An earlier step has seen it; then the first client delivered, and its pod is gone.
    deliver(planned, "client-1")
    kubernetes.end_index(job, 0)

    def finish():
        kubernetes.wait_for(lambda: watches(kubernetes) >= 2)
        for index, client in list(enumerate(NAMES))[1:]:
            deliver(planned, client)
            kubernetes.end_pod(kubernetes.start_pod(job, f"{client}-a", (), index), 0)
            kubernetes.end_index(job, index)
        kubernetes.end_job(job, "Complete")

    thread = threading.Thread(target=finish)
    thread.start()
    outcomes = train()
    thread.join()
    assert list(outcomes) == NAMES
    assert set(outcomes_of(outcomes).values()) == {Outcome.OK}
    assert kubernetes.request_count("POST", "/jobs") == 1


@pytest.mark.parametrize(
    ("ending", "outcome", "reason"),
    [
        (("Complete", "SuccessPolicy"), Outcome.CUT_OFF, "had delivered"),
        (("Failed", "DeadlineExceeded"), Outcome.TIMED_OUT, "were over"),
        (("Failed", "MaxFailedIndexesExceeded"), Outcome.CUT_OFF, "the quorum could not be reached"),
    ],
)
def test_clients_that_had_not_ended_with_the_job_get_its_reason(
    plan, play, train, kubernetes, ending, outcome, reason
):
    # The last client has no pod yet.
    play(plan(), ending, client_2=wait(kubernetes), client_6=lambda job, index, client: None)
    outcomes = train()
    for client in ("client-2", "client-6"):
        assert outcomes[client].outcome is outcome
        assert reason in outcomes[client].reason
    assert outcomes["client-1"].outcome is Outcome.OK


def test_pods_that_kubernetes_ends_with_the_job_are_no_failures(
    plan, play, train, kubernetes, deliver, progress
):
    def end_the_job(job, index, client):
        kubernetes.end_job(job, "SuccessCriteriaMet", "SuccessPolicy")
        for waiting in ("client-1", "client-2"):
            pod = kubernetes.objects["pods", NAMESPACE, f"{waiting}-a"]
            kubernetes.end_pod(pod, 143, message="told to stop")
        return

    waiting = wait(kubernetes)
    planned = plan(federation__wait_for="quorum")
    play(planned, ("Complete", "SuccessPolicy"), client_1=waiting, client_2=waiting, client_6=end_the_job)
    outcomes = outcomes_of(train())
    assert [outcomes[name] for name in ("client-1", "client-2", "client-6")] == [Outcome.CUT_OFF] * 3
    assert progress.messages == []


def test_a_job_that_somebody_deletes_ends_its_clients(plan, train, kubernetes, deliver):
    planned = plan()

    def play_and_delete(job):
        deliver(planned, "client-1")
        kubernetes.end_pod(kubernetes.start_pod(job, "client-1-a", (), 0), 0)
        kubernetes.wait_for(lambda: watches(kubernetes) >= 2)
        kubernetes.remove("jobs", NAMESPACE, job["metadata"]["name"])

    kubernetes.on_job = play_and_delete
    outcomes = train()
    assert outcomes["client-1"].outcome is Outcome.OK
    assert outcomes["client-2"].reason == "its Job was deleted by somebody else"


def test_a_job_that_kubernetes_refuses_fails_its_clients_with_the_reason(plan, train, kubernetes):
    plan()
    kubernetes.faults.append(
        lambda method, path, query: (403, "exceeded quota: jobs") if method == "POST" else None
    )
    outcomes = train()
    assert set(outcomes_of(outcomes).values()) == {Outcome.FAILED}
    assert "exceeded quota: jobs" in outcomes["client-1"].reason


def test_a_step_that_is_told_to_end_deletes_the_job(plan, train, kubernetes):
    plan()

    def start_and_terminate(job):
        kubernetes.start_pod(job, "client-1-a", (), 0)
        kubernetes.wait_for(lambda: watches(kubernetes) >= 2)
        os.kill(os.getpid(), signal.SIGTERM)

    kubernetes.on_job = start_and_terminate
    with pytest.raises(SystemExit) as ended, exit_on_sigterm():
        train()
    assert ended.value.code == 143
    assert kubernetes.names("jobs") == []


def test_the_short_form_of_indexes_is_read():
    metadata = {"name": "a", "namespace": "b", "uid": "c", "creationTimestamp": "2026-01-01T00:00:00Z"}
    state = read_job({"metadata": metadata, "status": {"completedIndexes": "0-2,5", "failedIndexes": "7"}})
    assert (state.completed_indexes, state.failed_indexes) == ({0, 1, 2, 5}, {7})
