"""MLflow's model registry: registers versions, and reads the aliases challenger and champion."""

import re
import tempfile
import warnings
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
from fedvsr.config.run import RunConfig
from fedvsr.errors import InputError, NotFoundError, TrackingError
from fedvsr.federation import layout
from fedvsr.federation.evaluations import find_best_evaluation, list_evaluations
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
from fedvsr.tracking.runs import RUN_TAG, RunTracker
from fedvsr.trained import TrainedModel, load_trained, save_trained

CHALLENGER = "challenger"
CHAMPION = "champion"

_MODEL_URI = re.compile(r"^models:/(?P<name>[^/@]+)(@(?P<alias>[A-Za-z0-9_.-]+)|/(?P<version>[0-9]+))$")
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
    """Registers a run's best round as a new version, with the alias ``challenger``.

    If these weights of this run are already registered, returns that version.

    Args:
        connection: The connection to MLflow.
        store: The federation's store.
        record: The record of a run with an evaluated round.
        registered_model: The registered model's name; created if it does not exist.

    Raises:
        fedvsr.errors.InputError: The run has no evaluated round.
        fedvsr.errors.TrackingError: MLflow failed.
    """
    run = record.config.name
    best = find_best_evaluation(list_evaluations(store, record.config))
    if best is None:
        raise InputError(f"run {run!r} has no evaluated round yet; finish it first (fedvsr resume {run})")
    registration = _find_registration(connection, store, run, best, registered_model)
    if registration:
        return registration
    tracker = RunTracker(connection, record)
    version = _find_registered_version(connection, registered_model, run, best.global_digest)
    if version is None:
        model = _log_model(connection, store, record, best, tracker.run_id)
        version = _create_version(connection, record.config, best, registered_model, model)
    with connection.translating_errors("set the alias"):
        connection.client.set_registered_model_alias(registered_model, CHALLENGER, version)
    registration = RegistrationRecord(
        run=run,
        round=best.round,
        model=registered_model,
        model_version=version,
        mlflow_run_id=tracker.run_id,
        global_digest=best.global_digest,
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
    with connection.current(), tempfile.TemporaryDirectory(prefix="fedvsr-model-") as temporary:
        try:
            if alias:
                version = connection.client.get_model_version_by_alias(name, alias).version
            source = connection.client.get_model_version_download_uri(name, version)
            folder = mlflow.artifacts.download_artifacts(
                artifact_uri=f"{source}/{_MODEL_PATH}", dst_path=temporary, tracking_uri=connection.uri
            )
        except MlflowException as error:
            raise InputError(
                f"{uri} cannot be loaded from MLflow at {connection.uri}: {error}; "
                "`fedvsr register RUN` makes a challenger, `fedvsr promote` makes a champion"
            ) from error
        return load_trained(Path(folder))


def find_version(connection: MlflowConnection, registered_model: str, alias: str) -> str | None:
    """Returns the version that an alias names, or None if the alias or model does not exist."""
    try:
        version = connection.client.get_model_version_by_alias(registered_model, alias)
    except MlflowException as error:
        if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            return None
        raise TrackingError(f"MLflow at {connection.uri} could not find {alias!r}: {error}") from error
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
    if (registration.global_digest, registration.model) != (best.global_digest, registered_model):
        return None
    version = _find_registered_version(connection, registered_model, run, best.global_digest)
    return registration if version == registration.model_version else None


def _find_registered_version(
    connection: MlflowConnection, registered_model: str, run: str, digest: str
) -> str | None:
    with connection.translating_errors("search the registry"):
        for version in connection.client.search_model_versions(f"name = '{registered_model}'"):
            if (version.tags.get(RUN_TAG), version.tags.get(_DIGEST_TAG)) == (run, digest):
                return str(version.version)
    return None


def _log_model(
    connection: MlflowConnection, store: Store, record: RunRecord, best: EvaluationRecord, run_id: str
) -> ModelInfo:
    """Stores the best round's weights, and the code that runs them, as an MLflow model."""
    config = record.config
    description = ModelRecord(
        name=config.model.name,
        options=config.model.options,
        scale=config.data.scale,
        degradation=config.data.degradation,
        weights_digest=best.global_digest,
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
        save_trained(folder, description, store, layout.global_weights(config.name, best.round))
        with (
            connection.current(),
            connection.translating_errors("store the model"),
            warnings.catch_warnings(),
        ):
            # MLflow warns that integer inputs cannot have missing values. Frames have none.
            warnings.simplefilter("ignore", UserWarning)
            with mlflow.start_run(run_id=run_id):
                model: ModelInfo = mlflow.pyfunc.log_model(
                    name="model",
                    python_model=str(Path(__file__).with_name("pyfunc_model.py")),
                    artifacts={"model": str(folder)},
                    code_paths=[str(Path(fedvsr.__file__).parent)],
                    signature=ModelSignature(inputs=_CLIP_SCHEMA, outputs=_CLIP_SCHEMA),
                    input_example=np.ascontiguousarray(clip.low_resolution[:2, :32, :32]),
                    pip_requirements=[f"{name}=={metadata.version(name)}" for name in _REQUIREMENTS],
                )
    return model


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
        "fedvsr.strategy": config.strategy.name,
        "fedvsr.dataset_digest": best.dataset_digest,
        "fedvsr.psnr_y": f"{best.mean('psnr_y'):.4f}",
        "fedvsr.psnr_y_over_bicubic": f"{best.gain:.4f}",
        _DIGEST_TAG: best.global_digest,
    }
    description = (
        f"Round {best.round} of {config.name}: {config.model.name} ×{config.data.scale}, "
        f"{config.strategy.name}, {best.mean('psnr_y'):.2f} dB (Y) on the held-out clips, "
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
