"""`fedvsr check`: checks a deployment's object store and MLflow; `helm test` runs it."""

import uuid

import click

from fedvsr.cli.options import tracking_option
from fedvsr.cli.stores import tracking_config
from fedvsr.errors import StoreError
from fedvsr.federation import layout
from fedvsr.store.workspace import Workspace


@click.command()
@tracking_option
def check(tracking_uri: str) -> None:
    """Check that the object store and MLflow answer.

    Write, read and delete an object of the federation's store, and list the registered models. Environment
    variables name the store and MLflow, as for the pipeline's steps. `fedvsr client check` checks a client.
    """
    from fedvsr.tracking.connection import connect

    store = Workspace.from_environment().federation()
    key, data = layout.check(uuid.uuid4().hex), uuid.uuid4().bytes
    store.write(key, data)
    try:
        if store.read(key) != data:
            raise StoreError(f"{store.uri}/{key} holds other bytes than were written; look at the S3 server")
    finally:
        store.delete(key)
    click.echo(f"{store.uri}: an object was written, read and deleted")
    connection = connect(tracking_config(tracking_uri, "fedvsr"), store.uri, create=False)
    with connection.translating_errors("list its registered models"):
        models = connection.client.search_registered_models()
    click.echo(f"{connection.address}: {len(models)} registered model{'' if len(models) == 1 else 's'}")
