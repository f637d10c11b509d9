"""Measures the codecs on one core: million parameters per second, bytes per parameter and peak memory.

The model has 30 million parameters in tensors of the sizes that video networks have. Every codec runs in a
process of its own, so that its peak memory, beyond the model and the encoded bytes, is its alone. The peer is
float32, which copies, and NumPy's copy of the same arrays.

    python benchmarks/codec_speed.py
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

PARAMETERS = 30_000_000
REPEATS = 5


def measure(name: str) -> None:
    """Prints one codec's numbers."""
    from fedvsr.codecs.registry import build_codec
    from fedvsr.weights import specs_of

    random = np.random.default_rng(0)
    tensors, count, index = {}, 0, 0
    while count < PARAMETERS:
        shape = ((64, 64, 3, 3), (64,), (256, 128, 3, 3), (1024, 1024))[index % 4]
        tensors[f"layer{index:04d}"] = random.standard_normal(shape, np.float32) * 1e-3
        count += tensors[f"layer{index:04d}"].size
        index += 1
    codec = build_codec(name)
    specs = specs_of(tensors)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    encode_times, decode_times, copy_times = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "update"
        for repeat in range(REPEATS):
            start = time.process_time()
            data = codec.encode(sorted(tensors.items()), 1)
            encode_times.append(time.process_time() - start)
            if repeat == 0:
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            path.write_bytes(data)
            start = time.process_time()
            for _ in codec.open(path, specs, 1, "update").chunks():
                pass
            decode_times.append(time.process_time() - start)
            start = time.process_time()
            for array in tensors.values():
                array.copy()
            copy_times.append(time.process_time() - start)
    million = count / 1e6
    print(
        f"{name},{len(data) / count:.3f},{million / min(encode_times):.0f},{million / min(decode_times):.0f},"
        f"{million / min(copy_times):.0f},{(peak - before) / 1024 - len(data) / 2**20:.0f}"
    )


def main() -> None:
    """Measures every codec, or the one that the argument names."""
    if len(sys.argv) > 1:
        measure(sys.argv[1])
        return
    from fedvsr.codecs.registry import codec_names

    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    print("codec,bytes per parameter,encode M/s,decode M/s,copy M/s,MiB beyond model and bytes", flush=True)
    for name in codec_names():
        subprocess.run([sys.executable, __file__, name], env=environment, check=True)  # noqa: S603


if __name__ == "__main__":
    main()
