"""The images: their tag, how they are built and loaded, and the packages that they install."""

import re
import tomllib

import pytest

from images.locked import entries, select
from scripts.deploy.images import (
    build,
    build_command,
    content_tag,
    context_files,
    image_names,
    load,
    nodes_have,
)
from scripts.deploy.settings import ROOT
from tests.unit.deploy.conftest import settings

LOCK = """# comment
numpy==1 ; python_version < '3.12' \\
    --hash=sha256:a
numpy==2 ; python_version >= '3.12' \\
    --hash=sha256:b
nvidia-cublas==3 \\
    --hash=sha256:c
    # via torch
torch==4 \\
    --hash=sha256:d
uv==5 \\
    --hash=sha256:e
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / ".dockerignore").write_text("# these\n*\n!pyproject.toml\n!fedvsr\n**/__pycache__\n")
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    (tmp_path / "fedvsr" / "__pycache__").mkdir(parents=True)
    (tmp_path / "fedvsr" / "a.py").write_text("a")
    (tmp_path / "README.md").write_text("a text")
    return tmp_path


def test_the_tag_is_the_version_and_a_digest(root):
    assert re.fullmatch(r"1\.2\.3-[0-9a-f]{12}", content_tag(root, settings()))


def test_the_tag_depends_only_on_the_build_context(root):
    tag = content_tag(root, settings())
    (root / "README.md").write_text("another")
    (root / "fedvsr" / "__pycache__" / "a.pyc").write_text("compiled")
    (root / "fedvsr" / "a.py").write_text("a")
    assert content_tag(root, settings(namespace="other")) == tag


def test_the_tag_changes_with_files_names_and_build_arguments(root):
    tags = [
        content_tag(root, settings(**variables))
        for variables in ({}, {"torch": "cpu"}, {"base_image": "other"})
    ]
    (root / "fedvsr" / "a.py").write_text("b")
    tags.append(content_tag(root, settings()))
    (root / "fedvsr" / "a.py").rename(root / "fedvsr" / "b.py")
    tags.append(content_tag(root, settings()))
    assert len(set(tags)) == len(tags)


def test_the_build_context_has_no_data():
    names = {path.relative_to(ROOT).parts[0] for path in context_files(ROOT)}
    assert names == {"LICENSE", "fedvsr", "images", "pyproject.toml", "requirements.lock"}


def test_an_image_that_exists_is_not_built_again(programs):
    programs.answer("^docker image inspect .*/fedvsr:", "no such image", 1)
    build(settings(), "tag")
    (line,) = programs.called("docker build")
    assert "/images/fedvsr/Dockerfile" in line
    assert "--tag localhost:5001/fedvsr:tag" in line


def test_only_buildah_gets_the_option_to_cache_layers(programs):
    for tool in ("docker", "podman", "buildah"):
        command = build_command(
            settings(container_tool=tool, build_flags="--network host"), "fedvsr", "n", {}
        )
        assert command[:2] == [tool, "build"]
        assert ("--layers" in command) == (tool == "buildah")
        assert "--network host" in " ".join(command)


def test_only_the_trainer_has_a_base_image_and_a_pytorch_build(programs):
    programs.answer("image inspect", "none", 1)
    build(settings(torch="cpu"), "tag")
    control, trainer = programs.called("docker build")
    assert "TORCH" not in control
    assert "BASE_IMAGE" not in control
    assert "TORCH=cpu" in trainer
    assert "BASE_IMAGE=docker.io/library/python:3.11-slim-bookworm" in trainer


def test_images_are_pushed_to_the_registry_of_an_unknown_cluster(programs, cluster):
    load(settings(image_registry="registry.example.org/team/"), cluster, "somewhere", "tag")
    names = [f"registry.example.org/team/{name}:tag" for name in ("fedvsr", "fedvsr-trainer")]
    assert programs.called("docker") == [f"docker push {name}" for name in names]


def test_the_image_loader_gets_both_names(programs, cluster):
    load(settings(image_loader="kind load here"), cluster, "kind-there", "tag")
    names = " ".join(image_names(settings(), "tag").values())
    assert programs.called("kind") == [f"kind load here {names}"]


@pytest.mark.parametrize(
    ("context", "beginning"),
    [("kind-here", "kind load --name here docker-image "), ("minikube", "minikube image load ")],
)
def test_kind_and_minikube_load_missing_images(programs, cluster, context, beginning):
    names = list(image_names(settings(), "tag").values())
    load(settings(), cluster, context, "tag")
    assert programs.called(context[:4])[0].startswith(beginning + names[0])
    programs.answer("^kubectl get nodes", f'["{names[0]}"] ["{names[1]}","other"]')
    load(settings(), cluster, context, "tag")
    assert len(programs.called(context[:4])) == 1


def test_images_of_podman_are_loaded_as_archives(programs, cluster):
    load(settings(container_tool="podman"), cluster, "kind-here", "tag")
    assert len(programs.called("podman push localhost:5001/fedvsr:tag docker-archive:")) == 1
    assert len(programs.called("kind load --name here image-archive ")) == 2


def test_every_node_must_have_every_image(programs, cluster):
    programs.answer("^kubectl get nodes", '["a","b"]\n["a"]')
    assert nodes_have(cluster, ["a"])
    assert not nodes_have(cluster, ["a", "b"])
    programs.answer("^kubectl get nodes", "")
    assert not nodes_have(cluster, ["a"])


def test_selected_packages_keep_their_hashes_and_markers():
    assert [name for name, _ in entries(LOCK)] == ["numpy", "numpy", "nvidia-cublas", "torch", "uv"]
    names = {"numpy", "torch", "nvidia-cublas"}
    assert re.findall("sha256:(.)", select(LOCK, names, "rest")) == ["a", "b"]
    assert re.findall("sha256:(.)", select(LOCK, names, "torch")) == ["c", "d"]
    assert re.findall("sha256:(.)", select(LOCK, names, "all")) == ["a", "b", "c", "d"]


def test_a_package_missing_from_the_lock_is_named():
    with pytest.raises(SystemExit, match="not in the lock file: other; run `make lock`"):
        select(LOCK, {"numpy", "other"}, "all")


def names_of(requirements):
    return {re.match(r"[A-Za-z0-9-]+", requirement).group().lower() for requirement in requirements}


def test_each_image_installs_the_dependencies_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    required = {
        "fedvsr": names_of(project["dependency-groups"]["control"]),
        "fedvsr-trainer": names_of(project["project"]["dependencies"]),
    }
    lock = (ROOT / "requirements.lock").read_text()
    for image, names in required.items():
        listed = set((ROOT / "images" / image / "packages.txt").read_text().split())
        assert names <= listed, f"{image}: run `make lock`"
        select(lock, listed, "all")


def test_the_control_image_has_no_pytorch():
    listed = set((ROOT / "images" / "fedvsr" / "packages.txt").read_text().split())
    assert select((ROOT / "requirements.lock").read_text(), listed, "torch") == ""
