"""Buckets and users of a MinIO server. Skipped if FEDVSR_TEST_S3_ENDPOINT is not set."""

import json
import os
import socket
import uuid

import pytest

from fedvsr.errors import ConfigError, StoreError
from fedvsr.store.s3 import S3Store
from fedvsr.store.s3_admin import S3Admin
from fedvsr.store.s3_connection import ENDPOINT_VARIABLE
from tests.conftest import S3_SERVER_VARIABLE


@pytest.fixture
def keys(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "root")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "root-password")


def test_missing_administrator_keys_are_reported(monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    with pytest.raises(ConfigError, match="root user"):
        S3Admin()


@pytest.mark.usefixtures("keys")
def test_waiting_for_a_server_ends_with_an_error_that_names_the_reason(monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv(ENDPOINT_VARIABLE, f"http://127.0.0.1:{unused.getsockname()[1]}")
        lines = []
        with pytest.raises(StoreError, match=r"did not answer within 0\.5 s .*Connection refused"):
            S3Admin().wait(0.5, lines.append)
    assert len(lines) == 1
    assert "does not answer yet" in lines[0]


@pytest.fixture
def admin(monkeypatch):
    """The administrator of a real server."""
    if not os.environ.get(S3_SERVER_VARIABLE):
        pytest.skip(f"{S3_SERVER_VARIABLE} names no MinIO server")
    monkeypatch.setenv(ENDPOINT_VARIABLE, os.environ[S3_SERVER_VARIABLE])
    return S3Admin()


def test_wrong_keys_are_refused_at_once(admin, keys):
    lines = []
    with pytest.raises(StoreError, match="refuses the administrator"):
        S3Admin().wait(60, lines.append)
    assert not lines


def test_a_user_has_its_policy_until_it_is_disabled(admin, bucket, monkeypatch, s3_environment):
    user, other = f"test-{uuid.uuid4().hex[:8]}", f"fedvsr-test-{uuid.uuid4().hex[:8]}"
    admin.wait(10, print)
    assert not admin.make_bucket(bucket)
    allow = {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": [f"arn:aws:s3:::{bucket}/open/*"]}
    policy = {"Version": "2012-10-17", "Statement": [allow]}
    S3Store(bucket).write("open/it", b"data")
    for _ in range(2):
        admin.set_user(user, "secret-of-the-user", policy)
    assert admin.users()[user]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", user)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-user")
    store = S3Store(bucket)
    assert store.read("open/it") == b"data"
    with pytest.raises(StoreError, match="AccessDenied"):
        store.read("closed")
    with pytest.raises(StoreError, match="AccessDenied"):
        S3Store(other).read("open/it")
    monkeypatch.undo()
    monkeypatch.setenv(ENDPOINT_VARIABLE, os.environ[S3_SERVER_VARIABLE])
    S3Admin().disable_user(user)
    assert not S3Admin().users()[user]
    with pytest.raises(StoreError, match="disabled"):
        store.read("open/it")


def test_a_quota_is_set_and_removed(admin, bucket, s3_environment):
    admin.set_quota(bucket, 5 << 20)
    assert json.loads(admin._admin.bucket_quota_get(bucket=bucket))["quota"] == 5 << 20
    admin.set_quota(bucket, 0)
    assert not json.loads(admin._admin.bucket_quota_get(bucket=bucket)).get("quota")
