"""Server optimisers against Flower's own.

FLOWER_PYTHON names a Python in which Flower 1.42 is installed; see benchmarks/aggregation.py.
"""

import math
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from fedvsr.server_optimisers.base import optimise
from fedvsr.server_optimisers.registry import build_server_optimiser, server_optimiser_names
from tests.unit.server_optimisers.flower_rounds import MOMENTUM, OPTIONS

PYTHON = os.environ.get("FLOWER_PYTHON")
ROUNDS = 12

pytestmark = pytest.mark.skipif(not PYTHON, reason="FLOWER_PYTHON names no Python with Flower")


@pytest.fixture(scope="module")
def rounds(tmp_path_factory):
    """The start, the changes of each round, and Flower's weights after each round by method."""
    folder = tmp_path_factory.mktemp("flower")
    random = np.random.default_rng(3)
    start = random.normal(size=500)
    changes = random.normal(size=(ROUNDS, 500)) * 10.0 ** random.integers(-4, 0, (ROUNDS, 500))
    np.savez(folder / "input.npz", start=start, changes=changes)
    script = Path(__file__).with_name("flower_rounds.py")
    subprocess.run([PYTHON, script, folder / "input.npz", folder / "output.npz"], check=True)
    return start, changes, dict(np.load(folder / "output.npz"))


def options_of(name, round_number):
    if name == "momentum":
        return {"learning_rate": MOMENTUM["server_learning_rate"], "beta": MOMENTUM["server_momentum"]}
    options = {"learning_rate": OPTIONS["eta"], "tau": OPTIONS["tau"], "beta1": 0.0}
    if name != "adagrad":
        options |= {"beta1": OPTIONS["beta_1"], "beta2": OPTIONS["beta_2"]}
    if name == "adam":
        # Flower's correction of the bias, which the paper's algorithm 2 does not have.
        power = round_number + 1
        options["learning_rate"] *= math.sqrt(1 - options["beta2"] ** power) / (1 - options["beta1"] ** power)
    return options


@pytest.mark.parametrize("name", server_optimiser_names())
def test_the_weights_are_those_of_flower(rounds, name):
    start, changes, expected = rounds
    weights = {"w": start}
    # Flower starts from v = 0, the paper from τ².
    moments = build_server_optimiser(name).moments
    state = {f"{moment}/w": np.zeros(500, np.float32) for moment in moments}
    for number, change in enumerate(changes, start=1):
        optimiser = build_server_optimiser(name, options_of(name, number))
        weights, state = optimise(optimiser, weights, {"w": weights["w"] + change}, state)
        np.testing.assert_allclose(weights["w"], expected[name][number - 1], rtol=0, atol=1e-6)
