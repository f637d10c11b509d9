"""Opens the stores and models that a command's options name."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from fedvsr.config.experiment import TrackingConfig
from fedvsr.store.workspace import CLIENT_VARIABLE, FEDERATION_VARIABLE, Workspace

if TYPE_CHECKING:
    from fedvsr.trained import TrainedModel


def open_workspace(root: str) -> Workspace:
    """Returns the workspace of FEDVSR_FEDERATION_STORE and FEDVSR_CLIENT_STORE, or the one under ``root``.

    ``root`` is ignored if both variables are set.
    """
    if os.environ.get(FEDERATION_VARIABLE) and os.environ.get(CLIENT_VARIABLE):
        return Workspace.from_environment()
    return Workspace.under(root)


def tracking_config(tracking_uri: str, registered_model: str = "fedvsr") -> TrackingConfig:
    """Builds the configuration section `tracking` from a command's options."""
    return TrackingConfig(uri=tracking_uri, registered_model=registered_model)


def open_model(model: str, store: str, tracking_uri: str) -> "TrainedModel":
    """Returns a registered model (``models:/…``) or the trained model in a folder."""
    from fedvsr.trained import load_trained

    if model.startswith("models:/"):
        # MLflow takes seconds and 300 MB, which a model in a folder does not need.
        from fedvsr.tracking.connection import connect
        from fedvsr.tracking.model_registry import download_model

        return download_model(connect(tracking_config(tracking_uri), store, create=False), model)
    return load_trained(Path(model))
