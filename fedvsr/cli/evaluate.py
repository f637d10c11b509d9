"""`fedvsr evaluate`: scores a run's weights on its held-out clips."""

import click
from rich.console import Console

from fedvsr.cli.options import store_option
from fedvsr.cli.progress import show_progress
from fedvsr.cli.stores import open_workspace


class _RejectsDataset(click.Command):
    """Rejects --dataset, which this command does not have, with a hint to `fedvsr benchmark`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if any(argument.partition("=")[0] == "--dataset" for argument in args):
            raise click.UsageError(
                "fedvsr evaluate scores a run; to score a model on a published test set, "
                "use `fedvsr benchmark TEST_SET --root PATH`."
            )
        return super().parse_args(ctx, args)


@click.command(cls=_RejectsDataset)
@click.argument("run", metavar="RUN")
@click.option("--round", "round_number", type=int, help="The round. [default: the last round that has ended]")
@store_option
def evaluate(run: str, round_number: int | None, store: str) -> None:
    """Score a run's round on the held-out clips.

    Bicubic interpolation's scores are shown for comparison. PSNR and SSIM are means over frames, on RGB and
    on Y (BT.601 studio swing).

    To score a model on a published test set, use `fedvsr benchmark`.
    """
    from fedvsr.cli.tables import scores_table
    from fedvsr.errors import ConfigError
    from fedvsr.federation.runs import last_ended_round, load_run
    from fedvsr.federation.server.evaluate import evaluate_round

    federation_store = open_workspace(store).federation()
    record = load_run(federation_store, run)
    last_round = last_ended_round(federation_store, record)
    if round_number is None:
        round_number = last_round
    if not 0 <= round_number <= last_round:
        raise ConfigError("--round", round_number, f"it must be from 0 (the initial weights) to {last_round}")
    console = Console()
    with show_progress(console) as progress:
        evaluation = evaluate_round(federation_store, record, round_number, progress)
    console.print(scores_table(evaluation))
