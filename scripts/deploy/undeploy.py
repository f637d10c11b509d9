"""`make undeploy`: the release goes, the data stays; with PURGE=1 the data goes too."""

import json

from scripts.deploy import kfp, release
from scripts.deploy.preflight import check_context
from scripts.deploy.settings import RELEASE, Settings
from scripts.deploy.shell import Cluster, run, say

_OURS = {"app.kubernetes.io/name": "fedvsr", "app.kubernetes.io/instance": RELEASE}
_SELECTOR = ",".join(f"{label}={value}" for label, value in _OURS.items())
# Helm forgets its hooks' objects when they are made.
_HOOKS = f"{_SELECTOR},app.kubernetes.io/component in (provision,check)"
# What Kubernetes puts into every namespace.
_ALWAYS_THERE = (("ConfigMap", "kube-root-ca.crt"), ("ServiceAccount", "default"))
# Kinds that others' objects bring about, and that go with them.
_SHADOWS = ("events", "endpoints", "endpointslices", "pods.metrics.k8s.io")


def undeploy(settings: Settings, cluster: Cluster) -> None:
    """Removes the release with the clients' namespaces, and nothing that holds data unless asked to."""
    check_context(cluster)
    namespace = settings.namespace
    if settings.kfp:
        kfp.remove_pipeline(settings, cluster)
    if release.deployed(settings, cluster) is None:
        say(f"there is no release in namespace {namespace}")
    else:
        say(f"helm uninstall {RELEASE}")
        # The clients' namespaces are the release's: their Jobs go with them.
        run(*cluster.helm_command("uninstall", RELEASE, "-n", namespace, "--wait", "--timeout", "10m"))
    _delete(cluster, namespace, "job,pod", _HOOKS)
    if settings.purge:
        _purge(cluster, namespace)
        return
    kept = cluster.kubectl("get", "pvc,secret", "-n", namespace, "-l", _SELECTOR, "-o", "name")
    if kept:
        say(f"kept in namespace {namespace}: {', '.join(kept.split())}; `make undeploy PURGE=1` removes them")


def _purge(cluster: Cluster, namespace: str) -> None:
    """Removes the data, and the namespace if it holds nothing of others."""
    if not cluster.kubectl("get", "namespace", namespace, "--ignore-not-found", "-o", "name").strip():
        return
    say(f"removing the data in namespace {namespace}")
    _delete(cluster, namespace, "pvc,secret", _SELECTOR)
    if left := _of_others(cluster, namespace):
        say(f"namespace {namespace} stays, for it holds {', '.join(left)}")
        return
    run(*cluster.kubectl_command("delete", "namespace", namespace, "--ignore-not-found", "--timeout=10m"))


def _delete(cluster: Cluster, namespace: str, kinds: str, selector: str) -> None:
    cluster.kubectl("delete", kinds, "-n", namespace, "-l", selector, "--timeout=10m")


def _of_others(cluster: Cluster, namespace: str) -> list[str]:
    """Returns what somebody else has made in a namespace."""
    listed = cluster.kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name").split()
    kinds = [kind for kind in listed if kind not in _SHADOWS and kind.partition(".")[0] not in _SHADOWS]
    found = cluster.kubectl("get", ",".join(kinds), "-n", namespace, "--ignore-not-found", "-o", "json")
    left = []
    for item in json.loads(found)["items"] if found.strip() else ():
        metadata, name = item["metadata"], (item["kind"], item["metadata"]["name"])
        is_ours = _OURS.items() <= metadata.get("labels", {}).items()
        goes = "ownerReferences" in metadata or "deletionTimestamp" in metadata
        if not (is_ours or goes or name in _ALWAYS_THERE):
            left.append("/".join(name))
    return left
