"""A run's report as one HTML page. It needs no other files."""

import base64
from collections import Counter, defaultdict

from fedvsr.federation.records import Outcome, Participant, RoundRecord
from fedvsr.report.figures import loss_figure, psnr_figure, to_svg
from fedvsr.report.summary import RunSummary
from fedvsr.report.templates import render_template
from fedvsr.text import megabytes

_SHOWN = 20
"""How many clients, or sentences about them, are shown before the rest is folded away."""


def render_page(summary: RunSummary, mlflow_link: str = "") -> str:
    """Returns a page with curves, the rounds, the clients and details of clips. Pictures are embedded.

    Args:
        summary: The records of the run so far.
        mlflow_link: The address of the run in MLflow; empty if there is none.
    """
    evaluations = {evaluation.round: evaluation for evaluation in summary.evaluations}
    clients = client_rows(summary.rounds)
    return render_template(
        "page.html",
        summary=summary,
        mlflow_link=mlflow_link,
        config=summary.record.config,
        rounds=[(record, evaluations.get(record.round)) for record in summary.rounds],
        clients=clients,
        conspicuous=conspicuous_rows(clients)[:_SHOWN],
        shown=_SHOWN,
        has_averaged=any(evaluation.averaged for evaluation in summary.evaluations),
        psnr_svg=to_svg(psnr_figure(summary.evaluations)) if summary.evaluations else None,
        loss_svg=to_svg(loss_figure(summary.rounds)) if summary.rounds else None,
        details_png=base64.b64encode(summary.details_picture).decode() if summary.details_picture else None,
        best_gain=summary.best.gain if summary.best else None,
        megabytes=megabytes,
        config_json=summary.record.config.model_dump_json(indent=2),
    )


def client_rows(rounds: tuple[RoundRecord, ...]) -> list[dict[str, object]]:
    """Returns one row per client: its rounds, clips, losses, mean share and training time."""
    delivered: dict[str, list[Participant]] = defaultdict(list)
    missed: dict[str, Counter[str]] = defaultdict(Counter)
    names = set()
    for record in rounds:
        for participant in record.participants:
            delivered[participant.client].append(participant)
        for entry in record.outcomes:
            names.add(entry.client)
            if entry.outcome != Outcome.OK:
                missed[entry.client][entry.reason or entry.outcome] += 1
    return [_client_row(name, delivered[name], missed[name]) for name in sorted(names)]


def _client_row(name: str, delivered: list[Participant], missed: Counter[str]) -> dict[str, object]:
    shares = [participant.weight for participant in delivered if participant.weight is not None]
    return {
        "client": name,
        "rounds": len(delivered),
        "missed": [reason if count == 1 else f"{count} × {reason}" for reason, count in missed.items()],
        "clips": delivered[-1].clips if delivered else None,
        "first_loss": delivered[0].loss if delivered else None,
        "last_loss": delivered[-1].loss if delivered else None,
        "share": sum(shares) / len(shares) if shares else None,
        "seconds": sum(participant.seconds for participant in delivered),
        "waiting": sum(participant.waiting_seconds for participant in delivered),
    }


def conspicuous_rows(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Returns the rows, first those of clients that missed rounds, then by the last loss, highest first."""

    def key(row: dict[str, object]) -> tuple[bool, float]:
        loss = row["last_loss"]
        return bool(row["missed"]), loss if isinstance(loss, float) else 0.0

    return sorted(rows, key=key, reverse=True)
