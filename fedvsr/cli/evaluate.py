"""`fedvsr evaluate`: a run's weights on the held-out clips, or a model on a published test set."""

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from rich.console import Console

from fedvsr.cli.progress import show_progress
from fedvsr.cli.stores import open_workspace, store_option, tracking_option

_OF_RUN = ("number",)
_OF_BOTH = ("name", "dataset", "store")


@click.command()
@click.argument("name", metavar="[RUN]", required=False)
@click.option("--round", "number", type=int, help="The round; the last that has ended when left out.")
@click.option("--dataset", help="Score a model on this test set: reds4, udm10, vid4 or vimeo90k-t.")
@click.option("--root", type=click.Path(path_type=Path), help="Where the test set is.")
@click.option(
    "--model",
    default="models:/fedvsr@champion",
    show_default=True,
    help="models:/NAME@ALIAS, models:/NAME/VERSION, a folder with weights.safetensors and model.json, or "
    "bicubic (×4).",
)
@click.option(
    "--degradation",
    help="How the low resolution is made, or which ready-made one is taken: bi, bd or matlab-bd (the papers' "
    "BD). The one that the model was trained on when left out, or else the test set's usual one.",
)
@click.option(
    "--window",
    type=int,
    help="Frames upscaled at once; 0: all. When left out, all for a recurrent model, as papers test it, and "
    "16 for others, whose result is the same.",
)
@click.option("--tile", default=0, show_default=True, help="Input pixels a side upscaled at once; 0: all.")
@click.option(
    "--self-ensemble", is_flag=True, help="Average over flips and transpositions: 8 times the work."
)
@click.option(
    "--mirror",
    is_flag=True,
    help="Append the clip played backwards and average: how BasicVSR and RVRT are tested on vimeo90k-t.",
)
@click.option("--lpips", is_flag=True, help="LPIPS too; needs fedvsr[lpips].")
@click.option("--vmaf", is_flag=True, help="VMAF too; needs an ffmpeg with libvmaf.")
@click.option(
    "--features-on-cpu",
    is_flag=True,
    help="Keep a recurrent model's features in the CPU's memory: for more frames at once than the GPU holds.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@store_option
@tracking_option
@click.pass_context
def evaluate(context: click.Context, /, name: str | None, **values: Any) -> None:
    """Score a round of RUN on its held-out clips, or a model on a published test set.

    With RUN, the weights of a round are compared with bicubic interpolation; PSNR and SSIM are means over
    frames, RGB and Y (BT.601 studio swing).

    With --dataset and --root, a model is scored as papers do and their table is printed: the mean over a
    clip's frames, then over clips, PSNR/SSIM. Low resolution that lies beside the ground truth (BIx4, BDx4,
    train_sharp_bicubic/X4, …) is used, otherwise it is made.
    """
    if (name is None) == (values["dataset"] is None):
        raise click.UsageError("give RUN or --dataset, one of the two.", context)
    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
        if given and parameter.name not in _OF_BOTH and (parameter.name in _OF_RUN) == (name is None):
            goes_with = "--dataset" if name else "RUN"
            raise click.UsageError(f"{parameter.opts[0]} goes with {goes_with}.", context)
    if name is not None:
        _evaluate_run(name, values["number"], values["store"])
        return
    if values["root"] is None:
        raise click.UsageError("--dataset needs --root, the folder of the test set.", context)
    # Imported here because it brings PyTorch.
    from fedvsr.cli.evaluate_dataset import evaluate_dataset

    evaluate_dataset(**{key: value for key, value in values.items() if key not in _OF_RUN})


def _evaluate_run(name: str, number: int | None, store: str) -> None:
    from fedvsr.cli.tables import scores_table
    from fedvsr.errors import ConfigError
    from fedvsr.federation.runs import load_run, rounds_left
    from fedvsr.federation.server.evaluate import evaluate_round

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
