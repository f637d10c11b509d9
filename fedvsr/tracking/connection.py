"""Which MLflow, and what its failures look like."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR
from mlflow.exceptions import MlflowException

from fedvsr.config.experiment import TrackingConfig
from fedvsr.errors import ConfigError, TrackingError

URI_VARIABLE = "MLFLOW_TRACKING_URI"


class Connection:
    """A connection to an MLflow server or database.

    Args:
        uri: Its tracking URI.
        experiment: The experiment that runs go to; made if it is not there.
        artifact_root: Where a new experiment keeps its artifacts; the server's choice when None.
    """

    def __init__(self, uri: str, experiment: str, artifact_root: Path | None = None) -> None:
        self.uri = uri
        self.experiment = experiment
        self._artifact_root = artifact_root
        # MLflow tells every migration of a new database and every version it makes.
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        # Its progress bars would cut through ours.
        MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        self.client = MlflowClient(uri)

    @contextmanager
    def failures(self, verb: str) -> Iterator[None]:
        """Turns MLflow's exceptions into `fedvsr.errors.TrackingError`."""
        try:
            yield
        except MlflowException as error:
            raise TrackingError(
                f"MLflow at {self.uri} could not {verb}: {error}; nothing is lost: the run's records are "
                "in its store, and `fedvsr register` or resuming the run sends them again"
            ) from error

    def experiment_id(self) -> str:
        """Returns the experiment's id, making the experiment where it is not there."""
        with self.failures(f"open the experiment {self.experiment!r}"):
            found = self.client.get_experiment_by_name(self.experiment)
            if found:
                return str(found.experiment_id)
            location = self._artifact_root.absolute().as_uri() if self._artifact_root else None
            return str(self.client.create_experiment(self.experiment, artifact_location=location))


def connect(tracking: TrackingConfig, store: str) -> Connection:
    """Connects to the MLflow of a configuration.

    Args:
        tracking: Names the URI; where it does not, MLFLOW_TRACKING_URI does, and else SQLite and a
            folder below the store are used.
        store: The root of the stores, as in the experiment's configuration.

    Raises:
        fedvsr.errors.ConfigError: No URI is named and the store is not a local folder.
    """
    uri = tracking.uri or os.environ.get(URI_VARIABLE, "")
    if uri:
        return Connection(uri, tracking.experiment)
    if "://" in store:
        raise ConfigError("tracking.uri", "", f"a store at {store} needs it, or {URI_VARIABLE}, to be set")
    folder = Path(store).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return Connection(f"sqlite:///{folder / 'mlflow.db'}", tracking.experiment, folder / "mlartifacts")
