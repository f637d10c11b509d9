"""`fedvsr submit`."""

from pathlib import Path
from typing import Any

import click
from rich.console import Console

from fedvsr.cli.kubeflow import endpoint_option
from fedvsr.cli.logs import LogPrinter
from fedvsr.cli.options import (
    ConfiguredCommand,
    configuration_options,
    given_fields,
    parse_field,
    read_overrides,
)
from fedvsr.cli.progress import print_line
from fedvsr.cli.stores import namespace_option
from fedvsr.config.experiment import Experiment, load_experiment
from fedvsr.config.parameters import to_parameters
from fedvsr.config.run import RunConfig
from fedvsr.errors import PipelinesError
from fedvsr.federation.run.prepare import check_settings
from fedvsr.kubeflow.connection import Connection
from fedvsr.kubeflow.logs import follow_logs
from fedvsr.kubeflow.pipeline import newest, pipeline_name
from fedvsr.kubeflow.runs import SUCCEEDED, Run, get_run, stop
from fedvsr.kubeflow.runs import submit as submit_run
from fedvsr.models.registry import check_model_name

# What a YAML file says of this machine, where the deployment has its own.
_HERE = ("clients", "evaluation_videos", "store", "tracking")


@click.command(
    cls=ConfiguredCommand,
    params=[each for each in configuration_options(RunConfig) if each.name != "name"],
)
@click.argument("name", metavar="RUN", required=False)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="A YAML file as `fedvsr run` takes it; options override.",
)
@click.option(
    "--set",
    "fields",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Any field by its dotted name; VALUE is YAML.",
)
@click.option("--registered-model", default="fedvsr", show_default=True, help="What the best round becomes.")
@click.option("--evaluation-gpus", type=click.IntRange(0), help="GPUs that an evaluation asks for.")
@click.option(
    "--evaluation-memory", metavar="QUANTITY", help="Memory that an evaluation may take, such as 16Gi."
)
@click.option("--experiment", default="fedvsr", show_default=True, help="The experiment in KFP.")
@click.option(
    "--replace", is_flag=True, help="Stop the run of that name that is going on, and go on from it."
)
@click.option("--follow", is_flag=True, help="Show the steps' logs until the run has ended.")
@endpoint_option
@namespace_option
def submit(
    name: str | None,
    config: Path | None,
    fields: tuple[str, ...],
    registered_model: str,
    evaluation_gpus: int | None,
    evaluation_memory: str | None,
    experiment: str,
    replace: bool,
    follow: bool,
    endpoint: str,
    namespace: str,
    **values: Any,
) -> None:
    """Start RUN on a cluster: the pipeline in KFP, on the clients' own videos.

    Settings are those of `fedvsr run`, and are checked here before anything is started. A name that was
    submitted before continues that run. RUN may be left out where the YAML file names it.
    """
    settings = load_experiment(
        config, {**read_overrides({**values, "name": name}), **dict(map(parse_field, fields))}
    )
    _check(settings)
    parameters: dict[str, Any] = {
        **to_parameters(given_fields(settings)),
        "registered_model": registered_model,
    }
    if evaluation_gpus is not None:
        parameters["evaluation_gpus"] = str(evaluation_gpus)
    if evaluation_memory:
        parameters["evaluation_memory"] = evaluation_memory
    connection = Connection(endpoint)
    version = newest(connection, pipeline_name(namespace))
    if replace:
        stop(connection, version.pipeline_id, settings.name)
    run = submit_run(connection, version, experiment, parameters)
    console = Console()
    left_out = sorted(settings.model_fields_set.intersection(_HERE))
    if left_out:
        print_line(console, f"Not sent, since the deployment has its own: {', '.join(left_out)}")
    print_line(console, f"Run {run.name} is {run.run_id} in KFP, pipeline version {version.name}")
    print_line(console, connection.run_url(run.run_id))
    if follow:
        _follow(connection, run, console)


def _check(settings: Experiment) -> None:
    """Refuses here what the pipeline's first step would refuse in a minute."""
    # Code that is named by a reference must be in the images, but need not be here.
    check_settings(settings, import_references=False)
    check_model_name(settings.model.name)


def _follow(connection: Connection, run: Run, console: Console) -> None:
    printer = LogPrinter(console)
    for step, line in follow_logs(connection, run.run_id, lambda _: True, until_end=True):
        printer(step, line)
    ended = get_run(connection, run.run_id)
    if ended.state != SUCCEEDED:
        raise PipelinesError(
            f"run {run.name!r} ended as {ended.state}; `fedvsr logs {run.name}` says why, as does "
            f"{connection.run_url(run.run_id)}, and submitting it again goes on where it ended"
        )
    print_line(console, f"Run {run.name} succeeded in {ended.seconds:.0f} s")
