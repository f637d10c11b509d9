"""A run's curves."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fedvsr.federation.records import EvaluationRecord, RoundRecord

_BLUE, _GREY, _BAND = "#2563eb", "#6b7280", "#bfdbfe"
# Matplotlib types the keys of its settings one by one.
_STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e7eb",
    "svg.hashsalt": "fedvsr",
}


def psnr_figure(evaluations: Sequence[EvaluationRecord]) -> Figure:
    """Draws PSNR (Y) over the rounds, beside that of bicubic interpolation."""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes("PSNR (Y) on the held-out clips, dB")
        rounds = [each.round for each in evaluations]
        axes.plot(rounds, [each.mean("psnr_y") for each in evaluations], "o-", color=_BLUE, label="model")
        if evaluations:
            floor = evaluations[-1].mean("psnr_y", of_bicubic=True)
            axes.axhline(floor, linestyle="--", color=_GREY, label="bicubic")
        axes.legend(frameon=False)
        return figure


def loss_figure(rounds: Sequence[RoundRecord]) -> Figure:
    """Draws the clients' mean training loss over the rounds, with the smallest and the largest."""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes("training loss of the clients")
        steps = [each.round for each in rounds]
        axes.fill_between(
            steps,
            [min(each.losses) for each in rounds],
            [max(each.losses) for each in rounds],
            color=_BAND,
            label="smallest to largest",
        )
        means = [sum(each.losses) / len(each.losses) for each in rounds]
        axes.plot(steps, means, "o-", color=_BLUE, label="mean")
        axes.legend(frameon=False)
        return figure


def to_png(figure: Figure) -> bytes:
    """Renders a figure as PNG."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=130)
    return file.getvalue()


def to_svg(figure: Figure) -> str:
    """Renders a figure as an <svg> element."""
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
    # Whole numbers at the ticks, not what is to be added to them.
    axes.ticklabel_format(useOffset=False)
    return figure, axes
