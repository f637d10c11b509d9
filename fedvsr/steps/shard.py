"""The step that turns videos into shards."""

from contextlib import nullcontext
from pathlib import Path

from fedvsr.cluster.settings import Clients, clients_from_environment, virtual_from_environment
from fedvsr.errors import VideoError
from fedvsr.federation import layout
from fedvsr.federation.division_records import find_division
from fedvsr.federation.owner.clips import evaluation_side, tell_small_videos
from fedvsr.federation.owner.sharding import shard_client, shard_held_out
from fedvsr.federation.owner.virtual import shard_virtual_client
from fedvsr.federation.records import RunRecord
from fedvsr.federation.run.sites import SiteShards, sites_among
from fedvsr.federation.runs import load_run
from fedvsr.federation.shard_records import ShardSummary
from fedvsr.progress import LogProgress, MessagesOnly, Progress
from fedvsr.report.markdown import shards_markdown
from fedvsr.steps.ending import exit_on_sigterm
from fedvsr.store.workspace import Workspace


def shard(run: str, summary: Path) -> None:
    """Makes the shards of a run's clients and of the held-out clips. Current shards are kept.

    In a deployment, which FEDVSR_CLIENTS describes, each hosted client makes its shards in a Job in its own
    namespace, because only there its videos can be read. Virtual clients make theirs in one Indexed Job.
    Without a deployment, this process makes the shards of both. Sites make theirs in both cases. A client
    without shards is reported, but is not an error: its training will fail for the same reason, and the
    quorum decides. If the step is told to end, an Indexed Job is deleted, and other Jobs go on.

    Args:
        run: The run's name.
        summary: The Markdown file to write: each owner's shards, or the reason why there are none.
    """
    workspace = Workspace.from_environment()
    record = load_run(workspace.federation(), run)
    clients = clients_from_environment()
    with exit_on_sigterm() if find_division(workspace.federation(), run) else nullcontext():
        if clients is None:
            summaries, failures = _shard_in_process(workspace, record)
        else:
            summaries, failures = _shard_remotely(workspace, record, clients)
    summary.write_text(shards_markdown(summaries, failures))


def _shard_in_process(
    workspace: Workspace, record: RunRecord
) -> tuple[dict[str, ShardSummary], dict[str, str]]:
    progress, store = LogProgress(), workspace.federation()
    division = find_division(store, record.config.name)
    sites = sites_among(store, record.config.federation.clients)
    site_shards = SiteShards(store, record, sites, MessagesOnly(progress))
    site_shards.start()
    try:
        data = record.config.data
        summaries = {layout.HELD_OUT: _shard_held_out(workspace, record, progress)}
        patch_size = record.config.training.patch_size
        failures: dict[str, str] = {}
        for client in record.config.federation.clients:
            if client in sites:
                continue
            try:
                manifests = (
                    shard_virtual_client(workspace, division, client, data, progress)
                    if division
                    else shard_client(workspace, client, data, progress)
                )
                tell_small_videos(manifests, patch_size, "training.patch_size", client, progress)
                summaries[client] = ShardSummary.of(manifests, patch_size)
            except VideoError as error:
                failures[client] = str(error)
                progress.message(f"client {client}: {error}")
        site_shards.wait()
    finally:
        site_shards.stop()
    return summaries | site_shards.summaries, failures | site_shards.failures


def _shard_remotely(
    workspace: Workspace, record: RunRecord, clients: Clients
) -> tuple[dict[str, ShardSummary], dict[str, str]]:
    # Imported here because it needs the Kubernetes library.
    from fedvsr.cluster.remote import RemoteClients

    progress = LogProgress()
    remote_clients = RemoteClients(workspace.federation(), clients, virtual=virtual_from_environment())
    shards = remote_clients.start_shards(record, progress)
    try:
        # Meanwhile the clients work. If this call fails, a retry of the step finds the Jobs again.
        held_out = _shard_held_out(workspace, record, progress)
        shards.wait()
    finally:
        shards.stop()
    return {layout.HELD_OUT: held_out, **shards.summaries}, shards.failures


def _shard_held_out(workspace: Workspace, record: RunRecord, progress: Progress) -> ShardSummary:
    side = evaluation_side(record.config.evaluation)
    manifests = shard_held_out(workspace, record.config.data, progress)
    tell_small_videos(manifests, side, "the evaluation", layout.HELD_OUT, progress)
    return ShardSummary.of(manifests, side)
