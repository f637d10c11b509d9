"""Prints the results of an experiment."""

from typing import TYPE_CHECKING

from rich.console import Console

from fedvsr.cli.progress import print_line

if TYPE_CHECKING:
    from fedvsr.experiment.results import ExperimentResult


def print_result(console: Console, result: "ExperimentResult") -> None:
    """Prints the rounds' table, the registered version and the paths of the results."""
    from fedvsr.cli.tables import rounds_table

    console.print(rounds_table(result.summary))
    registration = result.registration
    print_line(
        console,
        f"Registered {'the averaged weights of ' if registration.averaged else ''}round {registration.round} "
        f"as {registration.model} version "
        f"{registration.model_version}, alias challenger. MLflow: {result.tracking_uri}",
    )
    for label, path in (
        ("Report", result.report),
        ("Picture", result.picture),
        ("Upscaled clip", result.upscaled),
    ):
        print_line(console, f"{label + ':':<14} {path}")
