"""Where a person sees what is in MLflow."""

import os
from urllib.parse import quote

from fedvsr.tracking.connection import Connection
from fedvsr.tracking.runs import RunTracker

# The steps reach MLflow by a name that a person's browser does not know.
BROWSER_VARIABLE = "FEDVSR_MLFLOW_URL"


def run_link(connection: Connection, tracker: RunTracker) -> str:
    """Returns the address of a run's page, empty where no server shows it."""
    return _link(connection, f"experiments/{tracker.experiment_id}/runs/{tracker.run_id}")


def version_link(connection: Connection, registered_model: str, version: str) -> str:
    """Returns the address of a model version's page, empty where no server shows it."""
    return _link(connection, f"models/{quote(registered_model, safe='')}/versions/{version}")


def _link(connection: Connection, page: str) -> str:
    server = os.environ.get(BROWSER_VARIABLE, "") or connection.uri
    return f"{server.rstrip('/')}/#/{page}" if server.startswith(("http://", "https://")) else ""
