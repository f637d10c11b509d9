"""What a round costs on Kubeflow Pipelines beside its clients' training, and where that goes.

    python benchmarks/round_overhead.py RUN [KFP_ENDPOINT]

RUN has ended on the deployment that the environment names (`make ui` prints the variables). A round's
wall time is that of its iteration; of it, the slowest client's training alone is the work. The rest is
the price of doing it as pods: drivers, executors, the client's Job from its creation to its end.
"""

import re
import statistics
import sys
from datetime import datetime
from typing import Any

from fedvsr.federation import layout
from fedvsr.federation.records import RoundRecord, read_record
from fedvsr.federation.runs import load_run
from fedvsr.kubeflow.connection import Connection
from fedvsr.store.workspace import Workspace

Task = dict[str, Any]
# Each has a twin, its one try, whose name ends in (0).
_ITERATION = re.compile(r"iteration-iterations\(\d+:\d+\)")
# In the order of a round; between two of them the workflow engine is at work.
PHASES = {
    "iteration driver": "iteration-item-driver",
    "train_clients driver": "train-clients-driver",
    "train_clients executor": "train-clients",
    "aggregate driver": "aggregate-driver",
    "aggregate executor": "aggregate",
}


def main(run: str, endpoint: str) -> None:
    """Prints a row a round and the median."""
    tasks = _tasks(run, endpoint)
    store = Workspace.from_environment().federation()
    iterations = sorted((each for each in tasks if _ITERATION.fullmatch(each["display_name"])), key=_start)
    rows = []
    # Where a workflow grows long, Argo packs its nodes and KFP's API no longer sees the last ones.
    for round_number, iteration in zip(_rounds(store, run), iterations, strict=False):
        record = read_record(store, layout.round_record(run, round_number), RoundRecord)
        training = max(each.seconds for each in record.participants)
        begin, end = _start(iteration), _end(iteration)
        inside = {each["display_name"]: each for each in tasks if begin <= _start(each) and _end(each) <= end}
        row = {name: _seconds(inside[task]) for name, task in PHASES.items()}
        row["… of it, the slowest Job"] = max(each.seconds for each in record.outcomes)
        row["… of that, training"] = training
        row["round"] = _seconds(iteration)
        row["round without training"] = _seconds(iteration) - training
        rows.append(row)
    print(f"{run}: {len(rows)} rounds, {len(record.outcomes)} clients\n")
    print(f"{'seconds':<26}{'median':>8}{'least':>8}{'most':>8}")
    for name in rows[0]:
        values = [row[name] for row in rows]
        print(f"{name:<26}{statistics.median(values):>8.1f}{min(values):>8.1f}{max(values):>8.1f}")


def _tasks(run: str, endpoint: str) -> list[Task]:
    connection = Connection(endpoint)
    runs = connection.pages("/runs", "runs", sort_by="created_at desc")
    found = next((each for each in runs if each["display_name"] == run), None)
    if found is None:
        sys.exit(f"{connection.endpoint} has no run {run!r}")
    tasks: list[Task] = found["run_details"]["task_details"]
    return [each for each in tasks if each.get("display_name") and each.get("state") == "SUCCEEDED"]


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
        # `make bench` has no cluster to ask.
        print(__doc__)
        sys.exit()
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "")
