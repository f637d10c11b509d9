"""Rounds of updates in files, and a strategy's aggregation of them."""

from collections.abc import Mapping

import numpy as np
import pytest

from fedvsr.strategies.base import Aggregate, RoundContext, RoundUpdates, Strategy
from tests.unit.strategies.rounds import contributions
from tests.unit.strategies.update_files import open_updates


@pytest.fixture
def aggregate(make_updates):
    """Aggregates tensors by client with a strategy."""

    def run(
        strategy: Strategy,
        base: Mapping[str, np.ndarray],
        tensors_by_client: Mapping[str, Mapping[str, np.ndarray]],
        *,
        clips: Mapping[str, int] | None = None,
        strategy_tensors: Mapping[str, Mapping[str, np.ndarray]] | None = None,
        state: Mapping[str, np.ndarray] | None = None,
        context: RoundContext | None = None,
    ) -> Aggregate:
        return strategy.aggregate(
            RoundUpdates(
                base,
                make_updates(tensors_by_client),
                make_updates(strategy_tensors or {}),
                contributions(clips or dict.fromkeys(tensors_by_client, 1)),
                context or RoundContext(1, 10, len(tensors_by_client)),
                state or {},
            )
        )

    return run


@pytest.fixture(scope="module")
def make_updates_of_module(tmp_path_factory):
    """Like `make_updates`, for Hypothesis, which requires fixtures that last longer than one example."""
    folder = tmp_path_factory.mktemp("updates")

    def make(tensors):
        return open_updates({client: folder / client for client in tensors}, tensors)

    return make
