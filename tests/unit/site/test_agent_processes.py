"""Agents as processes that are killed, and start again: nothing is lost, and the bytes are the same."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from minio import Minio

from fedvsr.access.invitation import Invitation
from fedvsr.config.run import RunConfig
from fedvsr.federation import layout
from fedvsr.federation.records import Outcome, write_record
from fedvsr.federation.run.prepare import prepare_run
from fedvsr.federation.run.sites import SiteRunner
from fedvsr.federation.run.training_round import train_round
from fedvsr.federation.site_records import SiteRecord
from fedvsr.progress import Progress
from fedvsr.site.audit import AuditLog
from fedvsr.site.folder import SiteFolder
from fedvsr.store.s3 import S3Store
from fedvsr.store.workspace import Workspace
from tests.unit.site.test_rounds_of_sites import weights_of_one_process
from tests.unit.tiny_run import write_video

PROGRAM = [sys.executable, "-m", "fedvsr", "site"]


class When(Progress):
    """Calls a function once, when a line with a text comes."""

    def __init__(self, text: str, call: Callable[[], object]) -> None:
        self._text, self._call = text, call
        self.lines: list[str] = []

    def message(self, text: str) -> None:
        self.lines.append(text)
        if self._text in text and self._call:
            call, self._call = self._call, None
            call()


@pytest.fixture
def one_bucket(s3_client: Minio) -> Iterator[str]:
    name = f"fedvsr-sites-{os.getpid()}"
    s3_client.make_bucket(bucket_name=name)
    yield name
    for item in s3_client.list_objects(bucket_name=name, recursive=True):
        s3_client.remove_object(bucket_name=name, object_name=str(item.object_name))
    s3_client.remove_bucket(bucket_name=name)


@pytest.fixture
def joined(one_bucket: str, s3_server: str, s3_environment: Path, tmp_path: Path) -> SiteFolder:
    """The folder of a site with one long video, whose uploads are slow."""
    video = tmp_path / "videos" / "ann"
    video.mkdir(parents=True)
    write_video(video / "long.avi", frames=60, size=(96, 96))
    invitation = Invitation(
        federation="test",
        site="ann",
        fedvsr_version="0.1.0",
        endpoint=s3_server,
        bucket=one_bucket,
        access_key=os.environ["AWS_ACCESS_KEY_ID"],
        secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
    )
    folder = SiteFolder(tmp_path / "site")
    folder.make()
    invitation.write(folder.invitation)
    settings: dict[str, Any] = {"videos": str(video), "resources": {"bandwidth": 20_000}}
    folder.settings.write_text(yaml.safe_dump(settings))
    record = SiteRecord(site="ann", invited=datetime(2026, 1, 1, tzinfo=UTC))
    write_record(S3Store(one_bucket), layout.site("ann"), record)
    return folder


@contextmanager
def agent(folder: SiteFolder, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as file:
        process = subprocess.Popen(
            [*PROGRAM, "start", "--folder", str(folder.root)], stdout=file, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.parametrize("state", ["sharding", "training", "uploading"])
def test_an_agent_that_is_killed_goes_on_after_a_restart(
    joined: SiteFolder, one_bucket: str, make_config: Callable[..., RunConfig], tmp_path: Path, state: str
):
    config = make_config(
        data__split_shots=False,
        federation__clients=["ann"],
        federation__rounds=1,
        federation__deadline_seconds=120,
        training__local_steps=40,
    )
    store = S3Store(one_bucket)
    record = prepare_run(store, config)
    log = tmp_path / "agent.log"
    killed = threading.Event()

    with agent(joined, log) as first:

        def kill() -> None:
            first.kill()
            first.wait()
            killed.set()

        progress = When(f"ann | {state}", kill)

        def restart() -> None:
            assert killed.wait(60)
            with agent(joined, log):
                finished.wait(60)

        finished = threading.Event()
        second = threading.Thread(target=restart)
        second.start()
        workspace = Workspace(store.uri, "")
        outcomes = train_round(workspace, record, 1, SiteRunner(0.05), progress)
        finished.set()
        second.join()
    text = log.read_text()
    assert killed.is_set(), text
    assert outcomes.outcomes[0].outcome is Outcome.OK, text
    assert text.count("begins") == 2
    # What was trained is not trained again.
    assert text.count("trained: loss") == 1
    expected = weights_of_one_process(tmp_path / "one-process", tmp_path / "videos", config)
    from fedvsr.federation.server.aggregate import aggregate_round

    assert [aggregate_round(store, record, 1).global_digest] == expected
    list(AuditLog(joined.audit).entries())


def test_the_keys_are_neither_in_the_log_nor_in_the_process_list(joined: SiteFolder, tmp_path: Path):
    log = tmp_path / "agent.log"
    with agent(joined, log) as process:
        arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert os.environ["AWS_SECRET_ACCESS_KEY"].encode() not in arguments
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in log.read_text()


def test_a_second_agent_in_the_same_folder_is_refused(joined: SiteFolder):
    with joined.locked():
        done = subprocess.run(
            [*PROGRAM, "start", "--folder", str(joined.root)], capture_output=True, text=True, check=False
        )
    assert done.returncode == 1
    assert "an agent already runs in" in " ".join(done.stderr.split())
