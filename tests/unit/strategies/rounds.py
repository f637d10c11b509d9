"""Random updates, and what a strategy gets to know about them."""

from collections.abc import Mapping

import numpy as np

from fedvsr.strategies.base import Contribution


def random_tensors(seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "conv.weight": random.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "conv.bias": random.normal(size=4).astype(np.float32),
        "gain": np.asarray(random.normal(), np.float32),
        "half": random.normal(size=5).astype(np.float16),
        "empty": np.zeros((0, 3), np.float32),
    }


def contributions(clips: Mapping[str, int]) -> tuple[Contribution, ...]:
    return tuple(
        Contribution(client, loss=1.0 + index, clips=count, steps=5)
        for index, (client, count) in enumerate(sorted(clips.items()))
    )
