"""A run as one HTML page that needs nothing else."""

import base64

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from fedvsr.federation.records import Outcome, RoundRecord
from fedvsr.report.figures import loss_figure, psnr_figure, to_svg
from fedvsr.report.summary import RunSummary


def render_page(summary: RunSummary, mlflow_link: str = "") -> str:
    """Renders curves, the table of rounds, the clients and the crops; pictures are inside the page.

    Args:
        summary: The run so far.
        mlflow_link: The address of the run in MLflow, where there is one.
    """
    environment = Environment(
        loader=PackageLoader("fedvsr", "report"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    by_round = {each.round: each for each in summary.evaluations}
    return environment.get_template("page.html").render(
        summary=summary,
        mlflow_link=mlflow_link,
        config=summary.record.config,
        rounds=[(each, by_round.get(each.round)) for each in summary.rounds],
        clients=client_rows(summary.rounds),
        psnr_svg=to_svg(psnr_figure(summary.evaluations)) if summary.evaluations else None,
        loss_svg=to_svg(loss_figure(summary.rounds)) if summary.rounds else None,
        crops=base64.b64encode(summary.crops).decode() if summary.crops else None,
        best_gain=summary.best.gain if summary.best else None,
        config_json=summary.record.config.model_dump_json(indent=2),
    )


def client_rows(rounds: tuple[RoundRecord, ...]) -> list[dict[str, object]]:
    """Returns a row a client: its rounds, clips, losses, mean share and training time."""
    names = sorted({each.client for record in rounds for each in record.outcomes})
    rows: list[dict[str, object]] = []
    for name in names:
        part = [each for record in rounds for each in record.participants if each.client == name]
        missed = [
            each.reason or each.outcome
            for record in rounds
            for each in record.outcomes
            if each.client == name and each.outcome != Outcome.OK
        ]
        shares = [each.weight for each in part if each.weight is not None]
        rows.append(
            {
                "client": name,
                "rounds": len(part),
                "missed": missed,
                "clips": part[-1].clips if part else None,
                "first_loss": part[0].loss if part else None,
                "last_loss": part[-1].loss if part else None,
                "share": sum(shares) / len(shares) if shares else None,
                "seconds": sum(each.seconds for each in part),
            }
        )
    return rows
