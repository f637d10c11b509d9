"""The step that trains a round's clients."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train_clients(run_name: str, round: int, clients: dsl.Output[dsl.Markdown]):
    """Has the round's clients train; ends well whatever becomes of a client."""
    from pathlib import Path

    from fedvsr.steps.train_clients import train_clients

    clients.metadata["display_name"] = f"{run_name}, round {round}: clients"
    train_clients(run_name, round, Path(clients.path))
