"""Installs Kubeflow Pipelines, uploads the pipeline and removes it."""

import json
import sys

from scripts.deploy.forward import forward_service
from scripts.deploy.images import CONTROL, TRAINER
from scripts.deploy.settings import DEFAULT_NAMESPACE, Settings
from scripts.deploy.shell import Cluster, CommandError, run, say

VERSION = "2.17.0"
API_SERVICE = "ml-pipeline"
API_PORT = 8888
# The only namespace that the official manifests install into.
NAMESPACE = "kubeflow"
_MANIFESTS = "github.com/kubeflow/pipelines/manifests/kustomize"


def is_installed(settings: Settings, cluster: Cluster) -> bool:
    """Returns whether KFP's API service exists."""
    return cluster.exists("service", API_SERVICE, settings.kfp_namespace)


def install(settings: Settings, cluster: Cluster) -> None:
    """Installs Kubeflow Pipelines from its official manifests and waits until it is ready."""
    say(f"installing Kubeflow Pipelines {VERSION}")
    run(*cluster.kubectl_command("apply", "-k", f"{_MANIFESTS}/cluster-scoped-resources?ref={VERSION}"))
    run(
        *cluster.kubectl_command(
            "wait", "--for=condition=established", "--timeout=60s", "crd/applications.app.k8s.io"
        )
    )
    run(*cluster.kubectl_command("apply", "-k", f"{_MANIFESTS}/env/platform-agnostic?ref={VERSION}"))
    run(
        *cluster.kubectl_command(
            "wait",
            "deployment",
            "--all",
            "-n",
            settings.kfp_namespace,
            "--for=condition=Available",
            "--timeout=15m",
        )
    )


def upload(settings: Settings, cluster: Cluster, images: dict[str, str]) -> None:
    """Uploads the pipeline as a new version if it differs from the newest one.

    Args:
        settings: The settings; if `kfp_endpoint` is empty, the API's port is forwarded.
        cluster: The cluster.
        images: The images that the steps run in.
    """
    variables = {
        "FEDVSR_IMAGE": images[CONTROL],
        "FEDVSR_TRAINER_IMAGE": images[TRAINER],
        "FEDVSR_NAMESPACE": settings.namespace,
    }
    # EXEC's command may drop this program's environment, so `env` sets the variables.
    assignments = (f"{key}={value}" for key, value in variables.items())
    command = [*settings.exec, "env", *assignments, sys.executable, "-m", "pipelines.upload", "--endpoint"]
    if settings.kfp_endpoint:
        run(*command, settings.kfp_endpoint)
        return
    with forward_service(cluster, settings.kfp_namespace, API_SERVICE, API_PORT) as forward:
        run(*command, forward.url)


def pipeline_name(settings: Settings) -> str:
    """Returns the name of the deployment's pipeline, the same as `fedvsr.kubeflow.pipeline.pipeline_name`."""
    suffix = "" if settings.namespace == DEFAULT_NAMESPACE else f"-{settings.namespace}"
    return f"federated-training{suffix}"


def remove_pipeline(settings: Settings, cluster: Cluster) -> None:
    """Removes the deployment's pipeline and its versions; its runs stay in KFP's lists.

    The requests go through Kubernetes' API, so they need neither a forwarded port nor a Python package. If
    KFP does not answer, the pipeline stays and a line says so.
    """
    if not is_installed(settings, cluster):
        return
    name = pipeline_name(settings)
    service = f"/api/v1/namespaces/{settings.kfp_namespace}/services/http:{API_SERVICE}:{API_PORT}"
    pipelines = f"{service}/proxy/apis/v2beta1/pipelines"
    try:
        pipeline = json.loads(cluster.kubectl("get", "--raw", f"{pipelines}/names/{name}"))
        cluster.kubectl("delete", "--raw", f"{pipelines}/{pipeline['pipeline_id']}?cascade=true")
    except CommandError as error:
        # KFP answers NotFound for an unknown name. Its service exists, as checked above.
        if "NotFound" not in error.reason:
            say(f"pipeline {name} stays in KFP: KFP does not answer ({error.reason})")
        return
    say(f"removed pipeline {name} from KFP")
