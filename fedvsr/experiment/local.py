"""An experiment whose clients train here, one after the other, on videos of this machine."""

from fedvsr.config.experiment import Experiment
from fedvsr.config.run import RunConfig
from fedvsr.experiment.results import ExperimentResult, conclude
from fedvsr.experiment.stored import keep_experiment
from fedvsr.experiment.tracked_rounds import check_config, open_tracking, run_tracked_rounds
from fedvsr.experiment.videos import collect_videos
from fedvsr.federation import layout
from fedvsr.federation.owner.clips import open_clips
from fedvsr.federation.run.rounds import OnRound, shard_all
from fedvsr.progress import Progress
from fedvsr.store.workspace import Workspace
from fedvsr.video.patches import PatchSampler


def run_experiment(
    experiment: Experiment,
    progress: Progress | None = None,
    on_round: OnRound = lambda record, evaluation: None,
) -> ExperimentResult:
    """Runs an experiment, or what is left of it.

    Args:
        experiment: The experiment.
        progress: Shows where it is.
        on_round: Called with every round's record, also of rounds that had ended before.

    Raises:
        fedvsr.errors.FedVSRError: It cannot go on; running it again continues.
    """
    progress = progress or Progress()
    workspace = Workspace.below(experiment.store)
    store = workspace.federation()
    videos = collect_videos(experiment)
    config = experiment.run_config(tuple(videos.clients))
    begun = check_config(store, config)
    connection, initial = open_tracking(experiment, store, config)
    keep_experiment(store, experiment)
    shard_all(workspace, videos, config.data, progress)
    if not begun:
        _check_clips(workspace, config)
    run_tracked_rounds(
        workspace, config, connection, initial=initial, runner=None, on_round=on_round, progress=progress
    )
    return conclude(experiment, workspace, connection, progress)


def plan_experiment(experiment: Experiment) -> tuple[Experiment, RunConfig, dict[str, int]]:
    """Resolves an experiment without writing anything.

    Returns:
        The experiment, its run with the clients' names filled in, and how many videos each client
        has, and the evaluation as ``held-out``.

    Raises:
        fedvsr.errors.InputError: Running it would be refused.
    """
    videos = collect_videos(experiment)
    config = experiment.run_config(tuple(videos.clients))
    check_config(Workspace.below(experiment.store).federation(), config)
    counts = {name: len(found) for name, found in videos.clients.items()}
    return experiment, config, {**counts, "held-out": len(videos.evaluation)}


def _check_clips(workspace: Workspace, config: RunConfig) -> None:
    """Refuses clips that no patch fits into, before the run is begun with these settings."""
    training, folder = config.training, layout.training_clips(config.data.dataset)
    for client in config.federation.clients:
        PatchSampler(
            open_clips(workspace.client(client), folder, config.data),
            frames=training.frames,
            patch_size=training.patch_size,
            batch_size=training.batch_size,
            seed=0,
        )
