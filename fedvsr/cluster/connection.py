"""Finds the Kubernetes API: that of the cluster this process runs in, or a kube context."""

import os

from kubernetes.client import ApiClient, Configuration
from kubernetes.config import ConfigException, load_incluster_config, load_kube_config

from fedvsr.errors import ClusterError

CONTEXT_VARIABLE = "KUBE_CONTEXT"

# A watch and a log each hold a connection for as long as a round takes.
_CONNECTIONS = 512


def connect() -> ApiClient:
    """Connects to the cluster this process runs in, else to KUBE_CONTEXT or the current kube context.

    Raises:
        fedvsr.errors.ClusterError: There is neither.
    """
    configuration = Configuration()
    context = os.environ.get(CONTEXT_VARIABLE) or None
    try:
        if os.environ.get("KUBERNETES_SERVICE_HOST") and context is None:
            load_incluster_config(client_configuration=configuration)
        else:
            # The library looks at KUBECONFIG when it is imported only.
            file = os.environ.get("KUBECONFIG") or None
            load_kube_config(config_file=file, context=context, client_configuration=configuration)
    except (ConfigException, OSError) as error:
        raise ClusterError(
            f"no Kubernetes cluster to talk to ({error}); set KUBECONFIG to a file with a current context, "
            f"or {CONTEXT_VARIABLE} to one of its contexts"
        ) from None
    configuration.connection_pool_maxsize = _CONNECTIONS
    # What is tried again, and for how long, is for `fedvsr.cluster.api` to say.
    configuration.retries = False
    return ApiClient(configuration)
