"""The step that cuts each client's videos into training clips, in the client's own store."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def shard(run_name: str, shards: dsl.Output[dsl.Markdown]):
    """Makes the shards of a run's clients and of the held-out clips, or finds them current."""
    from pathlib import Path

    from fedvsr.steps.ending import sentence_on_error
    from fedvsr.steps.shard import shard

    shards.metadata["display_name"] = f"{run_name}: shards"
    with sentence_on_error():
        shard(run_name, Path(shards.path))
