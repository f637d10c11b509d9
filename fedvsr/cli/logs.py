"""`fedvsr logs`."""

import click
from rich.console import Console

from fedvsr.cli.kubeflow import endpoint_option
from fedvsr.cli.progress import print_line
from fedvsr.cli.stores import namespace_option
from fedvsr.errors import InputError
from fedvsr.kubeflow.connection import Connection
from fedvsr.kubeflow.logs import OwnLines, follow_logs, is_of_client
from fedvsr.kubeflow.pipeline import get_newest_version, pipeline_name
from fedvsr.kubeflow.runs import get_newest_run
from fedvsr.kubeflow.steps import Step

STEPS = ("prepare", "shard", "train_clients", "aggregate", "evaluate", "register")
_CLIENT_STEPS = ("shard", "train_clients")


class LogPrinter:
    """Prints lines of several steps, with a heading when the step changes.

    Args:
        console: The console to print to.
        raw: Whether to print the lines of KFP and Argo too.
        client: Print only this client's lines; empty for all lines.
    """

    def __init__(self, console: Console, *, raw: bool = False, client: str = "") -> None:
        self._console = console
        self._raw = raw
        self._client = client
        self._filters: dict[str, OwnLines] = {}
        self._last = ""

    def __call__(self, step: Step, line: str) -> None:
        own = self._filters.setdefault(step.node, OwnLines())(line)
        is_selected = not self._client or is_of_client(line, self._client) or line.startswith("(KFP ")
        if not (own or self._raw) or not is_selected:
            return
        if step.node != self._last:
            self._console.rule(step.title, align="left", style="dim")
            self._last = step.node
        print_line(self._console, line)


@click.command()
@click.argument("name", metavar="RUN")
@click.option("--step", type=click.Choice(STEPS), help="Only this step.")
@click.option("--round", "round_number", type=click.IntRange(0), help="Only the steps of this round.")
@click.option("--client", default="", metavar="NAME", help="Only this client's lines.")
@click.option("--follow", is_flag=True, help="Follow the logs until the run has ended.")
@click.option("--raw", is_flag=True, help="Show the lines of KFP and Argo too.")
@endpoint_option
@namespace_option
def logs(
    name: str,
    step: str | None,
    round_number: int | None,
    client: str,
    follow: bool,
    raw: bool,
    endpoint: str,
    namespace: str,
) -> None:
    """Show the logs of a run's steps and clients.

    RUN is a name, for the newest run of that name, or an id in KFP. The logs of the steps shard and
    train_clients hold the clients' lines, each with the client's name in front.
    """
    connection = Connection(endpoint)
    version = get_newest_version(connection, pipeline_name(namespace))
    run = get_newest_run(connection, version.pipeline_id, name)

    def is_selected(candidate: Step) -> bool:
        return (
            (step is None or candidate.name == step)
            and (round_number is None or candidate.round_number == round_number)
            and (not client or candidate.name in _CLIENT_STEPS)
        )

    console = Console()
    printer = LogPrinter(console, raw=raw, client=client)
    is_empty = True
    for logged_step, line in follow_logs(connection, run.run_id, is_selected, until_end=follow):
        is_empty = False
        printer(logged_step, line)
    if is_empty:
        raise InputError(
            f"run {run.name!r} ({run.state.lower()}) has no such step yet; `fedvsr runs` shows the round "
            f"that it is in, and {connection.run_url(run.run_id)} the state of each step"
        )
