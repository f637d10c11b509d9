"""A real S3 server for the tests of rights."""

from collections.abc import Iterator

import pytest

from tests.unit.access.real_federation import BUCKET, OTHER_BUCKET
from tests.unit.real_s3 import RealS3, running_s3


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealS3]:
    """A server with the federation's bucket and another. Skips without a MinIO program."""
    with running_s3(tmp_path_factory.mktemp("s3")) as running:
        for bucket in (BUCKET, OTHER_BUCKET):
            running.admin.make_bucket(bucket)
        yield running
