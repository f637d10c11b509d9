"""`fedvsr study`: runs a matrix of experiments and compares them."""

import os
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table as RichTable

from fedvsr.cli.options import store_option
from fedvsr.cli.progress import show_progress
from fedvsr.cli.stopping import when_stopped
from fedvsr.config.study import load_study
from fedvsr.errors import StudyError


@click.command()
@click.argument("file", metavar="STUDY", type=click.Path(path_type=Path))
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=os.cpu_count() or 1,
    show_default="one per core",
    help="How many runs train at once.",
)
@click.option("--table", is_flag=True, help="Print the tables of what there is, and run nothing.")
@click.option("--dry-run", is_flag=True, help="Print the number of cells and what is left to do.")
@click.option(
    "--write",
    "documents",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    help="Put the tables into this Markdown file, between <!-- study:NAME --> and <!-- /study -->.",
)
@store_option
def study(
    file: Path, workers: int, table: bool, dry_run: bool, documents: tuple[Path, ...], store: str
) -> None:
    """Compare strategies: train a matrix of runs.

    The YAML file STUDY names strategies, factors and seeds. Each combination is a run of its own, with the
    same initial weights, clients and patches for the same seed. Run the command again to continue a study
    that was stopped: runs that have ended are not trained again. The results are in STORE/studies/NAME:
    page.html, cells.csv, summary.csv and summary.md, and in MLflow.
    """
    config = load_study(file)
    # Imported here so that a wrong study is reported before PyTorch is loaded.
    from fedvsr.study.cells import expand
    from fedvsr.study.page import write_into, write_report
    from fedvsr.study.results import Status
    from fedvsr.study.runner import plan_study, run_study, study_folder
    from fedvsr.study.tracking import track_study

    console = Console()
    store_folder = str(study_folder(config, store))
    run = plan_study(config, expand(config, store_folder), store)
    if dry_run:
        ended = sum(task.has_ended for task in run.tasks.values())
        console.print(f"{len(run.tasks)} cells, {ended} have ended, {len(run.tasks) - ended} are left")
        return
    if not table:
        with (
            when_stopped(lambda: "nothing is lost: the same command again continues the study"),
            show_progress(console) as progress,
        ):
            run_study(run, workers, progress)
    report = write_report(run)
    for entry in report.all_tables:
        rich_table = RichTable(title=entry.title, title_justify="left")
        for number, heading in enumerate(entry.headings):
            rich_table.add_column(heading, justify="right" if number else "left")
        for row in entry.rows:
            rich_table.add_row(*row)
        console.print(rich_table)
    for document in documents:
        write_into(document, config, report.tables)
    if not table:
        track_study(run, report.results, store)
    console.print(f"{run.folder}/page.html", soft_wrap=True)
    cells = report.results.values()
    failed = sum(result.status is Status.FAILED for result in cells)
    if failed and not table:
        raise StudyError(
            f"{failed} of {len(cells)} cells failed: see the last table; the same command tries them again"
        )
