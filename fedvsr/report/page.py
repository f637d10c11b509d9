"""A run's report as one HTML page. It needs no other files."""

import base64

from fedvsr.federation.records import Outcome, RoundRecord
from fedvsr.report.figures import loss_figure, psnr_figure, to_svg
from fedvsr.report.summary import RunSummary
from fedvsr.report.templates import render_template
from fedvsr.text import megabytes


def render_page(summary: RunSummary, mlflow_link: str = "") -> str:
    """Returns a page with curves, the rounds, the clients and details of clips. Pictures are embedded.

    Args:
        summary: The records of the run so far.
        mlflow_link: The address of the run in MLflow; empty if there is none.
    """
    evaluations = {evaluation.round: evaluation for evaluation in summary.evaluations}
    return render_template(
        "page.html",
        summary=summary,
        mlflow_link=mlflow_link,
        config=summary.record.config,
        rounds=[(record, evaluations.get(record.round)) for record in summary.rounds],
        clients=client_rows(summary.rounds),
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
    names = sorted({client_outcome.client for record in rounds for client_outcome in record.outcomes})
    rows: list[dict[str, object]] = []
    for name in names:
        delivered = [
            participant
            for record in rounds
            for participant in record.participants
            if participant.client == name
        ]
        missed = [
            client_outcome.reason or client_outcome.outcome
            for record in rounds
            for client_outcome in record.outcomes
            if client_outcome.client == name and client_outcome.outcome != Outcome.OK
        ]
        shares = [participant.weight for participant in delivered if participant.weight is not None]
        rows.append(
            {
                "client": name,
                "rounds": len(delivered),
                "missed": missed,
                "clips": delivered[-1].clips if delivered else None,
                "first_loss": delivered[0].loss if delivered else None,
                "last_loss": delivered[-1].loss if delivered else None,
                "share": sum(shares) / len(shares) if shares else None,
                "seconds": sum(participant.seconds for participant in delivered),
            }
        )
    return rows
