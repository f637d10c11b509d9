"""The step that turns a round's updates into new global weights."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def aggregate(
    run_name: str, round: int, metrics: dsl.Output[dsl.Metrics], participants: dsl.Output[dsl.Markdown]
):
    """Aggregates the delivered updates if they meet the quorum."""
    from pathlib import Path

    from fedvsr.steps.aggregate import aggregate

    metrics.metadata["display_name"] = f"{run_name}, round {round}: aggregation"
    participants.metadata["display_name"] = f"{run_name}, round {round}: participants"
    for name, value in aggregate(run_name, round, Path(participants.path)).items():
        metrics.log_metric(name, value)
