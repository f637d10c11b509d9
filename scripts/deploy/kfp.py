"""Kubeflow Pipelines: whether it is there, installing it, and the pipeline in it."""

import sys

from scripts.deploy.forward import forwarded
from scripts.deploy.images import CONTROL, TRAINER
from scripts.deploy.settings import Settings
from scripts.deploy.shell import Cluster, run, say

VERSION = "2.17.0"
API_SERVICE = "ml-pipeline"
API_PORT = 8888
_MANIFESTS = "github.com/kubeflow/pipelines/manifests/kustomize"


def is_installed(settings: Settings, cluster: Cluster) -> bool:
    """Whether the API's service is there."""
    return cluster.exists("service", API_SERVICE, settings.kfp_namespace)


def install(settings: Settings, cluster: Cluster) -> None:
    """Installs Kubeflow Pipelines as its makers describe, and waits for it."""
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
    """Uploads the pipeline, or a new version of it where it differs from the latest one.

    Args:
        settings: Whose `kfp_endpoint` is the API's address; without it the API is forwarded to.
        cluster: The cluster.
        images: The images that the steps run in.
    """
    variables = {
        "FEDVSR_IMAGE": images[CONTROL],
        "FEDVSR_TRAINER_IMAGE": images[TRAINER],
        "FEDVSR_RELEASE": settings.namespace,
    }
    # By env, since what EXEC names need not hand on this program's own environment.
    given = (f"{key}={value}" for key, value in variables.items())
    command = [*settings.exec, "env", *given, sys.executable, "-m", "pipelines.upload", "--endpoint"]
    if settings.kfp_endpoint:
        run(*command, settings.kfp_endpoint)
        return
    with forwarded(cluster, settings.kfp_namespace, API_SERVICE, API_PORT) as forward:
        run(*command, forward.url)
