"""The step that trains a round's clients."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train_clients(run_name: str, round: int, clients: dsl.Output[dsl.Markdown]):
    """Trains the round's clients. A client's failure is recorded and does not fail the step."""
    from pathlib import Path

    from fedvsr.steps.ending import sentence_on_error
    from fedvsr.steps.train_clients import train_clients

    clients.metadata["display_name"] = f"{run_name}, round {round}: clients"
    with sentence_on_error():
        train_clients(run_name, round, Path(clients.path))
