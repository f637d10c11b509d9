"""The step that trains a round's clients."""

from contextlib import nullcontext
from functools import partial
from pathlib import Path

from fedvsr.cluster.settings import clients_from_environment, virtual_from_environment
from fedvsr.federation.division_records import find_division
from fedvsr.federation.run.sites import sites_among
from fedvsr.federation.run.training_round import ClientRunner, train_round
from fedvsr.federation.runs import load_run
from fedvsr.progress import LogProgress
from fedvsr.report.markdown import outcomes_markdown
from fedvsr.steps.ending import exit_on_sigterm
from fedvsr.store.base import Store
from fedvsr.store.workspace import Workspace


def train_clients(run: str, round_number: int, summary: Path) -> None:
    """Trains a round's clients. The step succeeds even if clients fail.

    In a deployment, which FEDVSR_CLIENTS describes, each hosted client trains in a Job in its own namespace,
    and virtual clients train in one Indexed Job. Without a deployment, these clients train in this process,
    one after the other. Sites are asked in both cases. If the step is told to end, an Indexed Job is deleted,
    and other Jobs go on.

    Args:
        run: The run's name.
        round_number: The round. The round before it has ended.
        summary: The Markdown file to write: each client's outcome.
    """
    workspace = Workspace.from_environment()
    store = workspace.federation()
    record = load_run(store, run)
    with exit_on_sigterm() if find_division(store, run) else nullcontext():
        outcomes = train_round(workspace, record, round_number, _make_runner(store, run), LogProgress())
    summary.write_text(outcomes_markdown(outcomes))


def _make_runner(store: Store, run: str) -> ClientRunner:
    # Imported here because one runner needs PyTorch and the other the Kubernetes library.
    clients = clients_from_environment()
    if clients is None:
        from fedvsr.federation.run.in_process import InProcessRunner
        from fedvsr.federation.run.mixed_runner import MixedRunner

        return MixedRunner(InProcessRunner(), partial(sites_among, store))
    from fedvsr.cluster.remote import RemoteClients

    return RemoteClients(store, clients, virtual=virtual_from_environment()).runner(run)
