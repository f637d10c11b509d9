"""The step that evaluates a round's global weights on the held-out clips."""

from kfp import dsl

from components.image import TRAINER_IMAGE


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def evaluate(run_name: str, round: int, metrics: dsl.Output[dsl.Metrics], report: dsl.Output[dsl.HTML]):
    """Scores the round's weights if they are to be evaluated, and shows the run so far."""
    from pathlib import Path

    from fedvsr.steps.ending import sentence_on_error
    from fedvsr.steps.evaluate import evaluate

    metrics.metadata["display_name"] = f"{run_name}, round {round}: evaluation"
    report.metadata["display_name"] = f"{run_name}, round {round}: report"
    with sentence_on_error():
        numbers = evaluate(run_name, round, Path(report.path))
    for name, value in numbers.items():
        metrics.log_metric(name, value)
