"""`fedvsr logs`."""

import click
from rich.console import Console

from fedvsr.cli.kubeflow import endpoint_option
from fedvsr.cli.progress import print_line
from fedvsr.cli.stores import namespace_option
from fedvsr.errors import InputError
from fedvsr.kubeflow.connection import Connection
from fedvsr.kubeflow.logs import OwnLines, follow_logs, is_of_client
from fedvsr.kubeflow.pipeline import newest, pipeline_name
from fedvsr.kubeflow.runs import newest_run
from fedvsr.kubeflow.steps import Step

STEPS = ("prepare", "shard", "train_clients", "aggregate", "evaluate", "register")
_OF_CLIENTS = ("shard", "train_clients")


class LogPrinter:
    """Prints lines of several steps, with a heading wherever the step changes.

    Args:
        console: Where to.
        raw: Whether to print the lines of KFP and Argo too.
        client: Only this client's lines, where it is given.
    """

    def __init__(self, console: Console, *, raw: bool = False, client: str = "") -> None:
        self._console = console
        self._raw = raw
        self._client = client
        self._filters: dict[str, OwnLines] = {}
        self._last = ""

    def __call__(self, step: Step, line: str) -> None:
        own = self._filters.setdefault(step.node, OwnLines())(line)
        wanted = not self._client or is_of_client(line, self._client) or line.startswith("(KFP ")
        if not (own or self._raw) or not wanted:
            return
        if step.node != self._last:
            self._console.rule(step.title, align="left", style="dim")
            self._last = step.node
        print_line(self._console, line)


@click.command()
@click.argument("name", metavar="RUN")
@click.option("--step", type=click.Choice(STEPS), help="Only this step.")
@click.option("--round", type=click.IntRange(0), help="Only the steps of this round.")
@click.option("--client", default="", metavar="NAME", help="Only this client's lines.")
@click.option("--follow", is_flag=True, help="Go on until the run has ended.")
@click.option("--raw", is_flag=True, help="Show what KFP and Argo write as well.")
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

    RUN is a name, for the newest run of that name, or an id in KFP. The steps shard and train_clients
    have every client's lines, with its name in front.
    """
    connection = Connection(endpoint)
    run = newest_run(connection, newest(connection, pipeline_name(namespace)).pipeline_id, name)

    def wanted(each: Step) -> bool:
        return (
            (step is None or each.name == step)
            and (round_number is None or each.round_number == round_number)
            and (not client or each.name in _OF_CLIENTS)
        )

    console = Console()
    printer = LogPrinter(console, raw=raw, client=client)
    seen: set[Step] = set()
    for each, line in follow_logs(connection, run.run_id, wanted, until_end=follow):
        seen.add(each)
        printer(each, line)
    if not seen:
        raise InputError(
            f"run {run.name!r} ({run.state.lower()}) has no such step yet; `fedvsr runs` says which round "
            f"it is in, and {connection.run_url(run.run_id)} what became of each step"
        )
