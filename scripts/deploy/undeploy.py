"""`make undeploy`: the release goes, the data stays; with PURGE=1 the data goes too."""

from scripts.deploy import release
from scripts.deploy.preflight import check_context
from scripts.deploy.settings import RELEASE, Settings
from scripts.deploy.shell import Cluster, run, say


def undeploy(settings: Settings, cluster: Cluster) -> None:
    """Removes the release with the clients' namespaces, and nothing that holds data unless asked to."""
    check_context(cluster)
    namespace = settings.namespace
    if release.deployed(settings, cluster) is None:
        say(f"there is no release in namespace {namespace}")
    else:
        say(f"helm uninstall {RELEASE}")
        # The clients' namespaces are the release's: their Jobs go with them.
        run(*cluster.helm_command("uninstall", RELEASE, "-n", namespace, "--wait", "--timeout", "10m"))
    if settings.purge:
        say(f"removing namespace {namespace} with its data")
        run(*cluster.kubectl_command("delete", "namespace", namespace, "--ignore-not-found", "--timeout=10m"))
        return
    kept = cluster.kubectl(
        "get", "pvc,secret", "-n", namespace, "-l", f"app.kubernetes.io/instance={RELEASE}", "-o", "name"
    )
    if kept:
        say(f"kept in namespace {namespace}: {', '.join(kept.split())}; `make undeploy PURGE=1` removes them")
