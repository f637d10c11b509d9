"""`fedvsr upload`: uploads videos to a client's or the federation's bucket."""

from pathlib import Path

import click
from rich.console import Console

from fedvsr.cli.progress import print_line, show_progress


@click.command()
@click.argument("videos", type=click.Path(path_type=Path, exists=True), nargs=-1, required=True)
@click.option("--client", metavar="NAME", help="Upload into this client's bucket.")
@click.option("--held-out", is_flag=True, help="Upload into the federation's bucket, for evaluation.")
@click.option("--training", is_flag=True, help="Upload into the federation's bucket, for virtual clients.")
def upload(videos: tuple[Path, ...], client: str | None, held_out: bool, training: bool) -> None:
    """Upload videos to a bucket for the shard step.

    VIDEOS are files or folders. Environment variables name the bucket: FEDVSR_CLIENT_STORE or
    FEDVSR_FEDERATION_STORE, FEDVSR_S3_ENDPOINT and the owner's credentials. You can also use any other S3
    program: put a client's videos into raw/, held-out videos into evaluation-videos/, and the videos that are
    divided among virtual clients into training-videos/.
    """
    from fedvsr.federation import layout
    from fedvsr.federation.owner.uploading import upload_videos
    from fedvsr.store.workspace import Workspace

    if bool(client) + held_out + training != 1:
        raise click.UsageError(
            "give one of --client NAME, --held-out and --training", click.get_current_context()
        )
    workspace = Workspace.from_environment()
    store = workspace.client(client) if client else workspace.federation()
    folder = layout.TRAINING_VIDEOS if training else layout.HELD_OUT_VIDEOS
    if client:
        folder = layout.RAW_VIDEOS
    console = Console()
    with show_progress(console) as progress:
        keys = upload_videos(store, folder, videos, progress)
    print_line(console, f"{len(keys)} files in {store.uri}/{folder}")
