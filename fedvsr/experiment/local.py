"""An experiment on this machine: the clients train in this process or in workers, on local videos."""

from contextlib import ExitStack
from dataclasses import dataclass

from fedvsr.config.experiment import Experiment
from fedvsr.config.run import RunConfig
from fedvsr.experiment.checks import check_plan, validate_experiment
from fedvsr.experiment.results import ExperimentResult, conclude
from fedvsr.experiment.stored import store_experiment
from fedvsr.experiment.tracked_rounds import run_tracked_rounds
from fedvsr.experiment.videos import collect_videos
from fedvsr.federation import layout
from fedvsr.federation.owner.clips import evaluation_side, open_training_clips, tell_small_videos
from fedvsr.federation.owner.videos import FederationVideos
from fedvsr.federation.run.rounds import FederationShards, OnRound, shard_all
from fedvsr.federation.run.worker_processes import WorkerProcesses, open_pool
from fedvsr.federation.runs import find_run
from fedvsr.progress import Progress
from fedvsr.store.workspace import Workspace
from fedvsr.video.patches import PatchSampler


def run_experiment(
    experiment: Experiment,
    progress: Progress | None = None,
    on_round: OnRound = lambda record, evaluation: None,
    workers: int | None = 1,
) -> ExperimentResult:
    """Runs or continues an experiment.

    Args:
        experiment: The experiment.
        progress: Reports progress per video, round, client and step.
        on_round: Called with every round's record, also of rounds that had already ended.
        workers: How many clients train at once, each in a process of its own; None chooses by the cores and
            the memory. The weights are the same bytes for every number.

    Raises:
        fedvsr.errors.FedVSRError: It cannot continue. Run it again to continue.
    """
    progress = progress or Progress()
    workspace = Workspace.under(experiment.store)
    store = workspace.federation()
    videos = collect_videos(experiment, progress)
    config = experiment.run_config(tuple(videos.clients))
    start = validate_experiment(experiment, config, find_run(store, config.name), progress)
    store_experiment(store, experiment)
    with ExitStack() as stack:
        pool = None if workers == 1 else stack.enter_context(open_pool(workers, config))
        shards = shard_all(workspace, videos, config.data, progress, pool)
        _tell_small_videos(shards, config, progress)
        if start.is_new:
            _check_clips(workspace, config)
        record = start.write(store)
        run_tracked_rounds(
            workspace,
            record,
            start.connection,
            runner=WorkerProcesses(pool) if pool else None,
            on_round=on_round,
            progress=progress,
        )
    return conclude(experiment, record, workspace, start.connection, progress)


@dataclass(frozen=True)
class LocalPlan:
    """An experiment whose videos were found and whose settings were checked.

    Attributes:
        config: Its run, with the clients' names filled in.
        videos: The clients' and the held-out videos.
    """

    config: RunConfig
    videos: FederationVideos

    @property
    def counts(self) -> dict[str, int]:
        """The number of videos of each client; the held-out videos are counted as ``held-out``."""
        counts = {client: len(videos) for client, videos in self.videos.clients.items()}
        return {**counts, "held-out": len(self.videos.held_out)}


def plan_locally(experiment: Experiment, progress: Progress | None = None) -> LocalPlan:
    """Resolves an experiment without writing anything.

    Args:
        experiment: The experiment.
        progress: Shows warnings.

    Raises:
        fedvsr.errors.InputError: Running it would be refused.
    """
    videos = collect_videos(experiment, progress)
    config = experiment.run_config(tuple(videos.clients))
    store = Workspace.under(experiment.store).federation()
    check_plan(config, find_run(store, config.name), progress or Progress())
    return LocalPlan(config, videos)


def plan_experiment(
    experiment: Experiment, progress: Progress | None = None
) -> tuple[Experiment, RunConfig, dict[str, int]]:
    """Returns the experiment, its run and its numbers of videos; see `plan_locally`."""
    plan = plan_locally(experiment, progress)
    return experiment, plan.config, plan.counts


def _tell_small_videos(shards: FederationShards, config: RunConfig, progress: Progress) -> None:
    patch_size = config.training.patch_size
    for client, manifests in shards.clients.items():
        tell_small_videos(manifests, patch_size, "training.patch_size", client, progress)
    side = evaluation_side(config.evaluation)
    tell_small_videos(shards.held_out, side, "the evaluation", layout.HELD_OUT, progress)


def _check_clips(workspace: Workspace, config: RunConfig) -> None:
    """Refuses clips that are too small for the patches, before these settings are recorded."""
    training = config.training
    for client in config.federation.clients:
        PatchSampler(
            open_training_clips(workspace.client(client), config),
            frames=training.frames,
            patch_size=training.patch_size,
            batch_size=training.batch_size,
            seed=0,
        )
