"""The connection to an MLflow server or database."""

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
# MLflow's address for browsers. The pipeline's steps use an address that only works inside the cluster.
BROWSER_VARIABLE = "FEDVSR_MLFLOW_URL"
_SQLITE = "sqlite:///"

# If no server answers, MLflow's default of 7 retries takes minutes; 3 take about 15 seconds.
_RETRIES = 3


class MlflowConnection:
    """A connection to an MLflow server or database.

    A new experiment in an SQLite file stores its artifacts in a folder next to that file. MLflow's default
    would be the working folder. A server chooses the place itself.

    Args:
        uri: The tracking URI.
        experiment: The MLflow experiment that runs belong to; it is created with the first run.
    """

    def __init__(self, uri: str, experiment: str) -> None:
        self.uri = uri
        self.experiment = experiment
        # MLflow logs every migration of a new database and every version it creates.
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        # MLflow's progress bars would break fedvsr's.
        MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)
        if not MLFLOW_HTTP_REQUEST_MAX_RETRIES.is_set():
            MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(_RETRIES)
        with self.translating_errors("be opened"):
            self.client = MlflowClient(uri, registry_uri=uri)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Temporarily sets the global tracking URI."""
        before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
        variable = os.environ.get(URI_VARIABLE)
        try:
            mlflow.set_tracking_uri(self.uri)
            yield
        finally:
            mlflow.set_tracking_uri(before)  # type: ignore[arg-type]  # None unsets it
            # MLflow sets the variable too; the next connection would use it.
            os.environ.pop(URI_VARIABLE, None)
            if variable is not None:
                os.environ[URI_VARIABLE] = variable

    @contextmanager
    def translating_errors(self, action: str) -> Iterator[None]:
        """Context manager that turns MLflow's exceptions into `fedvsr.errors.TrackingError`.

        Args:
            action: What MLflow is asked to do, for the error, for example "move the alias".
        """
        try:
            yield
        except (MlflowException, SQLAlchemyError, OSError) as error:
            # A database's message has the SQL statement and a link after its first line.
            reason = str(error).partition("\n")[0]
            raise TrackingError(
                f"MLflow at {self.uri} could not {action}: {reason}; nothing is lost: the run's records are "
                "in its store, and `fedvsr register` or resuming the run sends them again"
            ) from error

    def check(self) -> None:
        """Checks that MLflow answers; raises `fedvsr.errors.TrackingError` if it does not."""
        with self.translating_errors(f"open the experiment {self.experiment!r}"):
            self.client.get_experiment_by_name(self.experiment)

    def experiment_id(self) -> str:
        """Returns the experiment's id. Creates the experiment if it does not exist."""
        with self.translating_errors(f"open the experiment {self.experiment!r}"):
            experiment = self.client.get_experiment_by_name(self.experiment)
            if experiment:
                return str(experiment.experiment_id)
            location = None
            if self.uri.startswith(_SQLITE):
                database = Path(self.uri.removeprefix(_SQLITE)).absolute()
                location = (database.parent / "mlartifacts").as_uri()
            return str(self.client.create_experiment(self.experiment, artifact_location=location))

    def page_url(self, page: str) -> str:
        """Returns the address of a page of MLflow's website, or an empty string if no server shows it."""
        server = os.environ.get(BROWSER_VARIABLE, "") or self.uri
        return f"{server.rstrip('/')}/#/{page}" if server.startswith(("http://", "https://")) else ""


def connect_from_environment() -> MlflowConnection:
    """Connects to MLflow at the address in MLFLOW_TRACKING_URI.

    Raises:
        fedvsr.errors.ConfigError: The variable is not set.
        fedvsr.errors.TrackingError: MLflow refuses the URI.
    """
    uri = os.environ.get(URI_VARIABLE, "")
    if not uri:
        raise ConfigError(URI_VARIABLE, uri, "set it to the address of MLflow")
    return MlflowConnection(uri, TrackingConfig().experiment)


def connect(tracking: TrackingConfig, store: str, *, create: bool = True) -> MlflowConnection:
    """Connects to the MLflow of a configuration.

    Args:
        tracking: The configuration. If its URI is empty, MLFLOW_TRACKING_URI is used. If that is not set
            either, MLflow is an SQLite database and a folder inside the store.
        store: The root of the stores, as in the experiment's configuration.
        create: Whether to create a missing SQLite database, or to refuse it.

    Raises:
        fedvsr.errors.ConfigError: No URI is set and the store is not a local folder.
        fedvsr.errors.InputError: The database does not exist and ``create`` is false.
        fedvsr.errors.TrackingError: MLflow refuses the URI.
    """
    uri = tracking.uri or os.environ.get(URI_VARIABLE, "")
    if uri:
        return MlflowConnection(uri, tracking.experiment)
    if "://" in store:
        raise ConfigError(
            "tracking.uri", "", f"set it or {URI_VARIABLE}: the store {store} is not a local folder"
        )
    folder = Path(store).absolute()
    database = folder / "mlflow.db"
    if not create and not database.is_file():
        raise InputError(f"{database}: no such MLflow database; name another --store or a --tracking-uri")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError("store", store, f"it must be a folder to write to ({error.strerror})") from None
    return MlflowConnection(f"{_SQLITE}{database}", tracking.experiment)
