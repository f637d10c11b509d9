"""The step in which a round's clients train."""

from pathlib import Path

from fedvsr.federation.in_process import InProcessRunner
from fedvsr.federation.training_round import train_round
from fedvsr.progress import LogProgress
from fedvsr.report.markdown import outcomes_markdown
from fedvsr.store.workspace import Workspace


def train_clients(run: str, round: int, summary: Path) -> None:
    """Has a round's clients train; ends well whatever becomes of them."""
    record = train_round(Workspace.from_environment(), run, round, InProcessRunner(), LogProgress())
    summary.write_text(outcomes_markdown(record))
