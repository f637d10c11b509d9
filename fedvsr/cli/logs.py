"""`fedvsr logs`: prints the logs of a pipeline run's steps."""

import click
from rich.console import Console

from fedvsr.cli.options import endpoint_option, namespace_option
from fedvsr.cli.progress import print_line
from fedvsr.errors import InputError
from fedvsr.kubeflow.connection import KfpConnection
from fedvsr.kubeflow.logs import OwnLineFilter, follow_logs, is_note, is_of_client
from fedvsr.kubeflow.pipeline import get_newest_version, pipeline_name
from fedvsr.kubeflow.runs import get_newest_run, get_run
from fedvsr.kubeflow.step_pods import StepPod

STEPS = ("prepare", "shard", "train_clients", "aggregate", "evaluate", "register")
_CLIENT_STEPS = ("shard", "train_clients")


class LogPrinter:
    """Prints lines of several steps, with a heading when the step changes.

    Args:
        console: The console to print to.
        raw: Whether to print the lines of KFP and Argo too.
        client: The client whose lines are printed; empty for all lines.

    Attributes:
        has_printed: Whether a line was printed.
    """

    def __init__(self, console: Console, *, raw: bool = False, client: str = "") -> None:
        self._console = console
        self._raw = raw
        self._client = client
        self._filters: dict[str, OwnLineFilter] = {}
        self._last_node = ""
        self.has_printed = False

    def print(self, step_pod: StepPod, line: str) -> None:
        """Prints a line of a step if it is selected. Call it with every line of the step, in order."""
        own_line_filter = self._filters.setdefault(step_pod.node, OwnLineFilter())
        # The filter must see every line, also those that are not printed.
        is_own = own_line_filter.accept(line)
        if (is_own or self._raw) and self._is_line_selected(line):
            self._print_heading(step_pod)
            print_line(self._console, line)
            self.has_printed = True

    def _is_line_selected(self, line: str) -> bool:
        # A note replaces a log that may have lines of the client.
        return not self._client or is_of_client(line, self._client) or is_note(line)

    def _print_heading(self, step_pod: StepPod) -> None:
        if step_pod.node != self._last_node:
            self._console.rule(step_pod.title, align="left", style="dim")
            self._last_node = step_pod.node


@click.command()
@click.argument("name", metavar="RUN")
@click.option("--step", "step_name", type=click.Choice(STEPS), help="Only this step.")
@click.option("--round", "round_number", type=click.IntRange(0), help="Only the steps of this round.")
@click.option("--client", default="", metavar="NAME", help="Only this client's lines.")
@click.option("--follow", is_flag=True, help="Follow the logs until the run has ended.")
@click.option("--raw", is_flag=True, help="Show the lines of KFP and Argo too.")
@endpoint_option
@namespace_option
def logs(
    name: str,
    step_name: str | None,
    round_number: int | None,
    client: str,
    follow: bool,
    raw: bool,
    endpoint: str,
    namespace: str,
) -> None:
    """Show the logs of a run's steps and clients.

    RUN is a run's name, for its newest pipeline run, or a pipeline run's ID in KFP. The logs of the steps
    shard and train_clients contain the clients' lines, each prefixed with the client's name.
    """
    connection = KfpConnection(endpoint)
    version = get_newest_version(connection, pipeline_name(namespace))
    run = get_newest_run(connection, version.pipeline_id, name)

    def is_step_selected(step_pod: StepPod) -> bool:
        return (
            (step_name is None or step_pod.name == step_name)
            and (round_number is None or step_pod.round_number == round_number)
            and (not client or step_pod.name in _CLIENT_STEPS)
        )

    printer = LogPrinter(Console(), raw=raw, client=client)
    for step_pod, line in follow_logs(connection, run.run_id, is_step_selected, until_end=follow):
        printer.print(step_pod, line)
    if not printer.has_printed:
        state = get_run(connection, run.run_id).state.lower()
        raise InputError(
            f"run {run.name!r} ({state}) has no log line{_selection(step_name, round_number, client)}; "
            "`fedvsr runs` shows the last round that has ended, and "
            f"{connection.run_url(run.run_id)} shows the state of each step"
        )


def _selection(step_name: str | None, round_number: int | None, client: str) -> str:
    """Returns the options that select lines, for an error; empty if there are none."""
    options = [
        f"--step {step_name}" if step_name else "",
        "" if round_number is None else f"--round {round_number}",
        f"--client {client}" if client else "",
    ]
    text = " ".join(option for option in options if option)
    return f" that matches {text}" if text else ""
