"""The connection to an MLflow server or database."""

import logging
import os
import shutil
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

from fedvsr.config.experiment import TrackingConfig
from fedvsr.errors import ConfigError, InputError, TrackingError
from fedvsr.store.address import parse_address
from fedvsr.text import without_password
from fedvsr.tracking.sqlite import (
    artifacts_folder,
    database_error,
    database_path,
    driver_error,
    location_path,
    sqlite_uri,
)

URI_VARIABLE = "MLFLOW_TRACKING_URI"
# MLflow's address for browsers. The pipeline's steps use an address that only works inside the cluster.
BROWSER_VARIABLE = "FEDVSR_MLFLOW_URL"

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
        # It logs a database's error with its traceback before it raises the error.
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        # MLflow's progress bars would break fedvsr's.
        MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)
        if not MLFLOW_HTTP_REQUEST_MAX_RETRIES.is_set():
            MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(_RETRIES)
        self._database = database_path(uri)
        with self.translating_errors("be opened"):
            if self._database:
                # Imported here because a server's client needs no SQLAlchemy.
                from fedvsr.tracking.moved_store import correct_locations

                correct_locations(self._database)
            self.client = MlflowClient(uri, registry_uri=uri)

    @property
    def address(self) -> str:
        """The tracking URI without a password, for messages."""
        return without_password(self.uri)

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
        except (MlflowException, database_error(), OSError) as error:
            raise TrackingError(
                f"MLflow at {self.address} could not {action}: {self.reason(error)}; nothing is lost: the "
                "run's records are in its store, and `fedvsr register` or resuming the run sends them again"
            ) from error

    def reason(self, error: Exception) -> str:
        """Returns the reason of one of MLflow's errors as one line without a password."""
        return _first_line(_root_cause(error)).replace(self.uri, self.address)

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
            location = artifacts_folder(self._database).as_uri() if self._database else None
            return str(self.client.create_experiment(self.experiment, artifact_location=location))

    def delete_artifacts(self, location: str) -> None:
        """Deletes the files at a location, if this process stores MLflow's artifacts and not a server."""
        path = location_path(location)
        if self._database and path and path.is_relative_to(artifacts_folder(self._database)):
            shutil.rmtree(path)

    def page_url(self, page: str) -> str:
        """Returns the address of a page of MLflow's website, or an empty string if no server shows it."""
        server = os.environ.get(BROWSER_VARIABLE, "") or self.uri
        return f"{server.rstrip('/')}/#/{page}" if server.startswith(("http://", "https://")) else ""


def _root_cause(error: Exception) -> Exception:
    """Returns the error of the database or of the file system that MLflow's error is about."""
    cause = error.__cause__ if isinstance(error, MlflowException) else error
    if from_driver := driver_error(cause):
        return from_driver
    if isinstance(cause, shutil.Error) and cause.args and isinstance(cause.args[0], list):
        # A folder was not copied. The argument lists each file, its target and the reason.
        return OSError(cause.args[0][0][-1])
    return error


def _first_line(error: Exception) -> str:
    # A database's message goes on with the SQL statement. That of a download is a heading, and then one line
    # per file.
    first, *others = str(error).strip().splitlines() or [type(error).__name__]
    return others[-1].strip() if others and first.endswith(":") else first


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
    if parse_address(store):
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
    return MlflowConnection(sqlite_uri(database), tracking.experiment)
