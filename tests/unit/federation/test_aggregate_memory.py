"""The aggregation's memory does not grow with the number of clients."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fedvsr.federation import layout
from fedvsr.federation.records import PlanRecord, ReportRecord, RunRecord, write_record
from fedvsr.store.base import bytes_digest
from fedvsr.store.local import LocalStore
from fedvsr.weights import serialize

FEW, MANY = 4, 64

# Many convolutions, as in BasicVSR, and one long vector: 6.0 million parameters.
SHAPES = {f"block.{index:02d}.weight": (64, 64, 3, 3) for index in range(60)} | {
    "fusion.weight": (256, 2048),
    "upsample.weight": (256, 256, 7, 7),
    "table": (60_000,),
    "counter": (),
}

# The peak memory of this program alone: ru_maxrss would include the memory of pytest.
PROGRAM = """
import sys
from pathlib import Path
from fedvsr.federation.runs import load_run
from fedvsr.federation.server.aggregate import aggregate_round
from fedvsr.store.local import LocalStore

store = LocalStore(Path(sys.argv[1]))
record = aggregate_round(store, load_run(store, "test"), 1)
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(len(record.participants), status["VmHWM"].split()[0])
"""


@pytest.fixture(scope="module")
def updates(tmp_path_factory) -> tuple[Path, Path, Path]:
    """Global weights and two different updates of one model."""
    folder = tmp_path_factory.mktemp("large")
    random = np.random.default_rng(0)
    paths = []
    for name in ("base", "first", "second"):
        tensors = {key: random.standard_normal(shape, np.float32) for key, shape in SHAPES.items()}
        paths.append(folder / name)
        paths[-1].write_bytes(serialize(tensors))
    assert 5.9e6 < sum(array.size for array in tensors.values()) < 6.2e6
    return tuple(paths)


def link(store: LocalStore, key: str, path: Path) -> None:
    """Puts a large file into a store without copying it."""
    target = store.root / key
    target.parent.mkdir(parents=True, exist_ok=True)
    os.link(path, target)


def peak_of_aggregation(root: Path, config, updates: tuple[Path, Path, Path], clients: int) -> int:
    """Peak resident memory, in KiB, of a process that aggregates a round of so many clients."""
    store = LocalStore(root)
    names = tuple(f"client-{index:02d}" for index in range(clients))
    digests = [bytes_digest(path.read_bytes()) for path in updates]
    config = config(federation__clients=list(names))
    record = RunRecord(config=config, initial_digest=digests[0], parameters=1, fedvsr_version="0")
    write_record(store, layout.config("test"), record)
    link(store, layout.global_weights("test", 0), updates[0])
    plan = PlanRecord(
        run="test",
        round=1,
        rounds=2,
        clients=names,
        base_digest=digests[0],
        quorum=clients,
        deadline_seconds=1,
    )
    write_record(store, layout.plan("test", 1), plan)
    for index, client in enumerate(names):
        chosen = 1 + index % 2
        link(store, layout.update("test", 1, client), updates[chosen])
        report = ReportRecord(
            run="test",
            round=1,
            client=client,
            base_digest=digests[0],
            update_digest=digests[chosen],
            update_bytes=updates[chosen].stat().st_size,
            downloaded_bytes=0,
            dataset_digest=digests[0],
            loss=0.1 + 0.01 * index,
            clips=1 + index,
            steps=1,
            samples=1,
            seconds=1.0,
            device="cpu",
        )
        write_record(store, layout.report("test", 1, client), report)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(root)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    participants, peak = map(int, done.stdout.split())
    assert participants == clients
    return peak


@pytest.mark.parametrize(
    ("strategy", "options"),
    [
        *[(name, {}) for name in ("fedavg", "fedvsr", "fedmedian", "fedsr", "fedtrimmedavg")],
        *[(name, {"malicious": 0}) for name in ("krum", "bulyan")],
    ],
)
def test_64_updates_take_the_memory_of_4(tmp_path: Path, make_config, updates, strategy: str, options):
    def config(**overrides):
        return make_config(strategy__name=strategy, strategy__options=options, **overrides)

    few = peak_of_aggregation(tmp_path / "few", config, updates, FEW)
    many = peak_of_aggregation(tmp_path / "many", config, updates, MANY)
    print(f"{strategy}: {few / 1024:.0f} MiB with {FEW} clients, {many / 1024:.0f} MiB with {MANY}")
    # FedMedian and others read pieces of at most 16 MiB of all clients together.
    assert many <= 1.1 * few + (16 << 10)
