"""`fedvsr run` and `fedvsr resume`: train a model with federated learning."""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from fedvsr.cli.configuration import ConfiguredCommand, configuration_options, read_overrides
from fedvsr.cli.options import namespace_option, store_option, workers_option
from fedvsr.cli.progress import print_line, show_progress
from fedvsr.cli.results import print_result
from fedvsr.cli.stopping import when_stopped
from fedvsr.cli.stores import open_workspace
from fedvsr.cli.trial import run_trial_of_sites
from fedvsr.config.experiment import Experiment, load_experiment
from fedvsr.config.run import RunConfig
from fedvsr.progress import LogProgress, Progress
from fedvsr.store.workspace import FEDERATION_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fedvsr.experiment.results import ExperimentResult
    from fedvsr.experiment.workload import ClientWork
    from fedvsr.federation.run.rounds import OnRound


@click.command(cls=ConfiguredCommand, params=[*configuration_options()])
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@click.option(
    "--measure",
    is_flag=True,
    help="With --dry-run: measure a training step on this machine, and estimate the run's memory and hours "
    "from it. A large model takes minutes on a CPU.",
)
@click.option(
    "--on",
    "place",
    type=click.Choice(["local", "cluster", "sites"]),
    default="local",
    show_default=True,
    help="Where clients train: on this machine; as Jobs on the cluster of the kube context, and at the "
    "federation's sites; or at the sites alone, without a cluster.",
)
@workers_option
@namespace_option
@click.pass_context
def run(
    context: click.Context,
    /,
    config: Path,
    dry_run: bool,
    measure: bool,
    place: str,
    workers: int | None,
    namespace: str,
    **values: Any,
) -> None:
    """Train a model with federated learning.

    The YAML file CONFIG describes the run. The command shards every client's videos, trains round by
    round, records each round in MLflow and registers the best round as the challenger. It writes a
    report, a before/after picture and an upscaled clip. Run it again to continue a stopped run. Options
    override the fields of CONFIG.

    With --on cluster, the clients of a deployment train on the videos in its stores. Environment variables
    name the stores and MLflow (FEDVSR_FEDERATION_STORE, FEDVSR_CLIENT_STORE, FEDVSR_S3_ENDPOINT,
    MLFLOW_TRACKING_URI). CONFIG does not need the sections clients and evaluation_videos then. With
    --on sites, the same holds, and no cluster is needed; see `fedvsr sites invite`. If
    FEDVSR_FEDERATION_STORE is not set then, this is a trial: the command starts an S3 server and an agent per
    client of CONFIG on this machine.
    """
    if values["federation__clients"] in ("here", "cluster", "sites"):
        raise click.UsageError("--clients names the run's clients; --on says where they train.", context)
    if measure and not (dry_run and place == "local"):
        raise click.UsageError("--measure needs --dry-run, and clients on this machine.", context)
    if place != "local":
        _refuse_workers(context, workers)
    experiment = load_experiment(config, read_overrides(values))
    remote = {"local": None, "cluster": namespace, "sites": ""}[place]
    if place == "sites" and not os.environ.get(FEDERATION_VARIABLE):
        run_trial_of_sites(experiment, dry_run)
    elif dry_run:
        _print_plan(experiment, remote, measure)
    else:
        _run(experiment, remote, workers)


@click.command()
@click.argument("name", metavar="RUN")
@workers_option
@store_option
@click.pass_context
def resume(context: click.Context, /, name: str, workers: int | None, store: str) -> None:
    """Continue a run that was stopped.

    RUN continues with the settings it was started with, after its last completed step. The final weights
    are the same as without a stop.
    """
    from fedvsr.experiment.stored import check_videos_exist, load_stored_experiment, moved_experiment

    stored = load_stored_experiment(open_workspace(store).federation(), name)
    experiment = moved_experiment(stored.experiment, store)
    is_remote = stored.namespace or stored.sites
    if is_remote:
        _refuse_workers(context, workers)
    else:
        check_videos_exist(experiment)
    _run(experiment, stored.namespace if is_remote else None, workers)


def _refuse_workers(context: click.Context, workers: int | None) -> None:
    if workers != 1:
        raise click.UsageError("--workers needs clients that train on this machine.", context)


def _print_plan(experiment: Experiment, namespace: str | None, measure: bool) -> None:
    from fedvsr.cli.tables import plan_table, work_table

    console = Console()
    progress = LogProgress(partial(print_line, console))
    if namespace is not None:
        from fedvsr.experiment.remote import plan_remotely

        console.print(plan_table(*plan_remotely(experiment, namespace, progress)))
        return
    from fedvsr.experiment.local import plan_locally
    from fedvsr.experiment.workload import plan_work

    plan = plan_locally(experiment, progress)
    console.print(plan_table(experiment, plan.config, plan.counts))
    work = plan_work(plan.config, plan.videos.clients)
    console.print(work_table(work))
    if measure:
        _print_cost(console, plan.config, work)


def _print_cost(console: Console, config: RunConfig, work: "Mapping[str, ClientWork]") -> None:
    """Measures a step, and prints what the run would take on this machine, one client after the other."""
    from fedvsr.device import select_device
    from fedvsr.experiment.measure import measure_step
    from fedvsr.experiment.workload import count_steps

    cost = measure_step(config, select_device(config.training.device))
    steps = count_steps(config, work)
    print_line(console, f"A step: {cost.seconds:.3g} s, {cost.memory / 1e9:.3g} GB of memory, {cost.how}.")
    print_line(
        console,
        f"The run: {steps:,} steps, {steps * cost.seconds / 3600:,.1f} hours of training on this machine, "
        "one client after the other, without sharding and evaluation.",
    )


def _run(experiment: Experiment, namespace: str | None, workers: int | None) -> None:
    """Runs an experiment with a deployment's clients and sites, with sites alone ("") or here (None)."""
    # Imported here so that a wrong configuration is reported before PyTorch is loaded.
    from fedvsr.cli.tables import round_line

    console = Console()
    name = experiment.name
    with (
        when_stopped(
            lambda: f"nothing is lost: `fedvsr resume {name}`, or the same command again, continues the run"
        ),
        show_progress(console) as progress,
    ):
        result = _run_experiment(
            experiment,
            namespace,
            workers,
            progress,
            lambda record, evaluation: progress.message(round_line(record, evaluation, experiment)),
        )
    print_result(console, result)


def _run_experiment(
    experiment: Experiment,
    namespace: str | None,
    workers: int | None,
    progress: Progress,
    on_round: "OnRound",
) -> "ExperimentResult":
    if namespace is not None:
        from fedvsr.experiment.remote import run_remotely

        return run_remotely(experiment, namespace, progress=progress, on_round=on_round)
    from fedvsr.experiment.local import run_experiment

    return run_experiment(experiment, progress, on_round, workers)
