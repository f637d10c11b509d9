"""Noise for differential privacy.

Its seed comes from the operating system, never from the run's seed: who knows the seed could take the noise
away. So a run with differential privacy cannot be repeated byte for byte.
"""

import math
import secrets

import numpy as np
from numpy.typing import NDArray

# Adaptive clipping: σ_b is this share of the clients in a round.
_COUNT_DEVIATION = 1 / 20


class GaussianNoise:
    """Gaussian noise with a seed from the operating system."""

    def __init__(self) -> None:
        self._generator = np.random.Generator(np.random.PCG64DXSM(secrets.randbits(256)))

    def draw(self, deviation: float, shape: tuple[int, ...] = ()) -> NDArray[np.float64]:
        """Returns independent normal numbers with the mean 0, float64.

        Args:
            deviation: The standard deviation.
            shape: The shape of the result.
        """
        return np.asarray(self._generator.normal(0.0, deviation, shape))


def count_deviation(noise_multiplier: float, clients: int) -> float:
    """Returns σ_b, the deviation of the noise on the number of updates that needed no clipping.

    It is a twentieth of the clients of a round, as in the paper, and at least the noise multiplier: so that
    the updates' own noise stays below 1.2 times what it is without adaptive clipping.

    Args:
        noise_multiplier: The run's noise multiplier z.
        clients: Number of clients in a round.
    """
    return max(noise_multiplier, _COUNT_DEVIATION * clients)


def update_noise_multiplier(noise_multiplier: float, clients: int) -> float:
    """Returns z_Δ, the noise multiplier of the updates if the clipping is adaptive.

    The updates and the number of those that needed no clipping are one release with the noise multiplier z,
    if z_Δ = (z⁻² − (2σ_b)⁻²)^(−1/2).

    Source: Andrew et al., 2021, https://arxiv.org/abs/1905.03871, theorem 1.

    Args:
        noise_multiplier: The run's noise multiplier z.
        clients: Number of clients in a round.
    """
    deviation = count_deviation(noise_multiplier, clients)
    return 1 / math.sqrt(noise_multiplier**-2 - (2 * deviation) ** -2)
