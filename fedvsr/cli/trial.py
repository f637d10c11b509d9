"""A trial of `fedvsr run --on sites`: sites as processes on this machine."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedvsr.cli.progress import print_line, show_progress
from fedvsr.cli.results import print_result
from fedvsr.cli.stopping import when_stopped
from fedvsr.config.experiment import Experiment
from fedvsr.errors import InputError
from fedvsr.progress import LogProgress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fedvsr.access.proof import Finding


def run_trial_of_sites(experiment: Experiment, dry_run: bool) -> None:
    """Runs a trial, and prints the rounds, what every site sent, and what the federation's bucket holds.

    Raises:
        fedvsr.errors.InputError: An object of the federation's bucket holds what may not leave a site.
    """
    # Imported here so that a wrong configuration is reported before PyTorch is loaded.
    from fedvsr.cli.tables import plan_table, round_line

    console = Console()
    if dry_run:
        from fedvsr.experiment.local import plan_experiment

        warnings = LogProgress(partial(print_line, console))
        console.print(plan_table(*plan_experiment(experiment, warnings)))
        return
    from fedvsr.experiment.trial import run_trial

    with (
        when_stopped(lambda: "nothing is lost: the same command again continues the run"),
        show_progress(console) as progress,
    ):
        trial = run_trial(
            experiment,
            progress,
            lambda record, evaluation: progress.message(round_line(record, evaluation, experiment)),
        )
    print_result(console, trial.experiment)
    console.print(_sent_table(trial.sites))
    for name, folder in trial.sites.items():
        print_line(console, f"{name}: `fedvsr site audit --folder {folder}` shows every object")
    console.print(_findings_table(trial.findings))
    problems = [problem for finding in trial.findings for problem in finding.problems]
    if problems:
        raise InputError(f"the federation's bucket holds what may not leave a site: {'; '.join(problems)}")
    print_line(console, "Every object was read: none holds a frame, a shard or the name of a site's video.")


def _sent_table(sites: dict[str, Path]) -> Table:
    """Returns what every site sent and read, from its own audit log."""
    from fedvsr.site.audit import AuditLog
    from fedvsr.site.folder import SiteFolder

    table = Table(title="audit logs of the sites", title_justify="left")
    for heading in ("site", "objects sent", "MB sent", "objects read", "MB read"):
        table.add_column(heading, justify="left" if heading == "site" else "right")
    for name, folder in sites.items():
        sizes: dict[str, list[int]] = {"sent": [], "read": []}
        for entry in AuditLog(SiteFolder(folder).audit).entries():
            sizes[entry.direction].append(entry.bytes)
        cells = [f(sizes[way]) for way in ("sent", "read") for f in (_count, _megabytes)]
        table.add_row(name, *cells)
    return table


def _count(sizes: list[int]) -> str:
    return str(len(sizes))


def _megabytes(sizes: list[int]) -> str:
    return f"{sum(sizes) / 1e6:.2f}"


def _findings_table(findings: "Sequence[Finding]") -> Table:
    table = Table(title="objects in the federation's bucket", title_justify="left")
    for heading in ("kind", "objects", "MB", "problem"):
        table.add_column(heading, justify="right" if heading in ("objects", "MB") else "left")
    for finding in findings:
        table.add_row(
            finding.kind,
            str(finding.count),
            f"{finding.bytes / 1e6:.2f}",
            escape("; ".join(finding.problems)) or "none",
        )
    return table
