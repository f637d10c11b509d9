"""Our strategies give what Flower's give, up to the rounding of its float32 arithmetic.

Flower is not a dependency. FLOWER_PYTHON names a Python in which it is installed:

    uv venv flower && uv pip install --python flower/bin/python 'flwr==1.42.*'
    FLOWER_PYTHON=flower/bin/python pytest tests/unit/strategies/test_flower.py -s
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from fedvsr.strategies.base import Contribution, RoundContext, RoundUpdates
from fedvsr.strategies.registry import build_strategy

PYTHON = os.environ.get("FLOWER_PYTHON")
needs_flower = pytest.mark.skipif(not PYTHON, reason="set FLOWER_PYTHON to a Python with flwr 1.42")
VARIABLES = {"PYTHONPATH", "FLOWER_PYTHON"}

# Calls a strategy of Flower's with the messages of clients, or its function for Bulyan. Its class for
# Bulyan selects all clients by one run of Krum. The function selects one after the other, as the paper does.
PROGRAM = """
import json, sys
from pathlib import Path
import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.server.strategy.aggregate import aggregate_bulyan, aggregate_krum
from flwr.serverapp import strategy as strategies
from flwr.supercore.task_identity import TaskIdentity

TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1
folder, case = Path(sys.argv[1]), json.loads(sys.argv[2])
base, *updates = [dict(np.load(folder / f"{name}.npz")) for name in ["base", *range(len(case["losses"]))]]

def record(tensors):
    return ArrayRecord({name: Array(array) for name, array in tensors.items()})

if case["name"] == "aggregate_bulyan":
    results = [(list(tensors.values()), 1) for tensors in updates]
    arrays = aggregate_bulyan(results, aggregation_rule=aggregate_krum, to_keep=0, **case["arguments"])
else:
    strategy = getattr(strategies, case["name"])(**case["arguments"])
    strategy.current_arrays = record(base)
    messages = []
    for tensors, loss in zip(updates, case["losses"]):
        metrics = MetricRecord({"num-examples": 1, "train_loss": loss})
        content = RecordDict({"arrays": record(tensors), "metrics": metrics})
        messages.append(Message(content, dst_node_id=1, message_type="train"))
    arrays = strategy.aggregate_train(1, messages)[0].to_numpy_ndarrays()
np.savez(folder / "result.npz", **dict(zip(base, arrays)))
"""


def make_tensors(random, size: float) -> dict[str, np.ndarray]:
    shapes = {"conv.weight": (8, 3, 3, 3), "conv.bias": (8,), "head": (40, 8)}
    return {name: (size * random.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}


def flowers(folder: Path, base, updates, losses, name: str, **arguments) -> dict[str, np.ndarray]:
    for file, tensors in [("base", base), *enumerate(updates)]:
        np.savez(folder / f"{file}.npz", **tensors)
    case = json.dumps({"name": name, "arguments": arguments, "losses": losses})
    environment = {key: value for key, value in os.environ.items() if key not in VARIABLES}
    done = subprocess.run(
        [PYTHON, "-c", PROGRAM, folder, case], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    with np.load(folder / "result.npz") as result:
        return dict(result)


@pytest.fixture
def deviation(make_updates, tmp_path):
    """The largest deviation of a strategy from Flower's, relative to the largest weight."""

    def measure(count: int, ours: str, options, theirs: str, arguments, *, weights=1.0, size=0.1) -> float:
        random = np.random.default_rng(count)
        base = make_tensors(random, weights)
        changes = [make_tensors(random, size * random.uniform(0.8, 1.2)) for _ in range(count)]
        updates = [{name: array + change[name] for name, array in base.items()} for change in changes]
        losses = random.uniform(0.01, 0.05, count).tolist()
        folder = tmp_path / "flower"
        folder.mkdir()
        expected = flowers(folder, base, updates, losses, theirs, **arguments)
        clients = [f"client-{index:02d}" for index in range(count)]
        result = build_strategy(ours, options).aggregate(
            RoundUpdates(
                base,
                make_updates(dict(zip(clients, updates, strict=True))),
                make_updates({}),
                tuple(Contribution(client, loss, 1, 1) for client, loss in zip(clients, losses, strict=True)),
                RoundContext(1, 2, count),
                {},
            )
        )
        assert result.tensors.keys() == expected.keys()
        largest = max(float(np.abs(array).max()) for array in expected.values())
        difference = max(
            float(np.abs(array.astype(np.float64) - expected[name]).max())
            for name, array in result.tensors.items()
        )
        print(f"{ours} {options}, {count} clients: {difference / largest:.1e}")
        return difference / largest

    return measure


@needs_flower
@pytest.mark.parametrize(
    ("count", "ours", "options", "theirs", "arguments"),
    [
        (5, "fedmedian", {}, "FedMedian", {}),
        (5, "fedtrimmedavg", {"beta": 0.2}, "FedTrimmedAvg", {"beta": 0.2}),
        (11, "fedtrimmedavg", {"beta": 0.4}, "FedTrimmedAvg", {"beta": 0.4}),
        (5, "krum", {"malicious": 1}, "Krum", {"num_malicious_nodes": 1}),
        (9, "krum", {"malicious": 3}, "Krum", {"num_malicious_nodes": 3}),
        (
            *(9, "multikrum", {"malicious": 3, "selected": 4}, "MultiKrum"),
            {"num_malicious_nodes": 3, "num_nodes_to_select": 4},
        ),
        (7, "bulyan", {"malicious": 0}, "Bulyan", {"num_malicious_nodes": 0}),
        (7, "bulyan", {"malicious": 1}, "aggregate_bulyan", {"num_malicious": 1}),
        (13, "bulyan", {"malicious": 2}, "aggregate_bulyan", {"num_malicious": 2}),
        (
            *(6, "qfedavg", {"q": 0.1, "lipschitz": 2.0}, "QFedAvg"),
            {"q": 0.1, "client_learning_rate": 0.5},
        ),
        (6, "qfedavg", {"q": 2.0, "lipschitz": 0.1}, "QFedAvg", {"q": 2.0, "client_learning_rate": 10.0}),
        (6, "qfedavg", {"q": 0.0, "lipschitz": 1.0}, "QFedAvg", {"q": 0.0, "client_learning_rate": 1.0}),
    ],
)
def test_the_result_is_flowers(deviation, count, ours, options, theirs, arguments):
    assert deviation(count, ours, options, theirs, arguments) < 1e-6
