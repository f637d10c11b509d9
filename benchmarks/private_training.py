"""Shows what differential privacy costs: the quality of the trained model against ε.

Every cell trains the demo's experiment with its 20 training videos divided among 20 clients, all of which
take part in every round, and another noise multiplier. A cell whose result is in the folder is not run again.

    python benchmarks/private_training.py [FOLDER] [--jobs 2]
"""

import argparse
import json
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from demo_training import train_demo

CLIENTS = 20
CLIPPING_NORM = 1.0
# None: without differential privacy.
NOISE_MULTIPLIERS = (None, 0.003, 0.01, 0.03, 0.1, 1.0)


def train(noise_multiplier: float | None, folder: Path) -> dict[str, float | None]:
    """Trains a cell, or reads its result: ε, PSNR (Y) of the last round, and the gain over bicubic."""
    name = "plain" if noise_multiplier is None else f"z-{noise_multiplier}"
    result_file = folder / f"{name}.json"
    if result_file.exists():
        stored: dict[str, float | None] = json.loads(result_file.read_text())
        return stored
    overrides: dict[str, object] = {
        "name": "private",
        "clients.split.count": CLIENTS,
        "training.local_steps": 8,
    }
    if noise_multiplier is not None:
        overrides["privacy.differential_privacy"] = True
        overrides["privacy.clipping_norm"] = CLIPPING_NORM
        overrides["privacy.noise_multiplier"] = noise_multiplier
    trained = train_demo(folder / name, overrides)
    spent = trained.rounds[-1].privacy
    result = {
        "noise_multiplier": noise_multiplier,
        "epsilon": spent.epsilon if spent else None,
        "psnr_y": trained.evaluation.mean("psnr_y"),
        "gain": trained.evaluation.gain,
    }
    result_file.write_text(json.dumps(result))
    return result


def main() -> None:
    """Runs the cells that have no result yet, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    default = Path(tempfile.gettempdir(), "fedvsr-private")
    parser.add_argument("folder", type=Path, nargs="?", default=default)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    print("noise multiplier,epsilon after 8 rounds,PSNR Y,over bicubic")
    with ProcessPoolExecutor(arguments.jobs) as pool:
        futures = [pool.submit(train, multiplier, arguments.folder) for multiplier in NOISE_MULTIPLIERS]
        for done, future in enumerate(futures, start=1):
            result = future.result()
            print(f"{done}/{len(futures)}", file=sys.stderr)
            epsilon = "∞" if result["epsilon"] is None else f"{result['epsilon']:.3g}"
            multiplier = result["noise_multiplier"] or "none"
            print(f"{multiplier},{epsilon},{result['psnr_y']:.2f},{result['gain']:+.2f}")


if __name__ == "__main__":
    main()
