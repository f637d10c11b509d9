"""The operator's side of a federation's sites: invite, list, rotate, revoke."""

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

import fedvsr
from fedvsr.access.invitation import Invitation
from fedvsr.access.policies import Policy, site_policy
from fedvsr.access.provision import client_user
from fedvsr.errors import DataError, InputError, NotFoundError, UnknownNameError
from fedvsr.federation import layout
from fedvsr.federation.records import read_record, read_untrusted_record, write_record
from fedvsr.federation.run.sites import site_names
from fedvsr.federation.site_records import FederationRecord, HeartbeatRecord, SiteRecord
from fedvsr.store.base import Store

_FEDERATION = "fedvsr"
_USER = "site-"
_SECRET_BYTES = 30


class Admin(Protocol):
    """The methods of `fedvsr.store.s3_admin.S3Admin` that sites need."""

    def users(self) -> Mapping[str, bool]: ...
    def set_user(self, name: str, secret: str, policy: Policy) -> None: ...
    def remove_user(self, name: str) -> None: ...


@dataclass(frozen=True)
class FrontDoor:
    """Where sites reach the federation.

    Attributes:
        federation: The federation's name; empty for the name that it has, or ``fedvsr``.
        endpoint: The S3 address.
        bucket: The federation's bucket.
        ca_certificate: The PEM text of the authority of its certificate; empty for the public ones.
        region: The S3 server's region.
    """

    federation: str
    endpoint: str
    bucket: str
    ca_certificate: str = ""
    region: str = "us-east-1"


@dataclass(frozen=True)
class SiteKeys:
    """The keys of an S3 user that the operator made by hand, with the policy `site_policy`.

    Attributes:
        access_key: The access key.
        secret_key: The secret key. Text forms leave it out.
    """

    access_key: str
    secret_key: str = field(repr=False)


@dataclass(frozen=True)
class SiteState:
    """A site as the operator sees it.

    Attributes:
        record: The site's record.
        refusal: Why it may not take part; None if it may.
        heartbeat: The agent's last heartbeat; None if there is none or it cannot be read.
        age: Seconds since the last heartbeat; None if there is none.
    """

    record: SiteRecord
    refusal: str | None
    heartbeat: HeartbeatRecord | None
    age: float | None


def site_user(name: str) -> str:
    """Returns the name of a site's S3 user."""
    return _USER + name


def invite_site(
    store: Store,
    source: Admin | SiteKeys,
    door: FrontDoor,
    name: str,
    days: int | None = None,
    hosted: Mapping[str, object] | None = None,
) -> Invitation:
    """Makes a site, its S3 user and its policy. A call that was cut off is repeated without harm.

    Args:
        store: The federation's store.
        source: The S3 server, which makes the keys, or keys that were made by hand.
        door: Where the site reaches the federation.
        name: The site's name, which is its name as a client.
        days: After how many days the keys expire; None for never.
        hosted: The deployment's hosted clients, whose names are taken.

    Returns:
        The invitation, which has the site's keys. They are stored nowhere else.

    Raises:
        fedvsr.errors.InputError: A client or a site has the name already.
        fedvsr.errors.StoreError: The server refuses.
    """
    users = {site_user(name): True} if isinstance(source, SiteKeys) else source.users()
    # A hosted client of a deployment has an S3 user, which is disabled once the client is removed.
    if name in (hosted or {}) or users.get(client_user(name)) or store.exists(layout.client(name)):
        raise InputError(f"{name!r} is a client of the federation already; choose another name for the site")
    existing = _find_site(store, name)
    if existing and existing.find_refusal(datetime.now(UTC)) is None and site_user(name) in users:
        raise InputError(
            f"site {name!r} is invited already; `fedvsr sites rotate {name}` makes new keys, also if the "
            f"invitation was lost, and `fedvsr sites revoke {name}` ends its membership"
        )
    return _give_keys(store, source, door, name, days)


def rotate_site(
    store: Store, source: Admin | SiteKeys, door: FrontDoor, name: str, days: int | None = None
) -> Invitation:
    """Makes new keys for a site. The old ones are refused from now on, unless they were made by hand.

    Args:
        store: The federation's store.
        source: The S3 server, which makes the keys, or keys that were made by hand.
        door: Where the site reaches the federation.
        name: The site's name.
        days: After how many days the new keys expire; None for as many as the old ones.

    Raises:
        fedvsr.errors.UnknownNameError: There is no such site.
        fedvsr.errors.InputError: The site is revoked.
        fedvsr.errors.StoreError: The server refuses; rotate again, since the old keys may be gone.
    """
    record = _load_site(store, name)
    if record.revoked is not None:
        raise InputError(f"site {name!r} is revoked; `fedvsr sites invite {name}` invites it again")
    if days is None and record.expires is not None:
        days = max(1, (record.expires - record.invited).days)
    return _give_keys(store, source, door, name, days)


def revoke_site(store: Store, admin: Admin | None, name: str) -> None:
    """Ends a site's membership: its keys are refused from now on, and no round asks it any more.

    Args:
        store: The federation's store.
        admin: The S3 server; None if the operator has removed the keys by hand.
        name: The site's name.

    Raises:
        fedvsr.errors.UnknownNameError: There is no such site.
        fedvsr.errors.StoreError: The server refuses; revoke again.
    """
    record = _load_site(store, name)
    if admin is not None:
        admin.remove_user(site_user(name))
    if record.revoked is None:
        revoked = record.model_copy(update={"revoked": datetime.now(UTC)})
        write_record(store, layout.site(name), revoked)


def list_sites(store: Store) -> Iterator[SiteState]:
    """Yields every site of the federation, with its last heartbeat. Ages are by the store's clock."""
    now = datetime.now(UTC)
    for name in site_names(store):
        record = _load_site(store, name)
        key = layout.heartbeat(name)
        try:
            age: float | None = store.age(key)
        except NotFoundError:
            yield SiteState(record, record.find_refusal(now), None, None)
            continue
        try:
            heartbeat = read_untrusted_record(store, key, HeartbeatRecord)
        except (DataError, NotFoundError):
            heartbeat = None
        yield SiteState(record, record.find_refusal(now), heartbeat, age)


def _give_keys(
    store: Store, source: Admin | SiteKeys, door: FrontDoor, name: str, days: int | None
) -> Invitation:
    """Records new keys after the server has them, so that a call that was cut off can be repeated."""
    now = datetime.now(UTC).replace(microsecond=0)
    expires = now + timedelta(days=days) if days else None
    policy = site_policy(name, door.bucket, expires)
    keys = source if isinstance(source, SiteKeys) else _make_keys(source, name, policy)
    federation = door.federation or _federation_name(store)
    record = FederationRecord(name=federation, fedvsr_version=fedvsr.__version__)
    write_record(store, layout.FEDERATION, record)
    write_record(store, layout.site(name), SiteRecord(site=name, invited=now, expires=expires))
    return Invitation(
        federation=federation,
        site=name,
        fedvsr_version=fedvsr.__version__,
        endpoint=door.endpoint,
        bucket=door.bucket,
        region=door.region,
        ca_certificate=door.ca_certificate,
        access_key=keys.access_key,
        secret_key=keys.secret_key,
        expires=expires,
    )


def _make_keys(admin: Admin, name: str, policy: Policy) -> SiteKeys:
    keys = SiteKeys(site_user(name), secrets.token_urlsafe(_SECRET_BYTES))
    # Without the old user, its access keys are gone too.
    admin.remove_user(keys.access_key)
    admin.set_user(keys.access_key, keys.secret_key, policy)
    return keys


def _federation_name(store: Store) -> str:
    try:
        return read_record(store, layout.FEDERATION, FederationRecord).name
    except NotFoundError:
        return _FEDERATION


def _find_site(store: Store, name: str) -> SiteRecord | None:
    try:
        return read_record(store, layout.site(name), SiteRecord)
    except NotFoundError:
        return None


def _load_site(store: Store, name: str) -> SiteRecord:
    record = _find_site(store, name)
    if record is None:
        raise UnknownNameError("site", name, site_names(store), "`fedvsr sites invite` invites one")
    return record
