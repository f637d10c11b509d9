"""An experiment whose clients are elsewhere: hosted by a cluster, or sites."""

from pathlib import Path

from fedvsr.cluster.api import Cluster
from fedvsr.cluster.deployment import read_clients, read_virtual
from fedvsr.cluster.remote import RemoteClients
from fedvsr.cluster.settings import Clients
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
from fedvsr.store.base import Store
from fedvsr.store.workspace import Workspace


def run_remotely(
    experiment: Experiment,
    namespace: str = "",
    cluster: Cluster | None = None,
    progress: Progress | None = None,
    on_round: OnRound = lambda record, evaluation: None,
    results: Path | None = None,
) -> ExperimentResult:
    """Runs or continues an experiment with a deployment's clients and the federation's sites.

    Clients shard and train elsewhere. This process aggregates, evaluates and writes the report. Environment
    variables name the stores and MLflow. The stores and the sites hold the videos, so the experiment's own
    videos are ignored.

    Args:
        experiment: The experiment. Without ``federation.clients`` all clients take part.
        namespace: The deployment's namespace; empty for a federation of sites alone, without a cluster.
        cluster: The cluster; None for `Cluster`'s default.
        progress: Reports progress per shard and round, and every client's log.
        on_round: Called with every round's record, also of rounds that had already ended.
        results: The folder of the results; None for that of `fedvsr.experiment.results.results_folder`.

    Raises:
        fedvsr.errors.FedVSRError: It cannot continue. Run it again to continue.
    """
    progress = progress or Progress()
    workspace = _workspace(namespace)
    store = workspace.federation()
    experiment = experiment.model_copy(update={"store": store.uri})
    clients = _clients(store, namespace, cluster)
    stored = find_run(store, experiment.name)
    config = _run_config(experiment, clients, stored)
    start = validate_experiment(experiment, config, stored, progress)
    store_experiment(store, experiment, namespace, sites=not namespace)
    # The clients read their settings from the run's record, so it comes before their first work.
    record = start.write(store)
    shards = clients.start_shards(record, progress)
    try:
        held_out = shard_held_out(workspace, config.data, progress)
        side = evaluation_side(config.evaluation)
        tell_small_videos(held_out, side, "the evaluation", layout.HELD_OUT, progress)
        shards.wait()
    finally:
        shards.stop()
    run_tracked_rounds(
        workspace,
        record,
        start.connection,
        runner=clients.runner(config.name),
        on_round=on_round,
        progress=progress,
    )
    return conclude(experiment, record, workspace, start.connection, progress, results)


def plan_remotely(
    experiment: Experiment, namespace: str = "", progress: Progress | None = None
) -> tuple[Experiment, RunConfig, dict[str, int]]:
    """Resolves an experiment with a deployment's clients and the federation's sites. Writes nothing.

    Args:
        experiment: The experiment.
        namespace: The deployment's namespace; empty for sites alone.
        progress: Shows warnings.

    Returns:
        The experiment, its run with the clients' names filled in, and an empty mapping in place of the
        numbers of videos, which only the clients can count.

    Raises:
        fedvsr.errors.FedVSRError: Running it would be refused.
    """
    store = _workspace(namespace).federation()
    stored = find_run(store, experiment.name)
    config = _run_config(experiment, _clients(store, namespace, None), stored)
    check_plan(config, stored, progress or Progress())
    return experiment.model_copy(update={"store": store.uri}), config, {}


def _workspace(namespace: str) -> Workspace:
    return Workspace.from_environment(with_clients=bool(namespace))


def _clients(store: Store, namespace: str, cluster: Cluster | None) -> RemoteClients:
    if not namespace:
        return RemoteClients(store, {})
    cluster = cluster or Cluster()
    hosted: Clients = read_clients(cluster, namespace)
    return RemoteClients(store, hosted, lambda: cluster, read_virtual(cluster, namespace))


def _run_config(experiment: Experiment, clients: RemoteClients, stored: RunRecord | None) -> RunConfig:
    requested_clients = experiment.federation.clients
    names = clients_of_run(stored, requested_clients, lambda: clients.choose(requested_clients))
    return experiment.run_config(names)
