"""Installs the Helm release, and upgrades it only if something differs."""

import json
from typing import Any

from scripts.deploy.settings import CHART, RELEASE, ROOT, Settings
from scripts.deploy.shell import Cluster, CommandError, DeployError, run, say

_TIMEOUT = "10m"


def chart_arguments(settings: Settings, tag: str) -> list[str]:
    """Returns helm's arguments for the release, the chart, the namespace and the values."""
    string_values = {
        "images.registry": settings.image_registry,
        "images.tag": tag,
        "kfp.namespace": settings.kfp_namespace,
    }
    return [
        RELEASE,
        str(ROOT / CHART),
        *("--namespace", settings.namespace),
        *(("--values", settings.values) if settings.values else ()),
        *(word for key, value in string_values.items() for word in ("--set-string", f"{key}={value}")),
        *("--set", f"kfp.enabled={str(settings.kfp).lower()}"),
    ]


def render(settings: Settings, cluster: Cluster) -> str:
    """Returns the chart's manifests, rendered without a request to the cluster."""
    return cluster.helm("template", *chart_arguments(settings, "any"))


def find_release(settings: Settings, cluster: Cluster) -> dict[str, Any] | None:
    """Returns the release as helm has recorded it, or None if it does not exist."""
    try:
        record = cluster.helm("status", RELEASE, "-n", settings.namespace, "-o", "json")
    except CommandError as error:
        if "not found" in error.reason:
            return None
        raise
    return dict(json.loads(record))


def upgrade(settings: Settings, cluster: Cluster, tag: str) -> bool:
    """Installs or upgrades the release and waits until it is ready.

    Returns:
        Whether the release was changed.

    Raises:
        DeployError: Another helm command is changing the release, or helm failed.
    """
    arguments = chart_arguments(settings, tag)
    current = find_release(settings, cluster)
    status = current["info"]["status"] if current else ""
    if status.startswith("pending-"):
        raise DeployError(
            f"release {RELEASE} is {status}: a helm command is running or was interrupted; wait, or run "
            f"`make undeploy` and deploy again, which keeps the data"
        )
    if current and status == "deployed":
        planned = json.loads(cluster.helm("upgrade", *arguments, "--dry-run=server", "--output", "json"))
        if is_unchanged(current, planned) and _objects_exist(cluster, current["manifest"]):
            say(f"release {RELEASE} is up to date (revision {current['version']})")
            return False
    say(f"helm upgrade --install {RELEASE}")
    options = ("--create-namespace", "--wait", "--timeout", _TIMEOUT)
    run(*cluster.helm_command("upgrade", "--install", *arguments, *options))
    return True


def is_unchanged(current: dict[str, Any], planned: dict[str, Any]) -> bool:
    """Returns whether two releases have the same manifests, hooks and values."""
    return _content(current) == _content(planned)


def _content(release: dict[str, Any]) -> tuple[Any, ...]:
    hooks = sorted(hook["manifest"] for hook in release.get("hooks") or ())
    return release["manifest"], hooks, release.get("config") or {}


def _objects_exist(cluster: Cluster, manifest: str) -> bool:
    """Returns whether every object of the release still exists."""
    try:
        cluster.kubectl("get", "-f", "-", "-o", "name", stdin=manifest)
    except CommandError:
        return False
    return True
