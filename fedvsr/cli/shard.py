"""`fedvsr shard`: turns videos into training clips without training."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedvsr.cli.configuration import ConfiguredCommand, configuration_options, read_overrides
from fedvsr.cli.progress import show_progress
from fedvsr.config.experiment import Experiment, load_experiment
from fedvsr.federation import layout
from fedvsr.text import printable

if TYPE_CHECKING:
    from fedvsr.federation.owner.videos import FederationVideos
    from fedvsr.federation.run.rounds import FederationShards
    from fedvsr.federation.shard_records import Manifests


@click.command(cls=ConfiguredCommand, params=[*configuration_options()])
@click.argument("config", type=click.Path(path_type=Path))
def shard(config: Path, **values: Any) -> None:
    """Turn videos into training clips without training.

    The YAML file CONFIG names the videos. The command writes each client's shards into the client's store,
    and the held-out clips into the federation's store. Current shards stay as they are.

    A video that cannot be used is left out. A table lists these videos and the reasons. With --strict, the
    first one is an error.
    """
    from fedvsr.experiment.videos import collect_videos
    from fedvsr.federation.run.rounds import shard_all
    from fedvsr.store.workspace import Workspace

    experiment = load_experiment(config, read_overrides(values))
    console = Console()
    with show_progress(console) as progress:
        videos = collect_videos(experiment, progress)
        shards = shard_all(Workspace.under(experiment.store), videos, experiment.data, progress)
    console.print(_shards_table(shards, videos, experiment.data.dataset))
    problems = _problems_table(shards, experiment)
    if problems.row_count:
        console.print(problems)


def _shards_table(shards: "FederationShards", videos: "FederationVideos", dataset: str) -> Table:
    table = Table(title=f"shards of {dataset}", title_justify="left")
    for heading in ("owner", "videos", "left out", "clips", "frames", "MB", "digest"):
        table.add_column(heading, justify="left" if heading in ("owner", "digest") else "right")
    for client, manifests in shards.clients.items():
        table.add_row(client, str(len(videos.clients[client])), *_cells(manifests))
    table.add_row(layout.HELD_OUT, str(len(videos.held_out)), *_cells(shards.held_out))
    return table


def _cells(manifests: "Manifests") -> tuple[str, str, str, str, str]:
    """Returns the number of videos left out, of clips, of frames and of megabytes, and a digest."""
    ground_truth = manifests.ground_truth
    return (
        str(len(manifests.skipped)),
        str(ground_truth.clips),
        str(ground_truth.frames),
        f"{(ground_truth.bytes + manifests.low_resolution.bytes) / 1e6:.1f}",
        ground_truth.digest[:12],
    )


def _problems_table(shards: "FederationShards", experiment: Experiment) -> Table:
    """Returns a table of the videos that are not used, or not as a whole, with the reasons."""
    from fedvsr.federation.owner.clips import evaluation_side

    table = Table(title="videos left out", title_justify="left")
    for heading in ("owner", "video", "reason"):
        table.add_column(heading, overflow="fold")
    owners = [(client, manifests) for client, manifests in shards.clients.items()]
    patch_size = experiment.training.patch_size
    for owner, manifests, side, purpose in (
        *((*entry, patch_size, "training.patch_size") for entry in owners),
        (layout.HELD_OUT, shards.held_out, evaluation_side(experiment.evaluation), "the evaluation"),
    ):
        reasons = [(entry.video, entry.reason) for entry in manifests.skipped]
        reasons += [
            (entry.video, f"it is {entry.width}×{entry.height} pixels, and {purpose} needs {side}×{side}")
            for entry in manifests.smaller_than(side)
        ]
        reasons += [
            (entry.video, f"{entry.damaged_frames} damaged frames; the others are used")
            for entry in manifests.damaged
        ]
        for video, reason in reasons:
            table.add_row(owner, escape(printable(video)), escape(reason))
    return table
