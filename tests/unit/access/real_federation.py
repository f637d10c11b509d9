"""A federation's bucket on a real S3 server, and sites that are invited to it."""

from typing import Any

from fedvsr.access.invitation import Invitation
from fedvsr.access.sites import FrontDoor, invite_site
from fedvsr.federation import layout
from fedvsr.store.s3 import S3Store
from tests.unit.real_s3 import RealS3

BUCKET, OTHER_BUCKET = "federation", "federation-client-bob"


def door(s3: RealS3) -> FrontDoor:
    return FrontDoor("demo", s3.server.endpoint, BUCKET, s3.server.ca_certificate)


def invite(s3: RealS3, name: str, **options: Any) -> Invitation:
    """Invites a site, also if an earlier test has invited it."""
    store = s3.store(BUCKET)
    store.delete(layout.site(name))
    return invite_site(store, s3.admin, door(s3), name, **options)


def opened(invitation: Invitation, **options: Any) -> S3Store:
    """Opens the federation's bucket with a site's keys."""
    return S3Store.connect(invitation.connection(), BUCKET, **options)
