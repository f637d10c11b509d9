"""Which MLflow, and what its failures look like."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.environment_variables import (
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR,
    MLFLOW_HTTP_REQUEST_MAX_RETRIES,
)
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from fedvsr.config.experiment import TrackingConfig
from fedvsr.errors import ConfigError, InputError, TrackingError

URI_VARIABLE = "MLFLOW_TRACKING_URI"
_SQLITE = "sqlite:///"

# MLflow's own 7 tries wait for minutes where no server is; these, about a quarter of one.
_RETRIES = 3


class Connection:
    """A connection to an MLflow server or database.

    A new experiment in an SQLite file keeps its artifacts in a folder beside that file, where MLflow alone
    would take one in the working folder; a server chooses for itself.

    Args:
        uri: Its tracking URI.
        experiment: The experiment that runs go to; made if it is not there.
    """

    def __init__(self, uri: str, experiment: str) -> None:
        self.uri = uri
        self.experiment = experiment
        # MLflow tells every migration of a new database and every version it makes.
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        # Its progress bars would cut through ours.
        MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)
        if not MLFLOW_HTTP_REQUEST_MAX_RETRIES.is_set():
            MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(_RETRIES)
        with self.failures("be opened"):
            self.client = MlflowClient(uri, registry_uri=uri)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Makes this the MLflow of those of its functions that take none."""
        before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
        variable = os.environ.get(URI_VARIABLE)
        try:
            mlflow.set_tracking_uri(self.uri)
            yield
        finally:
            mlflow.set_tracking_uri(before)  # type: ignore[arg-type]  # None is what it is at first
            # MLflow sets the variable too, which would name this MLflow to the next connection.
            os.environ.pop(URI_VARIABLE, None)
            if variable is not None:
                os.environ[URI_VARIABLE] = variable

    @contextmanager
    def failures(self, verb: str) -> Iterator[None]:
        """Turns MLflow's exceptions into `fedvsr.errors.TrackingError`."""
        try:
            yield
        except (MlflowException, SQLAlchemyError, OSError) as error:
            # The database's messages go on with the statement and a link.
            reason = str(error).partition("\n")[0]
            raise TrackingError(
                f"MLflow at {self.uri} could not {verb}: {reason}; nothing is lost: the run's records are "
                "in its store, and `fedvsr register` or resuming the run sends them again"
            ) from error

    def experiment_id(self) -> str:
        """Returns the experiment's id, making the experiment where it is not there."""
        with self.failures(f"open the experiment {self.experiment!r}"):
            found = self.client.get_experiment_by_name(self.experiment)
            if found:
                return str(found.experiment_id)
            location = None
            if self.uri.startswith(_SQLITE):
                database = Path(self.uri.removeprefix(_SQLITE)).absolute()
                location = (database.parent / "mlartifacts").as_uri()
            return str(self.client.create_experiment(self.experiment, artifact_location=location))


def connect(tracking: TrackingConfig, store: str, *, make: bool = True) -> Connection:
    """Connects to the MLflow of a configuration.

    Args:
        tracking: Names the URI; where it does not, MLFLOW_TRACKING_URI does, and else SQLite and a
            folder below the store are used.
        store: The root of the stores, as in the experiment's configuration.
        make: Whether to make the SQLite database where there is none, or to refuse.

    Raises:
        fedvsr.errors.ConfigError: No URI is named and the store is not a local folder.
        fedvsr.errors.InputError: There is no database and none is to be made.
        fedvsr.errors.TrackingError: MLflow does not take the URI.
    """
    uri = tracking.uri or os.environ.get(URI_VARIABLE, "")
    if uri:
        return Connection(uri, tracking.experiment)
    if "://" in store:
        raise ConfigError("tracking.uri", "", f"a store at {store} needs it, or {URI_VARIABLE}, to be set")
    folder = Path(store).absolute()
    database = folder / "mlflow.db"
    if not make and not database.is_file():
        raise InputError(f"{database}: no such MLflow database; name another --store or a --tracking-uri")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError("store", store, f"it must be a folder to write to ({error.strerror})") from None
    return Connection(f"{_SQLITE}{database}", tracking.experiment)
