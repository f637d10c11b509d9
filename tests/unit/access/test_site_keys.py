"""When a site's keys work and when not, on a real S3 server. Skipped without a MinIO program."""

import os
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from urllib3.exceptions import ProtocolError

from fedvsr.access.policies import site_policy
from fedvsr.access.sites import revoke_site, rotate_site
from fedvsr.errors import AccessDeniedError, CredentialsError, StoreError
from fedvsr.federation import layout
from fedvsr.store.s3_transfer import PART_BYTES
from tests.unit.access.real_federation import BUCKET, door, invite, opened

pytestmark = pytest.mark.minio

# The operator is told that keys are refused within a minute.
MAX_SECONDS = 60.0


def test_a_long_name_has_keys_too(s3):
    name = "a" * 40
    assert opened(invite(s3, name)).read(layout.FEDERATION)


def seconds_until_refused(store, error):
    """Returns after how long keys are refused for good, in seconds."""
    began, pause = time.monotonic(), threading.Event()
    while time.monotonic() - began < MAX_SECONDS:
        try:
            store.read(layout.FEDERATION)
        except error:
            return time.monotonic() - began
        pause.wait(0.05)
    return float("inf")


def test_revoked_keys_are_refused_within_a_minute(s3):
    invitation = invite(s3, "ann")
    store = opened(invitation)
    assert store.read(layout.FEDERATION)
    revoke_site(s3.store(BUCKET), s3.admin, "ann")
    seconds = seconds_until_refused(store, CredentialsError)
    print(f"revoked keys are refused after {seconds:.2f} s")
    assert seconds < MAX_SECONDS
    with pytest.raises(CredentialsError, match="ask the operator of the federation for a new invitation"):
        store.age(layout.heartbeat("ann"))


def test_rotated_keys_are_refused_within_a_minute(s3):
    old = opened(invite(s3, "ann"))
    assert old.read(layout.FEDERATION)
    new = opened(rotate_site(s3.store(BUCKET), s3.admin, door(s3), "ann"))
    seconds = seconds_until_refused(old, CredentialsError)
    print(f"rotated keys are refused after {seconds:.2f} s")
    assert seconds < MAX_SECONDS
    assert new.read(layout.FEDERATION)


def test_expired_keys_are_refused_within_a_minute(s3):
    invitation = invite(s3, "ann", days=1)
    store = opened(invitation)
    assert store.read(layout.FEDERATION)
    # The policy is replaced by one that ends in a moment.
    expires = datetime.now(UTC) + timedelta(seconds=2)
    s3.admin.set_user("site-ann", invitation.secret_key, site_policy("ann", BUCKET, expires))
    assert seconds_until_refused(store, AccessDeniedError) < MAX_SECONDS
    late = (datetime.now(UTC) - expires).total_seconds()
    print(f"expired keys are refused after {late:.2f} s")
    # S3 counts in seconds.
    assert late > -1.1
    for action in (
        lambda: store.write(layout.heartbeat("ann"), b"{}"),
        lambda: list(store.keys(layout.site_folder("ann"))),
    ):
        with pytest.raises(AccessDeniedError):
            action()


def test_a_site_goes_on_with_the_upload_of_an_earlier_process(s3, tmp_path, monkeypatch):
    invitation = invite(s3, "ann")
    path, key = tmp_path / "update", layout.update("demo", 1, "ann")
    path.write_bytes(os.urandom(2 * PART_BYTES + 1))
    first, second = (opened(invitation, resume_folder=tmp_path / "transfers") for _ in range(2))

    def cut(*arguments):
        raise ProtocolError("cut")

    monkeypatch.setattr(first._client, "_complete_multipart_upload", cut)
    with pytest.raises(StoreError):
        first.upload(key, path)
    # All parts are at the server, so none is sent again.
    monkeypatch.setattr(second._client, "_upload_part", cut)
    second.upload(key, path)
    second.download(key, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == path.read_bytes()
    assert not list((tmp_path / "transfers").iterdir())
