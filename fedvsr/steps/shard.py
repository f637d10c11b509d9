"""The step that turns videos into shards."""

from pathlib import Path

from fedvsr.errors import VideoError
from fedvsr.federation.prepare import load_run
from fedvsr.federation.sharding import shard_client, shard_evaluation
from fedvsr.progress import LogProgress
from fedvsr.report.markdown import shards_markdown
from fedvsr.store.workspace import Workspace


def shard(run: str, summary: Path) -> None:
    """Makes the shards of a run's clients and of the held-out clips, or finds them current."""
    workspace = Workspace.from_environment()
    config = load_run(workspace.federation(), run).config
    progress = LogProgress()
    manifests = {"held-out": shard_evaluation(workspace, config.data, progress)}
    failures: dict[str, str] = {}
    for client in config.federation.clients:
        try:
            manifests[client] = shard_client(workspace, client, config.data, progress)
        except VideoError as error:
            # Its training will fail for the same reason; whether that matters is for the quorum to say.
            failures[client] = str(error)
            progress.message(f"client {client}: {error}")
    summary.write_text(shards_markdown(manifests, failures))
