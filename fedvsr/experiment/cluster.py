"""An experiment whose clients train on a cluster, each in its own namespace, driven from this process."""

from fedvsr.cluster.api import Cluster
from fedvsr.cluster.deployment import read_clients
from fedvsr.cluster.runner import JobRunner
from fedvsr.cluster.settings import Clients, choose_clients
from fedvsr.cluster.sharding import ShardJobs
from fedvsr.config.experiment import Experiment
from fedvsr.config.run import RunConfig
from fedvsr.experiment.results import ExperimentResult, conclude
from fedvsr.experiment.stored import keep_experiment
from fedvsr.experiment.tracked_rounds import check_config, open_tracking, run_tracked_rounds
from fedvsr.federation.owner.sharding import shard_evaluation
from fedvsr.federation.run.clients import clients_of_run
from fedvsr.federation.run.prepare import prepare_run
from fedvsr.federation.run.rounds import OnRound
from fedvsr.progress import Progress
from fedvsr.store.base import Store
from fedvsr.store.workspace import Workspace


def run_on_cluster(
    experiment: Experiment,
    namespace: str,
    cluster: Cluster | None = None,
    progress: Progress | None = None,
    on_round: OnRound = lambda record, evaluation: None,
) -> ExperimentResult:
    """Runs an experiment with a deployment's clients, or what is left of it.

    Every client shards and trains in Jobs; evaluation, aggregation and the report are made here. The
    stores and MLflow are those that the environment names, and the videos those that lie in the stores:
    what the experiment says of videos on this machine is not looked at.

    Args:
        experiment: The experiment; without ``federation.clients`` all of the deployment's take part.
        namespace: The deployment's namespace.
        cluster: The cluster; that of the current kube context when None.
        progress: Shows where it is, and every client's log.
        on_round: Called with every round's record, also of rounds that had ended before.

    Raises:
        fedvsr.errors.FedVSRError: It cannot go on; running it again continues.
    """
    progress = progress or Progress()
    workspace = Workspace.from_environment()
    store = workspace.federation()
    experiment = experiment.model_copy(update={"store": store.uri})
    cluster = cluster or Cluster()
    clients = read_clients(cluster, namespace)
    config = _config(store, experiment, clients)
    check_config(store, config)
    connection, initial = open_tracking(experiment, store, config)
    keep_experiment(store, experiment, namespace)
    # The clients read their settings from the run's record: it comes before their first Job.
    record = prepare_run(store, config, initial)
    shards = ShardJobs(cluster, clients, record, progress)
    shards.start()
    shard_evaluation(workspace, config.data, progress)
    shards.wait()
    run_tracked_rounds(
        workspace,
        config,
        connection,
        initial=None,
        runner=JobRunner(cluster, clients),
        on_round=on_round,
        progress=progress,
    )
    return conclude(experiment, workspace, connection, progress)


def plan_on_cluster(experiment: Experiment, namespace: str) -> tuple[Experiment, RunConfig, dict[str, int]]:
    """Resolves an experiment with a deployment's clients without writing anything.

    Returns:
        The experiment, its run with the clients' names filled in, and no numbers of videos: only the
        clients can count them.

    Raises:
        fedvsr.errors.FedVSRError: Running it would be refused.
    """
    store = Workspace.from_environment().federation()
    config = _config(store, experiment, read_clients(Cluster(), namespace))
    check_config(store, config)
    return experiment.model_copy(update={"store": store.uri}), config, {}


def _config(store: Store, experiment: Experiment, clients: Clients) -> RunConfig:
    wanted = experiment.federation.clients
    chosen = clients_of_run(store, experiment.name, wanted, lambda: choose_clients(clients, wanted))
    return experiment.run_config(chosen)
