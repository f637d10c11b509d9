"""Checks before a deployment. If a check fails, its error says in one line what to do."""

import json
import re
import shutil
from pathlib import Path

from scripts.deploy import images, kfp, release
from scripts.deploy.settings import Settings
from scripts.deploy.shell import Cluster, CommandError, DeployError, run_succeeds


def check_container_tool(settings: Settings) -> None:
    """Checks that images can be built."""
    tool = settings.container_tool
    if not shutil.which(tool):
        raise DeployError(
            f"{tool} is not installed; install it to build images, or set CONTAINER_TOOL=podman or buildah"
        )
    if Path(tool).name == "docker" and not run_succeeds(tool, "version"):
        raise DeployError(
            f"{tool} is installed but its daemon does not answer; start it, or set "
            "CONTAINER_TOOL=podman or buildah"
        )


def check_context(cluster: Cluster) -> str:
    """Checks that kubectl and helm run and the cluster answers; returns the name of the cluster's context."""
    for program, check in (("kubectl", ("version", "--client")), ("helm", ("version",))):
        command = (*cluster.prefix, program, *check)
        if not run_succeeds(*command):
            raise DeployError(
                f"`{' '.join(command)}` fails; install {program}, or set EXEC to a prefix that runs it"
            )
    context = cluster.context
    if not context:
        try:
            context = cluster.kubectl("config", "current-context").strip()
        except CommandError:
            raise DeployError(
                "kubectl has no current context; set KUBE_CONTEXT (`kubectl config get-contexts` lists them)"
            ) from None
    try:
        cluster.kubectl("version", "--request-timeout=10s")
    except CommandError as error:
        raise DeployError(
            f"the cluster of context {context!r} does not answer ({error.reason}); start it, or set another "
            "KUBE_CONTEXT (`kubectl config get-contexts` lists them)"
        ) from None
    return context


def check_rights(settings: Settings, cluster: Cluster) -> None:
    """Checks that this user may create namespaces and the admission policy for the clients' Jobs."""
    for kind in ("namespaces", *(("validatingadmissionpolicies",) if settings.kfp else ())):
        try:
            cluster.kubectl("auth", "can-i", "create", kind, "--quiet")
        except CommandError:
            raise DeployError(
                f"this user may not create {kind} in the cluster; deploy as a user who may, or set another "
                "KUBE_CONTEXT"
            ) from None


def check_kfp(settings: Settings, cluster: Cluster) -> None:
    """Checks that Kubeflow Pipelines is installed, or can be installed, if it is needed."""
    if not settings.kfp or kfp.is_installed(settings, cluster):
        return
    if not settings.kfp_install:
        raise DeployError(
            f"Kubeflow Pipelines is not installed in namespace {settings.kfp_namespace!r}; set its "
            "KFP_NAMESPACE, install it with KFP_INSTALL=1, or deploy without it with KFP=0 (`fedvsr run "
            "--on cluster` then starts the clients' Jobs)"
        )
    if settings.kfp_namespace != kfp.NAMESPACE:
        raise DeployError(
            f"KFP_INSTALL=1 installs Kubeflow Pipelines only into namespace {kfp.NAMESPACE!r}, but "
            f"KFP_NAMESPACE is {settings.kfp_namespace!r}, which has none; leave KFP_NAMESPACE out, or "
            "install it there yourself"
        )


def check_storage(settings: Settings, cluster: Cluster) -> None:
    """Checks that the cluster has the storage classes that the chart's volumes need."""
    required = storage_classes(release.render(settings, cluster))
    classes = json.loads(cluster.kubectl("get", "storageclass", "-o", "json"))["items"]
    existing = {item["metadata"]["name"] for item in classes}
    names = ", ".join(sorted(existing)) or "none"
    for name in sorted(required - existing - {""}):
        raise DeployError(f"there is no StorageClass {name!r} (existing: {names}); name another in VALUES")
    if "" in required and not any(_is_default(item) for item in classes):
        raise DeployError(
            f"no StorageClass is the default (existing: {names}); mark one as default, or name one in VALUES"
        )


def storage_classes(manifest: str) -> set[str]:
    """Returns the storage classes that a manifest's volume claims name; empty for the default."""
    classes = set()
    for document in re.split(r"^---\s*$", manifest, flags=re.MULTILINE):
        if re.search(r"^kind: PersistentVolumeClaim$|^\s+volumeClaimTemplates:", document, re.MULTILINE):
            names = re.findall(r"^\s+storageClassName:[ \t]*[\"']?([\w.-]*)", document, re.MULTILINE)
            classes.update(names or [""])
    return classes


def check_loader(settings: Settings, context: str) -> None:
    """Checks that the program that loads images into the nodes is installed."""
    if settings.image_loader:
        if not shutil.which(settings.image_loader[0]):
            raise DeployError(f"IMAGE_LOADER's program {settings.image_loader[0]} is not installed")
        return
    loader = images.node_loader(context)
    if loader and not shutil.which(loader[0]):
        raise DeployError(
            f"context {context!r} belongs to {loader[0]}, which is not installed; install it, or set "
            "IMAGE_LOADER"
        )


def _is_default(storage_class: dict[str, dict[str, dict[str, str]]]) -> bool:
    annotations = storage_class["metadata"].get("annotations", {})
    return annotations.get("storageclass.kubernetes.io/is-default-class") == "true"


def check_all(settings: Settings, cluster: Cluster) -> str:
    """Runs every check; returns the name of the context."""
    check_container_tool(settings)
    context = check_context(cluster)
    check_loader(settings, context)
    check_rights(settings, cluster)
    check_kfp(settings, cluster)
    check_storage(settings, cluster)
    return context
