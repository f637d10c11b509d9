"""`make ui`: the addresses of KFP, MLflow and S3 on this machine, until Ctrl-C."""

import json
import signal
import time
from contextlib import ExitStack, suppress

from scripts.deploy import kfp
from scripts.deploy.forward import Forward, forwarded
from scripts.deploy.settings import Settings
from scripts.deploy.shell import Cluster, DeployError

_SETTINGS = "fedvsr"
_KEYS = "fedvsr-federation"
# What is the same inside the cluster and outside.
_KEPT = ("FEDVSR_FEDERATION_STORE", "FEDVSR_CLIENT_STORE", "AWS_REGION")


def open_ui(settings: Settings, cluster: Cluster) -> None:
    """Forwards the services to the ports that the chart's and the commands' defaults name, and waits."""
    # Ended from outside, the connections end too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt), ExitStack() as stack:
        stored = _stored_settings(settings, cluster)
        forwards: dict[str, Forward] = {}
        for service, namespace, port, local in _services(settings, cluster):
            forwards[service] = stack.enter_context(forwarded(cluster, namespace, service, port, local))
        for service, title in _TITLES.items():
            if service in forwards:
                print(f"{title:20}{forwards[service].url}")
        print("\nFor the command line, in another terminal:\n")
        for name, value in _exports(settings, cluster, stored, forwards).items():
            print(f'export {name}="{value}"')
        print("\nCtrl-C ends the connections.", flush=True)
        while True:
            time.sleep(1)
            for forward in forwards.values():
                if forward.ended:
                    raise DeployError(f"the connection to {forward.service} was lost; run `make ui` again")


_KFP_UI = "ml-pipeline-ui"
_TITLES = {_KFP_UI: "Kubeflow Pipelines", "mlflow": "MLflow", "s3": "S3"}


def _services(settings: Settings, cluster: Cluster) -> list[tuple[str, str, int, int]]:
    """Which services there are: name, namespace, port, port here. KFP may have no UI, S3 be elsewhere."""
    candidates = [("mlflow", settings.namespace, 5000, 5000), ("s3", settings.namespace, 9000, 9000)]
    if settings.kfp:
        candidates.append((kfp.API_SERVICE, settings.kfp_namespace, kfp.API_PORT, 8888))
        candidates.append((_KFP_UI, settings.kfp_namespace, 80, 8080))
    return [each for each in candidates if cluster.exists("service", each[0], each[1])]


def _exports(
    settings: Settings, cluster: Cluster, stored: dict[str, str], forwards: dict[str, Forward]
) -> dict[str, str]:
    exports = {name: stored[name] for name in _KEPT}
    exports["FEDVSR_NAMESPACE"] = settings.namespace
    exports["FEDVSR_S3_ENDPOINT"] = forwards["s3"].url if "s3" in forwards else stored["FEDVSR_S3_ENDPOINT"]
    if "mlflow" in forwards:
        exports["MLFLOW_TRACKING_URI"] = forwards["mlflow"].url
    # KFP's web server passes its API on, and alone has the logs of running steps.
    for service in (_KFP_UI, kfp.API_SERVICE):
        if service in forwards:
            exports.setdefault("FEDVSR_KFP_ENDPOINT", forwards[service].url)
    if cluster.exists("secret", _KEYS, settings.namespace):
        get = " ".join(cluster.kubectl_command("-n", settings.namespace, "get", "secret", _KEYS))
        for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            # The values stay off the screen: the shell asks for them when the line is run.
            exports[key] = f"$({get} -o jsonpath='{{.data.{key}}}' | base64 -d)"
    return exports


def _stored_settings(settings: Settings, cluster: Cluster) -> dict[str, str]:
    """What the chart tells the pipeline's steps."""
    namespace = settings.namespace
    if not cluster.exists("configmap", _SETTINGS, namespace):
        raise DeployError(
            f"fedvsr is not in namespace {namespace!r}; run `make deploy`, or name its NAMESPACE"
        )
    found = cluster.kubectl("-n", namespace, "get", "configmap", _SETTINGS, "-o", "jsonpath={.data}")
    return dict(json.loads(found))
