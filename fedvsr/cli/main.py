"""`fedvsr`: the commands, found by name and imported only when they are used."""

import importlib
import os
import sys
from collections.abc import Iterator
from typing import NoReturn

import click
from rich.console import Console
from rich.text import Text

from fedvsr import __version__
from fedvsr.errors import FedVSRError

# Section, command, where it is, and its line in `fedvsr --help`, which must not import PyTorch.
_COMMANDS = (
    ("Train", "run", "fedvsr.cli.run:run", "Train a model federatedly, as a YAML file says."),
    ("Train", "resume", "fedvsr.cli.run:resume", "Continue a run that was stopped."),
    ("Train", "shard", "fedvsr.cli.shard:shard", "Turn videos into training clips, without training."),
    ("Train", "upload", "fedvsr.cli.upload:upload", "Put videos into a bucket, for the shard step."),
    ("On a cluster", "submit", "fedvsr.cli.submit:submit", "Start a run of the pipeline, or continue one."),
    ("On a cluster", "runs", "fedvsr.cli.runs:runs", "List the runs and the rounds that they are in."),
    ("On a cluster", "logs", "fedvsr.cli.logs:logs", "Show what a run's steps and clients wrote."),
    ("Judge", "evaluate", "fedvsr.cli.evaluate:evaluate", "Score a run's round, or a model on a test set."),
    ("Judge", "report", "fedvsr.cli.report:report", "Write a run as one HTML page."),
    ("Release", "register", "fedvsr.cli.registry:register", "Register a run's best round as the challenger."),
    ("Release", "promote", "fedvsr.cli.registry:promote", "Make the challenger champion if it is better."),
    ("Use", "upscale", "fedvsr.cli.upscale:upscale", "Upscale a video of any length with a trained model."),
    ("Operate", "check", "fedvsr.cli.check:check", "Check that the object store and MLflow answer."),
    ("Operate", "provision", "fedvsr.cli.provision:provision_command", "Make the buckets and S3 users."),
    ("Operate", "clients", "fedvsr.cli.clients:clients", "List, check and add a deployment's clients."),
    ("Operate", "client", "fedvsr.cli.client:client", "Do a client's own work, as its Job does."),
    ("Look", "models", "fedvsr.cli.catalogue:models", "List the models."),
    ("Look", "strategies", "fedvsr.cli.catalogue:strategies", "List the strategies."),
    ("Look", "degradations", "fedvsr.cli.catalogue:degradations", "List the degradations."),
)


class Commands(click.Group):
    """A group that imports a command when it is called."""

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
    for found, name, _, line in _COMMANDS:
        if found == section:
            yield name, line


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="fedvsr")
def cli() -> None:
    """Train video super-resolution models across organisations whose videos may not leave them.

    Every client trains on its own videos; weights and a loss are all that travels. `fedvsr run`
    does all of it on this machine, the same steps run on Kubernetes as a Kubeflow pipeline.

    \b
    First steps:
      fedvsr run samples/demo.yaml    train, register and report
      fedvsr promote                  challenger → champion
      fedvsr upscale in.mp4 out.mp4   use the champion
    """  # noqa: D301 -- click wants the character backspace, which keeps the lines as they are


def main(command: click.Command = cli) -> None:
    """Runs a command line; exit code 2 for a wrong input, 1 for a failure."""
    try:
        command.main(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "")
        sys.exit(0)
    except click.ClickException as error:
        _fail(error.format_message() + _where_help_is(error), 2)
    except FedVSRError as error:
        _fail(str(error), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("stopped; nothing is lost: `fedvsr resume RUN` continues a run", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of a pipe has gone; there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        # A full disk or a folder without permission, where no layer below says it better.
        _fail(f"{error.filename or 'a file'}: {error.strerror or error}", 1)


def _fail(message: str, exit_code: int) -> NoReturn:
    text = Text.assemble(("error:", "bold red"), f" {message}")
    Console(stderr=True, soft_wrap=True).print(text)
    sys.exit(exit_code)


def _where_help_is(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f" See `{context.command_path} --help`." if context else ""
