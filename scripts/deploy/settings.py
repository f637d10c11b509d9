"""The make variables as typed settings."""

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHART = "charts/fedvsr"
# The name of the Helm release in every namespace. A deployment is named by its namespace.
RELEASE = "fedvsr"
DEFAULT_NAMESPACE = "fedvsr"
# The trainer's base image for TORCH=cpu. The Dockerfile has the default for CUDA.
CPU_BASE_IMAGE = "docker.io/library/python:3.11-slim-bookworm"


@dataclass(frozen=True)
class Settings:
    """The make variables of the same names. Commands are split into words as a shell does.

    Attributes:
        container_tool: The program that builds and pushes images: docker, podman or buildah.
        build_flags: More options of the container tool's build command.
        image_registry: The registry from which the cluster pulls the images.
        image_loader: The command that loads the images; empty for kind load, minikube image load, or push.
        base_image: The trainer's base image; empty for the default of the Dockerfile.
        torch: PyTorch's build, ``cuda`` or ``cpu``.
        kube_context: The kubectl context of the cluster; empty for the current context.
        exec: The words before every kubectl and helm command.
        namespace: The deployment's namespace.
        values: The path of the Helm values file; empty for the chart's values.
        kfp: Whether to deploy with Kubeflow Pipelines.
        kfp_install: Whether to install Kubeflow Pipelines if it is missing.
        kfp_namespace: The namespace of Kubeflow Pipelines.
        kfp_endpoint: The address of KFP's API; empty to forward its port.
        purge: Whether `make undeploy` removes the data too.
    """

    container_tool: str
    build_flags: tuple[str, ...]
    image_registry: str
    image_loader: tuple[str, ...]
    base_image: str
    torch: str
    kube_context: str
    exec: tuple[str, ...]
    namespace: str
    values: str
    kfp: bool
    kfp_install: bool
    kfp_namespace: str
    kfp_endpoint: str
    purge: bool

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Reads the variables that make exports. A variable that is empty or not set gets its default."""

        def text(name: str, default: str = "") -> str:
            return environment.get(name, "").strip() or default

        def flag(name: str, default: str = "0") -> bool:
            return text(name, default).lower() not in ("0", "no", "false")

        torch = text("TORCH", "cuda")
        return cls(
            container_tool=text("CONTAINER_TOOL", "docker"),
            build_flags=tuple(shlex.split(text("BUILD_FLAGS"))),
            image_registry=text("IMAGE_REGISTRY", "localhost:5001").rstrip("/"),
            image_loader=tuple(shlex.split(text("IMAGE_LOADER"))),
            base_image=text("BASE_IMAGE", CPU_BASE_IMAGE if torch == "cpu" else ""),
            torch=torch,
            kube_context=text("KUBE_CONTEXT"),
            exec=tuple(shlex.split(text("EXEC"))),
            namespace=text("NAMESPACE", DEFAULT_NAMESPACE),
            values=text("VALUES"),
            kfp=flag("KFP", "1"),
            kfp_install=flag("KFP_INSTALL"),
            kfp_namespace=text("KFP_NAMESPACE", "kubeflow"),
            kfp_endpoint=text("KFP_ENDPOINT"),
            purge=flag("PURGE"),
        )
