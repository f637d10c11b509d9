"""Aggregation with differential privacy for clients, by a server that they trust with their updates.

The new weights are base + (Σ clip(d_i) + N(0, (z·C)²)) / m, with the clients' differences d_i, the round's
clipping norm C and the noise multiplier z. m is the planned number of clients, whoever has delivered: a
divisor that depended on the clients would tell about them. For the same reason all clients count the same:
shares by loss or by clips depend on data.

Source: McMahan et al., "Learning Differentially Private Recurrent Language Models", ICLR 2018,
https://arxiv.org/abs/1710.06963.
"""

import numpy as np
from numpy.typing import NDArray

from fedvsr.config.privacy import PrivacyConfig
from fedvsr.privacy.clipping import clip_factor, next_clipping_norm, norm_of
from fedvsr.privacy.noise import GaussianNoise, count_deviation, update_noise_multiplier
from fedvsr.strategies.base import Aggregate, RoundUpdates
from fedvsr.strategies.updates import Updates
from fedvsr.weights import Array, Tensors

CLIPPING_NORM = "clipping_norm"
NEXT_CLIPPING_NORM = "next_clipping_norm"


def aggregate_privately(
    updates: RoundUpdates, privacy: PrivacyConfig, clipping_norm: float, planned_clients: int
) -> Aggregate:
    """Clips, adds up, adds noise, and divides by the planned number of clients.

    The server clips every update itself, so a client that does not clip gains nothing by it.

    Args:
        updates: The round's updates.
        privacy: The run's settings.
        clipping_norm: The round's clipping norm C.
        planned_clients: Number of clients in the round's plan, m.

    Returns:
        The new global weights. The diagnostics have this round's and the next round's clipping norm.

    Raises:
        fedvsr.errors.UpdateError: An update is damaged, or has a value that is not finite.
    """
    noise = GaussianNoise()
    base = updates.base
    sums: dict[str, NDArray[np.float64]] = {
        name: np.zeros(array.size, np.float64)
        for name, array in base.items()
        if np.issubdtype(array.dtype, np.floating)
    }
    unclipped = 0
    for client in updates.updates.clients:
        norm = _norm(base, updates.updates, client)
        unclipped += norm <= clipping_norm
        _add(sums, base, updates.updates, client, clip_factor(norm, clipping_norm))
    multiplier, following = privacy.noise_multiplier, clipping_norm
    if privacy.clipping == "adaptive":
        deviation = count_deviation(multiplier, planned_clients)
        noisy_share = (unclipped + float(noise.draw(deviation))) / planned_clients
        following = next_clipping_norm(clipping_norm, noisy_share, privacy.clipping_quantile)
        multiplier = update_noise_multiplier(multiplier, planned_clients)
    tensors: dict[str, Array] = dict(base)
    for name, total in sums.items():
        total += noise.draw(multiplier * clipping_norm, total.shape)
        changed = base[name].astype(np.float64) + total.reshape(base[name].shape) / planned_clients
        tensors[name] = changed.astype(base[name].dtype)
    weights = dict.fromkeys(updates.updates.clients, 1 / planned_clients)
    return Aggregate(tensors, weights, {CLIPPING_NORM: clipping_norm, NEXT_CLIPPING_NORM: following})


def _norm(base: Tensors, updates: Updates, client: str) -> float:
    return norm_of(
        _difference(base, chunk.name, chunk.start, chunk.values)
        for chunk in updates.chunks(client)
        if np.issubdtype(chunk.values.dtype, np.floating)
    )


def _add(
    sums: dict[str, NDArray[np.float64]], base: Tensors, updates: Updates, client: str, factor: float
) -> None:
    for chunk in updates.chunks(client):
        if chunk.name in sums:
            difference = _difference(base, chunk.name, chunk.start, chunk.values)
            sums[chunk.name][chunk.start : chunk.stop] += factor * difference


def _difference(base: Tensors, name: str, start: int, values: Array) -> NDArray[np.float64]:
    part = base[name].reshape(-1)[start : start + values.size]
    return values.astype(np.float64) - part.astype(np.float64)
