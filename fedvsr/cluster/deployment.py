"""A deployment's settings on the cluster: the ConfigMap that the chart writes."""

from fedvsr.cluster.api import Cluster
from fedvsr.cluster.settings import (
    CLIENTS_VARIABLE,
    VIRTUAL_VARIABLE,
    Clients,
    VirtualSettings,
    parse_clients,
    parse_virtual,
)
from fedvsr.errors import ClusterError

CONFIG_MAP = "fedvsr"


def read_settings(cluster: Cluster, namespace: str) -> dict[str, str]:
    """Returns the environment variables of the deployment's processes.

    Raises:
        fedvsr.errors.ClusterError: The namespace has no deployment.
    """
    path = f"/api/v1/namespaces/{namespace}/configmaps/{CONFIG_MAP}"
    config_map = cluster.find(path, f"read ConfigMap {CONFIG_MAP} in namespace {namespace}")
    if config_map is None:
        raise ClusterError(
            f"namespace {namespace} has no ConfigMap {CONFIG_MAP!r}: fedvsr is not deployed there; run "
            "`make deploy`, or name its namespace with --namespace or FEDVSR_NAMESPACE"
        )
    return dict(config_map.get("data") or {})


def read_clients(cluster: Cluster, namespace: str) -> Clients:
    """Returns a deployment's clients.

    Raises:
        fedvsr.errors.ClusterError: The namespace has no deployment.
        fedvsr.errors.ConfigError: A client's settings are invalid, for example from another version.
    """
    settings = read_settings(cluster, namespace)
    source = f"{CLIENTS_VARIABLE} of namespace {namespace}"
    return parse_clients(settings.get(CLIENTS_VARIABLE) or "{}", source)


def read_virtual(cluster: Cluster, namespace: str) -> VirtualSettings | None:
    """Returns the settings of a deployment's virtual clients, or None if it has none.

    Raises:
        fedvsr.errors.ClusterError: The namespace has no deployment.
        fedvsr.errors.ConfigError: The settings are invalid, for example from another version.
    """
    text = read_settings(cluster, namespace).get(VIRTUAL_VARIABLE)
    return parse_virtual(text, f"{VIRTUAL_VARIABLE} of namespace {namespace}") if text else None
