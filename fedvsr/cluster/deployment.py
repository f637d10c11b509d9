"""What a deployment says of itself on the cluster: the ConfigMap that the chart writes."""

from fedvsr.cluster.api import Cluster
from fedvsr.cluster.settings import CLIENTS_VARIABLE, Clients, parse_clients
from fedvsr.errors import ClusterError

CONFIG_MAP = "fedvsr"


def read_settings(cluster: Cluster, namespace: str) -> dict[str, str]:
    """Returns what the deployment's processes have in their environment.

    Raises:
        fedvsr.errors.ClusterError: There is no deployment in that namespace.
    """
    path = f"/api/v1/namespaces/{namespace}/configmaps/{CONFIG_MAP}"
    found = cluster.find(path, f"read ConfigMap {CONFIG_MAP} in namespace {namespace}")
    if found is None:
        raise ClusterError(
            f"namespace {namespace} has no ConfigMap {CONFIG_MAP!r}: fedvsr is not deployed there; run "
            "`make deploy`, or name its namespace with --namespace or FEDVSR_NAMESPACE"
        )
    return dict(found.get("data") or {})


def read_clients(cluster: Cluster, namespace: str) -> Clients:
    """Returns a deployment's clients.

    Raises:
        fedvsr.errors.ClusterError: There is no deployment in that namespace.
        fedvsr.errors.ConfigError: What it says of a client is not what this version reads.
    """
    settings = read_settings(cluster, namespace)
    source = f"{CLIENTS_VARIABLE} of namespace {namespace}"
    return parse_clients(settings.get(CLIENTS_VARIABLE) or "{}", source)
