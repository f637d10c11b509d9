"""FedVSR's adaptive loss-aware aggregation.

Source: Mollaahmadi Dehaghi et al., "FedVSR: Towards Model-Agnostic Federated Learning in Video
Super-Resolution", 2025, https://arxiv.org/abs/2503.13745.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from fedvsr.strategies.base import Contribution, RoundContext

# Hellinger distance below which all clients count the same.
DEFAULT_THRESHOLD = 0.05
# A smaller loss counts as this one. So losses that are practically zero count the same, and no ratio of two
# losses underflows to 0.
_MIN_LOSS = 1e-12


@dataclass(frozen=True)
class LossAwareAggregation:
    """The clients' aggregation weights, and the numbers that they are computed from.

    Attributes:
        aggregation_weights: Each client's aggregation weight, in the order of the losses; they sum to 1.
        hellinger_distance: Distance h between the loss-aware and the uniform distribution, in 0..1.
        mixing_coefficient: Share c of the loss-aware distribution in the aggregation weights, in 0..1.
        sharpness: The exponent s of the inverse losses, at least 0.
    """

    aggregation_weights: tuple[float, ...]
    hellinger_distance: float
    mixing_coefficient: float
    sharpness: float


def loss_aware_weights(
    losses: Iterable[float], round_number: int, rounds: int, threshold: float = DEFAULT_THRESHOLD
) -> LossAwareAggregation:
    """Computes FedVSR's aggregation weights from the clients' losses l_i.

    - Sharpness: s = max(0, 1 − round/rounds).
    - Loss-aware distribution: w_i ∝ (1/l_i)^s.
    - Distance: h is the Hellinger distance between w and the uniform distribution u.
    - Mixing coefficient: c = 0 if h < threshold, otherwise (h − threshold)/(1 − threshold).
    - Aggregation weights: (1 − c)·u + c·w.

    A loss that is not finite counts as the largest of the positive finite losses, and a loss ≤ 0 as the
    smallest of them. If there are none, all aggregation weights are equal.

    Args:
        losses: The clients' mean training losses.
        round_number: The round, from 1 (0 is allowed: s = 1).
        rounds: Number of rounds.
        threshold: Hellinger distance below which all clients count the same.
    """
    losses = list(losses)
    usable = [loss for loss in losses if math.isfinite(loss) and loss > 0]
    uniform = 1 / len(losses)
    sharpness = max(0.0, 1 - round_number / rounds)
    if not usable:
        return LossAwareAggregation((uniform,) * len(losses), 0.0, 0.0, sharpness)
    positive = [_replace_unusable(loss, min(usable), max(usable)) for loss in losses]
    # Dividing the smallest loss by the others gives the same distribution and keeps the powers in (0, 1].
    smallest = min(positive)
    powers = [(smallest / loss) ** sharpness for loss in positive]
    total = math.fsum(powers)
    loss_aware = [power / total for power in powers]
    distance = _hellinger_distance(loss_aware, uniform)
    mixing = 0.0 if distance < threshold else (distance - threshold) / (1 - threshold)
    weights = tuple((1 - mixing) * uniform + mixing * share for share in loss_aware)
    return LossAwareAggregation(weights, distance, mixing, sharpness)


def _replace_unusable(loss: float, smallest: float, largest: float) -> float:
    """Returns a positive finite loss; see `loss_aware_weights`."""
    if not math.isfinite(loss):
        return max(_MIN_LOSS, largest)
    if loss <= 0:
        return max(_MIN_LOSS, smallest)
    return max(_MIN_LOSS, loss)


def _hellinger_distance(distribution: list[float], uniform: float) -> float:
    squares = ((math.sqrt(share) - math.sqrt(uniform)) ** 2 for share in distribution)
    return math.sqrt(0.5 * math.fsum(squares))


def weigh_contributions(
    contributions: Iterable[Contribution], context: RoundContext, threshold: float
) -> tuple[dict[str, float], dict[str, float]]:
    """Applies `loss_aware_weights` to a round's contributions.

    Returns:
        Each client's aggregation weight, and diagnostics to log.
    """
    contributions = tuple(contributions)
    losses = [contribution.loss for contribution in contributions]
    clients = [contribution.client for contribution in contributions]
    result = loss_aware_weights(losses, context.round_number, context.rounds, threshold)
    diagnostics = {
        "mixing_coefficient": result.mixing_coefficient,
        "hellinger_distance": result.hellinger_distance,
        "sharpness": result.sharpness,
    }
    return dict(zip(clients, result.aggregation_weights, strict=True)), diagnostics
