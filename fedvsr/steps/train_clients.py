"""The step in which a round's clients train."""

from pathlib import Path

from fedvsr.cluster.settings import clients_from_environment
from fedvsr.federation.run.training_round import ClientRunner, train_round
from fedvsr.progress import LogProgress
from fedvsr.report.markdown import outcomes_markdown
from fedvsr.store.workspace import Workspace


def train_clients(run: str, round_number: int, summary: Path) -> None:
    """Has a round's clients train; ends well whatever becomes of them.

    In a deployment, which FEDVSR_CLIENTS describes, each trains in a Job in its own namespace; without
    one, one after the other here.
    """
    record = train_round(Workspace.from_environment(), run, round_number, _runner(), LogProgress())
    summary.write_text(outcomes_markdown(record))


def _runner() -> ClientRunner:
    # Each imported only where it is used: the one needs PyTorch, the other Kubernetes' library.
    clients = clients_from_environment()
    if clients is None:
        from fedvsr.federation.run.in_process import InProcessRunner

        return InProcessRunner()
    from fedvsr.cluster.api import Cluster
    from fedvsr.cluster.runner import JobRunner

    return JobRunner(Cluster(), clients)
