"""The start of a run. All checks come first, so a refused run writes nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fedvsr.config.run import RunConfig
from fedvsr.errors import ConfigError, InputError
from fedvsr.federation.records import RunRecord
from fedvsr.federation.run.prepare import ValidatedRun, validate_run, write_run
from fedvsr.models.state import state_of
from fedvsr.store.base import Store
from fedvsr.tracking.connection import MlflowConnection
from fedvsr.tracking.model_registry import CHAMPION, download_model
from fedvsr.trained import load_trained
from fedvsr.weights import Tensors, WeightsFile


@dataclass(frozen=True)
class RunStart:
    """A run that can start: its settings are valid and MLflow answers. Nothing has been written yet.

    Attributes:
        run: The valid run.
        connection: The connection to MLflow.
    """

    run: ValidatedRun
    connection: MlflowConnection

    @property
    def is_new(self) -> bool:
        """Whether the store has no record of the run yet."""
        return self.run.stored is None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user may not have meant, as sentences."""
        return self.run.warnings

    def write(self, store: Store) -> RunRecord:
        """Writes the run's record and, for a new run, its initial weights into the federation's store."""
        return write_run(store, self.run)


def validate_start(
    config: RunConfig,
    stored: RunRecord | None,
    open_connection: Callable[[], MlflowConnection],
    registered_model: str,
) -> RunStart:
    """Checks a run, connects to MLflow and loads the weights of a warm start.

    Args:
        config: The run, with its clients.
        stored: The record of this run in the store; None for a new run.
        open_connection: Connects to MLflow. Called after the settings have been checked.
        registered_model: The registered model that ``warm_start: champion`` refers to.

    Raises:
        fedvsr.errors.InputError: A setting is not allowed, or the model of ``warm_start`` cannot be used.
        fedvsr.errors.WeightsError: The weights of the warm start do not fit the model.
        fedvsr.errors.TrackingError: MLflow does not answer.
    """
    run = validate_run(config, stored)
    connection = open_connection()
    connection.check()
    # A stored run keeps its initial weights, because the champion may have changed since.
    if stored is None and config.warm_start:
        run = run.with_weights(load_initial_weights(connection, config, registered_model))
    return RunStart(run, connection)


def load_initial_weights(connection: MlflowConnection, config: RunConfig, registered_model: str) -> Tensors:
    """Loads the weights that a run's ``warm_start`` names.

    Args:
        connection: The connection to MLflow.
        config: The run, with a ``warm_start``.
        registered_model: The registered model that ``champion`` refers to.

    Raises:
        fedvsr.errors.InputError: The model or file does not exist, or has another scale.
    """
    source = config.warm_start
    if source == CHAMPION:
        source = f"models:/{registered_model}@{CHAMPION}"
    if source.startswith("models:/"):
        model = download_model(connection, source)
    elif Path(source).is_dir():
        model = load_trained(Path(source))
    elif Path(source).is_file():
        return WeightsFile(Path(source), f"warm_start {source}").load()
    else:
        allowed = (
            "it must be champion, models:/NAME@ALIAS, a model's folder, or a safetensors file that exists"
        )
        raise ConfigError("warm_start", source, allowed)
    if model.record.scale != config.data.scale:
        raise InputError(
            f"warm_start {source!r} upscales by {model.record.scale}, data.scale is {config.data.scale}"
        )
    return state_of(model.network)
