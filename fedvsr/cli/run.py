"""`fedvsr run` and `fedvsr resume`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from fedvsr.cli.options import ConfiguredCommand, configuration_options, read_overrides
from fedvsr.cli.progress import print_line, show_progress
from fedvsr.cli.stores import namespace_option, open_workspace, store_option
from fedvsr.config.experiment import Experiment, load_experiment
from fedvsr.progress import Progress

if TYPE_CHECKING:
    from fedvsr.experiment.results import ExperimentResult
    from fedvsr.federation.run.rounds import OnRound

_CLIENTS = "--clients"


def _options() -> list[click.Option]:
    """Those of the configuration; `--clients` says here where the clients are, not who."""
    options = configuration_options()
    for option in options:
        option.opts = [flag for flag in option.opts if flag != _CLIENTS]
    return options


@click.command(cls=ConfiguredCommand, params=_options())
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Print the resolved plan and change nothing.")
@click.option(
    _CLIENTS,
    "where",
    type=click.Choice(["here", "cluster"]),
    default="here",
    show_default=True,
    help="Where they train: here, one after the other, or in Jobs on the cluster of the kube context.",
)
@namespace_option
def run(config: Path, dry_run: bool, where: str, namespace: str, **values: Any) -> None:
    """Train a model federatedly, as the YAML file CONFIG says.

    Shards every client's videos, trains round by round, records each round in MLflow, registers the
    best round as the challenger, and writes a report, a before/after picture and an upscaled clip.
    Running it again continues where it ended. Every field of CONFIG can be overridden here.

    With --clients cluster the clients are those of a deployment, and the videos those in its stores: the
    environment names them (FEDVSR_FEDERATION_STORE, FEDVSR_CLIENT_STORE, FEDVSR_S3_ENDPOINT,
    MLFLOW_TRACKING_URI), and CONFIG's sections clients and evaluation_videos are not needed.
    """
    experiment = load_experiment(config, read_overrides(values))
    on_cluster = namespace if where == "cluster" else ""
    if dry_run:
        _print_plan(experiment, on_cluster)
    else:
        _run(experiment, on_cluster)


@click.command()
@click.argument("name", metavar="RUN")
@store_option
def resume(name: str, store: str) -> None:
    """Continue the run RUN, as it was given to `fedvsr run`.

    It goes on after the last whole step; the final weights are those of a run that was never stopped.
    """
    from fedvsr.experiment.stored import load_stored_experiment

    found = load_stored_experiment(open_workspace(store).federation(), name)
    # The folder may have been moved since.
    _run(found.experiment.model_copy(update={"store": store}), found.namespace)


def _print_plan(experiment: Experiment, namespace: str) -> None:
    from fedvsr.cli.tables import plan_table

    if namespace:
        from fedvsr.experiment.cluster import plan_on_cluster

        Console().print(plan_table(*plan_on_cluster(experiment, namespace)))
    else:
        from fedvsr.experiment.local import plan_experiment

        Console().print(plan_table(*plan_experiment(experiment)))


def _run(experiment: Experiment, namespace: str) -> None:
    # Imported here so that a wrong configuration is told of before PyTorch is loaded.
    from fedvsr.cli.tables import round_line, rounds_table

    console = Console()
    with show_progress(console) as progress:
        result = _run_where(
            experiment,
            namespace,
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


def _run_where(
    experiment: Experiment, namespace: str, progress: Progress, on_round: "OnRound"
) -> "ExperimentResult":
    if namespace:
        from fedvsr.experiment.cluster import run_on_cluster

        return run_on_cluster(experiment, namespace, progress=progress, on_round=on_round)
    from fedvsr.experiment.local import run_experiment

    return run_experiment(experiment, progress, on_round)
