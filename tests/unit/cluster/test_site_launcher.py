"""A site's work as Jobs of its own cluster: exit codes, adoption, stopping, and what is told of a wait."""

import pytest
import yaml

from fedvsr.cluster.job_spec import job_manifest
from fedvsr.cluster.site_launcher import JobLauncher, work_job
from fedvsr.cluster.site_settings import load_site_job
from fedvsr.errors import ConfigError
from fedvsr.federation.site_records import AssignmentRecord
from fedvsr.store.base import bytes_digest

NAMESPACE = "hospital"
POD = {
    "serviceAccountName": "work",
    "containers": [
        {
            "name": "work",
            "image": "registry/trainer@sha256:1",
            "command": ["fedvsr", "site", "work"],
            "resources": {"limits": {"memory": "8Gi"}},
        }
    ],
}
FILE = {
    "namespace": NAMESPACE,
    "gpuResource": "example.org/gpu",
    "maxGpus": 2,
    "labels": {"app.kubernetes.io/instance": "site"},
    "pod": POD,
}


def make_assignment(**changes):
    values = {
        "run": "demo",
        "round": 3,
        "site": "north",
        "attempt": "first",
        "identity": bytes_digest(b"run"),
        "base_digest": bytes_digest(b"weights"),
        "clients": 2,
        "deadline_seconds": 900,
        "gpus": 1,
        "fedvsr_version": "1.0",
    }
    return AssignmentRecord(**{**values, **changes})


@pytest.fixture
def write(tmp_path):
    """Writes the settings of a site's Jobs as the chart does; returns the path."""

    def settings(values):
        path = tmp_path / "job.yaml"
        path.write_text(yaml.safe_dump(values))
        return path

    return settings


@pytest.fixture
def settings(write):
    return load_site_job(write(FILE))


@pytest.fixture
def make_launcher(kubernetes, settings, progress):
    """Returns new launchers of one site; all are stopped in the end."""
    launchers = []

    def make():
        launchers.append(JobLauncher(kubernetes.cluster(), settings, "north", progress))
        return launchers[-1]

    yield make
    for launcher in launchers:
        launcher.stop()


@pytest.fixture
def wait_for_end():
    """Waits until a launcher's Job has ended; returns the exit code."""

    def wait(launcher):
        launcher._work.thread.join(20)
        return launcher.poll()

    return wait


def ends(kubernetes, code, **how):
    """Returns a script in which a Job's pod ends with an exit code."""

    def play(job):
        pod = kubernetes.start_pod(job, job["metadata"]["name"] + "-0", ("step 1", "step 2"))
        kubernetes.end_pod(pod, code, **how)
        kubernetes.end_job(job, "Failed" if code else "Complete")

    return play


def test_a_jobs_pod_is_the_charts_with_labels_gpus_and_deadline(settings):
    manifest = job_manifest(work_job(make_assignment()), settings)
    assert manifest["metadata"]["namespace"] == NAMESPACE
    labels = {
        "app.kubernetes.io/instance": "site",
        "app.kubernetes.io/name": "fedvsr",
        "app.kubernetes.io/component": "work",
        "fedvsr/client": "north",
        "fedvsr/run": "demo",
        "fedvsr/round": "3",
    }
    assert manifest["metadata"]["labels"] == labels
    job = manifest["spec"]
    assert (job["backoffLimit"], job["activeDeadlineSeconds"]) == (0, 900)
    assert job["podFailurePolicy"]["rules"][0]["onExitCodes"] == {
        "containerName": "work",
        "operator": "In",
        "values": [65],
    }
    resources = {
        "limits": {"memory": "8Gi", "example.org/gpu": "1"},
        "requests": {"example.org/gpu": "1"},
    }
    assert job["template"] == {
        "metadata": {"labels": labels},
        "spec": {**POD, "containers": [{**POD["containers"][0], "resources": resources}]},
    }


@pytest.mark.parametrize(
    ("round_number", "asked", "requested"), [(1, 0, None), (1, 2, "2"), (1, 8, "2"), (0, 8, None)]
)
def test_the_site_limits_the_gpus_that_the_federation_asks_for(settings, round_number, asked, requested):
    spec = work_job(make_assignment(round=round_number, gpus=asked))
    (container,) = job_manifest(spec, settings)["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"].get("example.org/gpu") == requested


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pod": {"containers": []}}, "exactly one container"),
        ({"pod": {"containers": [{"name": "work"}]}}, "a name and an image"),
        ({"maxGpu": 1}, "maxGpu"),
    ],
)
def test_invalid_settings_of_jobs_are_refused(write, changes, message):
    with pytest.raises(ConfigError, match=message):
        load_site_job(write({**FILE, **changes}))


def test_missing_settings_of_jobs_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="FEDVSR_SITE_JOB"):
        load_site_job(tmp_path / "missing.yaml")


def test_a_launcher_that_started_nothing_runs_nothing(make_launcher):
    launcher = make_launcher()
    assert (launcher.poll(), launcher.describe_wait()) == (0, None)
    assert launcher.gpus == ("example.org/gpu", "example.org/gpu")


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        (0, "Completed", 0),
        (1, "Error", 1),
        (65, "Error", 65),
        (137, "OOMKilled", 137),
        # A pod that was deleted: memory is not what it lacked.
        (137, "Error", 1),
    ],
)
def test_the_exit_code_of_the_worker_is_that_of_its_pod(
    kubernetes, make_launcher, wait_for_end, progress, code, reason, expected
):
    kubernetes.on_job = ends(kubernetes, code, reason=reason)
    launcher = make_launcher()
    launcher.start(make_assignment())
    assert wait_for_end(launcher) == expected
    assert [line for line in progress.messages if "step" in line] == ["north | step 1", "north | step 2"]
    assert kubernetes.names("jobs") == []


def test_a_job_without_an_exit_code_may_be_tried_again(kubernetes, make_launcher, wait_for_end, progress):
    def play(job):
        kubernetes.end_job(job, "Failed", "DeadlineExceeded", "it was active too long")

    kubernetes.on_job = play
    launcher = make_launcher()
    launcher.start(make_assignment())
    assert wait_for_end(launcher) == 1
    assert any("its 900 s were over" in line for line in progress.messages)


@pytest.mark.parametrize("status", [403, 503])
def test_a_cluster_that_refuses_or_does_not_answer_does_not_end_the_agent(
    kubernetes, make_launcher, wait_for_end, progress, status
):
    def fault(method, path, query):
        return (status, "exceeded quota") if method == "POST" else None

    kubernetes.faults.append(fault)
    launcher = make_launcher()
    launcher.start(make_assignment())
    assert wait_for_end(launcher) == 1
    assert any("exceeded quota" in line for line in progress.messages)


def test_work_that_failed_is_tried_again_in_a_new_job(kubernetes, make_launcher, wait_for_end):
    launcher = make_launcher()
    kubernetes.on_job = ends(kubernetes, 1)
    launcher.start(make_assignment())
    assert wait_for_end(launcher) == 1
    kubernetes.on_job = ends(kubernetes, 0)
    launcher.start(make_assignment())
    assert wait_for_end(launcher) == 0
    assert kubernetes.request_count("POST", f"{NAMESPACE}/jobs") == 2


def test_an_agent_that_was_killed_adopts_its_job(kubernetes, make_launcher, wait_for_end, settings):
    lost = kubernetes.cluster().create_job(job_manifest(work_job(make_assignment()), settings))
    launcher = make_launcher()
    launcher.start(make_assignment())
    pod = kubernetes.start_pod(lost, "pod-0", ("step 7",))
    kubernetes.wait_for(lambda: kubernetes.request_count("GET", "pods/pod-0/log") > 0)
    assert launcher.poll() is None
    kubernetes.end_pod(pod, 0)
    kubernetes.end_job(lost, "Complete")
    assert wait_for_end(launcher) == 0
    assert kubernetes.request_count("POST", f"{NAMESPACE}/jobs") == 1


def test_jobs_of_other_assignments_are_deleted_before_the_work_begins(
    kubernetes, make_launcher, wait_for_end, settings
):
    lost = kubernetes.cluster().create_job(
        job_manifest(work_job(make_assignment(attempt="earlier")), settings)
    )
    kubernetes.start_pod(lost, "lost-0")
    foreign = kubernetes.cluster().create_job(job_manifest(work_job(make_assignment(site="south")), settings))
    kubernetes.start_pod(foreign, "foreign-0")

    def play(job):
        assert kubernetes.names("pods") == ["foreign-0"]
        ends(kubernetes, 0)(job)

    kubernetes.on_job = play
    launcher = make_launcher()
    launcher.start(make_assignment())
    assert wait_for_end(launcher) == 0
    assert kubernetes.names("jobs") == [foreign["metadata"]["name"]]


def test_stopping_deletes_the_job_and_its_pods(kubernetes, make_launcher):
    kubernetes.on_job = lambda job: kubernetes.start_pod(job, "pod-0", ("step 1",))
    launcher = make_launcher()
    launcher.start(make_assignment())
    kubernetes.wait_for(lambda: kubernetes.names("pods") == ["pod-0"])
    assert launcher.poll() is None
    launcher.stop()
    assert kubernetes.objects == {}
    assert launcher.poll() == 0


def test_stopping_deletes_what_an_earlier_agent_left(kubernetes, make_launcher, settings):
    kubernetes.cluster().create_job(job_manifest(work_job(make_assignment()), settings))
    make_launcher().stop()
    assert kubernetes.objects == {}


def test_a_cluster_that_does_not_answer_when_the_work_is_stopped_is_logged(
    kubernetes, make_launcher, progress
):
    launcher = make_launcher()
    kubernetes.faults.append(lambda method, path, query: 503)
    launcher.stop()
    kubernetes.faults.clear()
    assert any("is not stopped yet" in line for line in progress.messages)


PENDING = {
    "phase": "Pending",
    "conditions": [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/3 nodes are available: 3 Insufficient example.org/gpu. preemption: no help",
        }
    ],
}
NO_IMAGE = {
    "phase": "Pending",
    "containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}],
}


@pytest.mark.parametrize(
    ("status", "told", "logged"),
    [
        (PENDING, "no node of its cluster has room for it", "3 Insufficient example.org/gpu"),
        (NO_IMAGE, "its container cannot start; the site's log has the reason", "registry/trainer@sha256:1"),
    ],
)
def test_the_federation_is_told_that_a_pod_waits_and_the_log_says_why(
    kubernetes, make_launcher, progress, status, told, logged
):
    kubernetes.on_job = lambda job: kubernetes.start_pod(job, "pod-0", **status)
    launcher = make_launcher()
    launcher.start(make_assignment())
    kubernetes.wait_for(lambda: any(logged in line for line in progress.messages))
    assert launcher.describe_wait() == told
    assert launcher.poll() is None
