"""Which Jobs KFP's runner may create in a client's namespace, tested on the real API."""

import copy
import json

import pytest

from fedvsr.cluster.job_spec import JobSpec, job_manifest
from fedvsr.cluster.settings import parse_clients
from tests.cluster.deployment import command

# The timeout of the first test includes the deployment.
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

SPEC = {
    "component": "train",
    "client": "ann",
    "run": "admission",
    "round_number": 1,
    "key": "x",
    "arguments": ("train", "--run", "admission", "--round", "1", "--client", "ann"),
    "gpus": 1,
    "retries": 2,
    "deadline_seconds": 60,
}
OTHER_CONTAINER = {"name": "more", "image": "docker.io/library/busybox", "command": ["env"]}
KEY = {"name": "AWS_SECRET_ACCESS_KEY", "valueFrom": {"secretKeyRef": {"name": "fedvsr-client", "key": "x"}}}
# Changes that would expose a client's keys: path in the pod's spec, value, word of the policy's message.
EXPOSING_CHANGES = {
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


def create_as_kfps_runner(deployment, job):
    """Returns the API's answer to KFP's runner about a Job; nothing is created."""
    runner = f"system:serviceaccount:{deployment.kfp_namespace}:pipeline-runner"
    words = ("create", "--as", runner, "--dry-run=server", "-f", "-")
    return command("kubectl", *words, stdin=json.dumps(job), check=False)


@pytest.fixture
def job(deployment):
    """Returns a client's Job as a step of the pipeline creates it."""
    if not deployment.kfp:
        pytest.skip("there is no KFP, and the policy is for its runner")
    clients = parse_clients(deployment.settings()["FEDVSR_CLIENTS"])
    return job_manifest(JobSpec(**SPEC), clients["ann"])


def test_fedvsrs_jobs_are_admitted(deployment, job):
    done = create_as_kfps_runner(deployment, job)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("path", "value", "word"), EXPOSING_CHANGES.values(), ids=EXPOSING_CHANGES)
def test_a_job_that_could_expose_a_clients_keys_is_refused(deployment, job, path, value, word):
    changed = copy.deepcopy(job)
    part = changed["spec"]["template"]["spec"]
    *parents, last = (int(key) if key.isdigit() else key for key in path.split("."))
    for parent in parents:
        part = part[parent]
    if last == 1:
        part.append(value)
    else:
        part[last] = value
    done = create_as_kfps_runner(deployment, changed)
    assert done.returncode != 0
    assert f"ValidatingAdmissionPolicy '{deployment.namespace}-client-jobs'" in done.stderr
    assert word in done.stderr
