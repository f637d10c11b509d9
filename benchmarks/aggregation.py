"""Compares aggregation in fedvsr and Flower, from received updates to the result: CPU time and peak memory.

    python benchmarks/aggregation.py [CLIENTS ...]

Both sides read 4, 16 and 64 updates of 5.9 million float32 parameters from files, check them and average
them by number of examples:

- fedvsr opens each update, checks its header against the model, and verifies digest and finite values and
  measures the norm in the read that adds it up; "fedvsr, no norms" has `robustness.max_norm: 0`.
- Flower inflates each update's objects, as its ServerApp does with the objects that it pulls, and calls
  `aggregate_arrayrecords`. Its server compares every object's SHA-256 with the object's name when the object
  arrives; "Flower, unchecked" leaves that out.

Flower is not a dependency. FLOWER_PYTHON names a Python in which it is installed:

    uv venv flower && uv pip install --python flower/bin/python flwr
    FLOWER_PYTHON=flower/bin/python python benchmarks/aggregation.py

Every measurement runs in a separate process, and its imports do not count. Of three repeats, the one with the
least CPU time is printed.
"""

import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

SHAPES = {f"layer{number:02d}.weight": (256, 256, 3, 3) for number in range(10)}
CLIENTS = (4, 16, 64)
REPEATS = 3
EXAMPLES = "num-examples"


def make_update(seed: int) -> dict[str, np.ndarray]:
    """Returns random weights, 5.9 million float32 numbers."""
    random = np.random.default_rng(seed)
    return {name: random.standard_normal(shape, np.float32) for name, shape in SHAPES.items()}


# fedvsr


def write_fedvsr(folder: Path, clients: int) -> None:
    """Writes the updates as fedvsr's clients send them, and their digests."""
    from fedvsr.store.base import bytes_digest
    from fedvsr.weights import serialize

    digests = {}
    for client in range(clients):
        data = serialize(make_update(client))
        name = f"client-{client:02d}"
        (folder / name).write_bytes(data)
        digests[name] = bytes_digest(data)
    (folder / "digests.json").write_text(json.dumps(digests))


def aggregate_fedvsr(folder: Path, *, max_norm: float = 10.0) -> Iterator[None]:
    """Imports, waits for the clock to start, and aggregates."""
    from fedvsr.strategies.base import Contribution, RoundContext, RoundUpdates
    from fedvsr.strategies.fedavg import FedAvg
    from fedvsr.strategies.norm_clipping import aggregate_clipped
    from fedvsr.strategies.updates import UpdateFile, Updates
    from fedvsr.weights import WeightsFile, find_misfit, serialize, specs_of

    base = make_update(0)
    yield
    digests = json.loads((folder / "digests.json").read_text())
    files = {}
    for client, digest in digests.items():
        files[client] = UpdateFile(client, 1, WeightsFile(folder / client, "its update"), digest)
        assert find_misfit(files[client].specs, specs_of(base)) is None
    contributions = tuple(Contribution(client, 1.0, 10, 1) for client in sorted(digests))
    context = RoundContext(1, 1, len(digests))
    updates = RoundUpdates(base, Updates(files), Updates({}), contributions, context, {})
    assert serialize(aggregate_clipped(FedAvg(), updates, max_norm).aggregate.tensors)


def aggregate_fedvsr_without_norms(folder: Path) -> Iterator[None]:
    """Aggregates without measuring norms."""
    return aggregate_fedvsr(folder, max_norm=math.inf)


# Flower


def write_flower(folder: Path, clients: int) -> None:
    """Writes the updates as the objects that Flower's clients send, one file per object."""
    from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
    from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

    roots = []
    for client in range(clients):
        arrays = ArrayRecord({name: Array(array) for name, array in make_update(client).items()})
        record = RecordDict({"arrays": arrays, "metrics": MetricRecord({EXAMPLES: 10})})
        objects = get_all_nested_objects(record)
        for object_id, item in objects.items():
            (folder / object_id).write_bytes(item.deflate())
        roots.append({"root": record.object_id, "objects": list(objects)})
    (folder / "roots.json").write_text(json.dumps(roots))


def aggregate_flower(folder: Path, *, check: bool = True) -> Iterator[None]:
    """Imports, waits for the clock to start, and aggregates."""
    from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords
    from flwr.supercore.inflatable.inflatable_object import get_object_id
    from flwr.supercore.inflatable.inflatable_utils import (
        inflate_object_from_contents,
        validate_object_content,
    )

    yield
    records = []
    for update in json.loads((folder / "roots.json").read_text()):
        contents = {name: (folder / name).read_bytes() for name in update["objects"]}
        if check:
            for name, content in contents.items():
                assert get_object_id(content) == name
                validate_object_content(content)
        records.append(inflate_object_from_contents(update["root"], contents))
    assert len(aggregate_arrayrecords(records, EXAMPLES)) == len(SHAPES)


def aggregate_flower_unchecked(folder: Path) -> Iterator[None]:
    """Aggregates without comparing the objects' digests."""
    return aggregate_flower(folder, check=False)


IMPLEMENTATIONS = {
    "fedvsr": (write_fedvsr, aggregate_fedvsr),
    "fedvsr, no norms": (write_fedvsr, aggregate_fedvsr_without_norms),
    "Flower": (write_flower, aggregate_flower),
    "Flower, unchecked": (write_flower, aggregate_flower_unchecked),
}


def measure(name: str, folder: Path) -> None:
    """Prints the CPU seconds and the peak memory in MB of one implementation."""
    aggregation = IMPLEMENTATIONS[name][1](folder)
    next(aggregation)
    start = time.process_time()
    for _ in aggregation:
        pass
    print(time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def run(name: str, command: str, folder: Path, clients: int = 0) -> str:
    """Runs a command of this file in a separate process, with the Python of an implementation."""
    python = sys.executable if name.startswith("fedvsr") else os.environ["FLOWER_PYTHON"]
    arguments = [python, __file__, command, name, str(folder), str(clients)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.run(arguments, check=True, capture_output=True, text=True, env=environment).stdout  # noqa: S603


def compare(clients: int, names: list[str]) -> None:
    """Measures every implementation on files of the same updates in its format."""
    results: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name in names:
            folder = Path(temporary, IMPLEMENTATIONS[name][0].__name__)
            if not folder.exists():
                folder.mkdir()
                run(name, "write", folder, clients)
            repeats = [run(name, "measure", folder).split() for _ in range(REPEATS)]
            seconds, memory = min((float(cpu), float(peak)) for cpu, peak in repeats)
            results[name] = seconds, memory
    for name, (seconds, memory) in results.items():
        ratios = ""
        if "Flower" in results:
            ratios = f"{seconds / results['Flower'][0]:9.2f} {memory / results['Flower'][1]:9.2f}"
        print(f"{clients:7d}  {name:18} {seconds:9.2f} {memory:9.0f} {ratios}")


def main(counts: list[int]) -> None:
    """Prints a table of all implementations and numbers of updates."""
    names = (
        list(IMPLEMENTATIONS)
        if os.environ.get("FLOWER_PYTHON")
        else [name for name in IMPLEMENTATIONS if "Flower" not in name]
    )
    if "Flower" not in names:
        print("Flower is left out: set FLOWER_PYTHON to a Python in which it is installed.")
    print(f"{'updates':7}  {'':18} {'CPU s':>9} {'peak MB':>9} {'× Flower':>9} {'× Flower':>9}")
    for clients in counts:
        compare(clients, names)


if __name__ == "__main__":
    if len(sys.argv) == 5 and sys.argv[1] == "write":
        IMPLEMENTATIONS[sys.argv[2]][0](Path(sys.argv[3]), int(sys.argv[4]))
    elif len(sys.argv) == 5 and sys.argv[1] == "measure":
        measure(sys.argv[2], Path(sys.argv[3]))
    else:
        main([int(count) for count in sys.argv[1:]] or list(CLIENTS))
