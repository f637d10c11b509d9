import os
import time

import pytest

from fedvsr.errors import ConfigError, DataError
from fedvsr.store.base import bytes_digest
from fedvsr.store.digest_cache import CACHE_VARIABLE, LIMIT_VARIABLE, DigestCache


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def get(cache: DigestCache, data: bytes, downloads: list[bytes] | None = None):
    def download(path):
        if downloads is not None:
            downloads.append(data)
        path.write_bytes(data)

    return cache.get(bytes_digest(data), "object", download)


def age(folder, data: bytes, seconds: float) -> None:
    """Makes a file be used last so long ago."""
    then = time.time() - seconds
    os.utime(folder / bytes_digest(data), (then, then))


def test_a_file_is_downloaded_once_by_all_processes(folder):
    downloads: list[bytes] = []
    for _ in range(3):
        assert get(DigestCache(folder, 1000), b"abc", downloads).read_bytes() == b"abc"
    assert downloads == [b"abc"]


def test_the_files_that_were_used_longest_ago_make_room(folder):
    cache = DigestCache(folder, 100)
    files = [bytes([number]) * 30 for number in range(3)]
    for position, data in enumerate(files):
        get(cache, data)
        age(folder, data, 1000 - position)
    get(cache, files[0])  # used again, so it is now the newest
    get(cache, b"x" * 30)
    assert {path.read_bytes() for path in folder.iterdir()} == {files[0], files[2], b"x" * 30}


def test_files_in_use_are_kept_even_above_the_limit(folder):
    cache = DigestCache(folder, 50)
    paths = [get(cache, bytes([number]) * 30) for number in range(3)]
    assert all(path.is_file() for path in paths)


def test_another_process_and_what_it_wrote_count(folder):
    for number in range(3):
        get(DigestCache(folder, 1000), bytes([number]) * 30)
        age(folder, bytes([number]) * 30, 500 - number)
    get(DigestCache(folder, 100), b"x" * 30)
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 90


def test_a_refused_download_leaves_nothing(folder):
    with pytest.raises(DataError, match="object: expected SHA-256"):
        DigestCache(folder, 100).get("0" * 64, "object", lambda path: path.write_bytes(b"abc"))
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("limit", ["0", "-1", "8GB", "٣"])
def test_a_limit_that_is_no_number_is_refused(monkeypatch, tmp_path, limit):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setenv(LIMIT_VARIABLE, limit)
    with pytest.raises(ConfigError, match=LIMIT_VARIABLE):
        DigestCache.from_environment()
