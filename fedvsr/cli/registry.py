"""`fedvsr register` and `fedvsr promote`."""

import sys

import click
from rich.console import Console

from fedvsr.cli.progress import show_progress
from fedvsr.cli.stores import (
    open_workspace,
    registered_model_option,
    store_option,
    tracking_config,
    tracking_option,
)


@click.command()
@click.argument("run", metavar="RUN")
@store_option
@tracking_option
@registered_model_option
def register(run: str, store: str, tracking_uri: str, registered_model: str) -> None:
    """Register the best round of RUN in MLflow as a new version with the alias challenger."""
    from fedvsr.federation.runs import load_run
    from fedvsr.tracking.connection import connect
    from fedvsr.tracking.registry import register_run

    federation = open_workspace(store).federation()
    record = load_run(federation, run)  # before connecting, which may create a database
    connection = connect(tracking_config(tracking_uri, registered_model), store)
    made = register_run(connection, federation, record, registered_model)
    click.echo(f"{made.model} version {made.model_version} is round {made.round} of {run}: challenger")


@click.command()
@store_option
@tracking_option
@registered_model_option
@click.option(
    "--threshold",
    type=float,
    default=0.05,
    show_default=True,
    help="By how many dB of PSNR (Y) the challenger must be better.",
)
@click.option("--force", is_flag=True, help="Promote without comparing.")
def promote(store: str, tracking_uri: str, registered_model: str, threshold: float, force: bool) -> None:
    """Make the challenger champion if it is better on the evaluation clips.

    Without a champion it must beat bicubic interpolation. Setting the alias champion by hand in
    MLflow does the same, without the comparison. Exit code 1 when the champion stays.
    """
    from fedvsr.tracking.connection import connect
    from fedvsr.tracking.promotion import promote as decide

    connection = connect(tracking_config(tracking_uri, registered_model), store, make=False)
    console = Console()
    with show_progress(console) as progress:
        found = decide(
            connection,
            open_workspace(store).federation(),
            registered_model,
            threshold,
            force=force,
            progress=progress,
        )
    before = f"version {found.champion}" if found.champion else "bicubic interpolation"
    if found.challenger_psnr is not None and found.champion_psnr is not None:
        console.print(
            f"challenger version {found.challenger}: {found.challenger_psnr:.2f} dB, "
            f"{before}: {found.champion_psnr:.2f} dB",
            highlight=False,
        )
    if found.promoted:
        console.print(f"{registered_model} version {found.challenger} is champion", highlight=False)
    elif found.champion == found.challenger:
        console.print(f"{registered_model} version {found.champion} is champion already", highlight=False)
    else:
        console.print(f"not promoted: it must be better by {threshold} dB (--force)", highlight=False)
        sys.exit(1)
