"""Compares a round on a quiet machine with one beside busy processes, with and without `fedvsr.busy_machine`.

    python benchmarks/busy_machine.py

Trains two rounds of the demo on as many threads as there are CPUs, at most 4. Before the second round, as
many processes as threads start to keep the CPUs busy. "spinning" is without the module: GOMP_SPINCOUNT is set
to libgomp's own value, and a user's own setting is kept. The weights must be the same bytes.
"""

import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from typing import Any

from demo_training import SAMPLE

from fedvsr.config.experiment import load_experiment
from fedvsr.experiment.videos import collect_videos
from fedvsr.federation.run.in_process import InProcessRunner
from fedvsr.federation.run.prepare import prepare_run
from fedvsr.federation.run.rounds import shard_all
from fedvsr.federation.run.training_round import train_round
from fedvsr.federation.server.aggregate import aggregate_round
from fedvsr.store.workspace import Workspace

# libgomp's own number of rounds.
SPINNING = {"GOMP_SPINCOUNT": "300000"}
SETTINGS: dict[str, dict[str, str]] = {"spinning": SPINNING, "fedvsr": {}}
THREADS = min(4, len(os.sched_getaffinity(0)))


def train(threads: int) -> None:
    """Trains a round, waits for a line, trains another; prints its seconds and the digest of its weights."""
    experiment = load_experiment(SAMPLE, {"training.threads": threads})
    with tempfile.TemporaryDirectory() as folder:
        workspace, videos = Workspace.under(folder), collect_videos(experiment)
        config = experiment.run_config(tuple(videos.clients))
        shard_all(workspace, videos, config.data)
        record = prepare_run(workspace.federation(), config)
        for number in (1, 2):
            train_round(workspace, record, number, InProcessRunner())
            last = aggregate_round(workspace.federation(), record, number)
            if number == 1:
                print("ready", flush=True)
                sys.stdin.readline()
    print(last.seconds["train"], last.global_digest)


def measure(variables: dict[str, str], busy_processes: int) -> tuple[float, str]:
    """Returns the seconds of a round beside that many busy processes, and the digest of its weights."""
    environment = {name: value for name, value in os.environ.items() if name not in SPINNING} | variables
    command = [sys.executable, __file__, str(THREADS)]
    with ExitStack() as stack:
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        training = stack.enter_context(subprocess.Popen(command, env=environment, **pipes))  # noqa: S603
        assert training.stdout is not None
        assert training.stdout.readline() == "ready\n"
        for _ in range(busy_processes):
            busy = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(busy.kill)
        output, _ = training.communicate("\n")
    seconds, digest = output.split()
    return float(seconds), digest


def main() -> None:
    """Prints the seconds of a round in each case, as they are and divided by those of the quiet machine."""
    results = {}
    for busy in (0, THREADS):
        for name, variables in SETTINGS.items():
            results[name, busy] = measure(variables, busy)
            print(f"{name}, {busy} busy processes: {results[name, busy][0]:.1f} s", flush=True)
    assert len({digest for _, digest in results.values()}) == 1, "the weights differ"
    quiet, _ = results["spinning", 0]
    print(f"{THREADS} threads; the weights are the same bytes\n")
    print(f"{'seconds of a round':<22}{'quiet':>8}{'busy':>8}{'× quiet':>9}")
    for name in SETTINGS:
        (alone, _), (beside, _) = results[name, 0], results[name, THREADS]
        print(f"{name:<22}{alone:>8.1f}{beside:>8.1f}{beside / quiet:>9.1f}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        train(int(sys.argv[1]))
    else:
        main()
