"""FedVSR's adaptive loss-aware aggregation.

Mollaahmadi Dehaghi et al., "FedVSR: Towards Model-Agnostic Federated Learning in Video Super-Resolution",
2025, https://arxiv.org/abs/2503.13745.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from fedvsr.strategies.base import Contribution, RoundContext

THRESHOLD = 0.05
# A smaller loss counts as this one: 1 / l must stay finite, and no client may own the aggregate.
_MIN_LOSS = 1e-12


@dataclass(frozen=True)
class LossAwareWeights:
    """The clients' shares, and the numbers that they come from.

    Attributes:
        weights: Each client's share, in the order of the losses; they sum to 1.
        hellinger_distance: Between the loss-aware and the uniform distribution, in 0..1.
        mixing_coefficient: How much of the loss-aware distribution is in the shares, in 0..1.
        sharpness: The exponent s of the inverse losses.
    """

    weights: tuple[float, ...]
    hellinger_distance: float
    mixing_coefficient: float
    sharpness: float


def loss_aware_weights(
    losses: Iterable[float], round_number: int, rounds: int, threshold: float = THRESHOLD
) -> LossAwareWeights:
    """Returns FedVSR's aggregation weights.

    With s = 1 − round/rounds and w_i ∝ (1/l_i)^s, h is the Hellinger distance between w and the
    uniform distribution u, and the weights are (1 − c)·u + c·w, where c = 0 for h below the
    threshold and else (h − threshold)/(1 − threshold).

    A loss ≤ 0 counts as the smallest positive loss of the others, and one that is not finite as their
    largest. If no loss is positive and finite, all weights are equal.

    Args:
        losses: The clients' mean training losses.
        round_number: The round, from 1 (0 is allowed: s = 1).
        rounds: The number of rounds.
        threshold: The Hellinger distance below which all clients count the same.
    """
    values = list(losses)
    usable = [value for value in values if math.isfinite(value) and value > 0]
    count = len(values)
    uniform = 1 / count
    sharpness = max(0.0, 1 - round_number / rounds)
    if not usable:
        return LossAwareWeights((uniform,) * count, 0.0, 0.0, sharpness)
    guarded = [
        max(_MIN_LOSS, max(usable) if not math.isfinite(value) else min(usable) if value <= 0 else value)
        for value in values
    ]
    # Losses relative to the smallest keep the powers in (0, 1].
    smallest = min(guarded)
    powers = [(smallest / value) ** sharpness for value in guarded]
    total = math.fsum(powers)
    aware = [power / total for power in powers]
    distance = math.sqrt(0.5 * math.fsum((math.sqrt(share) - math.sqrt(uniform)) ** 2 for share in aware))
    mixing = 0.0 if distance < threshold else (distance - threshold) / (1 - threshold)
    weights = tuple((1 - mixing) * uniform + mixing * share for share in aware)
    return LossAwareWeights(weights, distance, mixing, sharpness)


def weigh_by_loss(
    contributions: Iterable[Contribution], context: RoundContext, threshold: float
) -> tuple[dict[str, float], dict[str, float]]:
    """Returns a round's shares by client as `loss_aware_weights` gives them, and diagnostics."""
    contributions = tuple(contributions)
    losses = [contribution.loss for contribution in contributions]
    result = loss_aware_weights(losses, context.round_number, context.rounds, threshold)
    return (
        {
            contribution.client: weight
            for contribution, weight in zip(contributions, result.weights, strict=True)
        },
        {
            "mixing_coefficient": result.mixing_coefficient,
            "hellinger_distance": result.hellinger_distance,
            "sharpness": result.sharpness,
        },
    )
