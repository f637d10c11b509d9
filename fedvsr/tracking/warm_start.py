"""Initial weights from elsewhere."""

from pathlib import Path

from fedvsr.config.run import RunConfig
from fedvsr.errors import ConfigError, InputError
from fedvsr.federation.runs import find_run
from fedvsr.models.state import state_of
from fedvsr.store.base import Store
from fedvsr.tracking.connection import Connection
from fedvsr.tracking.registry import CHAMPION, download_model
from fedvsr.trained import load_trained
from fedvsr.weights import Tensors, WeightsFile


def weights_of_new_run(
    connection: Connection, store: Store, config: RunConfig, registered_model: str
) -> Tensors | None:
    """Returns what `initial_weights` does, or None for a run that was begun.

    What a begun run started from is in its store; the champion of today may be another.
    """
    if not config.warm_start or find_run(store, config.name):
        return None
    return initial_weights(connection, config, registered_model)


def initial_weights(connection: Connection, config: RunConfig, registered_model: str) -> Tensors | None:
    """Returns the weights that a run's ``warm_start`` names, or None if it names none.

    Args:
        connection: The MLflow.
        config: The run.
        registered_model: Whose champion ``champion`` means.

    Raises:
        fedvsr.errors.InputError: There is no such model or file, or it is of another scale.
    """
    source = config.warm_start
    if not source:
        return None
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
