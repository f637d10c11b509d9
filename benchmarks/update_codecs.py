"""Compares the codecs: the quality of the trained model against the bytes that travelled.

Each cell trains the demo's experiment with one codec up and one down, for one division of the videos and one
seed. Cells with the same division and seed differ in nothing else, so their differences from the cell that
sends float32 both ways are paired. A cell whose result is in the folder is not run again.

    python benchmarks/update_codecs.py [FOLDER] [--seeds 3] [--jobs 2] [--plot docs/images/update-codecs.png]
"""

import argparse
import csv
import json
import math
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

from demo_training import train_demo

CODECS = (
    ("float32", "float32"),
    ("bfloat16", "float32"),
    ("int8", "float32"),
    ("int4", "float32"),
    ("int2", "float32"),
    ("float32", "bfloat16"),
    ("float32", "int8"),
    ("int8", "bfloat16"),
    ("int4", "bfloat16"),
)
REFERENCE = CODECS[0]
DIVISIONS = ("equal", "quantity-skew")
# Two-sided 95 % quantiles of Student's t distribution, by degrees of freedom.
T_QUANTILES = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


@dataclass(frozen=True)
class Cell:
    """One training: a division of the videos, codecs and a seed."""

    division: str
    upload: str
    download: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.division}-{self.upload}-{self.download}-{self.seed}"


@dataclass(frozen=True)
class Result:
    """What a cell gave: PSNR (Y) after the last round, and bytes per parameter, client and round."""

    division: str
    upload: str
    download: str
    seed: int
    psnr_y: float
    gain: float
    up: float
    down: float


def train(cell: Cell, folder: Path) -> Result:
    """Trains a cell, or reads its result."""
    result_file = folder / f"{cell.name}.json"
    if result_file.exists():
        return Result(**json.loads(result_file.read_text()))
    # The run's name seeds the sampling, so all cells of a seed have the same name.
    trained = train_demo(
        folder / cell.name,
        {
            "name": "codecs",
            "seed": cell.seed,
            "clients.split.scheme": cell.division,
            "communication.upload": cell.upload,
            "communication.download": cell.download,
        },
    )
    updates = trained.record.parameters * sum(len(record.participants) for record in trained.rounds)
    result = Result(
        **asdict(cell),
        psnr_y=trained.evaluation.mean("psnr_y"),
        gain=trained.evaluation.gain,
        up=sum(record.bytes_up for record in trained.rounds) / updates,
        down=sum(record.bytes_down for record in trained.rounds) / updates,
    )
    result_file.write_text(json.dumps(asdict(result)))
    return result


def rows(results: list[Result]) -> Iterator[dict[str, object]]:
    """Yields the table: means over the seeds, and the paired difference from float32 both ways."""
    for division in DIVISIONS:
        reference = {
            result.seed: result.psnr_y
            for result in results
            if (result.division, result.upload, result.download) == (division, *REFERENCE)
        }
        for upload, download in CODECS:
            chosen = [
                result
                for result in results
                if (result.division, result.upload, result.download) == (division, upload, download)
            ]
            differences = [
                result.psnr_y - reference[result.seed] for result in chosen if result.seed in reference
            ]
            if not differences:
                continue
            count = len(differences)
            deviation = statistics.stdev(differences) if count > 1 else math.nan
            interval = T_QUANTILES.get(count - 1, 1.96) * deviation / math.sqrt(count)
            yield {
                "division": division,
                "up": upload,
                "down": download,
                "B/parameter up": f"{statistics.mean(result.up for result in chosen):.3f}",
                "B/parameter down": f"{statistics.mean(result.down for result in chosen):.3f}",
                "PSNR Y": f"{statistics.mean(result.psnr_y for result in chosen):.3f}",
                "difference": f"{statistics.mean(differences):+.3f}",
                "±95 %": f"{interval:.3f}",
                "seeds": count,
            }


def plot(results: list[Result], path: Path) -> None:
    """Draws PSNR against the bytes that a parameter takes up and down."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    for axes, division in zip(figure.subplots(1, 2, sharey=False), DIVISIONS, strict=True):
        for upload, download in CODECS:
            chosen = [
                result
                for result in results
                if (result.division, result.upload, result.download) == (division, upload, download)
            ]
            size = [result.up + result.down for result in chosen]
            label = upload if download == "float32" else f"{upload}, down {download}"
            axes.plot(size, [result.psnr_y for result in chosen], "o", label=label, markersize=4)
        axes.set(title=division, xlabel="bytes per parameter and round, up + down", ylabel="PSNR Y (dB)")
        axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=7)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Runs the cells that have no result yet, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path(tempfile.gettempdir(), "fedvsr-codecs"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    cells = [
        Cell(division, upload, download, seed)
        for seed in range(1, arguments.seeds + 1)
        for division in DIVISIONS
        for upload, download in CODECS
    ]
    results = []
    with ProcessPoolExecutor(arguments.jobs) as pool:
        futures = {pool.submit(train, cell, arguments.folder): cell for cell in cells}
        for done, future in enumerate(as_completed(futures), start=1):
            result = future.result()
            results.append(result)
            print(f"{done}/{len(cells)} {futures[future].name}: {result.psnr_y:.3f} dB", file=sys.stderr)
    table = list(rows(results))
    writer = csv.DictWriter(sys.stdout, list(table[0]))
    writer.writeheader()
    writer.writerows(table)
    if arguments.plot:
        plot(results, arguments.plot)


if __name__ == "__main__":
    main()
