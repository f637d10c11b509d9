"""`make undeploy`: removes the release and keeps the data, unless PURGE=1 removes it too."""

import json

from scripts.deploy import kfp, release
from scripts.deploy.preflight import check_context
from scripts.deploy.settings import RELEASE, Settings
from scripts.deploy.shell import Cluster, run, say

_LABELS = {"app.kubernetes.io/name": "fedvsr", "app.kubernetes.io/instance": RELEASE}
_SELECTOR = ",".join(f"{label}={value}" for label, value in _LABELS.items())
# Helm does not remove the objects of its hooks.
_HOOKS = f"{_SELECTOR},app.kubernetes.io/component in (provision,check)"
# Objects that Kubernetes creates in every namespace.
_ALWAYS_PRESENT = (("ConfigMap", "kube-root-ca.crt"), ("ServiceAccount", "default"))
# Kinds of objects that Kubernetes creates for other objects and removes with them.
_DERIVED_KINDS = ("events", "endpoints", "endpointslices", "pods.metrics.k8s.io")


def undeploy(settings: Settings, cluster: Cluster) -> None:
    """Removes the release and the clients' namespaces; removes the data only if `purge` is set."""
    check_context(cluster)
    namespace = settings.namespace
    if settings.kfp:
        kfp.remove_pipeline(settings, cluster)
    if release.find_release(settings, cluster) is None:
        say(f"there is no release in namespace {namespace}")
    else:
        say(f"helm uninstall {RELEASE}")
        # The clients' namespaces belong to the release; their Jobs go with them.
        run(*cluster.helm_command("uninstall", RELEASE, "-n", namespace, "--wait", "--timeout", "10m"))
    _delete(cluster, namespace, "job,pod", _HOOKS)
    if settings.purge:
        _purge(cluster, namespace)
        return
    kept = cluster.kubectl("get", "pvc,secret", "-n", namespace, "-l", _SELECTOR, "-o", "name")
    if kept:
        say(f"kept in namespace {namespace}: {', '.join(kept.split())}; `make undeploy PURGE=1` removes them")


def _purge(cluster: Cluster, namespace: str) -> None:
    """Removes the data, and the namespace if nothing else is in it."""
    if not cluster.kubectl("get", "namespace", namespace, "--ignore-not-found", "-o", "name").strip():
        return
    say(f"removing the data in namespace {namespace}")
    _delete(cluster, namespace, "pvc,secret", _SELECTOR)
    if foreign := _foreign_objects(cluster, namespace):
        say(f"namespace {namespace} stays: it also holds {', '.join(foreign)}")
        return
    run(*cluster.kubectl_command("delete", "namespace", namespace, "--ignore-not-found", "--timeout=10m"))


def _delete(cluster: Cluster, namespace: str, kinds: str, selector: str) -> None:
    cluster.kubectl("delete", kinds, "-n", namespace, "-l", selector, "--timeout=10m")


def _foreign_objects(cluster: Cluster, namespace: str) -> list[str]:
    """Returns the objects in a namespace that are not part of fedvsr, as KIND/NAME."""
    listed = cluster.kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name").split()
    kinds = [
        kind for kind in listed if kind not in _DERIVED_KINDS and kind.partition(".")[0] not in _DERIVED_KINDS
    ]
    output = cluster.kubectl("get", ",".join(kinds), "-n", namespace, "--ignore-not-found", "-o", "json")
    foreign = []
    for item in json.loads(output)["items"] if output.strip() else ():
        metadata, name = item["metadata"], (item["kind"], item["metadata"]["name"])
        is_ours = _LABELS.items() <= metadata.get("labels", {}).items()
        # It is being deleted, or will be with its owner.
        is_temporary = "ownerReferences" in metadata or "deletionTimestamp" in metadata
        if not (is_ours or is_temporary or name in _ALWAYS_PRESENT):
            foreign.append("/".join(name))
    return foreign
