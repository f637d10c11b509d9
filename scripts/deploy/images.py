"""Tags and builds the two container images, and loads them to where the cluster finds them."""

import hashlib
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

from scripts.deploy.settings import ROOT, Settings
from scripts.deploy.shell import Cluster, CommandError, read, run, run_succeeds, say

CONTROL = "fedvsr"
TRAINER = "fedvsr-trainer"


def context_files(root: Path) -> Iterator[Path]:
    """Yields the files of the build context, in order: the files that .dockerignore does not exclude."""
    for line in sorted((root / ".dockerignore").read_text().splitlines()):
        if line.startswith("!"):
            entry = root / line[1:]
            inside = entry.rglob("*") if entry.is_dir() else [entry]
            yield from sorted(path for path in inside if path.is_file() and "__pycache__" not in path.parts)


def version(root: Path) -> str:
    """Returns fedvsr's version."""
    return str(tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"])


def content_tag(root: Path, settings: Settings) -> str:
    """Returns the images' tag: the version and a digest of the files and build arguments."""
    digest = hashlib.sha256(f"{settings.base_image}\0{settings.torch}\0".encode())
    for path in context_files(root):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return f"{version(root)}-{digest.hexdigest()[:12]}"


def image_names(settings: Settings, tag: str) -> dict[str, str]:
    """Returns the full name of each image."""
    return {image: f"{settings.image_registry}/{image}:{tag}" for image in (CONTROL, TRAINER)}


def build(settings: Settings, tag: str) -> None:
    """Builds the images that the container tool does not have yet."""
    for image, name in image_names(settings, tag).items():
        if _is_built(settings.container_tool, name):
            say(f"{name} is already built")
            continue
        say(f"building {name}")
        arguments = {
            "VERSION": version(ROOT),
            "REVISION": _git("describe", "--always", "--abbrev=40", "--dirty", "--exclude", "*"),
            "SOURCE": _public(_git("remote", "get-url", "origin")),
        }
        if image == TRAINER:
            arguments["TORCH"] = settings.torch
            if settings.base_image:
                arguments["BASE_IMAGE"] = settings.base_image
        run(*build_command(settings, image, name, arguments))


def build_command(settings: Settings, image: str, name: str, arguments: dict[str, str]) -> list[str]:
    """Returns the command that builds an image with docker, podman or buildah."""
    # docker and podman cache layers by default.
    layers = ["--layers"] if Path(settings.container_tool).name == "buildah" else []
    return [
        settings.container_tool,
        "build",
        *layers,
        *settings.build_flags,
        "--file",
        str(ROOT / "images" / image / "Dockerfile"),
        *(word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")),
        "--tag",
        name,
        str(ROOT),
    ]


def load(settings: Settings, cluster: Cluster, context: str, tag: str) -> None:
    """Loads the images into kind's or minikube's nodes, or pushes them to the registry.

    Args:
        settings: The settings; `image_loader` replaces both ways if it is set.
        cluster: The cluster.
        context: The name of the cluster's context, by which kind and minikube are recognised.
        tag: The images' tag.
    """
    names = list(image_names(settings, tag).values())
    if settings.image_loader:
        say(f"loading {' '.join(names)}")
        run(*settings.image_loader, *names)
    elif loader := node_loader(context):
        if nodes_have(cluster, names):
            say("the nodes already have the images")
            return
        say(f"loading {' '.join(names)} into the nodes")
        _load_into_nodes(settings, loader, names)
    else:
        for name in names:
            say(f"pushing {name}")
            run(settings.container_tool, "push", name)


def nodes_have(cluster: Cluster, names: list[str]) -> bool:
    """Returns whether every node has every image. A node lists its 50 largest images, including fedvsr's."""
    listed = cluster.kubectl(
        "get", "nodes", "-o", "jsonpath={range .items[*]}{.status.images[*].names}{'\\n'}{end}"
    )
    nodes = listed.splitlines()
    return bool(nodes) and all(f'"{name}"' in node for node in nodes for name in names)


def node_loader(context: str) -> list[str]:
    """Returns the command that loads images into kind's or minikube's nodes; empty for other clusters."""
    if context.startswith("kind-"):
        return ["kind", "load", "--name", context.removeprefix("kind-")]
    if context == "minikube":
        return ["minikube", "image", "load"]
    return []


def _load_into_nodes(settings: Settings, loader: list[str], names: list[str]) -> None:
    is_kind = loader[0] == "kind"
    if Path(settings.container_tool).name == "docker":
        run(*loader, *(["docker-image"] if is_kind else []), *names)
        return
    # kind and minikube read images directly only from Docker. Other tools save them as archives.
    for name in names:
        with tempfile.TemporaryDirectory(prefix="fedvsr-image-") as folder:
            archive = f"{folder}/image.tar"
            run(settings.container_tool, "push", name, f"docker-archive:{archive}:{name}")
            run(*loader, *(["image-archive"] if is_kind else []), archive)


def _is_built(tool: str, name: str) -> bool:
    if Path(tool).name == "buildah":
        return run_succeeds(tool, "inspect", "--type", "image", name)
    return run_succeeds(tool, "image", "inspect", name)


def _git(*arguments: str) -> str:
    """Returns git's output; empty if this copy of the code is not a git repository."""
    try:
        return read("git", "-C", str(ROOT), *arguments).strip()
    except CommandError:
        return ""


def _public(url: str) -> str:
    """Returns a repository's address without a user's name or password."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if separator else url
