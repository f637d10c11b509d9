"""Compares sites with hosted clients: seconds from a round's plan to a client's delivery.

    python benchmarks/site_rounds.py RUN

RUN must have ended in the federation that the environment variables name (`make ui` prints them). The
store's clock measures both moments, to the second. The report has the training. The rest is what starting
costs: for a hosted client a pod, for a site its next look for work, for both the program and the downloads.
"""

import statistics
import sys

from fedvsr.federation import layout
from fedvsr.federation.delivery import find_report
from fedvsr.federation.records import PlanRecord, read_record
from fedvsr.federation.run.sites import sites_among
from fedvsr.federation.runs import load_run
from fedvsr.store.workspace import Workspace


def main(run: str) -> None:
    """Prints the median, minimum and maximum over the rounds, for each client."""
    store = Workspace.from_environment(with_clients=False).federation()
    config = load_run(store, run).config
    delivered: dict[str, list[float]] = {client: [] for client in config.federation.clients}
    training: dict[str, list[float]] = {client: [] for client in config.federation.clients}
    for round_number in range(1, config.federation.rounds + 1):
        key = layout.plan(run, round_number)
        plan, age = read_record(store, key, PlanRecord), store.age(key)
        for client in plan.clients:
            report = find_report(store, plan, client)
            if report:
                delivered[client].append(age - store.age(layout.report(run, round_number, client)))
                training[client].append(report.seconds)
    sites = sites_among(store, delivered)
    print(f"{run}: seconds from the plan to the delivery\n")
    print(f"{'client':<16}{'kind':<8}{'rounds':>8}{'median':>8}{'min':>8}{'max':>8}{'of it, training':>18}")
    for client, seconds in delivered.items():
        if seconds:
            kind = "site" if client in sites else "hosted"
            times = (statistics.median(seconds), min(seconds), max(seconds))
            cells = "".join(f"{value:>8.1f}" for value in times)
            print(
                f"{client:<16}{kind:<8}{len(seconds):>8}{cells}{statistics.median(training[client]):>18.1f}"
            )


if __name__ == "__main__":
    if len(sys.argv) < 2:
        # `make bench` runs every benchmark without arguments and without a federation.
        print(__doc__)
        sys.exit()
    main(sys.argv[1])
