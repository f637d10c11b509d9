"""Access rights, tested on the real servers."""

import io
import json

import pytest
from minio.error import S3Error

from tests.cluster.deployment import kubectl

# The timeout of the first test includes the deployment.
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

RUN, OTHER_RUN = "access", "another"
UPDATES = "runs/{run}/rounds/0001/updates/{client}/update.safetensors"


@pytest.fixture(scope="module")
def objects(deployment):
    """Writes two runs of two clients to the federation's bucket, and a video to each client's bucket."""
    federation = deployment.bucket()
    for run in (RUN, OTHER_RUN):
        keys = [
            f"runs/{run}/config.json",
            f"runs/{run}/rounds/0001/plan.json",
            f"runs/{run}/rounds/0000/global.safetensors",
            f"runs/{run}/rounds/0001/round.json",
            f"runs/{run}/evaluation/0001/evaluation.json",
        ]
        for client in ("ann", "bob"):
            update = UPDATES.format(run=run, client=client)
            keys += [
                update,
                update.replace("update.s", "strategy.s"),
                update.replace("update.safetensors", "report.json"),
            ]
        for key in keys:
            put(federation, deployment.namespace, key)
    for client in ("ann", "bob"):
        put(deployment.bucket(client), deployment.client_bucket(client), "raw/access.txt")


def put(connection, bucket, key):
    connection.put_object(bucket_name=bucket, object_name=key, data=io.BytesIO(b"x"), length=1)


def get(connection, bucket, key):
    answer = connection.get_object(bucket_name=bucket, object_name=key)
    answer.close()
    answer.release_conn()


def delete(connection, bucket, key):
    connection.remove_object(bucket_name=bucket, object_name=key)


def listing(connection, bucket, key):
    list(connection.list_objects(bucket_name=bucket, prefix=key, recursive=True))


def allowed(action, *arguments):
    try:
        action(*arguments)
    except S3Error as error:
        if error.code != "AccessDenied":
            raise
        return False
    return True


OWN = UPDATES.format(run=RUN, client="ann")
BOBS = UPDATES.format(run=RUN, client="bob")


@pytest.mark.parametrize(
    ("action", "key"),
    [
        (get, f"runs/{RUN}/config.json"),
        (get, f"runs/{RUN}/rounds/0001/plan.json"),
        (get, f"runs/{RUN}/rounds/0000/global.safetensors"),
        (put, OWN),
        (get, OWN),
        (put, OWN.replace("update.safetensors", "report.json")),
    ],
)
def test_a_client_reads_its_rounds_inputs_and_writes_its_own_update(deployment, objects, action, key):
    assert allowed(action, deployment.bucket("ann"), deployment.namespace, key)


@pytest.mark.parametrize(
    ("action", "key"),
    [
        (get, BOBS),
        (put, BOBS),
        (get, BOBS.replace("update.s", "strategy.s")),
        (get, BOBS.replace("update.safetensors", "report.json")),
        (put, BOBS.replace("update.safetensors", "report.json")),
        (get, UPDATES.format(run=OTHER_RUN, client="bob")),
        (put, UPDATES.format(run=OTHER_RUN, client="bob")),
        (listing, f"runs/{RUN}/rounds/0001/updates/bob/"),
        (listing, ""),
        (put, f"runs/{RUN}/config.json"),
        (put, f"runs/{RUN}/rounds/0001/plan.json"),
        (put, f"runs/{RUN}/rounds/0000/global.safetensors"),
        (get, f"runs/{RUN}/rounds/0001/round.json"),
        (put, f"runs/{RUN}/rounds/0001/round.json"),
        (get, f"runs/{RUN}/evaluation/0001/evaluation.json"),
        (put, "evaluation-videos/x.mp4"),
        (delete, OWN),
        (delete, BOBS),
        (delete, f"runs/{RUN}/rounds/0000/global.safetensors"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_client_is_denied_everything_else_in_the_federations_bucket(deployment, objects, action, key):
    assert not allowed(action, deployment.bucket("ann"), deployment.namespace, key)


@pytest.mark.parametrize("action", [get, put, delete, listing])
def test_a_clients_bucket_is_its_own(deployment, objects, action):
    key = "" if action is listing else "raw/access.txt"
    own, bobs = deployment.client_bucket("ann"), deployment.client_bucket("bob")
    assert allowed(action, deployment.bucket("ann"), own, key) == (action is not delete)
    assert not allowed(action, deployment.bucket("ann"), bobs, key)
    # The credentials of KFP's steps also give no access to a client's bucket.
    assert not allowed(action, deployment.bucket(), bobs, key)
    assert not allowed(action, deployment.bucket("ann"), "mlflow", key)


PROBE = """
import socket, sys
for name, port in [address.split(":") for address in sys.argv[1:]]:
    try:
        socket.create_connection((name, int(port)), timeout=3).close()
        print(name, "reached")
    except OSError as error:
        print(name, "refused", type(error).__name__)
"""


def probe(namespace, *addresses, labels=None):
    """Returns which addresses a pod in a namespace, with some labels, reaches."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "probe", "labels": labels or {}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "probe",
                    "image": "docker.io/library/python:3.11-slim-bookworm",
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python", "-c", PROBE, *addresses],
                    "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "64Mi"}},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }
    kubectl("-n", namespace, "delete", "pod", "probe", "--ignore-not-found")
    kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(pod))
    try:
        kubectl(
            "-n", namespace, "wait", "pod/probe", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s"
        )
        lines = kubectl("-n", namespace, "logs", "probe").splitlines()
    finally:
        kubectl("-n", namespace, "delete", "pod", "probe", "--wait=false")
    return {line.split()[0]: line.split()[1] for line in lines}


@pytest.mark.timeout(180)
def test_a_clients_pod_reaches_only_the_object_store(deployment):
    s3 = f"s3.{deployment.namespace}.svc.cluster.local"
    others = [
        f"mlflow.{deployment.namespace}.svc.cluster.local:5000",
        "kubernetes.default.svc.cluster.local:443",
    ]
    if deployment.kfp:
        others.append(f"ml-pipeline.{deployment.kfp_namespace}.svc.cluster.local:8888")
    results = probe(deployment.client_namespace("ann"), f"{s3}:9000", *others)
    assert results == {s3: "reached", **{name.partition(":")[0]: "refused" for name in others}}


def test_kfps_runner_only_manages_jobs_in_the_clients_namespaces(deployment):
    runner = f"system:serviceaccount:{deployment.kfp_namespace}:pipeline-runner"

    def may(verb, resource, namespace):
        answer = kubectl("auth", "can-i", verb, resource, "-n", namespace, "--as", runner, check=False)
        return answer.strip() == "yes"

    anns = deployment.client_namespace("ann")
    rights = {"create": "jobs.batch", "delete": "jobs.batch", "get": "pods/log", "watch": "pods"}
    assert {verb: may(verb, resource, anns) for verb, resource in rights.items()} == dict.fromkeys(
        rights, bool(deployment.kfp)
    )
    for verb, resource in (
        ("get", "secrets"),
        ("create", "pods"),
        ("create", "pods/exec"),
        ("delete", "pods"),
        ("patch", "configmaps"),
        ("patch", "jobs.batch"),
    ):
        assert not may(verb, resource, anns), (verb, resource)
    for verb, resource in (("get", "secrets"), ("create", "jobs.batch"), ("get", "pods")):
        assert not may(verb, resource, deployment.namespace), (verb, resource)
