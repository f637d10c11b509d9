"""Bounds on one client's share of the aggregate, and on what it claims.

Aggregation weights are computed from what clients claim: a loss, or a number of clips. Nobody can check such
a claim, and one client that lies could take almost the whole aggregate. So no client counts more than
``max_share`` times as much as the others do on average. Where a claim also scales the whole aggregate, the
claim itself is bounded, by its ratio to the median.
"""

import math
import statistics
import sys
from collections.abc import Mapping

# A share that exceeds the bound by less than this, relative to it, is equal to it but for rounding.
_TOLERANCE = 1e-9


def largest_share(count: int, max_share: float) -> float:
    """Returns the bound b on each of n shares: k/(n − 1 + k).

    A share s is at most b if and only if it is at most k times the mean of the others, (1 − s)/(n − 1).

    Args:
        count: Number of clients, n.
        max_share: The factor k, at least 1; infinity for no bound.
    """
    return 1.0 if math.isinf(max_share) else max_share / (count - 1 + max_share)


def bound_shares(shares: Mapping[str, float], max_share: float) -> dict[str, float]:
    """Cuts shares to `largest_share`, and gives what was cut off to the other clients.

    The others' shares keep their ratios. If one of them exceeds the bound now, it is cut too. The result does
    not depend on the order of the clients. If no share exceeds the bound, they stay the same, bit by bit.

    Args:
        shares: Each client's share, at least 0; they sum to 1.
        max_share: How many times the mean of the others' shares a share may be, at least 1; infinity for no
            bound.

    Returns:
        Each client's share, in the same order; they sum to 1.
    """
    bound = largest_share(len(shares), max_share)
    limit = bound * (1 + _TOLERANCE)
    descending = sorted(shares.values(), reverse=True)
    cut, factor = 0, 1.0
    while cut < len(descending) and descending[cut] * factor > limit:
        cut += 1
        rest = math.fsum(descending[cut:])
        if rest < sys.float_info.min:
            # Nothing, but for rounding: its inverse would overflow.
            rest = 0.0
            break
        factor = (1 - cut * bound) / rest
    if not cut:
        return dict(shares)
    smallest_cut = descending[cut - 1]
    # The others' shares may be 0: then they divide the rest equally.
    equal = (1 - cut * bound) / max(1, len(descending) - cut)
    return {
        client: bound if share >= smallest_cut else share * factor if rest else equal
        for client, share in shares.items()
    }


def bound_claims(claims: Mapping[str, float], max_share: float) -> dict[str, float]:
    """Cuts claims larger than k times their median m to k·m, and raises those smaller than m/k to m/k.

    Fewer than half of the clients cannot move the median out of the others' range. If no claim is out of
    bounds, they stay the same, bit by bit.

    Args:
        claims: What each client claims, at least 0.
        max_share: The factor k, at least 1; infinity for no bound.

    Returns:
        Each client's claim, in the same order.
    """
    if math.isinf(max_share):
        return dict(claims)
    median = statistics.median(claims.values())
    return {
        client: min(max(claim, median / max_share), median * max_share) for client, claim in claims.items()
    }
