"""Measures the overhead of a round on Kubeflow Pipelines: its time without the clients' training.

    python benchmarks/round_overhead.py RUN [KFP_ENDPOINT]

RUN must have ended on the deployment that the environment variables name (`make ui` prints them). A round's
time is the time of its iteration in the pipeline. The slowest client's training is the useful part. The rest
is the cost of pods: drivers, executors, and a client's Job from its creation to its end.
"""

import re
import statistics
import sys
from datetime import datetime
from typing import Any

from fedvsr.federation import layout
from fedvsr.federation.records import RoundRecord, read_record
from fedvsr.federation.runs import load_run
from fedvsr.kubeflow.connection import KfpConnection
from fedvsr.store.workspace import Workspace

Task = dict[str, Any]
# KFP lists every iteration twice; the name of the second entry ends in (0).
_ITERATION = re.compile(r"iteration-iterations\(\d+:\d+\)")
# The phases of a round, in order. Between two phases, the workflow engine schedules the next one.
PHASES = {
    "iteration driver": "iteration-item-driver",
    "train_clients driver": "train-clients-driver",
    "train_clients executor": "train-clients",
    "aggregate driver": "aggregate-driver",
    "aggregate executor": "aggregate",
}


def main(run: str, endpoint: str) -> None:
    """Prints the median, minimum and maximum time of each phase over the rounds of a run."""
    tasks = _tasks(run, endpoint)
    store = Workspace.from_environment().federation()
    iterations = sorted((task for task in tasks if _ITERATION.fullmatch(task["display_name"])), key=_start)
    rows = []
    # Argo compresses the nodes of a long workflow; KFP's API then lacks the last iterations.
    for round_number, iteration in zip(_rounds(store, run), iterations, strict=False):
        record = read_record(store, layout.round_record(run, round_number), RoundRecord)
        training = max(participant.seconds for participant in record.participants)
        start, end = _start(iteration), _end(iteration)
        phases = {task["display_name"]: task for task in tasks if start <= _start(task) and _end(task) <= end}
        row = {name: _seconds(phases[task_name]) for name, task_name in PHASES.items()}
        row["… of it, the slowest Job"] = max(outcome.seconds for outcome in record.outcomes)
        row["… of that, training"] = training
        row["round"] = _seconds(iteration)
        row["round without training"] = _seconds(iteration) - training
        rows.append(row)
    print(f"{run}: {len(rows)} rounds, {len(record.outcomes)} clients\n")
    print(f"{'seconds':<26}{'median':>8}{'min':>8}{'max':>8}")
    for name in rows[0]:
        values = [row[name] for row in rows]
        print(f"{name:<26}{statistics.median(values):>8.1f}{min(values):>8.1f}{max(values):>8.1f}")


def _tasks(run: str, endpoint: str) -> list[Task]:
    connection = KfpConnection(endpoint)
    runs = connection.pages("/runs", "runs", sort_by="created_at desc")
    entry = next((entry for entry in runs if entry["display_name"] == run), None)
    if entry is None:
        sys.exit(f"{connection.endpoint} has no run {run!r}")
    tasks: list[Task] = entry["run_details"]["task_details"]
    return [task for task in tasks if task.get("display_name") and task.get("state") == "SUCCEEDED"]


def _rounds(store: Any, run: str) -> range:
    return range(1, load_run(store, run).config.federation.rounds + 1)


def _start(task: Task) -> datetime:
    return datetime.fromisoformat(task["start_time"])


def _end(task: Task) -> datetime:
    return datetime.fromisoformat(task["end_time"])


def _seconds(task: Task) -> float:
    return (_end(task) - _start(task)).total_seconds()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        # `make bench` runs every benchmark without arguments and without a cluster.
        print(__doc__)
        sys.exit()
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "")
