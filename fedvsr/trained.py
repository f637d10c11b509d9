"""A trained model as two files: weights.safetensors, and model.json, which describes the network."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import JsonValue
from torch import nn

from fedvsr.device import select_device
from fedvsr.errors import InputError
from fedvsr.federation.records import ModelRecord
from fedvsr.inference.windows import upscale_clip
from fedvsr.models.registry import build_model
from fedvsr.models.state import load_state
from fedvsr.store.base import Store, bytes_digest, check_digest
from fedvsr.store.local import LocalStore
from fedvsr.video.frames import Frames
from fedvsr.weights import Tensors, WeightsFile, serialize

WEIGHTS = "weights.safetensors"
RECORD = "model.json"


@dataclass(frozen=True)
class TrainedModel:
    """A network with trained weights, and the record that describes it."""

    record: ModelRecord
    network: nn.Module

    def upscale(self, frames: Frames, device: str = "auto") -> Frames:
        """Upscales a clip (T, h, w, 3), uint8 RGB, to (T, s·h, s·w, 3)."""
        target = select_device(device)
        return upscale_clip(self.network.to(target), np.asarray(frames), target, scale=self.record.scale)


def save_trained(folder: Path, record: ModelRecord, store: Store, key: str) -> None:
    """Writes a model's two files into a folder. The weights are an object of a store."""
    source = store.local(key, record.weights_digest)
    (folder / WEIGHTS).write_bytes(source.read_bytes())
    (folder / RECORD).write_bytes(record.to_bytes())


def save_converted(
    folder: Path, tensors: Tensors, name: str, scale: int, options: Mapping[str, JsonValue], source: str
) -> ModelRecord:
    """Writes weights that were not trained by fedvsr as a model's two files.

    Args:
        folder: The folder; created if it does not exist.
        tensors: Every parameter and buffer of the model.
        name: The model's name.
        scale: The model's scale.
        options: The model's options.
        source: The origin of the weights.

    Raises:
        fedvsr.errors.StoreError: The folder cannot be written.
    """
    data = serialize(tensors)
    record = ModelRecord(
        name=name, options=dict(options), scale=scale, weights_digest=bytes_digest(data), source=source
    )
    store = LocalStore(folder)
    store.write(WEIGHTS, data)
    store.write(RECORD, record.to_bytes())
    return record


def load_trained(path: Path) -> TrainedModel:
    """Loads a model from a folder with its two files, or from a weights file with model.json in its folder.

    Reads only tensors and a validated record. Runs no code and reads no pickle.

    Raises:
        fedvsr.errors.InputError: A file is missing.
        fedvsr.errors.DataError: A file is damaged, or the weights do not fit the model.
    """
    weights = path / WEIGHTS if path.is_dir() else path
    description = weights.with_name(RECORD)
    for file in (weights, description):
        if not file.is_file():
            raise InputError(
                f"{file}: no such file; a model is a folder with {WEIGHTS} and {RECORD}, "
                "as `fedvsr models convert` makes it, or a registered model (models:/NAME@ALIAS)"
            )
    record = ModelRecord.from_bytes(description.read_bytes(), str(description))
    check_digest(weights, record.weights_digest, str(weights))
    network = build_model(record.name, record.scale, record.options)
    load_state(network, WeightsFile(weights).load(), str(weights))
    return TrainedModel(record, network.eval())
