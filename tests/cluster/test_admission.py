"""Which Jobs KFP's runner may make in a client's namespace, asked of the real API."""

import copy
import json

import pytest

from fedvsr.cluster.job import JobSpec, job_manifest
from fedvsr.cluster.settings import parse_clients
from tests.cluster.deployment import command

# The first test waits for the deployment too.
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

OF_ANY_KIND = {
    "component": "train",
    "client": "ann",
    "run": "admission",
    "round": 1,
    "key": "x",
    "command": ("train", "--run", "admission", "--round", "1", "--client", "ann"),
    "gpus": 1,
    "retries": 2,
    "deadline_seconds": 60,
}
OTHER_CONTAINER = {"name": "more", "image": "docker.io/library/busybox", "command": ["env"]}
KEY = {"name": "AWS_SECRET_ACCESS_KEY", "valueFrom": {"secretKeyRef": {"name": "fedvsr-client", "key": "x"}}}
# What would give a client's keys away: path below the pod's specification, value, the policy's word.
NOT_FEDVSRS = {
    "another-command": ("containers.0.command", ["env"], "runs `fedvsr client`"),
    "arguments": ("containers.0.args", ["more"], "runs `fedvsr client`"),
    "a-hook": ("containers.0.lifecycle", {"postStart": {"exec": {"command": ["env"]}}}, "hooks"),
    "a-probe": ("containers.0.livenessProbe", {"exec": {"command": ["env"]}}, "probes"),
    "another-folder": ("containers.0.workingDir", "/tmp", "working directory"),
    "another-image": ("containers.0.image", "docker.io/library/busybox", "the client's image"),
    "a-second-container": ("containers.1", OTHER_CONTAINER, "one container"),
    "an-init-container": ("initContainers", [OTHER_CONTAINER], "one container"),
    "other-code": ("containers.0.env", [{"name": "PYTHONPATH", "value": "/tmp"}], "its variables"),
    "another-store": (
        "containers.0.env",
        [{"name": "FEDVSR_S3_ENDPOINT", "value": "http://x"}],
        "its variables",
    ),
    "a-key": ("containers.0.env", [KEY], "its variables"),
    "another-secret": ("containers.0.envFrom", [{"secretRef": {"name": "other"}}], "its variables"),
    "another-prefix": (
        "containers.0.envFrom",
        [{"prefix": "PYTHON", "configMapRef": {"name": "fedvsr-client"}}],
        "its variables",
    ),
    "another-account": ("serviceAccountName", "default", "service account"),
    "a-token": ("automountServiceAccountToken", True, "service account"),
    "a-volume": ("volumes.1", {"name": "keys", "secret": {"secretName": "fedvsr-client"}}, "one volume"),
    "another-mount": ("containers.0.volumeMounts.0.mountPath", "/opt", "one volume"),
    "the-hosts-network": ("hostNetwork", True, "host's network"),
    "another-address": ("hostAliases", [{"ip": "203.0.113.1", "hostnames": ["s3"]}], "names or DNS"),
}


def made_by_kfps_runner(deployment, job):
    """What the API answers to KFP's runner about a Job, which is not made."""
    runner = f"system:serviceaccount:{deployment.kfp_namespace}:pipeline-runner"
    words = ("create", "--as", runner, "--dry-run=server", "-f", "-")
    return command("kubectl", *words, stdin=json.dumps(job), check=False)


@pytest.fixture
def job(deployment):
    """A client's Job as a step of the pipeline makes it."""
    if not deployment.kfp:
        pytest.skip("there is no KFP, whose runner the policy is for")
    clients = parse_clients(deployment.settings()["FEDVSR_CLIENTS"])
    return job_manifest(JobSpec(**OF_ANY_KIND), clients["ann"])


def test_the_jobs_that_fedvsr_makes_are_admitted(deployment, job):
    done = made_by_kfps_runner(deployment, job)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("path", "value", "word"), NOT_FEDVSRS.values(), ids=NOT_FEDVSRS)
def test_a_job_that_could_give_a_clients_keys_away_is_refused(deployment, job, path, value, word):
    changed = copy.deepcopy(job)
    part = changed["spec"]["template"]["spec"]
    *parents, last = (int(each) if each.isdigit() else each for each in path.split("."))
    for parent in parents:
        part = part[parent]
    if last == 1:
        part.append(value)
    else:
        part[last] = value
    done = made_by_kfps_runner(deployment, changed)
    assert done.returncode != 0
    assert f"ValidatingAdmissionPolicy '{deployment.release}-client-jobs'" in done.stderr
    assert word in done.stderr
