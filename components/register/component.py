"""The step that registers a run's best round as a model version."""

from kfp import dsl

from components.image import TRAINER_IMAGE


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def register(
    run_name: str,
    registered_model: str,
    metrics: dsl.Output[dsl.Metrics],
    version: dsl.Output[dsl.Markdown],
):
    """Registers the best round in MLflow with the alias challenger."""
    from pathlib import Path

    from fedvsr.steps.ending import sentence_on_error
    from fedvsr.steps.register import register

    metrics.metadata["display_name"] = f"{run_name}: best round"
    version.metadata["display_name"] = f"{run_name}: model version"
    with sentence_on_error():
        numbers = register(run_name, registered_model, Path(version.path))
    for name, value in numbers.items():
        metrics.log_metric(name, value)
