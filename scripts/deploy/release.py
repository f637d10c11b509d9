"""The Helm release: installed, upgraded only where something differs, removed."""

import json
from typing import Any

from scripts.deploy.settings import CHART, RELEASE, ROOT, Settings
from scripts.deploy.shell import Cluster, CommandError, DeployError, run, say

_TIMEOUT = "10m"


def chart_arguments(settings: Settings, tag: str) -> list[str]:
    """Returns helm's arguments that say what is released where."""
    texts = {
        "images.registry": settings.image_registry,
        "images.tag": tag,
        "kfp.namespace": settings.kfp_namespace,
    }
    return [
        RELEASE,
        str(ROOT / CHART),
        *("--namespace", settings.namespace),
        *(("--values", settings.values) if settings.values else ()),
        *(word for key, value in texts.items() for word in ("--set-string", f"{key}={value}")),
        *("--set", f"kfp.enabled={str(settings.kfp).lower()}"),
    ]


def render(settings: Settings, cluster: Cluster) -> str:
    """Returns the chart's manifests, as far as they can be known without the cluster."""
    return cluster.helm("template", *chart_arguments(settings, "any"))


def deployed(settings: Settings, cluster: Cluster) -> dict[str, Any] | None:
    """Returns the release as helm has recorded it, None where there is none."""
    try:
        found = cluster.helm("status", RELEASE, "-n", settings.namespace, "-o", "json")
    except CommandError as error:
        if "not found" in error.reason:
            return None
        raise
    return dict(json.loads(found))


def upgrade(settings: Settings, cluster: Cluster, tag: str) -> bool:
    """Installs or upgrades the release and waits for it; returns False if there was nothing to change."""
    arguments = chart_arguments(settings, tag)
    current = deployed(settings, cluster)
    status = current["info"]["status"] if current else ""
    if status.startswith("pending-"):
        raise DeployError(
            f"release {RELEASE} is {status}: helm is at work on it, or was stopped at it; wait, or "
            f"`make undeploy` and deploy again, which keeps the data"
        )
    if current and status == "deployed":
        planned = json.loads(cluster.helm("upgrade", *arguments, "--dry-run=server", "--output", "json"))
        if is_same(current, planned) and _objects_exist(cluster, current["manifest"]):
            say(f"release {RELEASE} is as it should be (revision {current['version']})")
            return False
    say(f"helm upgrade --install {RELEASE}")
    waiting = ("--create-namespace", "--wait", "--timeout", _TIMEOUT)
    run(*cluster.helm_command("upgrade", "--install", *arguments, *waiting))
    return True


def is_same(current: dict[str, Any], planned: dict[str, Any]) -> bool:
    """Whether an upgrade would change nothing: its manifests, hooks and values are those there are."""
    return _content(current) == _content(planned)


def _content(release: dict[str, Any]) -> tuple[Any, ...]:
    hooks = sorted(hook["manifest"] for hook in release.get("hooks") or ())
    return release["manifest"], hooks, release.get("config") or {}


def _objects_exist(cluster: Cluster, manifest: str) -> bool:
    """Whether nobody has deleted what the release made."""
    try:
        cluster.kubectl("get", "-f", "-", "-o", "name", stdin=manifest)
    except CommandError:
        return False
    return True
