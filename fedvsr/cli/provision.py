"""`fedvsr provision`: what the chart's hook runs after every install and upgrade."""

import json
from pathlib import Path

import click

from fedvsr.access.provision import Deployment, provision, read_secrets
from fedvsr.errors import ConfigError

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command("provision")
@click.argument("deployment", type=_FILE, metavar="DEPLOYMENT")
@click.option("--secrets", type=_FOLDER, help="A folder with a file a user, which holds its secret key.")
@click.option("--wait", default=300.0, show_default=True, help="Seconds to wait for the S3 server.")
@click.option("--policies", is_flag=True, help="Print each user's policy as JSON and change nothing.")
def provision_command(deployment: Path, secrets: Path | None, wait: float, policies: bool) -> None:
    """Make the buckets, S3 users and policies of a deployment.

    The server is FEDVSR_S3_ENDPOINT, a MinIO whose root user AWS_ACCESS_KEY_ID and
    AWS_SECRET_ACCESS_KEY name. Doing it again changes nothing; the user of a client that is listed
    no more is disabled. For any other S3 server, `--policies` prints what to set there by hand.

    DEPLOYMENT: {"federation": BUCKET, "mlflow": BUCKET, "clients": {NAME: BUCKET}}
    """
    wanted = Deployment.parse(_read_json(deployment))
    if policies:
        click.echo(json.dumps({user: policy for user, (_, policy) in wanted.users().items()}, indent=2))
        return
    if secrets is None:
        raise click.UsageError("--secrets names the folder with the users' secret keys")
    keys = read_secrets(secrets, wanted)
    # Imported here: printing the policies needs no S3 library.
    from fedvsr.store.s3_admin import S3Admin

    admin = S3Admin()
    admin.wait(wait, click.echo)
    provision(admin, wanted, keys, click.echo)


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ConfigError(str(path), None, f"it must be JSON ({error})") from None
