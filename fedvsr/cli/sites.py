"""`fedvsr sites`: the operator's side of the federation's sites."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedvsr.cli.progress import print_line
from fedvsr.config.run import Name
from fedvsr.errors import AccessFileError, ConfigError
from fedvsr.text import printable

if TYPE_CHECKING:
    from fedvsr.access.invitation import Invitation
    from fedvsr.access.sites import Admin, FrontDoor, SiteKeys, SiteState
    from fedvsr.store.base import Store

ADDRESS_VARIABLE = "FEDVSR_SITE_ADDRESS"
# The first that is set counts: the authority of the front door, or that of the S3 server itself.
CA_VARIABLES = ("FEDVSR_SITE_CA", "FEDVSR_S3_CA")
MAX_DAYS = 3650
_MAX_SECRET_CHARACTERS = 1000

_Command = Callable[..., object]


@dataclass(frozen=True)
class _InvitationRequest:
    """What the options of an invitation ask for.

    Attributes:
        name: The site.
        days: Days until the keys expire; None for never, or as long as the old ones.
        door: The address that sites reach.
        path: The invitation to write.
        source: What makes the keys, or the keys that were made by hand.
        access_key: The access key that was made by hand; empty if there is none.
    """

    name: str
    days: int | None
    door: "FrontDoor"
    path: Path
    source: "Admin | SiteKeys"
    access_key: str

    @classmethod
    def of(
        cls,
        name: str,
        days: int | None,
        address: str,
        ca: Path | None,
        federation: str,
        output: Path | None,
        access_key: str,
        secret_file: Path | None,
    ) -> Self:
        door, path = _front_door(address, ca, federation), _output(_checked(name), output)
        return cls(name, days, door, path, _source_of_keys(access_key, secret_file), access_key)

    def write(self, invitation: "Invitation") -> None:
        """Writes the invitation and says where it is, or how to write it again."""
        try:
            invitation.write(self.path)
        except AccessFileError as error:
            rotate = f"fedvsr sites rotate {self.name}"
            remedy = f"nobody has the new keys now, so make others: `{rotate}`"
            if self.access_key:
                remedy = f"then write it again: `{rotate} --access-key {self.access_key}`"
            raise AccessFileError(f"{error}; {remedy}") from error
        expires = f"{invitation.expires:%Y-%m-%d %H:%M} UTC" if invitation.expires else "never"
        print_line(
            Console(),
            f"{self.path}: send it to the owner of site {self.name}. It has the site's keys, which expire: "
            f"{expires}.",
        )


def _invitation_options(command: _Command) -> _Command:
    """Gives a command the argument NAME and the options of an invitation, as one `_InvitationRequest`."""

    @wraps(command)
    def with_request(name: str, **options: Any) -> object:
        return command(_InvitationRequest.of(name, **options))

    with_options: _Command = with_request
    for option in (
        click.argument("name"),
        click.option(
            "--expires",
            "days",
            type=click.IntRange(1, MAX_DAYS),
            help="Days until the keys expire. [default: never; for new keys, as long as the old ones]",
        ),
        click.option(
            "--address",
            default="",
            envvar=ADDRESS_VARIABLE,
            help="The S3 address that sites reach: https://HOST. [env: FEDVSR_SITE_ADDRESS]",
        ),
        click.option(
            "--ca",
            type=click.Path(path_type=Path, dir_okay=False),
            help="The PEM file of the private authority that signed the address's certificate. "
            "[default: FEDVSR_SITE_CA, FEDVSR_S3_CA, or else the public authorities]",
        ),
        click.option(
            "--federation",
            default="",
            help="The federation's name, for the site. [default: the name it has, or fedvsr]",
        ),
        click.option(
            "--output",
            type=click.Path(path_type=Path, dir_okay=False),
            help="The invitation to write. [default: NAME.fedvsr-invitation]",
        ),
        click.option(
            "--access-key",
            default="",
            help="The access key of an S3 user that you made by hand, for servers without MinIO's admin API. "
            "[default: the server makes the keys]",
        ),
        click.option(
            "--secret-file",
            type=click.Path(path_type=Path, dir_okay=False),
            help="The file with its secret key. [default: standard input]",
        ),
    ):
        with_options = option(with_options)
    return with_options


@click.group()
def sites() -> None:
    """Invite, list, rotate and revoke sites.

    A site is a client that its owner runs: see `fedvsr site`. Environment variables name the federation's
    store (FEDVSR_FEDERATION_STORE, FEDVSR_S3_ENDPOINT) and hold the S3 server's administrator keys
    (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), as for `fedvsr provision`.
    """


@sites.command()
@_invitation_options
def invite(request: _InvitationRequest) -> None:
    """Invite the site NAME: make its keys, and write its invitation.

    Send the file to the site's owner over a channel that you trust: whoever has it can take part as NAME.

    If the S3 server has no admin API of MinIO, make a user with the policy that `fedvsr sites policy NAME`
    prints, then give its access key here, and the same --expires.
    """
    from fedvsr.access.sites import invite_site
    from fedvsr.cluster.settings import clients_from_environment

    hosted = clients_from_environment()
    request.write(
        invite_site(_federation(), request.source, request.door, request.name, request.days, hosted)
    )


@sites.command()
@_invitation_options
def rotate(request: _InvitationRequest) -> None:
    """Make new keys for the site NAME, and write a new invitation. The old keys are refused at once.

    With --access-key, the new keys are those that you made by hand: remove the old ones yourself.
    """
    from fedvsr.access.sites import rotate_site

    request.write(rotate_site(_federation(), request.source, request.door, request.name, request.days))


@sites.command()
@click.argument("name")
@click.option("--keys-removed", is_flag=True, help="You made the site's keys by hand, and have removed them.")
def revoke(name: str, keys_removed: bool) -> None:
    """End the membership of the site NAME. Its keys are refused at once."""
    from fedvsr.access.sites import revoke_site
    from fedvsr.store.s3_admin import S3Admin

    revoke_site(_federation(), None if keys_removed else S3Admin(), _checked(name))
    print_line(Console(), f"site {name} is revoked; its deliveries until now stay")


@sites.command("list")
def list_command() -> None:
    """List the sites: when they were heard of last, their versions, disks and GPUs, and what they do."""
    from fedvsr.access.sites import list_sites

    table = Table(title="sites", title_justify="left")
    for heading in ("site", "last seen", "doing", "fedvsr", "free disk", "GPUs", "keys expire", "state"):
        table.add_column(heading, overflow="fold")
    for state in list_sites(_federation()):
        beat, record = state.heartbeat, state.record
        table.add_row(
            record.site,
            "never" if state.age is None else f"{_duration(state.age)} ago",
            _activity(state),
            escape(printable(beat.fedvsr_version)) if beat else "–",
            f"{beat.free_disk_bytes / 1e9:.1f} GB" if beat else "–",
            escape(", ".join(beat.gpus)) or "none" if beat else "–",
            f"{record.expires:%Y-%m-%d}" if record.expires else "never",
            escape(state.refusal) if state.refusal else "member",
        )
    Console().print(table)


@sites.command()
@click.argument("name")
@click.option("--expires", "days", type=click.IntRange(1, MAX_DAYS), help="Days until the rights end.")
def policy(name: str, days: int | None) -> None:
    """Print the S3 policy of the site NAME, for S3 servers without MinIO's admin API.

    Make a user with it, then write its invitation: `fedvsr sites invite NAME --access-key KEY`.
    """
    from datetime import UTC, datetime, timedelta

    from fedvsr.access.policies import site_policy

    expires = datetime.now(UTC) + timedelta(days=days) if days else None
    click.echo(json.dumps(site_policy(_checked(name), _bucket(), expires), indent=2))


def _federation() -> "Store":
    from fedvsr.store.workspace import Workspace

    return Workspace.from_environment(with_clients=False).federation()


def _bucket() -> str:
    from fedvsr.store.address import parse_address
    from fedvsr.store.workspace import FEDERATION_VARIABLE

    uri = os.environ.get(FEDERATION_VARIABLE, "")
    address = parse_address(uri) if uri else None
    if address is None or address.prefix:
        raise ConfigError(FEDERATION_VARIABLE, uri, "sites need a federation in a bucket: s3://BUCKET")
    return address.bucket


def _front_door(address: str, ca: Path | None, federation: str) -> "FrontDoor":
    from fedvsr.access.sites import FrontDoor
    from fedvsr.store.s3_connection import parse_endpoint

    if not address:
        raise ConfigError(ADDRESS_VARIABLE, address, "name the address that sites reach with --address")
    _, secure = parse_endpoint(address, "--address")
    if not secure:
        raise ConfigError("--address", address, "it must be https://HOST: updates would travel in the clear")
    region = os.environ.get("AWS_REGION", "us-east-1")
    name = _checked(federation, "--federation") if federation else ""
    return FrontDoor(name, address.rstrip("/"), _bucket(), _certificate(ca), region)


def _certificate(ca: Path | None) -> str:
    """Returns the PEM text of the authority that sites trust; empty for the public ones."""
    if ca is None:
        return next((text for text in map(os.environ.get, CA_VARIABLES) if text), "")
    import ssl

    try:
        certificate = ca.read_text()
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=certificate)
    except (OSError, ValueError) as error:
        raise ConfigError("--ca", str(ca), f"it must be a readable PEM file ({error})") from None
    return certificate


def _checked(name: str, field: str = "NAME") -> str:
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(Name).validate_python(name)
    except ValidationError:
        allowed = "lower-case letters, digits and dashes, at most 40, no dash at the ends"
        raise ConfigError(field, name, allowed) from None


def _source_of_keys(access_key: str, secret_file: Path | None) -> "Admin | SiteKeys":
    """Returns the S3 server, which makes the keys, or the keys that the operator made by hand."""
    from fedvsr.access.sites import SiteKeys
    from fedvsr.store.s3_admin import S3Admin

    if access_key:
        return SiteKeys(access_key, _secret_key(secret_file))
    if secret_file:
        raise ConfigError("--secret-file", str(secret_file), "name the user of the key with --access-key")
    return S3Admin()


def _secret_key(secret_file: Path | None) -> str:
    """Reads a secret key. It is no argument of the command, which other users of the machine could see."""
    if secret_file is None and sys.stdin.isatty():
        return str(click.prompt("secret key", hide_input=True, err=True))
    source = str(secret_file or "standard input")
    try:
        text = secret_file.read_text() if secret_file else sys.stdin.read(_MAX_SECRET_CHARACTERS)
    except (OSError, ValueError) as error:
        raise ConfigError("--secret-file", source, f"it must be a readable text file ({error})") from None
    words = text.split()
    if len(words) != 1:
        raise ConfigError("--secret-file", source, "it must have the secret key and nothing else")
    return words[0]


def _output(name: str, output: Path | None) -> Path:
    """Returns the file to write, after a look whether that is possible: then no keys are made in vain."""
    from fedvsr.access.invitation import SUFFIX

    path = output or Path(f"{name}{SUFFIX}")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise ConfigError("--output", str(path), "it must be a file in a folder that you may write to")
    return path


def _activity(state: "SiteState") -> str:
    """Returns what a site does now, as far as is known."""
    from fedvsr.federation.run.site_follower import OFFLINE_SECONDS

    if state.heartbeat is None or state.age is None:
        return "–"
    return escape(state.heartbeat.activity) if state.age <= OFFLINE_SECONDS else "offline"


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
