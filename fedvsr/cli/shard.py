"""`fedvsr shard`."""

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from fedvsr.cli.options import ConfiguredCommand, configuration_options, read_overrides
from fedvsr.cli.progress import show_progress
from fedvsr.config.experiment import load_experiment


@click.command(cls=ConfiguredCommand, params=[*configuration_options()])
@click.argument("config", type=click.Path(path_type=Path))
def shard(config: Path, **values: Any) -> None:
    """Turn videos into training clips without training.

    The YAML file CONFIG names the videos. The command writes each client's shards into the client's store,
    and the held-out clips into the federation's store. Current shards stay as they are.
    """
    from fedvsr.experiment.videos import collect_videos
    from fedvsr.federation import layout
    from fedvsr.federation.owner.clips import low_resolution_kind, read_manifest
    from fedvsr.federation.run.rounds import shard_all
    from fedvsr.store.workspace import Workspace
    from fedvsr.video.shards import GROUND_TRUTH

    experiment = load_experiment(config, read_overrides(values))
    videos = collect_videos(experiment)
    workspace = Workspace.below(experiment.store)
    console = Console()
    with show_progress(console) as progress:
        shard_all(workspace, videos, experiment.data, progress)
    table = Table(title=f"shards of {experiment.data.dataset}", title_justify="left")
    for heading in ("owner", "videos", "clips", "frames", "MB", "digest"):
        table.add_column(heading, justify="left" if heading in ("owner", "digest") else "right")
    dataset = experiment.data.dataset
    owners = [
        (name, len(sources), workspace.client(name), layout.training_clips(dataset))
        for name, sources in videos.clients.items()
    ]
    owners.append(
        ("held-out", len(videos.evaluation), workspace.federation(), layout.evaluation_clips(dataset))
    )
    for name, count, store, folder in owners:
        truth, low = (
            read_manifest(store, folder, kind)
            for kind in (GROUND_TRUTH, low_resolution_kind(experiment.data))
        )
        table.add_row(
            name,
            str(count),
            str(truth.clips),
            str(truth.frames),
            f"{(truth.bytes + low.bytes) / 1e6:.1f}",
            truth.shards[0].digest[:12],
        )
    console.print(table)
