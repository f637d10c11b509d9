"""`fedvsr run` and `fedvsr resume`."""

from pathlib import Path
from typing import Any

import click
from rich.console import Console

from fedvsr.cli.options import ConfiguredCommand, configuration_options, read_overrides
from fedvsr.cli.progress import print_line, show_progress
from fedvsr.cli.stores import store_option
from fedvsr.config.experiment import Experiment, load_experiment


@click.command(cls=ConfiguredCommand, params=[*configuration_options()])
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Print the resolved plan and change nothing.")
def run(config: Path, dry_run: bool, **values: Any) -> None:
    """Train a model federatedly, as the YAML file CONFIG says.

    Shards every client's videos, trains round by round, records each round in MLflow, registers the
    best round as the challenger, and writes a report, a before/after picture and an upscaled clip.
    Running it again continues where it ended. Every field of CONFIG can be overridden here.
    """
    experiment = load_experiment(config, read_overrides(values))
    if dry_run:
        from fedvsr.cli.tables import plan_table
        from fedvsr.experiment import plan_experiment

        Console().print(plan_table(*plan_experiment(experiment)))
        return
    _run(experiment)


@click.command()
@click.argument("name", metavar="RUN")
@store_option
def resume(name: str, store: str) -> None:
    """Continue the run RUN, as it was given to `fedvsr run`.

    It goes on after the last whole step; the final weights are those of a run that was never stopped.
    """
    from fedvsr.experiment import find_experiment

    _run(find_experiment(store, name))


def _run(experiment: Experiment) -> None:
    # Imported here so that a wrong configuration is told of before PyTorch is loaded.
    from fedvsr.cli.tables import round_line, rounds_table
    from fedvsr.experiment import run_experiment

    console = Console()
    with show_progress(console) as progress:
        result = run_experiment(
            experiment,
            progress,
            lambda record, evaluation: progress.message(round_line(record, evaluation, experiment)),
        )
    console.print(rounds_table(result.summary))
    registration = result.registration
    print_line(
        console,
        f"Registered round {registration.round} as {registration.model} version "
        f"{registration.model_version}, alias challenger. MLflow: {result.tracking_uri}",
    )
    for label, path in (
        ("Report", result.report),
        ("Picture", result.picture),
        ("Upscaled clip", result.upscaled),
    ):
        print_line(console, f"{label + ':':<14} {path}")
