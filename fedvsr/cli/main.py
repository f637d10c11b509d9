"""`fedvsr`: the group of all commands. A command is imported only when it is used."""

import importlib
import os
import sys
from collections.abc import Iterator
from typing import NoReturn

import click
from rich.console import Console
from rich.text import Text

from fedvsr import __version__
from fedvsr.cli.stopping import stop_code, stop_message, terminate_on_sigterm
from fedvsr.errors import FedVSRError

# Section, name, function and summary of each command. The summary repeats the first line of the command's
# help, because `fedvsr --help` must not import PyTorch.
_COMMANDS = (
    ("Train", "run", "fedvsr.cli.run:run", "Train a model with federated learning."),
    ("Train", "resume", "fedvsr.cli.run:resume", "Continue a run that was stopped."),
    ("Train", "shard", "fedvsr.cli.shard:shard", "Turn videos into training clips without training."),
    ("Train", "upload", "fedvsr.cli.upload:upload", "Upload videos to a bucket for the shard step."),
    ("On a cluster", "submit", "fedvsr.cli.submit:submit", "Start a pipeline run, or continue one."),
    ("On a cluster", "runs", "fedvsr.cli.runs:runs", "List the newest pipeline runs and their rounds."),
    ("On a cluster", "logs", "fedvsr.cli.logs:logs", "Show the logs of a run's steps and clients."),
    ("Judge", "evaluate", "fedvsr.cli.evaluate:evaluate", "Score a run's round on the held-out clips."),
    ("Judge", "benchmark", "fedvsr.cli.benchmark:benchmark", "Score a model on a published test set."),
    ("Judge", "study", "fedvsr.cli.study:study", "Compare strategies: train a matrix of runs."),
    ("Judge", "report", "fedvsr.cli.report:report", "Write a run as one HTML page."),
    ("Release", "register", "fedvsr.cli.registry:register", "Register a run's best round as the challenger."),
    (
        "Release",
        "promote",
        "fedvsr.cli.registry:promote",
        "Make the challenger the champion if it is better.",
    ),
    ("Use", "upscale", "fedvsr.cli.upscale:upscale", "Upscale a video of any length with a trained model."),
    ("Operate", "check", "fedvsr.cli.check:check", "Check that the object store and MLflow answer."),
    (
        "Operate",
        "provision",
        "fedvsr.cli.provision:provision_command",
        "Create the buckets, S3 users and policies of a deployment.",
    ),
    (
        "Operate",
        "clients",
        "fedvsr.cli.clients:clients",
        "List, check and add clients, and compare their keys.",
    ),
    ("Operate", "client", "fedvsr.cli.client:client", "Do one client's work."),
    ("Operate", "sites", "fedvsr.cli.sites:sites", "Invite, list, rotate and revoke sites."),
    (
        "At a site",
        "site",
        "fedvsr.cli.site:site",
        "Take part in a federation as a site: a client that its owner runs.",
    ),
    ("Look", "models", "fedvsr.cli.catalogue:models", "List the models and presets."),
    ("Look", "strategies", "fedvsr.cli.catalogue:strategies", "List the strategies."),
    (
        "Look",
        "server-optimisers",
        "fedvsr.cli.catalogue:server_optimisers",
        "List the server optimisers.",
    ),
    ("Look", "degradations", "fedvsr.cli.catalogue:degradations", "List the degradations."),
    ("Look", "codecs", "fedvsr.cli.catalogue:codecs", "List the codecs of updates and global weights."),
)


class Commands(click.Group):
    """A group that imports a command only when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for _, name, _, _ in _COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for _, name, reference, _ in _COMMANDS:
            if name == cmd_name:
                module, _, attribute = reference.partition(":")
                command: click.Command = getattr(importlib.import_module(module), attribute)
                return command
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section in dict.fromkeys(section for section, _, _, _ in _COMMANDS):
            with formatter.section(section):
                formatter.write_dl(list(_lines(section)))


def _lines(section: str) -> Iterator[tuple[str, str]]:
    for command_section, name, _, summary in _COMMANDS:
        if command_section == section:
            yield name, summary


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="fedvsr")
def cli() -> None:
    """Train video super-resolution models on videos that stay with their owners.

    Every client trains on its own videos and sends only weights and a report. `fedvsr run` does everything
    on this machine. On Kubernetes, the same steps run as a Kubeflow pipeline.

    \b
    First steps:
      fedvsr run samples/demo.yaml    train, register and report
      fedvsr promote                  challenger → champion
      fedvsr upscale in.mp4 out.mp4   use the champion
    """  # noqa: D301 -- click needs the backspace character to keep the lines as they are


def main(command: click.Command = cli) -> None:
    """Runs a command. Exits with code 2 for a wrong input, 1 for a failure, 130 or 143 if stopped."""
    try:
        with terminate_on_sigterm():
            command.main(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "")
        sys.exit(0)
    except click.ClickException as error:
        _fail(error.format_message() + _help_hint(error), 2)
    except FedVSRError as error:
        _fail(str(error), error.exit_code)
    except (KeyboardInterrupt, click.Abort) as error:
        # click makes an Abort of a KeyboardInterrupt.
        stop = error if isinstance(error, KeyboardInterrupt) else error.__cause__
        click.echo(stop_message(stop), err=True)
        sys.exit(stop_code(stop))
    except BrokenPipeError:
        # The reader of the pipe has closed it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        # A full disk, or a folder without permission, that no other layer has reported.
        _fail(f"{error.filename or 'a file'}: {error.strerror or error}", 1)


def _fail(message: str, exit_code: int) -> NoReturn:
    text = Text.assemble(("error:", "bold red"), f" {message}")
    Console(stderr=True, soft_wrap=True).print(text)
    sys.exit(exit_code)


def _help_hint(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f" See `{context.command_path} --help`." if context else ""
