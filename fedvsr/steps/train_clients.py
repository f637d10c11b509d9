"""The step that trains a round's clients."""

from pathlib import Path

from fedvsr.cluster.settings import clients_from_environment
from fedvsr.federation.run.training_round import ClientRunner, train_round
from fedvsr.federation.runs import load_run
from fedvsr.progress import LogProgress
from fedvsr.report.markdown import outcomes_markdown
from fedvsr.store.workspace import Workspace


def train_clients(run: str, round_number: int, summary: Path) -> None:
    """Trains a round's clients. The step succeeds even if clients fail.

    In a deployment, which FEDVSR_CLIENTS describes, each client trains in a Job in its own namespace.
    Without a deployment, the clients train in this process, one after the other.

    Args:
        run: The run's name.
        round_number: The round. The round before it has ended.
        summary: The Markdown file to write: each client's outcome.
    """
    workspace = Workspace.from_environment()
    record = load_run(workspace.federation(), run)
    outcomes = train_round(workspace, record, round_number, _make_runner(), LogProgress())
    summary.write_text(outcomes_markdown(outcomes))


def _make_runner() -> ClientRunner:
    # Imported here because one runner needs PyTorch and the other the Kubernetes library.
    clients = clients_from_environment()
    if clients is None:
        from fedvsr.federation.run.in_process import InProcessRunner

        return InProcessRunner()
    from fedvsr.cluster.api import Cluster
    from fedvsr.cluster.runner import JobRunner

    return JobRunner(Cluster(), clients)
