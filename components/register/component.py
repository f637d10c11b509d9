"""The step that makes a run's best round a registered model version."""

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

    from fedvsr.steps.register import register

    for name, value in register(run_name, registered_model, Path(version.path)).items():
        metrics.log_metric(name, value)
