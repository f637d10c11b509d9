"""Deploys the chart of a site into a namespace that stands for another cluster."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.deployment import ROOT, Deployment, command, kubectl, kubectl_json

CHART = ROOT / "charts" / "fedvsr-site"
RELEASE = "site"
AGENT = "deployment/fedvsr-site-agent"
_WRITER = "videos-writer"
_SMALL = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "2Gi"}}


@dataclass(frozen=True)
class SiteDeployment:
    """A site that the chart has deployed.

    Attributes:
        namespace: The site's namespace.
    """

    namespace: str

    def fedvsr(self, *arguments: str) -> str:
        """Runs `fedvsr site` in the agent's pod and returns its output."""
        return kubectl("exec", "-n", self.namespace, AGENT, "--", "fedvsr", "site", *arguments)

    def log(self) -> str:
        """Returns the agent's log, which has the Jobs' lines."""
        return kubectl("logs", "-n", self.namespace, AGENT, "--tail=-1")

    def helm_test(self) -> str:
        """Runs the chart's own test and returns the check's log."""
        return command("helm", "test", RELEASE, "-n", self.namespace, "--logs", "--timeout=3m").stdout

    def jobs(self) -> list[dict[str, Any]]:
        """Returns the site's Jobs."""
        items: list[dict[str, Any]] = kubectl_json("get", "jobs", "-n", self.namespace)["items"]
        return items


@contextmanager
def deployed_site(
    deployment: Deployment,
    namespace: str,
    invitation: Path,
    videos: Sequence[Path],
    image: str,
    changes: Mapping[str, Any] | None = None,
) -> Iterator[SiteDeployment]:
    """Deploys a site into a new namespace with Pod Security `restricted`, and removes it at the end.

    Args:
        deployment: The federation's deployment.
        namespace: The namespace to create.
        invitation: The site's invitation. Its address must be one that pods reach.
        videos: The site's videos, which are copied to a volume.
        image: The trainer image, with a tag.
        changes: Values of the chart that differ from those of a small site; sections replace whole sections.
    """
    # An interrupted test session may have left it.
    kubectl("delete", "namespace", namespace, "--ignore-not-found")
    kubectl("create", "namespace", namespace)
    try:
        kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
        secret = f"--from-file=invitation={invitation}"
        kubectl("create", "secret", "generic", "fedvsr-invitation", "-n", namespace, secret)
        digest = _write_videos(namespace, videos, image)
        values = {**_values(deployment, image, digest), **(changes or {})}
        install = ("upgrade", "--install", RELEASE, CHART, "-n", namespace, "--wait", "--timeout=5m")
        command("helm", *install, "--values", "-", stdin=yaml.safe_dump(values))
        yield SiteDeployment(namespace)
    finally:
        command("helm", "uninstall", RELEASE, "-n", namespace, "--wait", "--ignore-not-found", check=False)
        kubectl("delete", "namespace", namespace, "--wait=false")


def _values(deployment: Deployment, image: str, digest: str) -> dict[str, Any]:
    repository, _, tag = image.rpartition(":")
    server = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": deployment.namespace}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/component": "s3"}},
    }
    named = {"digest": digest} if digest else {"tag": tag, "allowTag": True}
    return {
        "image": {"repository": repository, **named},
        "videos": {"existingClaim": "videos"},
        "state": {"size": "1Gi"},
        "site": {"resources": {"minimum_free_disk": "0"}},
        "agent": {"resources": _SMALL},
        "work": {"resources": _SMALL, "sharedMemory": "128Mi", "temporarySize": "2Gi"},
        "networkPolicy": {
            "federation": {"to": [server], "port": 9000},
            "apiServer": {"to": [f"{address}/32" for address in _api_server_addresses()]},
        },
    }


def _api_server_addresses() -> set[str]:
    service = kubectl_json("get", "service", "kubernetes", "-n", "default")["spec"]["clusterIP"]
    slices = kubectl_json(
        "get", "endpointslices", "-n", "default", "-l", "kubernetes.io/service-name=kubernetes"
    )["items"]
    endpoints = [endpoint for item in slices for endpoint in item["endpoints"]]
    return {service, *(address for endpoint in endpoints for address in endpoint["addresses"])}


def _write_videos(namespace: str, videos: Sequence[Path], image: str) -> str:
    """Copies videos to a new volume; returns the image's digest, empty if no registry has the image."""
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "videos", "namespace": namespace},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": _WRITER, "namespace": namespace},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "fsGroup": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "writer",
                    "image": image,
                    "command": ["sleep", "infinity"],
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [{"name": "videos", "mountPath": "/videos"}],
                }
            ],
            "volumes": [{"name": "videos", "persistentVolumeClaim": {"claimName": "videos"}}],
        },
    }
    for manifest in (claim, pod):
        kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    kubectl("wait", "--for=condition=Ready", "pod", _WRITER, "-n", namespace, "--timeout=180s")
    for path in videos:
        kubectl("cp", path, f"{namespace}/{_WRITER}:/videos/{path.name}")
    (status,) = kubectl_json("get", "pod", _WRITER, "-n", namespace)["status"]["containerStatuses"]
    kubectl("delete", "pod", _WRITER, "-n", namespace)
    repository, _, digest = status["imageID"].partition("@")
    return digest if repository == image.rpartition(":")[0] else ""
