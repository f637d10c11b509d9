"""`fedvsr runs`."""

import dataclasses
import json
from datetime import UTC, datetime
from itertools import islice

import click
from rich.console import Console
from rich.table import Table

from fedvsr.cli.kubeflow import endpoint_option
from fedvsr.cli.stores import namespace_option
from fedvsr.kubeflow.connection import Connection
from fedvsr.kubeflow.pipeline import get_newest_version, pipeline_name
from fedvsr.kubeflow.runs import SUCCEEDED, Run, list_runs
from fedvsr.kubeflow.steps import rounds_done, run_steps

_STYLES = {SUCCEEDED: "green", "FAILED": "red", "RUNNING": "cyan"}


@click.command()
@click.option(
    "--limit", type=click.IntRange(1), default=20, show_default=True, help="Number of runs to list."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@endpoint_option
@namespace_option
def runs(limit: int, as_json: bool, endpoint: str, namespace: str) -> None:
    """List the newest runs and their rounds."""
    connection = Connection(endpoint)
    pipeline_id = get_newest_version(connection, pipeline_name(namespace)).pipeline_id
    rows = [(run, _rounds_done(connection, run)) for run in islice(list_runs(connection, pipeline_id), limit)]
    if as_json:
        click.echo(json.dumps([_as_json(connection, run, done) for run, done in rows], indent=1))
    else:
        Console().print(_table(rows))


def _table(rows: list[tuple[Run, int | None]]) -> Table:
    # Without lines, the whole id fits into 80 columns and can be copied.
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("run", "state", "rounds", "age", "time", "id in KFP"):
        is_number = heading in ("rounds", "age", "time")
        table.add_column(
            heading, justify="right" if is_number else "left", no_wrap=heading != "run", overflow="fold"
        )
    for run, done in rows:
        age = (datetime.now(UTC) - run.created).total_seconds()
        table.add_row(
            run.name,
            f"[{_STYLES.get(run.state, 'default')}]{run.state.lower()}[/]",
            f"{'–' if done is None else done}/{run.rounds}",
            _duration(age),
            _duration(run.seconds),
            run.run_id,
        )
    return table


def _rounds_done(connection: Connection, run: Run) -> int | None:
    return run.rounds if run.state == SUCCEEDED else rounds_done(run_steps(connection, run.run_id))


def _as_json(connection: Connection, run: Run, done: int | None) -> dict[str, object]:
    values = {**dataclasses.asdict(run), "rounds_done": done, "seconds": round(run.seconds, 1)}
    values["created"] = run.created.isoformat()
    values["finished"] = run.finished.isoformat() if run.finished else None
    return {**values, "url": connection.run_url(run.run_id)}


def _duration(seconds: float) -> str:
    """Returns a time in its largest units: 45 s, 3 min, 2 h 5 min, 4 d 1 h."""
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return f"{days:.0f} d {hours % 24:.0f} h"
    if hours:
        return f"{hours:.0f} h {minutes % 60:.0f} min"
    return f"{minutes:.0f} min" if minutes else f"{seconds:.0f} s"
