"""Norm clipping: updates much larger than the round's median are scaled down.

The norm of an update is ‖w − w_base‖₂ over all elements of its floating-point tensors. Strategy tensors are
changes already, so their norm is measured from 0. If a norm exceeds ``max_norm`` times the median of the
round's norms, the tensors are scaled towards the base weights, or 0, until they have that norm. Integer and
boolean buffers have no norm and stay as they are.

The bound on the norm is that of Sun et al., "Can You Really Backdoor Federated Learning?", 2019,
https://arxiv.org/abs/1911.07963. A multiple of the median as the bound needs no knowledge of the model, and
fewer than half of the clients cannot raise it above the honest clients' norms times ``max_norm``.
"""

import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fedvsr.errors import UpdateError
from fedvsr.strategies.base import Aggregate, RoundUpdates, Strategy
from fedvsr.strategies.updates import Updates, UpdateSource
from fedvsr.weights import CHUNK_ELEMENTS, Array, Chunk, TensorSpec

# With fewer updates the median is one of the two norms, or between them, and does not show which is unusual.
_MIN_UPDATES = 3


@dataclass(frozen=True)
class Clipping:
    """How far tensors were scaled down.

    Attributes:
        norm: Their norm before.
        max_norm: Their norm now.
    """

    norm: float
    max_norm: float


@dataclass(frozen=True)
class ClippedAggregate:
    """An aggregate, and what was clipped before it.

    Attributes:
        aggregate: The strategy's result.
        updates: The clipping of each client whose update was scaled down.
        strategy_tensors: The clipping of each client whose strategy tensors were scaled down.
    """

    aggregate: Aggregate
    updates: dict[str, Clipping]
    strategy_tensors: dict[str, Clipping]


def aggregate_clipped(strategy: Strategy, updates: RoundUpdates, max_norm: float) -> ClippedAggregate:
    """Aggregates a round's updates, and clips those that are too large.

    The norms are measured while the strategy reads the updates. So a round in which nothing is clipped reads
    each update once; otherwise the strategy aggregates again, from the clipped updates.

    Args:
        strategy: The strategy. It may be called twice.
        updates: The updates.
        max_norm: How many times the median norm a norm may be, at least 1; infinity for no bound.

    Raises:
        fedvsr.errors.UpdateError: An update is damaged, has a value that is not finite, or has a norm beyond
            the range of float64.
    """
    if math.isinf(max_norm):
        return ClippedAggregate(strategy.aggregate(updates), {}, {})
    measured = {client: MeasuredFile(file, updates.base) for client, file in updates.updates.files.items()}
    measured_tensors = {
        client: MeasuredFile(file, {}) for client, file in updates.strategy_tensors.files.items()
    }
    aggregate = strategy.aggregate(
        replace(updates, updates=Updates(measured), strategy_tensors=Updates(measured_tensors))
    )
    clippings = _find_clippings(measured, max_norm, updates)
    tensor_clippings = _find_clippings(measured_tensors, max_norm, updates)
    if clippings or tensor_clippings:
        # Frees the first result before the second is computed.
        del aggregate
        clipped = replace(
            updates,
            updates=_clip(measured, clippings, updates.base),
            strategy_tensors=_clip(measured_tensors, tensor_clippings, {}),
        )
        aggregate = strategy.aggregate(clipped)
    return ClippedAggregate(aggregate, clippings, tensor_clippings)


class MeasuredFile:
    """A file of an update whose norm is measured by its first complete read.

    Args:
        file: The file.
        base: The tensors that it is measured from; a tensor that is not among them is measured from 0.
    """

    def __init__(self, file: UpdateSource, base: Mapping[str, Array]) -> None:
        self._inner, self._base = file, base
        self._norm: float | None = None

    @property
    def specs(self) -> dict[str, TensorSpec]:
        return self._inner.specs

    @property
    def norm(self) -> float:
        """The norm; reads the file if that has not been done. It is infinite if float64 cannot hold it."""
        if self._norm is None:
            self._norm = self._measure()
        return self._norm

    def chunks(self) -> Iterator[Chunk]:
        if self._norm is not None:
            yield from self._inner.chunks()
            return
        meter = _NormMeter(self._base)
        for chunk in self._inner.chunks():
            meter.add(chunk)
            yield chunk
        self._norm = meter.norm

    def verify(self) -> None:
        # Measures in the same read.
        if self._norm is None:
            self._norm = self._measure()

    def part(self, name: str, start: int, stop: int) -> Array:
        return self._inner.part(name, start, stop)

    def _measure(self) -> float:
        meter = _NormMeter(self._base)
        for chunk in self._inner.chunks():
            meter.add(chunk)
        return meter.norm


class ClippedFile:
    """A file of an update, scaled towards the base weights as it is read.

    Args:
        file: The file.
        base: The tensors that it is scaled towards; a tensor that is not among them is scaled towards 0.
        scale: The factor of the difference from them, in 0..1.
    """

    def __init__(self, file: UpdateSource, base: Mapping[str, Array], scale: float) -> None:
        self._inner, self._base, self._scale = file, base, scale

    @property
    def specs(self) -> dict[str, TensorSpec]:
        return self._inner.specs

    def chunks(self) -> Iterator[Chunk]:
        for chunk in self._inner.chunks():
            yield Chunk(chunk.name, chunk.start, self._scaled(chunk.name, chunk.start, chunk.values))

    def verify(self) -> None:
        self._inner.verify()

    def part(self, name: str, start: int, stop: int) -> Array:
        return self._scaled(name, start, self._inner.part(name, start, stop))

    def _scaled(self, name: str, start: int, values: Array) -> Array:
        if not np.issubdtype(values.dtype, np.floating):
            return values
        # A convex combination: unlike the difference, it cannot overflow.
        scaled = values.astype(np.float64) * self._scale
        if name in self._base:
            base = self._base[name].reshape(-1)[start : start + values.size]
            scaled += base.astype(np.float64) * (1 - self._scale)
        return scaled.astype(values.dtype)


class _NormMeter:
    """Adds up the squared differences of chunks from the base weights."""

    def __init__(self, base: Mapping[str, Array]) -> None:
        self._base = base
        self._squares = 0.0
        self._buffer = np.empty(CHUNK_ELEMENTS, np.float64)

    @property
    def norm(self) -> float:
        """The square root of the sum."""
        return math.sqrt(self._squares)

    def add(self, chunk: Chunk) -> None:
        """Adds a chunk, unless its tensor has no floating-point dtype."""
        if not np.issubdtype(chunk.values.dtype, np.floating):
            return
        # Float32 takes a third of float64's time, and a chunk's relative error is below 1e-5.
        squares = self._squares_of(chunk, np.result_type(chunk.values.dtype, np.float32))
        if not math.isfinite(squares):
            squares = self._squares_of(chunk, np.dtype(np.float64))
        self._squares += squares

    def _squares_of(self, chunk: Chunk, dtype: np.dtype[Any]) -> float:
        difference = self._buffer.view(dtype)[: chunk.values.size]
        # An overflow makes the sum infinite.
        with np.errstate(over="ignore"):
            if chunk.name in self._base:
                base = self._base[chunk.name].reshape(-1)[chunk.start : chunk.stop]
                np.subtract(chunk.values, base, out=difference, dtype=dtype)
            else:
                np.copyto(difference, chunk.values)
            # Not a BLAS product, whose last bits depend on the number of threads.
            return float(np.einsum("i,i->", difference, difference))


def _find_clippings(
    files: Mapping[str, MeasuredFile], max_norm: float, updates: RoundUpdates
) -> dict[str, Clipping]:
    """Returns the clipping of each client whose norm exceeds ``max_norm`` times the median.

    A median of 0 shows nothing: then more than half of the updates change nothing.
    """
    norms = {client: file.norm for client, file in files.items()}
    for client, norm in norms.items():
        if not math.isfinite(norm):
            round_number = updates.context.round_number
            raise UpdateError(client, round_number, "its norm is beyond the range of float64")
    median = statistics.median(norms.values()) if len(norms) >= _MIN_UPDATES else 0.0
    bound = max_norm * median
    return {client: Clipping(norm, bound) for client, norm in norms.items() if norm > bound > 0}


def _clip(
    files: Mapping[str, UpdateSource], clippings: Mapping[str, Clipping], base: Mapping[str, Array]
) -> Updates:
    clipped: dict[str, UpdateSource] = dict(files)
    for client, clipping in clippings.items():
        clipped[client] = ClippedFile(files[client], base, clipping.max_norm / clipping.norm)
    return Updates(clipped)
