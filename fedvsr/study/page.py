"""A study's results as files: two CSV files, Markdown, and one page with curves."""

import csv
import io
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedvsr.config.study import CENTRAL, StudyConfig
from fedvsr.errors import ConfigError
from fedvsr.report.figures import curves_figure, to_svg
from fedvsr.report.templates import render_template
from fedvsr.study.results import CellResult, read_results
from fedvsr.study.runner import StudyRun
from fedvsr.study.tables import Group, Table, failures_table, group_results, rows_of_cells, study_tables


@dataclass(frozen=True)
class StudyReport:
    """What a study shows.

    Attributes:
        results: The results of all cells, by the cell's id.
        tables: The tables of strategies and of comparisons.
        failures: The table of the cells without a result; None if there are none.
    """

    results: dict[str, CellResult]
    tables: list[Table]
    failures: Table | None

    @property
    def all_tables(self) -> list[Table]:
        """All tables, in the order in which they are shown."""
        return [*self.tables, *([self.failures] if self.failures else [])]


def write_report(run: StudyRun) -> StudyReport:
    """Writes cells.csv, summary.csv, summary.md and page.html into the study's folder."""
    results = read_results(run)
    groups = group_results(run.study, run.matrix, results)
    report = StudyReport(results, study_tables(run.study, groups), failures_table(results))
    files = {
        "cells.csv": _csv(rows_of_cells(run.matrix, results)),
        "summary.csv": _csv(_summary_rows(report.tables)),
        "summary.md": "\n".join(map(to_markdown, report.all_tables)),
        "page.html": _page(run, groups, report),
    }
    run.folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (run.folder / name).write_text(text, encoding="utf-8")
    return report


def to_markdown(table: Table) -> str:
    """Returns a table as Markdown, with its title in bold."""
    align = ["---", *("---:" for _ in table.headings[1:])]
    lines = [table.headings, align, *table.rows]
    text = "".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |\n" for line in lines)
    return f"**{table.title}**\n\n{text}"


def write_into(document: Path, study: StudyConfig, tables: Iterable[Table]) -> None:
    """Replaces the tables in a Markdown document, between markers on lines of their own.

    A block begins with ``<!-- study:NAME -->``, for all tables, or ``<!-- study:NAME comparisons -->``, for
    those of the comparisons, and ends with ``<!-- /study -->``.

    Raises:
        fedvsr.errors.ConfigError: The document cannot be read, or has no markers.
    """
    try:
        text = document.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise ConfigError("--write", str(document), "it must be a text file that exists") from None
    tables = list(tables)
    blocks = re.compile(
        rf"(<!-- study:{re.escape(study.name)}(?P<part> comparisons)? -->\n).*?(<!-- /study -->)", re.DOTALL
    )

    def fill(block: re.Match[str]) -> str:
        chosen = [table for table in tables if table.is_comparison or not block["part"]]
        return f"{block[1]}\n" + "\n".join(map(to_markdown, chosen)) + f"\n{block[3]}"

    filled, count = blocks.subn(fill, text)
    if not count:
        begin = f"<!-- study:{study.name} -->"
        raise ConfigError("--write", str(document), f"it must have the lines {begin} and <!-- /study -->")
    document.write_text(filled, "utf-8")


def _csv(rows: Sequence[Mapping[str, object]]) -> str:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _summary_rows(tables: Sequence[Table]) -> list[dict[str, object]]:
    return [
        {"table": table.title, **dict(zip(table.headings, row, strict=True))}
        for table in tables
        for row in table.rows
    ]


def _page(run: StudyRun, groups: Sequence[Group], report: StudyReport) -> str:
    return render_template(
        "study.html",
        study=run.study,
        cells=len(run.matrix.cells),
        curves=[(group.title, to_svg(curves_figure(_curves(group)))) for group in groups],
        tables=report.all_tables,
        study_json=run.study.model_dump_json(indent=2),
    )


def _curves(group: Group) -> dict[str, list[tuple[int, float]]]:
    """Returns each strategy's mean gain over its seeds, by round. Central training has one round."""
    curves = {}
    for label, by_seed in group.results.items():
        gains: dict[int, list[float]] = {}
        for result in by_seed.values():
            for point in result.points:
                gains.setdefault(point.round, []).append(point.gain)
        if gains and label != CENTRAL:
            curves[label] = [(number, statistics.fmean(values)) for number, values in sorted(gains.items())]
    return curves
