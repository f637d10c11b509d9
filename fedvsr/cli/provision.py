"""`fedvsr provision`: creates a deployment's buckets and S3 users; the chart's hook runs it."""

import json
from pathlib import Path

import click

from fedvsr.access.provision import Deployment, provision, read_secrets
from fedvsr.errors import ConfigError

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command("provision")
@click.argument("deployment", type=_FILE, metavar="DEPLOYMENT")
@click.option("--secrets", type=_FOLDER, help="A folder with one file per user that contains the secret key.")
@click.option("--wait", default=300.0, show_default=True, help="Seconds to wait for the S3 server.")
@click.option("--policies", is_flag=True, help="Print each user's policy as JSON and change nothing.")
def provision_command(deployment: Path, secrets: Path | None, wait: float, policies: bool) -> None:
    """Create the buckets, S3 users and policies of a deployment.

    The JSON file DEPLOYMENT describes it.

    The server is FEDVSR_S3_ENDPOINT, a MinIO; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are its root
    user's keys. Running it again changes nothing. The user of a client that is no longer listed is
    disabled. For other S3 servers, `--policies` prints the policies to set by hand.

    DEPLOYMENT: {"federation": BUCKET, "mlflow": BUCKET, "clients": {NAME: BUCKET}, "virtual": BUCKET,
    "quota": BYTES}
    """
    listed = Deployment.parse(_read_json(deployment))
    if policies:
        click.echo(json.dumps({user: policy for user, (_, policy) in listed.users().items()}, indent=2))
        return
    if secrets is None:
        raise click.UsageError("--secrets is required: the folder with the users' secret keys")
    keys = read_secrets(secrets, listed)
    # Imported here because `--policies` does not need the S3 library.
    from fedvsr.store.s3_admin import S3Admin

    admin = S3Admin()
    admin.wait(wait, click.echo)
    provision(admin, listed, keys, click.echo)


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ConfigError(str(path), None, f"it must be JSON ({error})") from None
