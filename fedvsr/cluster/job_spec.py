"""The specification of a client's Job, and its manifest for Kubernetes."""

import copy
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedvsr.cluster.settings import ClientSettings
from fedvsr.cluster.site_settings import SiteJobSettings

JobSettings = ClientSettings | SiteJobSettings
"""The settings of a hosted client's Jobs, or of a site's."""

SERVICE_ACCOUNT = "fedvsr-client"
CONFIG_MAP = "fedvsr-client"
SECRET = "fedvsr-client"  # noqa: S105 -- a name

# The exit code of `fedvsr client` and `fedvsr site work` if another attempt would fail for the same reason
# (BSD's EX_DATAERR).
PERMANENT_FAILURE = 65

NAME_LABEL = "app.kubernetes.io/name"
COMPONENT_LABEL = "app.kubernetes.io/component"
RUN_LABEL = "fedvsr/run"
ROUND_LABEL = "fedvsr/round"
CLIENT_LABEL = "fedvsr/client"

_APP = "fedvsr"
_USER = 10001
_CONTAINER = "client"
# Kubernetes deletes an ended Job after this long, if fedvsr has not deleted it.
_KEPT_SECONDS = 86_400
# `fedvsr client` ends at once on SIGTERM. After this long, a process that hangs is killed.
_GRACE_SECONDS = 10
# Job and pod names are also label values, which have at most 63 characters; a pod's suffix takes 6.
_MAX_NAME_CHARACTERS = 57


@dataclass(frozen=True)
class JobSpec:
    """A piece of a client's work.

    Attributes:
        component: The kind of work: train, shard or check; a site's is always work.
        client: The client's name.
        run: The run's name; empty if the work does not belong to a run.
        round_number: The round; None if the work does not belong to a round.
        key: Distinguishes work of the same run, round and client.
        arguments: The arguments of `fedvsr client`; the command of a site is in its settings.
        gpus: Number of GPUs.
        retries: Number of attempts after the first one failed.
        deadline_seconds: Maximum duration in seconds, including the wait for a node.
    """

    component: str
    client: str
    run: str
    round_number: int | None
    key: str
    arguments: tuple[str, ...]
    gpus: int
    retries: int
    deadline_seconds: int

    @property
    def name(self) -> str:
        """The Job's name. The same work always has the same name, so that its Job is found again."""
        identity = "\n".join([self.component, self.client, self.run, str(self.round_number), self.key])
        digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
        suffix = "" if self.round_number is None else f"-r{self.round_number:04d}"
        head = f"fedvsr-{self.component}-"
        room = _MAX_NAME_CHARACTERS - len(head) - len(suffix) - len(digest) - 1
        middle = re.sub(r"-+$", "", (self.run or self.client)[:room])
        return f"{head}{middle}{suffix}-{digest}"

    @property
    def labels(self) -> dict[str, str]:
        """The labels of the Job and its pods."""
        labels = {NAME_LABEL: _APP, COMPONENT_LABEL: self.component, CLIENT_LABEL: self.client}
        if self.run:
            labels[RUN_LABEL] = self.run
        if self.round_number is not None:
            labels[ROUND_LABEL] = str(self.round_number)
        return labels


def selector(labels: Mapping[str, str], *names: str) -> str:
    """Returns the label selector for some of a Job's labels."""
    return ",".join(f"{name}={labels[name]}" for name in names if name in labels)


def job_manifest(spec: JobSpec, settings: JobSettings) -> dict[str, Any]:
    """Returns the manifest of a Job for the Kubernetes API.

    Its pod satisfies Pod Security's level `restricted` and has no token of the Kubernetes API. A hosted
    client's pod gets the addresses and credentials of its stores from the client's namespace. A site's pod is
    the one in its settings, with labels and GPUs.
    """
    if isinstance(settings, SiteJobSettings):
        template = _site_template(spec, settings)
    else:
        template = {"metadata": {"labels": spec.labels}, "spec": _pod(spec, settings)}
    container = template["spec"]["containers"][0]["name"]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": spec.name,
            "namespace": settings.namespace,
            "labels": template["metadata"]["labels"],
        },
        "spec": {
            "backoffLimit": spec.retries,
            "activeDeadlineSeconds": spec.deadline_seconds,
            "ttlSecondsAfterFinished": _KEPT_SECONDS,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "FailJob",
                        "onExitCodes": {
                            "containerName": container,
                            "operator": "In",
                            "values": [PERMANENT_FAILURE],
                        },
                    },
                    # A drained node or a preemption is not the client's fault: no attempt is counted.
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                ]
            },
            "template": template,
        },
    }


def _site_template(spec: JobSpec, settings: SiteJobSettings) -> dict[str, Any]:
    pod = copy.deepcopy(settings.pod)
    gpus = min(spec.gpus, settings.max_gpus)
    if gpus:
        resources = pod["containers"][0].setdefault("resources", {})
        for kind in ("requests", "limits"):
            resources.setdefault(kind, {})[settings.gpu_resource] = str(gpus)
    return {"metadata": {"labels": {**settings.labels, **spec.labels}}, "spec": pod}


def _pod(spec: JobSpec, settings: ClientSettings) -> dict[str, Any]:
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "serviceAccountName": SERVICE_ACCOUNT,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": settings.cache_size}}],
        "containers": [_container(spec, settings)],
    }
    if settings.node_selector:
        pod["nodeSelector"] = dict(settings.node_selector)
    if settings.tolerations:
        pod["tolerations"] = [dict(toleration) for toleration in settings.tolerations]
    if settings.runtime_class_name:
        pod["runtimeClassName"] = settings.runtime_class_name
    return pod


def _container(spec: JobSpec, settings: ClientSettings) -> dict[str, Any]:
    requests, limits = dict(settings.resources.requests), dict(settings.resources.limits)
    if spec.gpus:
        # Kubernetes requires request and limit of an extended resource to be equal.
        requests[settings.gpu_resource] = limits[settings.gpu_resource] = str(spec.gpus)
    return {
        "name": _CONTAINER,
        "image": settings.image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["fedvsr", "client", *spec.arguments],
        "env": [
            {"name": "HOME", "value": "/tmp"},  # noqa: S108 -- the only folder that the pod may write to
            {"name": "FEDVSR_CACHE", "value": "/tmp/fedvsr"},  # noqa: S108
            {"name": "PYTHONUNBUFFERED", "value": "1"},
        ],
        "envFrom": [{"configMapRef": {"name": CONFIG_MAP}}, {"secretRef": {"name": SECRET}}],
        "resources": {"requests": requests, "limits": limits},
        # If it writes no message, the end of its log says why it ended.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    }
