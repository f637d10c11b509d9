"""The model registry: versions, and the aliases challenger and champion."""

import re
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path

import mlflow
import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

import fedvsr
from fedvsr.errors import InputError, NotFoundError, TrackingError
from fedvsr.federation import layout
from fedvsr.federation.evaluations import find_best_evaluation, list_evaluations
from fedvsr.federation.owner.clips import open_clips
from fedvsr.federation.records import (
    EvaluationRecord,
    ModelRecord,
    RegistrationRecord,
    RunRecord,
    read_record,
    write_record,
)
from fedvsr.federation.runs import load_run
from fedvsr.store.base import Store
from fedvsr.tracking.connection import Connection
from fedvsr.tracking.runs import RUN_TAG, RunTracker
from fedvsr.trained import TrainedModel, load_trained, save_trained

CHALLENGER = "challenger"
CHAMPION = "champion"

_MODEL_URI = re.compile(r"^models:/(?P<name>[^/@]+)(@(?P<alias>[A-Za-z0-9_.-]+)|/(?P<version>[0-9]+))$")
# Where a version's artifacts hold the two files of a trained model.
_MODEL_PATH = "artifacts/model"
_DIGEST_TAG = "fedvsr.weights_digest"


def register_run(connection: Connection, store: Store, run: str, registered_model: str) -> RegistrationRecord:
    """Registers a run's best round as a new version, with the alias ``challenger``.

    Where these weights of this run are registered already, that version is returned.

    Args:
        connection: The MLflow.
        store: The federation's store.
        run: A run with an evaluated round.
        registered_model: The registered model's name; made if it is not there.

    Raises:
        fedvsr.errors.InputError: The run has no evaluated round.
        fedvsr.errors.TrackingError: MLflow failed.
    """
    record = load_run(store, run)
    best = find_best_evaluation(list_evaluations(store, record.config))
    if best is None:
        raise InputError(f"run {run!r} has no evaluated round yet; finish it first (fedvsr resume {run})")
    known = _known_registration(connection, store, run, best, registered_model)
    if known:
        return known
    tracker = RunTracker(connection, record)
    version = _find_version(connection, registered_model, run, best.global_digest)
    if version is None:
        version = _create_version(connection, store, record, best, registered_model, tracker.run_id)
    with connection.failures("set the alias"):
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


def download_model(connection: Connection, uri: str) -> TrainedModel:
    """Loads a registered model's weights and record, running none of its code.

    Args:
        connection: The MLflow.
        uri: ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``.

    Raises:
        fedvsr.errors.InputError: There is no such model, alias or version.
    """
    match = _MODEL_URI.match(uri)
    if not match:
        raise InputError(f"{uri!r} is no registered model; write models:/NAME@ALIAS or models:/NAME/VERSION")
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
                f"{uri} cannot be had from MLflow at {connection.uri}: {error}; "
                "`fedvsr register RUN` makes a challenger, `fedvsr promote` a champion"
            ) from error
        return load_trained(Path(folder))


def find_alias(connection: Connection, registered_model: str, alias: str) -> str | None:
    """Returns the version an alias points to, or None if there is no such alias or model."""
    try:
        found = connection.client.get_model_version_by_alias(registered_model, alias)
    except MlflowException as error:
        if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            return None
        raise TrackingError(f"MLflow at {connection.uri} could not find {alias!r}: {error}") from error
    return str(found.version)


def _known_registration(
    connection: Connection, store: Store, run: str, best: EvaluationRecord, registered_model: str
) -> RegistrationRecord | None:
    try:
        known = read_record(store, layout.registration(run), RegistrationRecord)
    except NotFoundError:
        return None
    same = (known.global_digest, known.model) == (best.global_digest, registered_model)
    found = _find_version(connection, registered_model, run, best.global_digest)
    return known if same and found == known.model_version else None


def _find_version(connection: Connection, registered_model: str, run: str, digest: str) -> str | None:
    with connection.failures("search the registry"):
        for found in connection.client.search_model_versions(f"name = '{registered_model}'"):
            if (found.tags.get(RUN_TAG), found.tags.get(_DIGEST_TAG)) == (run, digest):
                return str(found.version)
    return None


def _create_version(
    connection: Connection,
    store: Store,
    record: RunRecord,
    best: EvaluationRecord,
    registered_model: str,
    run_id: str,
) -> str:
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
    clip = open_clips(store, layout.evaluation_clips(config.data.dataset), config.data)[0]
    example = np.ascontiguousarray(clip.low_resolution[:2, :32, :32])
    with tempfile.TemporaryDirectory(prefix="fedvsr-register-") as temporary:
        folder = Path(temporary) / Path(_MODEL_PATH).name
        folder.mkdir()
        save_trained(folder, description, store, layout.global_weights(config.name, best.round))
        with connection.current(), connection.failures("take the model"), warnings.catch_warnings():
            # MLflow warns that uint8 has no missing value, which a picture does not need.
            warnings.simplefilter("ignore", UserWarning)
            with mlflow.start_run(run_id=run_id):
                info = mlflow.pyfunc.log_model(
                    name="model",
                    python_model=str(Path(__file__).with_name("pyfunc_model.py")),
                    artifacts={"model": str(folder)},
                    code_paths=[str(Path(fedvsr.__file__).parent)],
                    signature=_SIGNATURE,
                    input_example=example,
                    pip_requirements=_requirements(),
                )
    tags = {
        RUN_TAG: config.name,
        "fedvsr.round": str(best.round),
        "fedvsr.strategy": config.strategy.name,
        "fedvsr.dataset_digest": best.dataset_digest,
        "fedvsr.psnr_y": f"{best.mean('psnr_y'):.4f}",
        "fedvsr.psnr_y_over_bicubic": f"{best.gain:.4f}",
        _DIGEST_TAG: best.global_digest,
    }
    with connection.current(), connection.failures("make the model version"):
        client = connection.client
        try:
            client.get_registered_model(registered_model)
        except MlflowException:
            client.create_registered_model(registered_model)
        made = client.create_model_version(
            registered_model,
            info.model_uri,
            run_id=run_id,
            tags=tags,
            model_id=info.model_id,
            description=(
                f"Round {best.round} of {config.name}: {config.model.name} ×{config.data.scale}, "
                f"{config.strategy.name}, {best.mean('psnr_y'):.2f} dB (Y) on the held-out clips, "
                f"{best.gain:+.2f} dB over bicubic"
            ),
        )
    return str(made.version)


_SIGNATURE = ModelSignature(
    inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, 3))]),
    outputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, 3))]),
)


def _requirements() -> list[str]:
    """What the model's code imports, at the versions it was trained with."""
    return [
        f"{name}=={version(name)}"
        for name in (
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
    ]
