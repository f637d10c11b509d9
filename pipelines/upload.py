"""Compiles the pipeline with a deployment's images and uploads it as the newest version in KFP.

FEDVSR_IMAGE=… FEDVSR_TRAINER_IMAGE=… [FEDVSR_NAMESPACE=…] python -m pipelines.upload [--endpoint URL]
"""

import tempfile
from pathlib import Path

import click

from components.image import IMAGE, TRAINER_IMAGE
from fedvsr.cli.main import main
from fedvsr.kubeflow.connection import KfpConnection
from fedvsr.kubeflow.pipeline import pipeline_name, upload
from pipelines.cluster import NAMESPACE
from pipelines.federated_training import compile_pipeline, federated_training


@click.command()
@click.option("--endpoint", default="", help="Address of KFP's API or web server. [env: FEDVSR_KFP_ENDPOINT]")
def upload_pipeline(endpoint: str) -> None:
    """Upload the pipeline, with the images FEDVSR_IMAGE and FEDVSR_TRAINER_IMAGE, as the newest version."""
    connection = KfpConnection(endpoint)
    pipeline = pipeline_name(NAMESPACE)
    with tempfile.TemporaryDirectory(prefix="fedvsr-pipeline-") as folder:
        package = Path(folder) / "pipeline.yaml"
        compile_pipeline(package)
        version, is_new = upload(connection, pipeline, package.read_bytes(), federated_training.description)
    outcome = "uploaded" if is_new else "already the newest"
    click.echo(f"pipeline {pipeline} {version.name}: {outcome} ({IMAGE}, {TRAINER_IMAGE})")


if __name__ == "__main__":
    main(upload_pipeline)
