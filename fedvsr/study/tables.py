"""The tables of a study, as texts in rows, for the terminal, for Markdown and for the page."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedvsr.config.study import CENTRAL, StudyConfig
from fedvsr.study.cells import Cell, Matrix
from fedvsr.study.results import CellResult, Status
from fedvsr.study.statistics import (
    Difference,
    Estimate,
    best_column,
    estimate,
    mean_by_seed,
    paired_difference,
)

_NOTHING = "–"
_MEGABYTE = 1e6


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: Its title.
        headings: Its columns.
        rows: Its rows. The first column is a name, the others are numbers.
        is_comparison: Whether it compares a strategy with several others.
    """

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    is_comparison: bool = False


@dataclass(frozen=True)
class Group:
    """The results of all seeds of one combination of levels.

    Attributes:
        title: The levels.
        results: For each label, the results by seed. Central training is among them.
    """

    title: str
    results: dict[str, dict[int, CellResult]]

    def gains(self, label: str) -> dict[int, float]:
        """Returns the gain over bicubic after the last round, for the seeds that have ended."""
        ended = {seed: result.last for seed, result in self.results[label].items()}
        return {seed: point.gain for seed, point in ended.items() if point}


def group_results(study: StudyConfig, matrix: Matrix, results: Mapping[str, CellResult]) -> list[Group]:
    """Returns one group for each combination of levels, in the study's order."""
    groups: dict[tuple[tuple[str, str], ...], dict[str, dict[int, CellResult]]] = {}
    for cell in matrix.cells:
        if cell.strategy != CENTRAL:
            by_label = groups.setdefault(cell.levels, {label: {} for label in study.strategies})
            by_label[cell.strategy][cell.seed] = results[cell.id]
    for (levels, seed), cell in matrix.central.items():
        if levels in groups:
            groups[levels].setdefault(CENTRAL, {})[seed] = results[cell.id]
    return [Group(describe_levels(levels), by_label) for levels, by_label in groups.items()]


def describe_levels(levels: Sequence[tuple[str, str]]) -> str:
    """Returns a combination of levels as a text."""
    return ", ".join(f"{factor}: {level}" for factor, level in levels) or "all cells"


def study_tables(study: StudyConfig, groups: Sequence[Group]) -> list[Table]:
    """Returns the table of strategies and that of comparisons for each group."""
    tables = []
    for group in groups:
        tables.append(_strategies(study, group))
        if study.comparisons:
            tables.append(_comparisons(study, group))
    return tables


def failures_table(results: Mapping[str, CellResult]) -> Table | None:
    """Returns the table of the cells that failed or have not ended; None if there are none."""
    rows = tuple(
        (result.cell.label, str(result.status), result.reason or _NOTHING)
        for result in results.values()
        if result.status is not Status.ENDED
    )
    return Table("Cells without a result", ("cell", "status", "reason"), rows) if rows else None


def _strategies(study: StudyConfig, group: Group) -> Table:
    with_other = study.other_domain is not None
    headings = [
        "strategy",
        "seeds",
        "PSNR Y, dB",
        "over bicubic, dB",
        f"minus {study.reference}, dB",
        "sign test, p",
        "of the central gain",
        "MB per dB",
        f"to {study.target_gain:+g} dB: samples",
        "MB",
    ]
    if with_other:
        headings.append("other domain, dB")
    rows = [_strategy_row(study, group, label, with_other=with_other) for label in group.results]
    bicubic = _bicubic(group)
    if bicubic is not None:
        rows.append(("bicubic", _NOTHING, f"{bicubic:.3f}", "0"))
    # A row that ends early has nothing in the other columns.
    full = (row + (_NOTHING,) * (len(headings) - len(row)) for row in rows)
    return Table(group.title, tuple(headings), tuple(full))


def _strategy_row(study: StudyConfig, group: Group, label: str, *, with_other: bool) -> tuple[str, ...]:
    results = group.results[label]
    gains = group.gains(label)
    count = f"{len(gains)}" if len(gains) == len(results) else f"{len(gains)} of {len(results)}"
    if not gains:
        return label, count
    ended = [result for result in results.values() if result.last]
    points = [result.last for result in ended if result.last]
    psnr = estimate([point.scores["psnr_y"] for point in points])
    difference = None
    if label != study.reference:
        difference = paired_difference(gains, group.gains(study.reference))
    share = _central_share(group, gains)
    megabytes = statistics.fmean(point.bytes_up + point.bytes_down for point in points) / _MEGABYTE
    gain = estimate(list(gains.values()))
    per_decibel = f"{megabytes / gain.mean:.1f}" if gain.mean > 0 and label != CENTRAL else _NOTHING
    row = [
        label,
        count,
        _plus_minus(psnr, sign=False),
        _plus_minus(gain),
        _plus_minus(difference.estimate) if difference else _NOTHING,
        f"{difference.sign_test:.2g}" if difference else _NOTHING,
        f"{100 * share:.0f} %" if share is not None else _NOTHING,
        per_decibel,
        *_time_to_quality(ended, study.target_gain, with_bytes=label != CENTRAL),
    ]
    if with_other:
        other = [result.other_gain for result in ended if result.other_gain is not None]
        row.append(_plus_minus(estimate(other)) if other else _NOTHING)
    return tuple(row)


def _central_share(group: Group, gains: Mapping[int, float]) -> float | None:
    """Returns the mean gain divided by that of central training, over the seeds that both have."""
    central = group.gains(CENTRAL) if CENTRAL in group.results else {}
    seeds = gains.keys() & central.keys()
    total = sum(central[seed] for seed in seeds)
    return sum(gains[seed] for seed in seeds) / total if total > 0 else None


def _time_to_quality(ended: Sequence[CellResult], target: float, *, with_bytes: bool) -> tuple[str, str]:
    """Returns the mean samples and megabytes until the gain was reached, over the seeds that reached it."""
    reached = [next((point for point in result.points if point.gain >= target), None) for result in ended]
    points = [point for point in reached if point]
    if not points:
        return "not reached", _NOTHING
    some = "" if len(points) == len(reached) else f" ({len(points)} of {len(reached)} seeds)"
    samples = statistics.fmean(point.samples for point in points)
    megabytes = statistics.fmean(point.bytes_up + point.bytes_down for point in points) / _MEGABYTE
    return f"{samples:.0f}{some}", f"{megabytes:.1f}" if with_bytes else _NOTHING


def _comparisons(study: StudyConfig, group: Group) -> Table:
    rows = []
    for label, others in study.comparisons.items():
        columns = {other: group.gains(other) for other in others}
        gains = group.gains(label)
        if not gains or not all(columns.values()):
            rows.append((label, ", ".join(others), _NOTHING, _NOTHING, _NOTHING))
            continue
        best = best_column(columns)
        for name, column in (
            (f"mean of {', '.join(others)}", mean_by_seed(list(columns.values()))),
            (f"best of them: {best}", columns[best]),
        ):
            rows.append((label, name, *_difference(paired_difference(gains, column))))
    headings = ("strategy", "minus", "dB, paired by seed", "seeds", "sign test, p")
    return Table(f"Comparisons: {group.title}", headings, tuple(rows), is_comparison=True)


def _difference(difference: Difference | None) -> tuple[str, str, str]:
    if difference is None:
        return _NOTHING, _NOTHING, _NOTHING
    result = difference.estimate
    return _plus_minus(result), str(result.count), f"{difference.sign_test:.2g}"


def _bicubic(group: Group) -> float | None:
    """Returns the PSNR (Y) of bicubic interpolation, which is the same for all cells of a group."""
    for by_seed in group.results.values():
        for result in by_seed.values():
            if result.last:
                return result.last.scores["psnr_y"] - result.last.gain
    return None


def _plus_minus(value: Estimate, *, sign: bool = True) -> str:
    number = f"{value.mean:+.3f}" if sign else f"{value.mean:.3f}"
    return number if math.isnan(value.margin) else f"{number} ± {value.margin:.3f}"


def rows_of_cells(matrix: Matrix, results: Mapping[str, CellResult]) -> list[dict[str, object]]:
    """Returns a row for every evaluated round of every cell, and one for every cell without any."""
    return [row for cell in matrix.cells for row in _rows(cell, results[cell.id])]


def _rows(cell: Cell, result: CellResult) -> list[dict[str, object]]:
    start = {"strategy": cell.strategy, **dict(cell.levels), "seed": cell.seed}
    end = {"status": str(result.status), "reason": result.reason}
    if not result.points:
        return [{**start, **end}]
    return [
        {
            **start,
            "round": point.round,
            **point.scores,
            "loss": point.loss,
            "samples": point.samples,
            "bytes_up": point.bytes_up,
            "bytes_down": point.bytes_down,
            "other_domain_gain": result.other_gain if point is result.points[-1] else None,
            **end,
        }
        for point in result.points
    ]
