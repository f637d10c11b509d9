"""Both kinds of store: a folder, and a bucket on a real server or on moto's."""

import uuid
from pathlib import Path

import pytest

from fedvsr.store.base import Store
from fedvsr.store.local import LocalStore
from fedvsr.store.s3 import S3Store


@pytest.fixture
def s3_store(bucket: str, s3_environment: Path) -> S3Store:
    return S3Store(bucket, f"test-{uuid.uuid4().hex[:12]}")


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest) -> Store:
    name = "s3_store" if request.param == "s3" else "local_store"
    store: LocalStore | S3Store = request.getfixturevalue(name)
    return store
