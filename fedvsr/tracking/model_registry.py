"""MLflow's model registry: registers versions, and reads the aliases challenger and champion."""

import re
import shlex
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from urllib.parse import quote

import mlflow
import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.models.model import ModelInfo
from mlflow.types import Schema, TensorSpec

import fedvsr
from fedvsr.config.mlflow_names import check_registered_model
from fedvsr.config.run import RunConfig
from fedvsr.errors import FedVSRError, InputError, NotFoundError, TrackingError
from fedvsr.federation import layout
from fedvsr.federation.evaluations import find_best_evaluation, list_evaluations, model_key
from fedvsr.federation.owner.clips import open_held_out_clips
from fedvsr.federation.records import (
    EvaluationRecord,
    ModelRecord,
    RegistrationRecord,
    RunRecord,
    read_record,
    write_record,
)
from fedvsr.store.base import Store
from fedvsr.tracking.connection import MlflowConnection
from fedvsr.tracking.filters import quoted
from fedvsr.tracking.runs import RUN_TAG, RunTracker
from fedvsr.tracking.sqlite import database_error
from fedvsr.trained import TrainedModel, load_trained, save_trained

CHALLENGER = "challenger"
CHAMPION = "champion"

_MODEL_URI = re.compile(r"^models:/(?P<name>[^/@]+)(@(?P<alias>[A-Za-z0-9_.-]+)|/(?P<version>[0-9]+))$")
# The name of a run's model in MLflow.
_MODEL = "model"
# The folder of a trained model's two files in a version's artifacts.
_MODEL_PATH = "artifacts/model"
_DIGEST_TAG = "fedvsr.weights_digest"
_CLIP_SCHEMA = Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, 3))])
# The packages that the model's code imports.
_REQUIREMENTS = (
    "matplotlib",
    "mlflow",
    "numpy",
    "opencv-python-headless",
    "pydantic",
    "pyyaml",
    "safetensors",
    "scenedetect-headless",
    "torch",
)


def register_run(
    connection: MlflowConnection, store: Store, record: RunRecord, registered_model: str
) -> RegistrationRecord:
    """Registers the model of a run's best round as a new version, with the alias ``challenger``.

    If these weights of this run are already registered and can be read, returns that version. A new version
    is created after its files have been read back, so no version lacks its weights.

    Args:
        connection: The connection to MLflow.
        store: The federation's store.
        record: The record of a run with an evaluated round.
        registered_model: The registered model's name; created if it does not exist.

    Raises:
        fedvsr.errors.ConfigError: The name is not allowed.
        fedvsr.errors.InputError: The run has no evaluated round.
        fedvsr.errors.TrackingError: MLflow failed, or does not return the files that it was sent.
    """
    check_registered_model(registered_model, "tracking.registered_model")
    run = record.config.name
    best = find_best_evaluation(list_evaluations(store, record.config))
    if best is None:
        raise InputError(f"run {run!r} has no evaluated round yet; finish it first (fedvsr resume {run})")
    registration = _find_registration(connection, store, run, best, registered_model)
    if registration:
        return registration
    tracker = RunTracker(connection, record)
    version = _find_registered_version(connection, registered_model, run, best.model_digest)
    if version is None:
        with _discarding_unfinished_model(connection, tracker):
            model = _log_model(connection, store, record, best, tracker.run_id)
            _check_readable(connection, model, best.model_digest)
        version = _create_version(connection, record.config, best, registered_model, model)
    with connection.translating_errors("set the alias"):
        connection.client.set_registered_model_alias(registered_model, CHALLENGER, version)
    registration = RegistrationRecord(
        run=run,
        round=best.round,
        model=registered_model,
        model_version=version,
        mlflow_run_id=tracker.run_id,
        global_digest=best.model_digest,
        averaged=best.is_averaged,
    )
    write_record(store, layout.registration(run), registration)
    return registration


def download_model(connection: MlflowConnection, uri: str) -> TrainedModel:
    """Loads a registered model's weights and record, without running code from the registry.

    Args:
        connection: The connection to MLflow.
        uri: ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``.

    Raises:
        fedvsr.errors.InputError: The model, alias or version does not exist.
    """
    match = _MODEL_URI.match(uri)
    if not match:
        raise InputError(f"{uri!r} is not a registered model; use models:/NAME@ALIAS or models:/NAME/VERSION")
    name, alias, version = match.group("name"), match.group("alias"), match.group("version")
    client = connection.client
    try:
        if alias:
            version = client.get_model_version_by_alias(name, alias).version
        source = client.get_model_version_download_uri(name, version)
    except (MlflowException, database_error()) as error:
        raise InputError(
            f"{uri} cannot be loaded from MLflow at {connection.address}: {connection.reason(error)}; "
            "`fedvsr register RUN` makes a challenger, `fedvsr promote` makes a champion"
        ) from error
    try:
        return _load_files(connection, source)
    except (MlflowException, OSError, FedVSRError) as error:
        run = client.get_model_version(name, version).tags.get(RUN_TAG, "RUN")
        raise InputError(
            f"{uri} is version {version} in MLflow at {connection.address}, but its files cannot be read "
            f"({connection.reason(error)}); `fedvsr register {run} --name {shlex.quote(name)}` registers the "
            "run again"
        ) from error


def _load_files(connection: MlflowConnection, source: str) -> TrainedModel:
    """Loads the trained model among the artifacts of a logged model or model version."""
    with connection.current(), tempfile.TemporaryDirectory(prefix="fedvsr-model-") as temporary:
        folder = mlflow.artifacts.download_artifacts(
            artifact_uri=f"{source}/{_MODEL_PATH}", dst_path=temporary, tracking_uri=connection.uri
        )
        return load_trained(Path(folder))


def find_version(connection: MlflowConnection, registered_model: str, alias: str) -> str | None:
    """Returns the version that an alias names, or None if the alias or model does not exist."""
    try:
        version = connection.client.get_model_version_by_alias(registered_model, alias)
    except MlflowException as error:
        if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            return None
        raise TrackingError(
            f"MLflow at {connection.address} could not find {alias!r}: {connection.reason(error)}"
        ) from error
    return str(version.version)


def version_url(connection: MlflowConnection, registered_model: str, version: str) -> str:
    """Returns the address of a model version's page in MLflow, or an empty string if no server shows it."""
    return connection.page_url(f"models/{quote(registered_model, safe='')}/versions/{version}")


def _find_registration(
    connection: MlflowConnection, store: Store, run: str, best: EvaluationRecord, registered_model: str
) -> RegistrationRecord | None:
    try:
        registration = read_record(store, layout.registration(run), RegistrationRecord)
    except NotFoundError:
        return None
    if (registration.global_digest, registration.model) != (best.model_digest, registered_model):
        return None
    version = _find_registered_version(connection, registered_model, run, best.model_digest)
    return registration if version == registration.model_version else None


def _find_registered_version(
    connection: MlflowConnection, registered_model: str, run: str, digest: str
) -> str | None:
    """Returns the newest version with these weights of this run whose files can be read, or None."""
    with connection.translating_errors("search the registry"):
        versions = connection.client.search_model_versions(f"name = {quoted(registered_model)}")
        for version in sorted(versions, key=lambda version: int(version.version), reverse=True):
            is_the_runs = (version.tags.get(RUN_TAG), version.tags.get(_DIGEST_TAG)) == (run, digest)
            if is_the_runs and _is_readable(connection, registered_model, version.version, digest):
                return str(version.version)
    return None


def _is_readable(connection: MlflowConnection, registered_model: str, version: str, digest: str) -> bool:
    try:
        model = download_model(connection, f"models:/{registered_model}/{version}")
    except InputError:
        return False
    return model.record.weights_digest == digest


def _log_model(
    connection: MlflowConnection, store: Store, record: RunRecord, best: EvaluationRecord, run_id: str
) -> ModelInfo:
    """Stores the best round's model, and the code that runs it, as an MLflow model."""
    config = record.config
    description = ModelRecord(
        name=config.model.name,
        options=config.model.options,
        scale=config.data.scale,
        degradation=config.data.degradation,
        weights_digest=best.model_digest,
        run=config.name,
        round=best.round,
        strategy=config.strategy.name,
        dataset_digest=best.dataset_digest,
        psnr_y=best.mean("psnr_y"),
        bicubic_psnr_y=best.mean("psnr_y", of_bicubic=True),
    )
    clip = open_held_out_clips(store, config)[0]
    with tempfile.TemporaryDirectory(prefix="fedvsr-register-") as temporary:
        folder = Path(temporary) / Path(_MODEL_PATH).name
        folder.mkdir()
        save_trained(folder, description, store, model_key(best))
        with (
            connection.current(),
            connection.translating_errors("store the model"),
            warnings.catch_warnings(),
        ):
            # MLflow warns that integer inputs cannot have missing values. Frames have none.
            warnings.simplefilter("ignore", UserWarning)
            with mlflow.start_run(run_id=run_id):
                model: ModelInfo = mlflow.pyfunc.log_model(
                    name=_MODEL,
                    python_model=str(Path(__file__).with_name("pyfunc_model.py")),
                    artifacts={"model": str(folder)},
                    code_paths=[str(Path(fedvsr.__file__).parent)],
                    signature=ModelSignature(inputs=_CLIP_SCHEMA, outputs=_CLIP_SCHEMA),
                    input_example=np.ascontiguousarray(clip.low_resolution[:2, :32, :32]),
                    pip_requirements=[f"{name}=={metadata.version(name)}" for name in _REQUIREMENTS],
                )
    return model


def _check_readable(connection: MlflowConnection, model: ModelInfo, digest: str) -> None:
    """Checks that MLflow returns the files of a model that it was sent.

    Raises:
        fedvsr.errors.TrackingError: It does not.
    """
    try:
        source = connection.client.get_logged_model(model.model_id).artifact_location
        if _load_files(connection, source).record.weights_digest == digest:
            return
        reason = "they are other weights"
    except (MlflowException, database_error(), OSError, FedVSRError) as error:
        reason = connection.reason(error)
    raise TrackingError(
        f"MLflow at {connection.address} took the model's files but does not return them ({reason}); nothing "
        "was registered: look at MLflow's artifact store, then register the run again"
    )


@contextmanager
def _discarding_unfinished_model(connection: MlflowConnection, tracker: RunTracker) -> Iterator[None]:
    """Context manager that deletes the model that was being stored if an error is raised.

    On a full disk, the files of a model that was not stored as a whole would take up the rest of the room.
    """
    earlier = _model_locations(connection, tracker)
    try:
        yield
    except Exception:
        with suppress(TrackingError, MlflowException, OSError):
            for model, location in _model_locations(connection, tracker).items():
                if model not in earlier:
                    # The files first: a full disk may also refuse a change of the database.
                    connection.delete_artifacts(location)
                    connection.client.delete_logged_model(model)
        raise


def _model_locations(connection: MlflowConnection, tracker: RunTracker) -> dict[str, str]:
    """Returns the locations of the models that a run has stored, by their ids."""
    with connection.translating_errors("list the run's models"):
        models = connection.client.search_logged_models(
            [tracker.experiment_id], filter_string=f"source_run_id = {quoted(tracker.run_id)}"
        )
    return {str(model.model_id): str(model.artifact_location) for model in models}


def _create_version(
    connection: MlflowConnection,
    config: RunConfig,
    best: EvaluationRecord,
    registered_model: str,
    model: ModelInfo,
) -> str:
    """Creates a model version, and the registered model if it does not exist. Returns the version."""
    tags = {
        RUN_TAG: config.name,
        "fedvsr.round": str(best.round),
        "fedvsr.averaged": "true" if best.is_averaged else "false",
        "fedvsr.strategy": config.strategy.name,
        "fedvsr.dataset_digest": best.dataset_digest,
        "fedvsr.psnr_y": f"{best.mean('psnr_y'):.4f}",
        "fedvsr.psnr_y_over_bicubic": f"{best.gain:.4f}",
        _DIGEST_TAG: best.model_digest,
    }
    description = (
        f"Round {best.round} of {config.name}{', averaged weights' if best.is_averaged else ''}: "
        f"{config.model.name} ×{config.data.scale}, {config.strategy.name}, "
        f"{best.mean('psnr_y'):.2f} dB (Y) on the held-out clips, "
        f"{best.gain:+.2f} dB over bicubic"
    )
    with connection.current(), connection.translating_errors("create the model version"):
        client = connection.client
        try:
            client.get_registered_model(registered_model)
        except MlflowException:
            client.create_registered_model(registered_model)
        version = client.create_model_version(
            registered_model,
            model.model_uri,
            run_id=model.run_id,
            tags=tags,
            model_id=model.model_id,
            description=description,
        )
    return str(version.version)
