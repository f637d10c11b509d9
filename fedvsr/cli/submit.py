"""`fedvsr submit`: starts or continues a pipeline run."""

from pathlib import Path
from typing import Any

import click
from rich.console import Console

from fedvsr.cli.configuration import (
    ConfiguredCommand,
    configuration_options,
    explicit_fields,
    parse_field,
    read_overrides,
)
from fedvsr.cli.logs import LogPrinter
from fedvsr.cli.options import endpoint_option, namespace_option
from fedvsr.cli.progress import print_line
from fedvsr.config.experiment import Experiment, load_experiment
from fedvsr.config.mlflow_names import check_registered_model
from fedvsr.config.parameters import to_parameters
from fedvsr.config.run import RunConfig
from fedvsr.errors import ConfigError, PipelinesError
from fedvsr.federation.run.prepare import check_settings
from fedvsr.kubeflow.connection import KfpConnection
from fedvsr.kubeflow.logs import follow_logs
from fedvsr.kubeflow.pipeline import get_newest_version, pipeline_name
from fedvsr.kubeflow.runs import SUCCEEDED, PipelineRun, get_run, stop
from fedvsr.kubeflow.runs import submit as submit_run
from fedvsr.models.registry import check_model_name

# Sections for a run on this machine; a deployment has its own clients, videos, store and MLflow.
_LOCAL_SECTIONS = ("clients", "evaluation_videos", "store", "tracking")


@click.command(
    cls=ConfiguredCommand,
    params=[option for option in configuration_options(RunConfig) if option.name != "name"],
)
@click.argument("name", metavar="RUN", required=False)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="A YAML file for `fedvsr run`; options override its fields.",
)
@click.option(
    "--set",
    "fields",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Set any field by its dotted name; VALUE is YAML.",
)
@click.option(
    "--registered-model", default="fedvsr", show_default=True, help="The registered model of the best round."
)
@click.option("--evaluation-gpus", type=click.IntRange(0), help="GPUs of an evaluation.")
@click.option("--evaluation-memory", metavar="QUANTITY", help="Memory limit of an evaluation, such as 16Gi.")
@click.option(
    "--experiment", "kfp_experiment", default="fedvsr", show_default=True, help="The experiment in KFP."
)
@click.option(
    "--virtual-clients",
    is_flag=True,
    help="Divide the federation's training videos among virtual clients, as clients.split says.",
)
@click.option("--replace", is_flag=True, help="Stop the active run with this name and continue it.")
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
    kfp_experiment: str,
    virtual_clients: bool,
    replace: bool,
    follow: bool,
    endpoint: str,
    namespace: str,
    **values: Any,
) -> None:
    """Start a pipeline run, or continue one.

    RUN trains on the clients' own videos, on a cluster with KFP.

    The settings are those of `fedvsr run`, and they are checked before anything starts. If a run with this
    name has ended, it is continued. RUN may be left out if the YAML file names it. With --virtual-clients,
    RUN trains on videos of the federation, which the YAML file's clients.split divides.
    """
    check_registered_model(registered_model, "--registered-model")
    settings = load_experiment(
        config, {**read_overrides({**values, "name": name}), **dict(map(parse_field, fields))}
    )
    _check(settings)
    fields_of_run = explicit_fields(settings)
    if virtual_clients:
        fields_of_run |= _split_fields(settings)
    parameters = {**to_parameters(fields_of_run), "registered_model": registered_model}
    if evaluation_gpus is not None:
        # A text, since KFP's driver ignores a number of GPUs.
        parameters["evaluation_gpus"] = str(evaluation_gpus)
    if evaluation_memory:
        parameters["evaluation_memory"] = evaluation_memory
    connection = KfpConnection(endpoint)
    version = get_newest_version(connection, pipeline_name(namespace))
    if replace:
        stop(connection, version.pipeline_id, settings.name)
    run = submit_run(connection, version, kfp_experiment, parameters)
    console = Console()
    _print_omitted_sections(console, settings, virtual_clients)
    print_line(console, f"Run {run.name} is {run.run_id} in KFP, pipeline version {version.name}")
    print_line(console, connection.run_url(run.run_id))
    if follow:
        _follow(connection, run, console)


def _check(settings: Experiment) -> None:
    """Checks the settings now; the pipeline's first step would report an error a minute later."""
    # The code that a reference names must be in the images, but it may be missing on this machine.
    check_settings(settings, import_references=False)
    check_model_name(settings.model.name)


def _split_fields(settings: Experiment) -> dict[str, Any]:
    """Returns the fields of the section clients.split that do not concern this machine, by dotted name."""
    split = settings.clients.split
    if split is None:
        allowed = "name it in CONFIG: --virtual-clients divides the videos as it says"
        raise ConfigError("clients.split", None, allowed)
    fields = split.model_dump(mode="json", exclude_unset=True, exclude={"path"})
    if split.labels:
        # The file must lie beside the videos.
        fields["labels"] = Path(split.labels).name
    return {f"clients.split.{name}": value for name, value in fields.items()}


def _print_omitted_sections(console: Console, settings: Experiment, virtual_clients: bool) -> None:
    sent = {"clients"} if virtual_clients else set()
    omitted = sorted(settings.model_fields_set.intersection(_LOCAL_SECTIONS) - sent)
    if omitted:
        print_line(console, f"Not sent, since the deployment has its own: {', '.join(omitted)}")


def _follow(connection: KfpConnection, run: PipelineRun, console: Console) -> None:
    printer = LogPrinter(console)
    for step_pod, line in follow_logs(connection, run.run_id, lambda _: True, until_end=True):
        printer.print(step_pod, line)
    ended_run = get_run(connection, run.run_id)
    if ended_run.state != SUCCEEDED:
        raise PipelinesError(
            f"run {run.name!r} ended as {ended_run.state}; `fedvsr logs {run.name}` and "
            f"{connection.run_url(run.run_id)} show why; submit the name again to continue the run"
        )
    print_line(console, f"Run {run.name} succeeded in {ended_run.seconds:.0f} s")
