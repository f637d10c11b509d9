"""`fedvsr runs`: lists the newest pipeline runs."""

import json
from datetime import UTC, datetime
from itertools import islice

import click
from rich.console import Console
from rich.table import Table

from fedvsr.cli.options import endpoint_option, namespace_option
from fedvsr.kubeflow.connection import KfpConnection
from fedvsr.kubeflow.pipeline import get_newest_version, pipeline_name
from fedvsr.kubeflow.runs import SUCCEEDED, PipelineRun, list_runs
from fedvsr.kubeflow.step_pods import last_ended_round, list_step_pods

_STYLES = {SUCCEEDED: "green", "FAILED": "red", "RUNNING": "cyan"}


@click.command()
@click.option(
    "--limit", type=click.IntRange(1), default=20, show_default=True, help="Number of runs to list."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@endpoint_option
@namespace_option
def runs(limit: int, as_json: bool, endpoint: str, namespace: str) -> None:
    """List the newest pipeline runs and their rounds."""
    connection = KfpConnection(endpoint)
    pipeline_id = get_newest_version(connection, pipeline_name(namespace)).pipeline_id
    rows = [
        (run, _last_ended_round(connection, run)) for run in islice(list_runs(connection, pipeline_id), limit)
    ]
    if as_json:
        click.echo(json.dumps([_as_json(connection, run, last) for run, last in rows], indent=1))
    else:
        Console().print(_table(rows))


def _table(rows: list[tuple[PipelineRun, int | None]]) -> Table:
    # Without lines, the whole ID fits into 80 columns and can be copied.
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("run", "state", "rounds", "age", "time", "id in KFP"):
        is_number = heading in ("rounds", "age", "time")
        table.add_column(
            heading, justify="right" if is_number else "left", no_wrap=heading != "run", overflow="fold"
        )
    for run, last_round in rows:
        age = (datetime.now(UTC) - run.submitted_at).total_seconds()
        table.add_row(
            run.name,
            f"[{_STYLES.get(run.state, 'default')}]{run.state.lower()}[/]",
            f"{'–' if last_round is None else last_round}/{run.rounds}",
            _duration(age),
            _duration(run.seconds),
            run.run_id,
        )
    return table


def _last_ended_round(connection: KfpConnection, run: PipelineRun) -> int | None:
    if run.state == SUCCEEDED:
        return run.rounds
    return last_ended_round(list_step_pods(connection, run.run_id))


def _as_json(connection: KfpConnection, run: PipelineRun, last_round: int | None) -> dict[str, object]:
    return {
        "name": run.name,
        "run_id": run.run_id,
        "state": run.state,
        "created": run.submitted_at.isoformat(),
        "finished": run.ended_at.isoformat() if run.ended_at else None,
        "rounds": run.rounds,
        "error": run.error,
        "rounds_done": last_round,
        "seconds": round(run.seconds, 1),
        "url": connection.run_url(run.run_id),
    }


def _duration(seconds: float) -> str:
    """Returns a duration in its largest units: 45 s, 3 min, 2 h 5 min, 4 d 1 h."""
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return f"{days:.0f} d {hours % 24:.0f} h"
    if hours:
        return f"{hours:.0f} h {minutes % 60:.0f} min"
    return f"{minutes:.0f} min" if minutes else f"{seconds:.0f} s"
