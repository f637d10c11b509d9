"""The tables that the commands print."""

from collections.abc import Mapping, Sequence

from rich.console import Group
from rich.markup import escape
from rich.table import Table

from fedvsr.config.experiment import Experiment
from fedvsr.config.run import RunConfig
from fedvsr.experiment.workload import ClientWork
from fedvsr.federation.evaluations import is_evaluated
from fedvsr.federation.privacy_budget import planned_rounds
from fedvsr.federation.records import EvaluationRecord, RoundRecord
from fedvsr.federation.sampling import select_clients
from fedvsr.report.summary import RunSummary
from fedvsr.scoring.clip_scores import ClipScores, mean_over_frames
from fedvsr.testsets.score import BenchmarkScores, mean_over_clips
from fedvsr.text import megabytes

_MAX_ROWS = 32
_AVERAGED_MARK = "*"
_DIGITS = {"lpips": 4, "vmaf": 2}

# A table of a thousand clients would push everything else off the screen.
_SHOWN_ROWS = 60
_SHOWN_NAMES = 20


def round_line(record: RoundRecord, evaluation: EvaluationRecord | None, experiment: Experiment) -> str:
    """Returns one line about a round that has ended."""
    mean = sum(record.losses) / len(record.losses)
    line = (
        f"round {record.round}/{experiment.federation.rounds}  "
        f"{_participation(record, ' clients')}  loss {mean:.4f}  "
        f"{record.seconds['train']:.0f} s"
    )
    if record.privacy:
        line += f"  ε {record.privacy.epsilon:.3g}"
    if evaluation:
        line += f"  PSNR-Y {evaluation.mean('psnr_y'):.2f} dB ({evaluation.gain:+.2f} over bicubic)"
        if evaluation.is_averaged:
            line += "  averaged weights"
    return line


def _participation(record: RoundRecord, noun: str = "") -> str:
    text = f"{len(record.participants)}/{len(record.outcomes)}{noun}"
    return f"{text} ({record.limited_clients} limited)" if record.limited_clients else text


def rounds_table(summary: RunSummary) -> Table:
    """Returns a run's rounds as a table, with the scores of each round's model; the best one is bold."""
    config = summary.record.config
    table = Table(title=f"{config.name}: {config.model.name}, {config.strategy.name}", title_justify="left")
    for heading in ("round", "clients", "loss", "mixing", "PSNR Y", "gain", "SSIM Y", "MB up", "time"):
        table.add_column(heading, justify="right")
    by_round = {evaluation.round: evaluation for evaluation in summary.evaluations}
    if any(evaluation.is_averaged for evaluation in summary.evaluations):
        table.caption = f"{_AVERAGED_MARK} averaged weights"
    for record in summary.rounds:
        evaluation = by_round.get(record.round)
        mixing = record.diagnostics.get("mixing_coefficient")
        best = summary.best is not None and summary.best.round == record.round
        table.add_row(
            str(record.round),
            _participation(record),
            f"{sum(record.losses) / len(record.losses):.4f}",
            "–" if mixing is None else f"{mixing:.3f}",
            _psnr(evaluation) if evaluation else "–",
            f"{evaluation.gain:+.2f}" if evaluation else "–",
            f"{evaluation.mean('ssim_y'):.4f}" if evaluation else "–",
            megabytes(record.bytes_up, record.diagnostics.get("compression_up")),
            f"{sum(record.seconds.values()):.0f} s",
            style="bold" if best else None,
        )
    return table


def scores_table(evaluation: EvaluationRecord) -> Table:
    """Returns an evaluation as a table with a row for each clip, compared with bicubic interpolation.

    If there are averaged weights, the rows are those of the better weights, and the last row is the mean of
    the others.
    """
    title = f"{evaluation.run}, round {evaluation.round}"
    if evaluation.averaged:
        title += f", {'averaged' if evaluation.is_averaged else 'global'} weights"
    table = Table(title=title, title_justify="left")
    for heading in ("clip", "frames", "PSNR Y", "bicubic", "gain", "PSNR RGB", "SSIM Y", "SSIM RGB", "LPIPS"):
        table.add_column(heading, justify="left" if heading == "clip" else "right")

    def add_row(scores: ClipScores, bicubic: ClipScores, style: str | None = None) -> None:
        table.add_row(
            escape(scores.clip),
            str(scores.frames),
            f"{scores.psnr_y:.2f}",
            f"{bicubic.psnr_y:.2f}",
            f"{scores.psnr_y - bicubic.psnr_y:+.2f}",
            f"{scores.psnr_rgb:.2f}",
            f"{scores.ssim_y:.4f}",
            f"{scores.ssim_rgb:.4f}",
            "–" if scores.lpips is None else f"{scores.lpips:.4f}",
            style=style,
        )

    for scores, bicubic in zip(evaluation.model_scores, evaluation.bicubic, strict=True):
        add_row(scores, bicubic)
    bicubic_mean = _mean(evaluation.bicubic, "mean")
    add_row(_mean(evaluation.model_scores, "mean"), bicubic_mean, "bold")
    if evaluation.averaged:
        others = evaluation.scores if evaluation.is_averaged else evaluation.averaged.scores
        which = "global" if evaluation.is_averaged else "averaged"
        add_row(_mean(others, f"mean, {which}"), bicubic_mean)
    return table


def _psnr(evaluation: EvaluationRecord) -> str:
    mark = _AVERAGED_MARK if evaluation.is_averaged else ""
    return f"{evaluation.mean('psnr_y'):.2f}{mark}"


def benchmark_table(scores: Sequence[BenchmarkScores]) -> Table:
    """Returns a test set's scores as papers print them: the mean, and each clip unless there are many."""
    table = Table()
    extras = [name for name in ("lpips", "vmaf") if getattr(scores[0], name) is not None]
    for heading in ("clip", "frames", "PSNR/SSIM", *(name.upper() for name in extras)):
        table.add_column(heading, justify="left" if heading == "clip" else "right")
    many = len(scores) > _MAX_ROWS
    mean = mean_over_clips(scores, f"mean of {len(scores)} clips" if many else "mean")
    for row in [*([] if many else scores), mean]:
        table.add_row(
            escape(row.clip),
            str(row.frames),
            f"{row.psnr:.2f}/{row.ssim:.4f}",
            *(f"{getattr(row, name):.{_DIGITS[name]}f}" for name in extras),
            style="bold" if row is mean else None,
        )
    return table


def plan_table(experiment: Experiment, config: RunConfig, sources: dict[str, int]) -> Group:
    """Returns the plan of a run: the clients' videos, the clients of each round, and every setting."""
    clients = Table(title=f"{experiment.name}: clients", title_justify="left")
    clients.add_column("client")
    clients.add_column("videos", justify="right")
    _add_first_rows(clients, [(name, str(count)) for name, count in sources.items()])
    rounds = Table(title="rounds", title_justify="left")
    rounds.add_column("round", justify="right")
    rounds.add_column("clients")
    rounds.add_column("evaluated")
    federation = config.federation
    for round_number in range(1, planned_rounds(config) + 1):
        selected_clients = select_clients(
            federation.clients, federation.clients_per_round, config.name, config.seed, round_number
        )
        evaluated = "yes" if is_evaluated(config, round_number) else ""
        rounds.add_row(str(round_number), _first_names(selected_clients), evaluated)
    settings = Table(title="settings", title_justify="left", show_header=False)
    for section, value in config.model_dump(mode="json").items():
        entries = value.items() if isinstance(value, dict) else [("", value)]
        for key, entry in entries:
            shown = _first_names(entry) if (section, key) == ("federation", "clients") else str(entry)
            settings.add_row(f"{section}.{key}".rstrip("."), escape(shown))
    settings.add_row("store", escape(experiment.store))
    settings.add_row(
        "tracking.uri", escape(experiment.tracking.uri) or "MLFLOW_TRACKING_URI, or SQLite in the store"
    )
    # Only the videos of clients on this machine are known.
    return Group(*([clients] if sources else []), rounds, settings)


def work_table(work: Mapping[str, ClientWork]) -> Table:
    """Returns what each client trains on in a round."""
    table = Table(title="training, if no shot changes within a video", title_justify="left")
    table.add_column("client")
    for heading in ("clips", "frames", "steps per round"):
        table.add_column(heading, justify="right")
    rows = [
        (client, f"{part.clips:,}", f"{part.frames:,}", f"{part.steps:,}") for client, part in work.items()
    ]
    _add_first_rows(table, rows)
    return table


def _add_first_rows(table: Table, rows: Sequence[tuple[str, ...]]) -> None:
    """Adds one row per client, or the first ones and the number of the others."""
    for row in rows[:_SHOWN_ROWS]:
        table.add_row(*row)
    if len(rows) > _SHOWN_ROWS:
        table.add_row(f"and {len(rows) - _SHOWN_ROWS} more")


def _first_names(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN_NAMES
    return ", ".join(names[:_SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


def _mean(scores: Sequence[ClipScores], title: str) -> ClipScores:
    def mean(metric: str) -> float:
        return mean_over_frames(scores, metric)

    return ClipScores(
        clip=title,
        frames=sum(clip.frames for clip in scores),
        psnr_rgb=mean("psnr_rgb"),
        psnr_y=mean("psnr_y"),
        ssim_rgb=mean("ssim_rgb"),
        ssim_y=mean("ssim_y"),
        lpips=mean("lpips") if scores[0].lpips is not None else None,
    )
