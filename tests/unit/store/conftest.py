"""Both stores: a folder, and a bucket of a real server or of moto's."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from minio import Minio
from urllib3.util import parse_url

from fedvsr.store.base import Store
from fedvsr.store.local import LocalStore
from fedvsr.store.s3 import CACHE_VARIABLE, ENDPOINT_VARIABLE, S3Store

SERVER_VARIABLE = "FEDVSR_TEST_S3_ENDPOINT"


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """An S3 server's address, with credentials for it in the environment."""
    given = os.environ.get(SERVER_VARIABLE)
    if given:
        yield given
        return
    from moto.server import ThreadedMotoServer

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing-secret")
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
        server.stop()


@pytest.fixture(scope="session")
def s3_client(s3_server: str) -> Minio:
    url = parse_url(s3_server)
    return Minio(
        endpoint=url.netloc or "",
        access_key=os.environ["AWS_ACCESS_KEY_ID"],
        secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        secure=url.scheme == "https",
        region="us-east-1",
    )


@pytest.fixture(scope="session")
def bucket(s3_client: Minio) -> Iterator[str]:
    """A bucket of the tests' own, gone afterwards."""
    name = f"fedvsr-test-{uuid.uuid4().hex[:12]}"
    s3_client.make_bucket(bucket_name=name)
    yield name
    for found in s3_client.list_objects(bucket_name=name, recursive=True):
        s3_client.remove_object(bucket_name=name, object_name=str(found.object_name))
    s3_client.remove_bucket(bucket_name=name)


@pytest.fixture
def s3_environment(s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Points S3Store at the server and at a cache folder, which is returned."""
    cache = tmp_path / "cache"
    monkeypatch.setenv(ENDPOINT_VARIABLE, s3_server)
    monkeypatch.setenv(CACHE_VARIABLE, str(cache))
    return cache


@pytest.fixture
def s3_store(bucket: str, s3_environment: Path) -> S3Store:
    return S3Store(bucket, f"test-{uuid.uuid4().hex[:12]}")


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest) -> Store:
    name = "s3_store" if request.param == "s3" else "local_store"
    found: LocalStore | S3Store = request.getfixturevalue(name)
    return found
