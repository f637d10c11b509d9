"""Aggregating 32 updates of a 6 M-parameter model: streaming, against NumPy with all in memory.

Each way runs in a process of its own, so that its peak memory is its own.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from fedvsr.strategies.averaging import weighted_mean
from fedvsr.strategies.updates import Updates
from fedvsr.weights import serialize

CLIENTS = 32
SHAPES = {f"layer{number:02d}.weight": (256, 256, 3, 3) for number in range(10)}


def make_update(seed: int) -> dict[str, np.ndarray]:
    """Returns random weights, 5.9 M float32 numbers."""
    random = np.random.default_rng(seed)
    return {name: random.standard_normal(shape, np.float32) for name, shape in SHAPES.items()}


def stream(paths: dict[str, Path], base: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The aggregator's way."""
    return weighted_mean(base, Updates(paths), dict.fromkeys(paths, 1 / len(paths)))


def stack(paths: dict[str, Path], base: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The plain way: load everything, then average each tensor."""
    updates = [load_file(path) for path in paths.values()]
    return {
        name: np.mean([each[name] for each in updates], axis=0, dtype=np.float64).astype(np.float32)
        for name in base
    }


def measure(way: str, folder: Path) -> None:
    """Prints seconds and peak memory in MB of one way."""
    paths = {path.stem: path for path in sorted(folder.glob("*.safetensors"))}
    start = time.perf_counter()
    {"stream": stream, "stack": stack}[way](paths, make_update(0))
    seconds = time.perf_counter() - start
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    """Compares the two."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for client in range(CLIENTS):
            (folder / f"client-{client:02d}.safetensors").write_bytes(serialize(make_update(client)))
        results = {}
        for way in ("stream", "stack"):
            command = [sys.executable, __file__, way, str(folder)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603
            results[way] = [float(number) for number in output.split()]
    (seconds, memory), (peer_seconds, peer_memory) = results["stream"], results["stack"]
    print(f"{CLIENTS} updates   {'seconds':>8} {'× NumPy':>8} {'peak MB':>8} {'× NumPy':>8}")
    ratios = seconds / peer_seconds, memory / peer_memory
    print(f"{'streaming':<12} {seconds:8.2f} {ratios[0]:8.2f} {memory:8.0f} {ratios[1]:8.2f}")
    print(f"{'NumPy, all':<12} {peer_seconds:8.2f} {1:8.2f} {peer_memory:8.0f} {1:8.2f}")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        measure(sys.argv[1], Path(sys.argv[2]))
    else:
        main()
