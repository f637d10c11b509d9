"""Runs rounds of Flower's server optimisers. Started by a Python in which Flower is installed.

    python flower_rounds.py INPUT.npz OUTPUT.npz

INPUT has ``start`` (n,) and ``changes`` (rounds, n), float64. OUTPUT has the weights after each round by the
name of the method, for the options below. Every aggregate is the last weights plus the round's change.
"""

import sys
from unittest.mock import patch

import numpy as np

OPTIONS = {"eta": 0.05, "beta_1": 0.9, "beta_2": 0.99, "tau": 1e-3}
MOMENTUM = {"server_learning_rate": 0.7, "server_momentum": 0.8}


def main(source: str, target: str) -> None:
    from flwr.app import Array, ArrayRecord
    from flwr.serverapp import strategy as flower
    from flwr.serverapp.strategy import FedAvg

    given = np.load(source)
    adagrad = {key: OPTIONS[key] for key in ("eta", "tau")}
    methods = {
        "adam": flower.FedAdam(**OPTIONS),
        "yogi": flower.FedYogi(**OPTIONS),
        "adagrad": flower.FedAdagrad(**adagrad),
        "momentum": flower.FedAvgM(**MOMENTUM),
    }
    results = {}
    for name, method in methods.items():
        weights, seen = given["start"], []
        for number, change in enumerate(given["changes"], start=1):
            record = ArrayRecord({"w": Array(weights)})
            method.current_arrays = record if name == "momentum" else {"w": weights}
            aggregate = ArrayRecord({"w": Array(weights + change)})
            with patch.object(FedAvg, "aggregate_train", return_value=(aggregate, None)):
                result, _ = method.aggregate_train(number, [])
            weights = result["w"].numpy()
            seen.append(weights)
        results[name] = np.stack(seen)
    np.savez(target, **results)


if __name__ == "__main__":
    main(*sys.argv[1:])
