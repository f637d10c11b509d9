"""`fedvsr evaluate`."""

import click
from rich.console import Console

from fedvsr.cli.progress import show_progress
from fedvsr.cli.stores import open_workspace, store_option


@click.command()
@click.argument("name", metavar="RUN")
@click.option("--round", "number", type=int, help="The round; the last that has ended when left out.")
@store_option
def evaluate(name: str, number: int | None, store: str) -> None:
    """Score the weights of a round of RUN on the held-out clips, beside bicubic interpolation.

    PSNR and SSIM are means over frames, RGB and Y (BT.601 studio swing).
    """
    from fedvsr.cli.tables import scores_table
    from fedvsr.errors import ConfigError
    from fedvsr.federation.evaluate import evaluate_round
    from fedvsr.federation.prepare import load_run, rounds_left

    federation = open_workspace(store).federation()
    record = load_run(federation, name)
    left = rounds_left(federation, record)
    ended = (left[0] if left else record.config.federation.rounds + 1) - 1
    if number is None:
        number = ended
    if not 0 <= number <= ended:
        raise ConfigError("--round", number, f"it must be from 0 (the initial weights) to {ended}")
    console = Console()
    with show_progress(console) as progress:
        found = evaluate_round(federation, name, number, progress)
    console.print(scores_table(found))
