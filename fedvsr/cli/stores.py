"""Options for stores, MLflow and the deployment, and what they open."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fedvsr.config.experiment import TrackingConfig
from fedvsr.kubeflow.pipeline import DEFAULT_NAMESPACE
from fedvsr.store.workspace import CLIENT_VARIABLE, FEDERATION_VARIABLE, Workspace

if TYPE_CHECKING:
    from fedvsr.trained import TrainedModel

store_option = click.option(
    "--store",
    default="runs",
    show_default=True,
    envvar="FEDVSR_STORE",
    help="The store of the runs: a folder or s3://BUCKET/PREFIX, as `store` in CONFIG. [env: FEDVSR_STORE]",
)

namespace_option = click.option(
    "--namespace",
    default=DEFAULT_NAMESPACE,
    show_default=True,
    envvar="FEDVSR_NAMESPACE",
    help="The deployment's namespace on the cluster. [env: FEDVSR_NAMESPACE]",
)

tracking_option = click.option(
    "--tracking-uri",
    default="",
    help="The address of MLflow. [default: MLFLOW_TRACKING_URI, or else SQLite below the store]",
)

registered_model_option = click.option(
    "--name", "registered_model", default="fedvsr", show_default=True, help="The registered model."
)


def open_workspace(store: str) -> Workspace:
    """Returns the stores that the environment names, or else those below one root."""
    if os.environ.get(FEDERATION_VARIABLE) and os.environ.get(CLIENT_VARIABLE):
        return Workspace.from_environment()
    return Workspace.under(store)


def tracking_config(tracking_uri: str, registered_model: str = "fedvsr") -> TrackingConfig:
    """Returns the tracking section of a configuration from a command's options."""
    return TrackingConfig(uri=tracking_uri, registered_model=registered_model)


def open_model(model: str, store: str, tracking_uri: str) -> "TrainedModel":
    """Returns a registered model (``models:/…``) or one from a folder."""
    from fedvsr.tracking.connection import connect
    from fedvsr.tracking.model_registry import download_model
    from fedvsr.trained import load_trained

    if model.startswith("models:/"):
        return download_model(connect(tracking_config(tracking_uri), store, create=False), model)
    return load_trained(Path(model))
