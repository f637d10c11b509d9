"""Transfers over a line that is cut, slow or down."""

import os
import types
import uuid

import pytest
import urllib3
from urllib3.exceptions import ProtocolError
from urllib3.util import parse_url

from fedvsr.errors import NotFoundError, StoreError
from fedvsr.store import s3_connection, s3_transfer
from fedvsr.store.bandwidth import Bandwidth
from fedvsr.store.connection import S3Connection
from fedvsr.store.s3 import S3Store
from fedvsr.store.s3_transfer import PART_BYTES
from tests.unit.store.line import line_to

# Two parts and a half.
SIZE = 5 * PART_BYTES // 2
# What the headers of all requests of a transfer may add.
HEADERS = 64 << 10
KEY = "runs/demo/rounds/0001/updates/ann/update.safetensors"


@pytest.fixture
def line(s3_server):
    url = parse_url(s3_server)
    if url.scheme != "http":
        pytest.skip("the line is not the one of the server's certificate")
    with line_to(url.host, url.port) as line:
        yield line


@pytest.fixture
def waits(monkeypatch):
    """The seconds that transfers waited. They pass at once, and so do the library's short pauses."""
    waits = []
    clock = types.SimpleNamespace(monotonic=lambda: sum(waits), sleep=waits.append)
    monkeypatch.setattr(s3_transfer, "time", clock)
    monkeypatch.setattr(urllib3.Retry, "sleep", lambda *arguments: None)
    return waits


@pytest.fixture
def open_store(line, bucket, tmp_path, waits):
    """Opens the bucket over the line, as another process of the same site would."""

    def opened(patience_seconds=600.0, **options):
        connection = S3Connection(
            f"http://127.0.0.1:{line.port}",
            os.environ["AWS_ACCESS_KEY_ID"],
            os.environ["AWS_SECRET_ACCESS_KEY"],
        )
        options = {"resume_folder": tmp_path / "transfers"} | options
        return S3Store.connect(connection, bucket, patience_seconds=patience_seconds, **options)

    return opened


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "update"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def key():
    return f"{uuid.uuid4().hex}/{KEY}"


def uploads(s3_client, bucket, key):
    return s3_client._list_multipart_uploads(bucket, prefix=key).uploads


def transfers(tmp_path):
    """Returns the files that transfers keep."""
    folder = tmp_path / "transfers"
    return list(folder.iterdir()) if folder.exists() else []


def test_an_upload_that_is_cut_sends_no_part_twice_but_the_last(open_store, line, file, key, tmp_path):
    line.cut_after_sent = PART_BYTES + PART_BYTES // 2
    steps = []
    store = open_store()
    store.upload(key, file, lambda done, total: steps.append((done, total)))
    assert store.read(key) == file.read_bytes()
    assert line.sent <= SIZE + PART_BYTES + HEADERS
    assert steps == [(PART_BYTES, SIZE), (2 * PART_BYTES, SIZE), (SIZE, SIZE)]
    assert not transfers(tmp_path)


def test_another_process_goes_on_with_an_upload(open_store, line, file, key, tmp_path):
    line.cut_after_sent = PART_BYTES + PART_BYTES // 2
    line_goes_down(line)
    with pytest.raises(StoreError):
        open_store(patience_seconds=0).upload(key, file)
    assert [path.suffix for path in transfers(tmp_path)] == [".upload"]
    line.is_down, line.sent = False, 0
    open_store().upload(key, file)
    assert line.sent <= SIZE - PART_BYTES + HEADERS
    assert open_store().read(key) == file.read_bytes()
    assert not transfers(tmp_path)


def line_goes_down(line):
    """Lets no connection through once the line has been cut."""
    is_cut = line._is_cut

    def cut_and_down(size, is_answer):
        line.is_down = line.is_down or is_cut(size, is_answer)
        return line.is_down

    line._is_cut = cut_and_down


def test_an_upload_of_another_file_does_not_go_on_with_the_old_one(
    open_store, line, file, key, s3_client, bucket
):
    line.cut_after_sent = PART_BYTES + PART_BYTES // 2
    line_goes_down(line)
    with pytest.raises(StoreError):
        open_store(patience_seconds=0).upload(key, file)
    line.is_down = False
    file.write_bytes(os.urandom(SIZE))
    open_store().upload(key, file)
    assert open_store().read(key) == file.read_bytes()
    assert not uploads(s3_client, bucket, key)


def test_an_upload_that_the_server_forgot_starts_again(open_store, line, file, key, s3_client, bucket):
    line.cut_after_sent = PART_BYTES + PART_BYTES // 2
    line_goes_down(line)
    with pytest.raises(StoreError):
        open_store(patience_seconds=0).upload(key, file)
    line.is_down = False
    for upload in uploads(s3_client, bucket, key):
        s3_client._abort_multipart_upload(bucket, key, upload.upload_id)
    open_store().upload(key, file)
    assert open_store().read(key) == file.read_bytes()


@pytest.mark.parametrize("state", [b"", b"{", b"[]", b'{"upload": 5}', b'{"upload": "x", "file": []}'])
def test_a_damaged_record_of_an_upload_starts_it_again(open_store, file, key, tmp_path, state, monkeypatch):
    monkeypatch.setattr(s3_transfer, "_identity", lambda *parts: "state")
    (tmp_path / "transfers").mkdir()
    (tmp_path / "transfers" / "state.upload").write_bytes(state)
    open_store().upload(key, file)
    assert open_store().read(key) == file.read_bytes()


def test_an_upload_whose_last_answer_is_lost_is_complete(open_store, line, file, key, monkeypatch):
    store, completed = open_store(), []
    complete = store._client._complete_multipart_upload

    def complete_and_cut(*arguments):
        complete(*arguments)
        if not completed:
            completed.append(arguments)
            raise ProtocolError("cut")

    monkeypatch.setattr(store._client, "_complete_multipart_upload", complete_and_cut)
    store.upload(key, file)
    assert store.read(key) == file.read_bytes()


def test_a_hosted_clients_upload_that_fails_leaves_nothing_at_the_server(
    open_store, line, file, key, s3_client, bucket, monkeypatch
):
    path = file.with_name("large")
    path.write_bytes(bytes(34 << 20))
    store = open_store(patience_seconds=0, resume_folder=None)

    def broken(*arguments, **keywords):
        raise ProtocolError("cut")

    monkeypatch.setattr(store._client, "_complete_multipart_upload", broken)
    with pytest.raises(StoreError):
        store.upload(key, path)
    assert not uploads(s3_client, bucket, key)


@pytest.mark.parametrize("size", [0, 1, PART_BYTES, PART_BYTES + 1])
def test_files_of_any_size_go_to_and_fro(open_store, file, key, tmp_path, size):
    file.write_bytes(os.urandom(size))
    store, there, back = open_store(), [], []
    store.upload(key, file, lambda *progress: there.append(progress))
    store.download(key, tmp_path / "copy", lambda *progress: back.append(progress))
    assert (tmp_path / "copy").read_bytes() == file.read_bytes()
    assert there[-1] == (size, size)
    assert back[-1:] == ([(size, size)] if size else [])


def test_a_download_that_is_cut_goes_on_where_it_was(open_store, line, file, key, tmp_path):
    store = open_store()
    store.upload(key, file)
    line.received, line.cut_after_received = 0, SIZE // 2
    steps = []
    store.download(key, tmp_path / "copy", lambda done, total: steps.append(done))
    assert (tmp_path / "copy").read_bytes() == file.read_bytes()
    assert line.received <= SIZE + PART_BYTES // 2
    assert steps == sorted(set(steps))
    assert not transfers(tmp_path)


def test_another_process_goes_on_with_a_download(open_store, line, file, key, tmp_path):
    open_store().upload(key, file)
    line.cut_after_received = SIZE // 2
    line_goes_down(line)
    with pytest.raises(StoreError):
        open_store(patience_seconds=0).download(key, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    (part,) = transfers(tmp_path)
    there = part.stat().st_size
    assert SIZE // 4 < there < SIZE
    line.is_down, line.received = False, 0
    open_store().download(key, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == file.read_bytes()
    assert line.received <= SIZE - there + HEADERS
    assert not transfers(tmp_path)


def test_an_object_that_is_replaced_during_a_download_is_read_from_its_start(
    open_store, line, file, key, tmp_path, s3_client, bucket
):
    open_store().upload(key, file)
    new = os.urandom(PART_BYTES)
    replaced = []

    def replace(done, total):
        if not replaced and done > SIZE // 4:
            replaced.append(done)
            open_store().write(key, new)
            line.cut_after_received = 1

    open_store().download(key, tmp_path / "copy", replace)
    assert replaced
    assert (tmp_path / "copy").read_bytes() == new
    assert not transfers(tmp_path)


def test_without_patience_a_download_that_is_cut_leaves_nothing(open_store, line, file, key, tmp_path):
    open_store().upload(key, file)
    line.cut_after_received = SIZE // 2
    line_goes_down(line)
    (tmp_path / "work").mkdir()
    with pytest.raises(StoreError):
        open_store(patience_seconds=0, resume_folder=None).download(key, tmp_path / "work" / "copy")
    assert not list((tmp_path / "work").iterdir())


@pytest.mark.parametrize("patience", [0.0, 90.0, 600.0])
def test_a_line_that_is_down_is_tried_with_pauses_until_patience_ends(open_store, line, key, waits, patience):
    line.is_down = True
    with pytest.raises(StoreError, match="does not answer"):
        open_store(patience_seconds=patience).read(key)
    assert patience <= sum(waits) <= patience + 30
    # No pause is shorter than a second, and they get longer.
    assert all(1 <= wait <= 30 for wait in waits)
    assert len(waits) <= 5 + patience / 15


def test_pauses_differ_so_that_sites_do_not_return_at_the_same_moment(open_store, line, key, waits):
    line.is_down = True
    with pytest.raises(StoreError):
        open_store(patience_seconds=300).read(key)
    assert len(set(waits)) == len(waits)


def test_each_request_survives_a_line_that_is_down_for_a_moment(open_store, line, key, monkeypatch):
    store = open_store()
    store.write(key, b"bytes")
    sleep = s3_transfer.time.sleep

    def comes_back(seconds):
        sleep(seconds)
        line.is_down = False

    monkeypatch.setattr(s3_transfer.time, "sleep", comes_back)
    for action, expected in (
        (lambda store: store.read(key), b"bytes"),
        (lambda store: store.write(key, b"bytes"), None),
        (lambda store: store.size(key), 5),
        (lambda store: list(store.keys(key)), [key]),
        (lambda store: store.delete(key), None),
    ):
        line.is_down = True
        assert action(open_store()) == expected


def test_a_refusal_is_not_tried_again(open_store, waits):
    with pytest.raises(NotFoundError):
        open_store().read("no/such/key")
    assert not waits


def test_an_upload_that_takes_longer_than_a_connection_may_is_no_failure(
    open_store, line, file, key, monkeypatch
):
    monkeypatch.setattr(s3_connection, "_CONNECT_SECONDS", 0.3)
    file.write_bytes(os.urandom(8 * PART_BYTES // 5))
    # Half a second and more for each part.
    line.seconds_per_block = 0.008
    open_store(patience_seconds=0).upload(key, file)
    line.seconds_per_block = 0
    assert open_store().read(key) == file.read_bytes()


class Clock:
    """A clock that only waiting moves."""

    def __init__(self):
        self.now = 100.0

    def time(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def test_bandwidth_is_the_average_and_the_peak():
    clock = Clock()
    bandwidth = Bandwidth(1_000_000, clock.time, clock.sleep)
    moments = []
    for _ in range(200):
        bandwidth.take(50_000)
        moments.append(clock.now)
    assert clock.now - 100.0 == pytest.approx(10.0, abs=0.3)
    # In no second more than the limit and the quarter of a second that the bucket holds.
    for moment in moments:
        assert sum(50_000 for other in moments if moment <= other < moment + 1) <= 1_300_000


def test_an_idle_line_saves_nothing_up():
    clock = Clock()
    bandwidth = Bandwidth(1_000_000, clock.time, clock.sleep)
    clock.now += 3600
    bandwidth.take(2_000_000)
    assert clock.now - 3700.0 == pytest.approx(1.75)


def test_no_limit_waits_never():
    def never(seconds):
        raise AssertionError

    Bandwidth(0, sleep=never).take(10**12)


def test_all_bytes_of_both_directions_are_within_the_bandwidth(open_store, file, key, tmp_path, monkeypatch):
    taken = []
    monkeypatch.setattr(Bandwidth, "take", lambda self, size: taken.append(size))
    store = open_store(bytes_per_second=1)
    store.upload(key, file)
    assert SIZE <= sum(taken) <= SIZE + HEADERS
    taken.clear()
    store.download(key, tmp_path / "copy")
    assert SIZE <= sum(taken) <= SIZE + HEADERS
    assert max(taken) <= 64 << 10
