"""Checks, before a run, that a client's namespace has what its Jobs need."""

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from kubernetes.utils import parse_quantity

from fedvsr.access.client_check import ClientCheckReport, Finding
from fedvsr.cluster.api import Cluster
from fedvsr.cluster.client_job import ClientJob, start_jobs
from fedvsr.cluster.job_follower import JobFollower
from fedvsr.cluster.job_spec import CONFIG_MAP, SECRET, SERVICE_ACCOUNT, JobSpec, job_manifest
from fedvsr.cluster.settings import ClientSettings
from fedvsr.cluster.verdict import Verdict, read_result
from fedvsr.errors import ClusterError, RecordError
from fedvsr.progress import Progress

_DEPLOY = "run `make deploy` with the values file that has this client"
_QUOTA = "raise the client's quota in the values file, or wait until its Jobs have ended"
_JOB_DEADLINE_SECONDS = 600
_MAX_PROBLEM = 300
# Kind, name, and the keys that a client's container needs.
_REQUIRED_OBJECTS = (
    ("configmaps", CONFIG_MAP, ("FEDVSR_FEDERATION_STORE", "FEDVSR_CLIENT_STORE")),
    ("secrets", SECRET, ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")),
)
_FORBIDDEN = 403


class _Problem(NamedTuple):
    text: str
    advice: str


def check_namespace(cluster: Cluster, client: str, settings: ClientSettings, gpus: int) -> Iterator[Finding]:
    """Checks a client's namespace from outside: it must be complete, and a Job must be admitted.

    Args:
        cluster: The cluster.
        client: The client's name.
        settings: The client's settings on the cluster.
        gpus: Number of GPUs that its training will request.
    """
    namespace = settings.namespace
    if not cluster.find(f"/api/v1/namespaces/{namespace}", f"read namespace {namespace}"):
        yield Finding(what=f"namespace {namespace}", problem="it does not exist", advice=_DEPLOY)
        return
    yield Finding(what=f"namespace {namespace}")
    for kind, name, keys in (("serviceaccounts", SERVICE_ACCOUNT, ()), *_REQUIRED_OBJECTS):
        yield _check(f"{kind[:-1]} {name}", partial(_check_keys, cluster, namespace, kind, name, keys))
    manifest = job_manifest(_check_job(client, (), gpus), settings)
    yield _check("room in the quota for a Job", lambda: _check_quota(cluster, manifest))
    yield _check("its Job and pod are admitted", lambda: _check_admission(cluster, manifest))
    if gpus:
        yield _check(
            f"a node with {gpus} {settings.gpu_resource}",
            lambda: _check_gpu_nodes(cluster, settings.gpu_resource, gpus),
        )


def quota_line(cluster: Cluster, namespace: str) -> str:
    """Returns how much of a namespace's quota is used, as one line."""
    try:
        quotas = cluster.list_objects(namespace, "resourcequotas").items
    except ClusterError as error:
        return "–" if error.status == _FORBIDDEN else str(error)
    lines = []
    for quota in quotas:
        status = quota.get("status") or {}
        used, hard = status.get("used") or {}, status.get("hard") or {}
        for name, limit in hard.items():
            if limit != "0":
                short = name.removeprefix("requests.").removeprefix("count/").removesuffix(".batch")
                lines.append(f"{short} {used.get(name, 0)}/{limit}")
    return ", ".join(lines) or "none"


def check_in_jobs(
    cluster: Cluster,
    clients: Mapping[str, ClientSettings],
    must_not_reach: tuple[str, ...],
    progress: Progress,
) -> dict[str, tuple[Finding, ...]]:
    """Runs `fedvsr client check` in a short Job of each client, all at once; returns findings by client.

    Args:
        cluster: The cluster.
        clients: The clients' settings, by name.
        must_not_reach: Addresses, as HOST:PORT, that a client's pods must not reach.
        progress: Receives each client's log lines.
    """
    jobs = [
        ClientJob(_check_job(client, must_not_reach, 0), settings) for client, settings in clients.items()
    ]
    findings: dict[str, tuple[Finding, ...]] = {}

    def on_verdict(job: ClientJob, verdict: Verdict) -> None:
        findings[job.client] = _reported_findings(job, verdict)

    start_jobs(cluster, jobs)
    JobFollower(cluster, jobs, progress, on_verdict).follow()
    return findings


def forbidden_addresses(settings: Mapping[str, str]) -> tuple[str, ...]:
    """Returns the addresses, as HOST:PORT, that a deployment's clients must not reach."""
    mlflow = urlsplit(settings.get("MLFLOW_TRACKING_URI", ""))
    addresses = ["kubernetes.default.svc.cluster.local:443"]
    if mlflow.hostname:
        addresses.append(f"{mlflow.hostname}:{mlflow.port or (443 if mlflow.scheme == 'https' else 80)}")
    return tuple(addresses)


def _check_job(client: str, must_not_reach: tuple[str, ...], gpus: int) -> JobSpec:
    options = (word for address in must_not_reach for word in ("--must-not-reach", address))
    return JobSpec(
        component="check",
        client=client,
        run="",
        round_number=None,
        key="",
        arguments=("check", "--client", client, *options),
        gpus=gpus,
        retries=0,
        deadline_seconds=_JOB_DEADLINE_SECONDS,
    )


def _reported_findings(job: ClientJob, verdict: Verdict) -> tuple[Finding, ...]:
    try:
        return ClientCheckReport.from_bytes(read_result(job, verdict), "its termination message").findings
    except RecordError as error:
        problem = str(error)[:_MAX_PROBLEM]
        return (Finding(what="its Job", problem=problem, advice="fix this and check again"),)


def _check(what: str, find_problem: Callable[[], _Problem | None]) -> Finding:
    """Checks one thing. If the user lacks the permission to read it, the client has no problem."""
    try:
        problem = find_problem()
    except ClusterError as error:
        if error.status == _FORBIDDEN and " cannot " in str(error):
            return Finding(what=f"{what} (not checked: you lack the permission)")
        return Finding(what=what, problem=str(error)[:_MAX_PROBLEM], advice=_DEPLOY)
    return Finding(what=what, problem=problem.text, advice=problem.advice) if problem else Finding(what=what)


def _check_keys(
    cluster: Cluster, namespace: str, kind: str, name: str, keys: tuple[str, ...]
) -> _Problem | None:
    path = f"/api/v1/namespaces/{namespace}/{kind}/{name}"
    manifest = cluster.find(path, f"read {name} of the {kind} in namespace {namespace}")
    if not manifest:
        return _Problem("it does not exist", _DEPLOY)
    missing = [key for key in keys if not (manifest.get("data") or {}).get(key)]
    return _Problem(f"it lacks {', '.join(missing)}", _DEPLOY) if missing else None


def _check_quota(cluster: Cluster, manifest: Mapping[str, Any]) -> _Problem | None:
    needed = _needed_quota(manifest)
    for quota in cluster.list_objects(manifest["metadata"]["namespace"], "resourcequotas").items:
        status = quota.get("status") or {}
        for name, limit in (status.get("hard") or {}).items():
            left = parse_quantity(limit) - parse_quantity((status.get("used") or {}).get(name, "0"))
            amount = needed.get(name if "." in name or "/" in name or name == "pods" else f"requests.{name}")
            if amount is not None and left < amount:
                return _Problem(
                    f"of {name} {limit} are allowed and {left} left, a Job needs {amount}", _QUOTA
                )
    return None


def _needed_quota(manifest: Mapping[str, Any]) -> dict[str, Decimal]:
    """Returns how much a Job and its pod need of each resource in Kubernetes' quotas."""
    container = manifest["spec"]["template"]["spec"]["containers"][0]
    needed: dict[str, Decimal] = {"pods": Decimal(1), "count/jobs.batch": Decimal(1)}
    for side in ("requests", "limits"):
        for name, value in container["resources"][side].items():
            needed[f"{side}.{name}"] = parse_quantity(value)
    return needed


def _check_admission(cluster: Cluster, manifest: Mapping[str, Any]) -> None:
    cluster.check_job(manifest)
    template = manifest["spec"]["template"]
    cluster.check_pod(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {**manifest["metadata"], "labels": template["metadata"]["labels"]},
            "spec": template["spec"],
        }
    )


def _check_gpu_nodes(cluster: Cluster, resource: str, gpus: int) -> _Problem | None:
    nodes = cluster.find("/api/v1/nodes", "list the nodes") or {}
    maximum = Decimal(0)
    for node in nodes.get("items") or ():
        allocatable = (node.get("status") or {}).get("allocatable") or {}
        maximum = max(maximum, parse_quantity(allocatable.get(resource, "0")))
    if maximum >= gpus:
        return None
    return _Problem(
        f"no node offers more than {maximum}",
        "install the GPU's device plugin, or set the client's gpuResource to what the nodes offer",
    )
