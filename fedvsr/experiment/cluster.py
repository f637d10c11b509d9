"""An experiment on a cluster: each client trains in its own namespace, and this process drives the rounds."""

from fedvsr.cluster.api import Cluster
from fedvsr.cluster.deployment import read_clients
from fedvsr.cluster.runner import JobRunner
from fedvsr.cluster.settings import Clients, choose_clients
from fedvsr.cluster.sharding import ShardJobs
from fedvsr.config.experiment import Experiment
from fedvsr.config.run import RunConfig
from fedvsr.experiment.checks import check_plan, validate_experiment
from fedvsr.experiment.results import ExperimentResult, conclude
from fedvsr.experiment.stored import store_experiment
from fedvsr.experiment.tracked_rounds import run_tracked_rounds
from fedvsr.federation import layout
from fedvsr.federation.owner.clips import evaluation_side, tell_small_videos
from fedvsr.federation.owner.sharding import shard_held_out
from fedvsr.federation.records import RunRecord
from fedvsr.federation.run.clients import clients_of_run
from fedvsr.federation.run.rounds import OnRound
from fedvsr.federation.runs import find_run
from fedvsr.progress import Progress
from fedvsr.store.workspace import Workspace


def run_on_cluster(
    experiment: Experiment,
    namespace: str,
    cluster: Cluster | None = None,
    progress: Progress | None = None,
    on_round: OnRound = lambda record, evaluation: None,
) -> ExperimentResult:
    """Runs or continues an experiment with a deployment's clients.

    Clients shard and train in Jobs. This process aggregates, evaluates and writes the report. Environment
    variables name the stores and MLflow. The stores hold the videos, so the experiment's own videos are
    ignored.

    Args:
        experiment: The experiment. Without ``federation.clients`` all clients of the deployment take part.
        namespace: The deployment's namespace.
        cluster: The cluster; None for `Cluster`'s default.
        progress: Reports progress per shard and round, and every client's log.
        on_round: Called with every round's record, also of rounds that had already ended.

    Raises:
        fedvsr.errors.FedVSRError: It cannot continue. Run it again to continue.
    """
    progress = progress or Progress()
    workspace = Workspace.from_environment()
    store = workspace.federation()
    experiment = experiment.model_copy(update={"store": store.uri})
    cluster = cluster or Cluster()
    clients = read_clients(cluster, namespace)
    stored = find_run(store, experiment.name)
    config = _run_config(experiment, clients, stored)
    start = validate_experiment(experiment, config, stored)
    store_experiment(store, experiment, namespace)
    # The clients read their settings from the run's record, so it comes before their first Job.
    record = start.write(store)
    shards = ShardJobs(cluster, clients, record, progress)
    shards.start()
    held_out = shard_held_out(workspace, config.data, progress)
    side = evaluation_side(config.evaluation)
    tell_small_videos(held_out, side, "the evaluation", layout.HELD_OUT, progress)
    shards.wait()
    run_tracked_rounds(
        workspace,
        record,
        start.connection,
        runner=JobRunner(cluster, clients),
        on_round=on_round,
        progress=progress,
    )
    return conclude(experiment, record, workspace, start.connection, progress)


def plan_on_cluster(experiment: Experiment, namespace: str) -> tuple[Experiment, RunConfig, dict[str, int]]:
    """Resolves an experiment with a deployment's clients, without writing anything.

    Returns:
        The experiment, its run with the clients' names filled in, and an empty mapping in place of the
        numbers of videos, which only the clients can count.

    Raises:
        fedvsr.errors.FedVSRError: Running it would be refused.
    """
    store = Workspace.from_environment().federation()
    stored = find_run(store, experiment.name)
    config = _run_config(experiment, read_clients(Cluster(), namespace), stored)
    check_plan(config, stored)
    return experiment.model_copy(update={"store": store.uri}), config, {}


def _run_config(experiment: Experiment, clients: Clients, stored: RunRecord | None) -> RunConfig:
    requested_clients = experiment.federation.clients
    names = clients_of_run(stored, requested_clients, lambda: choose_clients(clients, requested_clients))
    return experiment.run_config(names)
