"""`fedvsr shard`: turns videos into training clips without training."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from fedvsr.cli.configuration import ConfiguredCommand, configuration_options, read_overrides
from fedvsr.cli.progress import show_progress
from fedvsr.config.experiment import load_experiment
from fedvsr.config.run import DataConfig

if TYPE_CHECKING:
    from fedvsr.federation.owner.videos import FederationVideos
    from fedvsr.store.base import Store
    from fedvsr.store.workspace import Workspace


@click.command(cls=ConfiguredCommand, params=[*configuration_options()])
@click.argument("config", type=click.Path(path_type=Path))
def shard(config: Path, **values: Any) -> None:
    """Turn videos into training clips without training.

    The YAML file CONFIG names the videos. The command writes each client's shards into the client's store,
    and the held-out clips into the federation's store. Current shards stay as they are.
    """
    from fedvsr.experiment.videos import collect_videos
    from fedvsr.federation.run.rounds import shard_all
    from fedvsr.store.workspace import Workspace

    experiment = load_experiment(config, read_overrides(values))
    videos = collect_videos(experiment)
    workspace = Workspace.under(experiment.store)
    console = Console()
    with show_progress(console) as progress:
        shard_all(workspace, videos, experiment.data, progress)
    console.print(_shards_table(workspace, videos, experiment.data))


def _shards_table(workspace: "Workspace", videos: "FederationVideos", data: DataConfig) -> Table:
    from fedvsr.federation import layout

    table = Table(title=f"shards of {data.dataset}", title_justify="left")
    for heading in ("owner", "videos", "clips", "frames", "MB", "digest"):
        table.add_column(heading, justify="left" if heading in ("owner", "digest") else "right")
    training_clips = layout.training_clips(data.dataset)
    for client, sources in videos.clients.items():
        table.add_row(client, str(len(sources)), *_cells(workspace.client(client), training_clips, data))
    evaluation_clips = layout.held_out_clips(data.dataset)
    held_out = _cells(workspace.federation(), evaluation_clips, data)
    table.add_row("held-out", str(len(videos.held_out)), *held_out)
    return table


def _cells(store: "Store", folder: str, data: DataConfig) -> tuple[str, str, str, str]:
    """Returns the number of clips, of frames and of megabytes of an owner's shards, and a digest."""
    from fedvsr.federation.owner.clips import low_resolution_kind, read_manifest
    from fedvsr.video.shards import GROUND_TRUTH

    ground_truth = read_manifest(store, folder, GROUND_TRUTH)
    low_resolution = read_manifest(store, folder, low_resolution_kind(data))
    return (
        str(ground_truth.clips),
        str(ground_truth.frames),
        f"{(ground_truth.bytes + low_resolution.bytes) / 1e6:.1f}",
        ground_truth.shards[0].digest[:12],
    )
