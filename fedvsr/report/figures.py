"""Draws a run's curves."""

import io
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fedvsr.federation.records import EvaluationRecord, RoundRecord
from fedvsr.scoring.clip_scores import mean_over_frames

_BLUE, _GREEN, _GREY, _BAND = "#2563eb", "#059669", "#6b7280", "#bfdbfe"
# Any, because Matplotlib types the keys of its settings one by one.
_STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e7eb",
    "svg.hashsalt": "fedvsr",
}


def psnr_figure(evaluations: Sequence[EvaluationRecord]) -> Figure:
    """Draws PSNR (Y) in dB over the rounds, and that of bicubic interpolation for comparison.

    If a round has averaged weights, they have a curve of their own.
    """
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes("PSNR (Y) on the held-out clips, dB")
        rounds = [evaluation.round for evaluation in evaluations]
        psnr = [mean_over_frames(evaluation.scores, "psnr_y") for evaluation in evaluations]
        averaged = {
            evaluation.round: mean_over_frames(evaluation.averaged.scores, "psnr_y")
            for evaluation in evaluations
            if evaluation.averaged
        }
        axes.plot(rounds, psnr, "o-", color=_BLUE, label="global weights" if averaged else "model")
        if averaged:
            axes.plot(list(averaged), list(averaged.values()), "s-", color=_GREEN, label="averaged weights")
        if evaluations:
            bicubic = evaluations[-1].mean("psnr_y", of_bicubic=True)
            axes.axhline(bicubic, linestyle="--", color=_GREY, label="bicubic")
        axes.legend(frameon=False)
        return figure


def loss_figure(rounds: Sequence[RoundRecord]) -> Figure:
    """Draws the mean of the clients' training losses over the rounds, with the smallest and the largest."""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes("training loss of the clients")
        round_numbers = [record.round for record in rounds]
        axes.fill_between(
            round_numbers,
            [min(record.losses) for record in rounds],
            [max(record.losses) for record in rounds],
            color=_BAND,
            label="smallest to largest",
        )
        means = [sum(record.losses) / len(record.losses) for record in rounds]
        axes.plot(round_numbers, means, "o-", color=_BLUE, label="mean")
        axes.legend(frameon=False)
        return figure


def curves_figure(curves: Mapping[str, Sequence[tuple[int, float]]]) -> Figure:
    """Draws several curves over the rounds: PSNR (Y) in dB over bicubic interpolation.

    Args:
        curves: For each label, pairs of a round and a value.
    """
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes("PSNR (Y) over bicubic interpolation, dB")
        styles = itertools.cycle(("-", "--", ":", "-."))
        for (label, points), style in zip(curves.items(), styles, strict=False):
            rounds, values = zip(*points, strict=True)
            axes.plot(rounds, values, style, label=label, linewidth=1.5)
        axes.legend(frameon=False, fontsize=7, loc="lower right", ncols=2)
        return figure


def to_png(figure: Figure) -> bytes:
    """Returns a figure as PNG."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=130)
    return file.getvalue()


def to_svg(figure: Figure) -> str:
    """Returns a figure as an <svg> element."""
    file = io.StringIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    return text[text.index("<svg") :]


def _axes(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left")
    axes.set_xlabel("round")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    # Without this, Matplotlib writes ticks as differences from an offset at the end of the axis.
    axes.ticklabel_format(useOffset=False)
    return figure, axes
