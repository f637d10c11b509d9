"""`fedvsr register` and `fedvsr promote`: make a run's best round the challenger, and then the champion."""

import sys

import click
from rich.console import Console

from fedvsr.cli.options import registered_model_option, store_option, tracking_option
from fedvsr.cli.progress import show_progress
from fedvsr.cli.stores import open_workspace, tracking_config
from fedvsr.config.mlflow_names import check_registered_model


@click.command()
@click.argument("run", metavar="RUN")
@store_option
@tracking_option
@registered_model_option
def register(run: str, store: str, tracking_uri: str, registered_model: str) -> None:
    """Register a run's best round as the challenger.

    The best round of RUN becomes a new version of the registered model in MLflow, with the alias challenger.
    """
    from fedvsr.federation.runs import load_run
    from fedvsr.tracking.connection import connect
    from fedvsr.tracking.model_registry import register_run

    check_registered_model(registered_model, "--name")
    federation_store = open_workspace(store).federation()
    record = load_run(federation_store, run)  # before connecting, which may create a database
    connection = connect(tracking_config(tracking_uri, registered_model), store)
    registration = register_run(connection, federation_store, record, registered_model)
    click.echo(
        f"{registration.model} version {registration.model_version} is round {registration.round} of {run}"
        f"{', averaged weights' if registration.averaged else ''}: challenger"
    )


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
    """Make the challenger the champion if it is better.

    Both are scored on the held-out clips of the challenger's run. If there is no champion, the challenger
    must beat bicubic interpolation. You can also set the alias champion by hand in MLflow, without the
    comparison. Exit code 1 if the champion stays.
    """
    from fedvsr.tracking.connection import connect
    from fedvsr.tracking.promotion import promote as promote_challenger

    check_registered_model(registered_model, "--name")
    connection = connect(tracking_config(tracking_uri, registered_model), store, create=False)
    console = Console()
    with show_progress(console) as progress:
        promotion = promote_challenger(
            connection,
            open_workspace(store).federation(),
            registered_model,
            threshold,
            force=force,
            progress=progress,
        )
    before = f"version {promotion.champion}" if promotion.champion else "bicubic interpolation"
    if promotion.challenger_psnr is not None and promotion.champion_psnr is not None:
        console.print(
            f"challenger version {promotion.challenger}: {promotion.challenger_psnr:.2f} dB, "
            f"{before}: {promotion.champion_psnr:.2f} dB",
            highlight=False,
        )
    if promotion.promoted:
        console.print(f"{registered_model} version {promotion.challenger} is champion", highlight=False)
    elif promotion.champion == promotion.challenger:
        console.print(f"{registered_model} version {promotion.champion} is champion already", highlight=False)
    else:
        console.print(f"not promoted: it must be better by {threshold} dB (--force)", highlight=False)
        sys.exit(1)
