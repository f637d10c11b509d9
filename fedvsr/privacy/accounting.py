"""How much privacy the rounds of a run have spent: ε at a given δ.

A round releases the sum of the clipped updates with Gaussian noise. Its standard deviation is z·C: the noise
multiplier z times the clipping norm C.

- If all clients take part in every round, two federations are neighbours if one of them has one client more.
  The sum then differs by C at most, and a round is the Gaussian mechanism with the multiplier z.
- If m of n clients are drawn without replacement, two federations are neighbours if one client is replaced
  by another. The sum then differs by 2C at most, and a round is the Gaussian mechanism with the multiplier
  z/2 on a sample of m of n.

Rényi differential privacy adds up over the rounds and is turned into (ε, δ) by Google's ``dp-accounting``.

Sources: Mironov, "Rényi Differential Privacy", CSF 2017, https://arxiv.org/abs/1702.07476; Wang, Balle and
Kasiviswanathan, "Subsampled Rényi Differential Privacy and Analytical Moments Accountant", AISTATS 2019,
https://arxiv.org/abs/1808.00087.
"""

from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class Accounting:
    """What ε depends on, except the number of rounds.

    Attributes:
        clients: Number of clients of the federation, n.
        clients_per_round: Number of clients in a round, m ≤ n.
        noise_multiplier: The noise's standard deviation divided by the clipping norm, z.
        delta: The probability δ for which ε need not hold.
    """

    clients: int
    clients_per_round: int
    noise_multiplier: float
    delta: float

    def epsilon(self, rounds: int) -> float:
        """Returns ε after a number of rounds; 0 after none."""
        return _epsilon(self, rounds) if rounds else 0.0

    def rounds_within(self, epsilon: float, at_most: int) -> int:
        """Returns the largest number of rounds, up to ``at_most``, after which ε is at most ``epsilon``."""
        fits, too_many = 0, at_most + 1
        while too_many - fits > 1:
            middle = (fits + too_many) // 2
            if self.epsilon(middle) <= epsilon:
                fits = middle
            else:
                too_many = middle
        return fits


@lru_cache(maxsize=4096)
def _epsilon(accounting: Accounting, rounds: int) -> float:
    # Imported here because it takes two seconds, and most runs do not need it.
    import dp_accounting
    from dp_accounting.rdp import RdpAccountant

    if accounting.clients_per_round >= accounting.clients:
        relation = dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE
        event = dp_accounting.GaussianDpEvent(accounting.noise_multiplier)
    else:
        relation = dp_accounting.NeighboringRelation.REPLACE_ONE
        event = dp_accounting.SampledWithoutReplacementDpEvent(
            accounting.clients,
            accounting.clients_per_round,
            dp_accounting.GaussianDpEvent(accounting.noise_multiplier / 2),
        )
    accountant = RdpAccountant(neighboring_relation=relation)
    accountant.compose(event, rounds)
    return float(accountant.get_epsilon(accounting.delta))
