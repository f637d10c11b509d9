"""Looks whether a client's place on the cluster is as its Jobs need it, before a run does."""

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from kubernetes.utils import parse_quantity

from fedvsr.access.client_check import Finding, SiteReport
from fedvsr.cluster.api import Cluster
from fedvsr.cluster.course import Course
from fedvsr.cluster.following import Following
from fedvsr.cluster.job import CONFIG_MAP, SECRET, SERVICE_ACCOUNT, JobSpec, job_manifest
from fedvsr.cluster.outcome import Judgement
from fedvsr.cluster.settings import ClientSettings
from fedvsr.cluster.starting import start_jobs
from fedvsr.errors import ClusterError, RecordError
from fedvsr.federation.records import Outcome
from fedvsr.progress import Progress

_DEPLOY = "run `make deploy` with the values file that has this client"
_QUOTA = "raise the client's quota in the values file, or wait until its Jobs have ended"
_JOB_SECONDS = 600
# Kind, name, and the keys that a client's container reads.
_NEEDED = (
    ("configmaps", CONFIG_MAP, ("FEDVSR_FEDERATION_STORE", "FEDVSR_CLIENT_STORE")),
    ("secrets", SECRET, ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")),
)
_FORBIDDEN = 403


def check_place(cluster: Cluster, client: str, settings: ClientSettings, gpus: int) -> Iterator[Finding]:
    """Looks at a client's namespace from outside: what is there, and whether its pod would be taken.

    Args:
        cluster: The cluster.
        client: The client's name.
        settings: Its place.
        gpus: How many GPUs its training will ask for.
    """
    namespace = settings.namespace
    if not cluster.find(f"/api/v1/namespaces/{namespace}", f"read namespace {namespace}"):
        yield Finding(what=f"namespace {namespace}", problem="it does not exist", advice=_DEPLOY)
        return
    yield Finding(what=f"namespace {namespace}")
    for kind, name, keys in (("serviceaccounts", SERVICE_ACCOUNT, ()), *_NEEDED):
        look = partial(_has_keys, cluster, namespace, kind, name, keys)
        yield _looked(f"{kind[:-1]} {name}", look)
    spec = _check_spec(client, (), gpus)
    manifest = job_manifest(spec, settings)
    yield _looked("room in the quota for a Job", lambda: _room(cluster, manifest))
    yield _looked("its Job and pod are admitted", lambda: _admitted(cluster, manifest))
    if gpus:
        yield _looked(
            f"a node with {gpus} {settings.gpu_resource}",
            lambda: _gpu_node(cluster, settings.gpu_resource, gpus),
        )


def quota_line(cluster: Cluster, namespace: str) -> str:
    """Says how much of a namespace's quota is used."""
    try:
        quotas = cluster.list("resourcequotas", namespace).items
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


def check_in_job(
    cluster: Cluster,
    clients: Mapping[str, ClientSettings],
    must_not_reach: tuple[str, ...],
    progress: Progress,
) -> dict[str, tuple[Finding, ...]]:
    """Has each client look at its own site in a short Job, all at once.

    Args:
        cluster: The cluster.
        clients: The clients.
        must_not_reach: HOST:PORT of what a client's pods may not talk to.
        progress: Shows each client's log.
    """
    courses = [
        Course(_check_spec(client, must_not_reach, 0), settings) for client, settings in clients.items()
    ]
    found: dict[str, tuple[Finding, ...]] = {}

    def ended(course: Course, judgement: Judgement) -> None:
        try:
            found[course.client] = _site_report(course, judgement).findings
        except RecordError as error:
            advice = "mend that and check again"
            found[course.client] = (Finding(what="its Job", problem=str(error)[:300], advice=advice),)

    start_jobs(cluster, courses)
    Following(cluster, courses, progress).wait(ended)
    return found


def forbidden_addresses(settings: Mapping[str, str]) -> tuple[str, ...]:
    """Returns HOST:PORT of what the clients of a deployment must not reach."""
    mlflow = urlsplit(settings.get("MLFLOW_TRACKING_URI", ""))
    found = ["kubernetes.default.svc.cluster.local:443"]
    if mlflow.hostname:
        found.append(f"{mlflow.hostname}:{mlflow.port or (443 if mlflow.scheme == 'https' else 80)}")
    return tuple(found)


def _check_spec(client: str, must_not_reach: tuple[str, ...], gpus: int) -> JobSpec:
    addresses = (part for address in must_not_reach for part in ("--must-not-reach", address))
    return JobSpec(
        component="check",
        client=client,
        run="",
        round_number=None,
        key="",
        command=("check", "--client", client, *addresses),
        gpus=gpus,
        retries=0,
        deadline_seconds=_JOB_SECONDS,
    )


def _site_report(course: Course, judgement: Judgement) -> SiteReport:
    if judgement.outcome is not Outcome.OK:
        raise RecordError(f"{judgement.outcome}: {judgement.reason}")
    said = next((pod.exit_message for pod in course.tries() if pod.exit_code == 0), "")
    return SiteReport.from_bytes(said.encode(), "its termination message")


def _looked(what: str, look: Callable[[], Finding | None]) -> Finding:
    """Looks at something; where this person may not look, that is no fault of the client's place."""
    try:
        found = look()
    except ClusterError as error:
        if error.status == _FORBIDDEN and " cannot " in str(error):
            return Finding(what=f"{what} (not looked at: you may not)")
        return Finding(what=what, problem=str(error)[:300], advice=_DEPLOY)
    return found.model_copy(update={"what": what}) if found else Finding(what=what)


def _has_keys(
    cluster: Cluster, namespace: str, kind: str, name: str, keys: tuple[str, ...]
) -> Finding | None:
    path = f"/api/v1/namespaces/{namespace}/{kind}/{name}"
    found = cluster.find(path, f"read {name} of the {kind} in namespace {namespace}")
    if not found:
        return Finding(what="", problem="it does not exist", advice=_DEPLOY)
    missing = [key for key in keys if not (found.get("data") or {}).get(key)]
    return Finding(what="", problem=f"it lacks {', '.join(missing)}", advice=_DEPLOY) if missing else None


def _room(cluster: Cluster, manifest: Mapping[str, Any]) -> Finding | None:
    namespace = manifest["metadata"]["namespace"]
    container = manifest["spec"]["template"]["spec"]["containers"][0]
    needed: dict[str, Decimal] = {"pods": Decimal(1), "count/jobs.batch": Decimal(1)}
    for side in ("requests", "limits"):
        for name, value in container["resources"][side].items():
            needed[f"{side}.{name}"] = parse_quantity(value)
    for quota in cluster.list("resourcequotas", namespace).items:
        status = quota.get("status") or {}
        for name, limit in (status.get("hard") or {}).items():
            left = parse_quantity(limit) - parse_quantity((status.get("used") or {}).get(name, "0"))
            want = needed.get(name if "." in name or "/" in name or name == "pods" else f"requests.{name}")
            if want is not None and left < want:
                problem = f"of {name} {limit} are allowed and {left} left, a Job needs {want}"
                return Finding(what="", problem=problem, advice=_QUOTA)
    return None


def _admitted(cluster: Cluster, manifest: Mapping[str, Any]) -> Finding | None:
    cluster.create_job(manifest, dry_run=True)
    template = manifest["spec"]["template"]
    cluster.check_pod(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {**manifest["metadata"], "labels": template["metadata"]["labels"]},
            "spec": template["spec"],
        }
    )
    return None


def _gpu_node(cluster: Cluster, resource: str, gpus: int) -> Finding | None:
    nodes = cluster.find("/api/v1/nodes", "list the nodes") or {}
    most = Decimal(0)
    for node in nodes.get("items") or ():
        offered = ((node.get("status") or {}).get("allocatable") or {}).get(resource, "0")
        most = max(most, parse_quantity(offered))
    if most >= gpus:
        return None
    return Finding(
        what="",
        problem=f"no node offers more than {most}",
        advice="install the GPU's device plugin, or set the client's gpuResource to what the nodes offer",
    )
