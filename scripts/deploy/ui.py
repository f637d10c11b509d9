"""`make ui`: forwards KFP, MLflow and S3 to this machine until Ctrl-C."""

import json
import signal
import time
from contextlib import ExitStack, suppress

from scripts.deploy import kfp
from scripts.deploy.forward import Forward, forward_service
from scripts.deploy.settings import Settings
from scripts.deploy.shell import Cluster, DeployError

_KFP_UI = "ml-pipeline-ui"
_TITLES = {_KFP_UI: "Kubeflow Pipelines", "mlflow": "MLflow", "s3": "S3"}
# The chart's names for the ConfigMap and the Secret in the deployment's namespace.
_CONFIG_MAP = "fedvsr"
_SECRET = "fedvsr-federation"  # noqa: S105  its name
# Settings with the same value inside and outside the cluster.
_SHARED_SETTINGS = ("FEDVSR_FEDERATION_STORE", "FEDVSR_CLIENT_STORE", "AWS_REGION")
# Those of a front door for sites, which not every deployment has.
_OPTIONAL_SETTINGS = ("FEDVSR_S3_CA", "FEDVSR_SITE_ADDRESS", "FEDVSR_SITE_CA")


def open_ui(settings: Settings, cluster: Cluster) -> None:
    """Forwards the services to the ports that the commands use by default, until Ctrl-C."""
    # SIGTERM closes the connections too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt), ExitStack() as stack:
        deployed = _deployed_settings(settings, cluster)
        forwards: dict[str, Forward] = {}
        for service, namespace, port, local in _services(settings, cluster):
            scheme = "https" if service == "s3" and "FEDVSR_S3_CA" in deployed else "http"
            forward = forward_service(cluster, namespace, service, port, local, scheme)
            forwards[service] = stack.enter_context(forward)
        _print_addresses(forwards, _exports(settings, cluster, deployed, forwards))
        while True:
            time.sleep(1)
            for forward in forwards.values():
                if forward.has_ended:
                    raise DeployError(f"the connection to {forward.service} was lost; run `make ui` again")


def _print_addresses(forwards: dict[str, Forward], exports: dict[str, str]) -> None:
    for service, title in _TITLES.items():
        if service in forwards:
            print(f"{title:20}{forwards[service].url}")
    print("\nFor the command line, in another terminal:\n")
    for name, value in exports.items():
        print(f'export {name}="{value}"')
    print("\nCtrl-C ends the connections.", flush=True)


def _services(settings: Settings, cluster: Cluster) -> list[tuple[str, str, int, int]]:
    """Returns the services that exist: their name, namespace, port and local port.

    KFP's UI may be missing, and S3 may be outside the cluster.
    """
    candidates = [("mlflow", settings.namespace, 5000, 5000), ("s3", settings.namespace, 9000, 9000)]
    if settings.kfp:
        candidates.append((kfp.API_SERVICE, settings.kfp_namespace, kfp.API_PORT, 8888))
        candidates.append((_KFP_UI, settings.kfp_namespace, 80, 8080))
    return [service for service in candidates if cluster.exists("service", service[0], service[1])]


def _exports(
    settings: Settings, cluster: Cluster, deployed: dict[str, str], forwards: dict[str, Forward]
) -> dict[str, str]:
    exports = {name: deployed[name] for name in _SHARED_SETTINGS}
    exports["FEDVSR_NAMESPACE"] = settings.namespace
    exports["FEDVSR_S3_ENDPOINT"] = forwards["s3"].url if "s3" in forwards else deployed["FEDVSR_S3_ENDPOINT"]
    exports.update({name: deployed[name] for name in _OPTIONAL_SETTINGS if name in deployed})
    if "mlflow" in forwards:
        exports["MLFLOW_TRACKING_URI"] = forwards["mlflow"].url
    # KFP's web server forwards its API, and only it has the logs of running steps.
    for service in (_KFP_UI, kfp.API_SERVICE):
        if service in forwards:
            exports.setdefault("FEDVSR_KFP_ENDPOINT", forwards[service].url)
    if cluster.exists("secret", _SECRET, settings.namespace):
        get = " ".join(cluster.kubectl_command("-n", settings.namespace, "get", "secret", _SECRET))
        for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            # The keys are not printed. The shell reads them when it runs the line.
            exports[key] = f"$({get} -o jsonpath='{{.data.{key}}}' | base64 -d)"
    return exports


def _deployed_settings(settings: Settings, cluster: Cluster) -> dict[str, str]:
    """Returns the settings that the chart writes for the pipeline's steps."""
    namespace = settings.namespace
    if not cluster.exists("configmap", _CONFIG_MAP, namespace):
        raise DeployError(
            f"fedvsr is not deployed in namespace {namespace!r}; run `make deploy`, or set NAMESPACE"
        )
    data = cluster.kubectl("-n", namespace, "get", "configmap", _CONFIG_MAP, "-o", "jsonpath={.data}")
    return dict(json.loads(data))
