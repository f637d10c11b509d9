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
    from fedvsr.steps.ending import sentence_on_error

    metrics.metadata["display_name"] = f"{run_name}, round {round}: aggregation"
    participants.metadata["display_name"] = f"{run_name}, round {round}: participants"
    with sentence_on_error():
        numbers = aggregate(run_name, round, Path(participants.path))
    for name, value in numbers.items():
        metrics.log_metric(name, value)
