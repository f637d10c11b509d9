"""The program that `make images`, `deploy`, `undeploy` and `ui` run."""

import sys
import time

from scripts.deploy import images, kfp, preflight, release
from scripts.deploy.settings import ROOT, Settings
from scripts.deploy.shell import Cluster, DeployError, say
from scripts.deploy.ui import open_ui
from scripts.deploy.undeploy import undeploy

USAGE = """\
usage: python -m scripts.deploy COMMAND

commands:
  images    build the container images and print their names
  deploy    install or upgrade fedvsr: images, Helm chart, pipeline
  undeploy  remove fedvsr; the data stays unless PURGE=1
  ui        forward KFP, MLflow and S3 to this machine until Ctrl-C

Settings are environment variables; `make help` lists them."""


def build_images(settings: Settings, _cluster: Cluster) -> None:
    """Builds the images and prints their names."""
    preflight.check_container_tool(settings)
    tag = images.content_tag(ROOT, settings)
    images.build(settings, tag)
    print("\n".join(images.image_names(settings, tag).values()))


def deploy(settings: Settings, cluster: Cluster) -> None:
    """Installs or upgrades fedvsr: its images, its Helm release and its pipeline."""
    start = time.monotonic()
    context = preflight.check_all(settings, cluster)
    tag = images.content_tag(ROOT, settings)
    images.build(settings, tag)
    images.load(settings, cluster, context, tag)
    if settings.kfp and settings.kfp_install and not kfp.is_installed(settings, cluster):
        kfp.install(settings, cluster)
    release.upgrade(settings, cluster, tag)
    if settings.kfp:
        kfp.upload(settings, cluster, images.image_names(settings, tag))
    say(f"deployed to context {context!r} in {time.monotonic() - start:.0f} s; `make ui` opens it")


COMMANDS = {"images": build_images, "deploy": deploy, "undeploy": undeploy, "ui": open_ui}


def main(arguments: list[str]) -> int:
    """Runs one command and returns the exit code."""
    if arguments in (["-h"], ["--help"]):
        print(USAGE)
        return 0
    if len(arguments) != 1 or arguments[0] not in COMMANDS:
        print(USAGE, file=sys.stderr)
        return 2
    settings = Settings.read()
    try:
        COMMANDS[arguments[0]](settings, Cluster.of(settings))
    except DeployError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
