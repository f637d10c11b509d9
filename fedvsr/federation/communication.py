"""What travels between the server and the clients: global weights down, updates up, as the codecs make them.

The server keeps the global weights in full precision. If a codec changes them on the way down, the clients
start from what they are after the codec: the sent weights. An update is the difference from exactly these. So
what a codec loses on the way down does not add up over the rounds.
"""

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from fedvsr.codecs.quantiser import QuantisingCodec
from fedvsr.codecs.registry import EXACT, build_codec
from fedvsr.config.run import RunConfig
from fedvsr.federation import layout
from fedvsr.federation.decoded_update import DecodedUpdate
from fedvsr.federation.records import PlanRecord
from fedvsr.federation.stored_weights import load_base_weights
from fedvsr.privacy.integer_vectors import IntegerVectors
from fedvsr.store.base import Store, bytes_digest, check_digest
from fedvsr.weights import Array, Tensors, TensorSource, TensorSpec, WeightsFile, join_chunks, specs_of


def write_sent_weights(store: Store, config: RunConfig, round_number: int, base: Tensors) -> str | None:
    """Writes a round's global weights as the clients get them, if the codec changes them.

    Writing them again gives the same bytes.

    Args:
        store: The federation's store.
        config: The run.
        round_number: The round.
        base: The global weights that the round starts from.

    Returns:
        The file's SHA-256; None if the clients get the global weights themselves.

    Raises:
        fedvsr.errors.WeightsError: The codec cannot hold a value.
    """
    if config.communication.download == EXACT:
        return None
    codec = build_codec(config.communication.download)
    data = codec.encode(sorted(base.items()), _seed(config, round_number))
    store.write(layout.sent_weights(config.name, round_number), data)
    return bytes_digest(data)


def load_sent_weights(
    store: Store, config: RunConfig, plan: PlanRecord, specs: Mapping[str, TensorSpec]
) -> tuple[dict[str, Array], int]:
    """Reads the weights that a round's clients start from.

    Args:
        store: The federation's store.
        config: The run.
        plan: The round's plan.
        specs: Shape and dtype of each tensor of the model. Only encoded weights are compared with them.

    Returns:
        The weights, and the number of bytes that were read for them.

    Raises:
        fedvsr.errors.NotFoundError: The file does not exist.
        fedvsr.errors.DataError: It has another digest than the plan says, or does not hold these tensors.
    """
    if plan.sent_digest is None:
        base = load_base_weights(store, plan)
        return base, sum(array.nbytes for array in base.values())
    codec = build_codec(config.communication.download)
    key = layout.sent_weights(plan.run, plan.round)
    name = f"{store.uri}/{key}"
    with tempfile.TemporaryDirectory(prefix="fedvsr-weights-") as folder:
        path = store.fetch(key, Path(folder))
        check_digest(path, plan.sent_digest, name)
        file = codec.open(path, specs, _seed(config, plan.round), name)
        tensors = join_chunks(file.chunks(), specs)
        sent = {name: array.astype(specs[name].dtype, copy=False) for name, array in tensors}
        return sent, path.stat().st_size


def encode_update(config: RunConfig, plan: PlanRecord, client: str, weights: Tensors, sent: Tensors) -> bytes:
    """Returns the bytes of a client's update.

    Args:
        config: The run.
        plan: The round's plan.
        client: The client's name.
        weights: The client's weights after its training.
        sent: The weights that it started from.

    Raises:
        fedvsr.errors.WeightsError: The codec cannot hold a value.
    """
    codec = build_codec(config.communication.upload)
    tensors = differences(weights, sent) if codec.encodes_differences else sorted(weights.items())
    return codec.encode(tensors, _seed(config, plan.round, client))


@dataclass(frozen=True)
class RoundWeights:
    """What a round starts from at the server. Create it with `load`.

    Attributes:
        config: The run.
        plan: The round's plan.
        base: The global weights in full precision.
        sent: What the clients got of them; empty if nobody needs it to read an update.
    """

    config: RunConfig
    plan: PlanRecord
    base: Tensors
    sent: Tensors

    @classmethod
    def load(cls, store: Store, config: RunConfig, plan: PlanRecord) -> Self:
        """Reads the weights; raises as `load_sent_weights` does."""
        base = load_base_weights(store, plan)
        sent: Tensors = {}
        if plan.sent_digest and not build_codec(config.communication.upload).encodes_differences:
            sent, _ = load_sent_weights(store, config, plan, specs_of(base))
        return cls(config, plan, base, sent)

    def open_update(self, client: str, path: Path, name: str, folder: Path) -> TensorSource:
        """Opens a client's update, to be read as the client's weights.

        Args:
            client: The client's name.
            path: The update's file.
            name: The file's name in an error.
            folder: A folder for temporary files.

        Raises:
            fedvsr.errors.WeightsError: The file is not complete, or is of another codec.
        """
        codec = build_codec(self.config.communication.upload)
        if not codec.encodes_differences and not self.sent:
            return WeightsFile(path, name)
        seed = _seed(self.config, self.plan.round, client)
        file = codec.open(path, specs_of(self.base), seed, name)
        return DecodedUpdate(file, name, self.base, self.sent, folder)


def integer_vectors(config: RunConfig, plan: PlanRecord, specs: Mapping[str, TensorSpec]) -> IntegerVectors:
    """Returns how a round's clients turn their differences into integers for secure aggregation.

    All clients use the same rotation, so that the sum can be rotated back.

    Args:
        config: The run; its upload codec has the number of bits.
        plan: The round's plan.
        specs: Shape and dtype of each tensor of the model.
    """
    codec = build_codec(config.communication.upload)
    assert isinstance(codec, QuantisingCodec)
    return IntegerVectors(specs, codec.bits, _seed(config, plan.round))


def rounding_seed(config: RunConfig, plan: PlanRecord, client: str) -> int:
    """Returns the seed of a client's random rounding in secure aggregation."""
    return _seed(config, plan.round, client)


def differences(weights: Tensors, sent: Tensors) -> Iterator[tuple[str, Array]]:
    """Yields weights minus sent weights for floating-point tensors, and other tensors as they are."""
    for name, array in sorted(weights.items()):
        if np.issubdtype(array.dtype, np.floating):
            yield name, np.subtract(array, sent[name], dtype=array.dtype)
        else:
            yield name, array


def _seed(config: RunConfig, round_number: int, client: str = "") -> int:
    """Returns a codec's seed: of a client's update, or without a client of the sent weights.

    It is a hash with a prefix of its own, so that it does not depend on the seed of the client's training.
    """
    text = f"codec/{config.name}/{config.seed}/{round_number}/{client}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")
