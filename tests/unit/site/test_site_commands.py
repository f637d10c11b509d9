"""`fedvsr site` as the owner of a site calls it."""

import hashlib
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fedvsr.access.invitation import Invitation
from fedvsr.config.run import RunConfig
from fedvsr.errors import AccessDeniedError, CredentialsError
from fedvsr.federation import layout
from fedvsr.federation.records import write_record
from fedvsr.federation.site_records import FederationRecord, SiteRecord
from fedvsr.site.checks import check_site
from fedvsr.site.settings import SiteSettings
from fedvsr.store.local import LocalStore
from fedvsr.store.s3 import S3Store
from tests.unit.site.conftest import Federation
from tests.unit.site.test_rounds_of_sites import run_round
from tests.unit.tiny_run import Output

INVITATION = Invitation(
    federation="test",
    site="ann",
    fedvsr_version="0.1.0",
    endpoint="https://fed.example.org",
    bucket="fedvsr",
    access_key="a",
    secret_key="s",
)


@pytest.fixture
def invitation(bucket: str, s3_server: str, s3_environment: Path, tmp_path: Path) -> Path:
    """The invitation of site ann to a federation on the tests' S3 server."""
    store = S3Store(bucket)
    write_record(store, layout.FEDERATION, FederationRecord(name="test", fedvsr_version="0.1.0"))
    write_record(store, layout.site("ann"), SiteRecord(site="ann", invited=datetime(2026, 1, 1, tzinfo=UTC)))
    path = tmp_path / "ann.fedvsr-invitation"
    Invitation(
        federation="test",
        site="ann",
        fedvsr_version="0.1.0",
        endpoint=s3_server,
        bucket=bucket,
        access_key=os.environ["AWS_ACCESS_KEY_ID"],
        secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
    ).write(path)
    return path


def test_join_writes_a_folder_that_only_its_owner_may_read(
    invitation: Path, videos: Path, tmp_path: Path, fedvsr: Callable[..., Output]
):
    folder = tmp_path / "site"
    joined = fedvsr("site", "join", invitation, "--videos", videos / "ann", "--folder", folder)
    # The tests' server has no policies, which the check notices.
    assert "these keys can list all sites" in joined.out
    assert "ok      videos" in joined.out
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "invitation.json").stat().st_mode & 0o077 == 0
    settings = (folder / "site.yaml").read_text()
    again = fedvsr("site", "join", invitation, "--folder", folder)
    assert f"{folder}/site.yaml stays as it is; its videos are {videos}/ann" in again.out
    assert (folder / "site.yaml").read_text() == settings


def test_the_first_join_needs_the_videos(invitation: Path, tmp_path: Path, fedvsr: Callable[..., Output]):
    joined = fedvsr("site", "join", invitation, "--folder", tmp_path / "site")
    assert joined.code == 2
    assert "--videos" in joined.err


def test_a_folder_belongs_to_one_site(
    invitation: Path, videos: Path, tmp_path: Path, fedvsr: Callable[..., Output]
):
    folder = tmp_path / "site"
    fedvsr("site", "join", invitation, "--videos", videos / "ann", "--folder", folder)
    other = tmp_path / "bob.fedvsr-invitation"
    other.write_text(json.dumps({**json.loads(invitation.read_text()), "site": "bob"}))
    refused = fedvsr("site", "join", other, "--folder", folder)
    assert refused.code == 1
    assert "is the folder of site 'ann'" in " ".join(refused.err.split())


def test_pause_resume_and_leave(
    invitation: Path, videos: Path, tmp_path: Path, fedvsr: Callable[..., Output]
):
    folder = tmp_path / "site"
    fedvsr("site", "join", invitation, "--videos", videos / "ann", "--folder", folder)
    assert "paused" in fedvsr("site", "pause", "--folder", folder).out
    assert "does not run, paused" in fedvsr("site", "status", "--folder", folder).out
    assert "resumed" in fedvsr("site", "resume", "--folder", folder).out
    assert fedvsr("site", "leave", "--folder", folder).code == 0
    assert not (folder / "invitation.json").exists()
    assert "0 entries" not in fedvsr("site", "audit", "--folder", folder).out
    assert fedvsr("site", "start", "--folder", folder).code == 1


def test_the_last_delivery_can_be_compared_with_the_audit_log(
    federation: Federation, site_config: Callable[..., RunConfig]
):
    site = federation.invite("ann")
    run_round(federation, federation.start_run(site_config(federation__clients=["ann"])), [site])
    sent = {entry.key: entry.sha256 for entry in site.audit.entries() if entry.direction == "sent"}
    for name, key in (
        ("update.safetensors", layout.update("test", 1, "ann")),
        ("report.json", layout.report("test", 1, "ann")),
    ):
        data = (site.folder.delivered / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == sent[key]


@pytest.mark.parametrize(("error", "passes"), [(AccessDeniedError, True), (CredentialsError, False)])
def test_only_a_refusal_shows_that_nothing_else_can_be_read(
    tmp_path: Path, videos: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception], passes: bool
):
    def refuse(store: LocalStore, prefix: str) -> list[str]:
        raise error("no")

    monkeypatch.setattr(LocalStore, "keys", refuse)
    settings = SiteSettings(videos=videos / "ann")
    checks = check_site(settings, INVITATION, LocalStore(tmp_path), 10**12)
    found = next(check for check in checks if check.what == "nothing else can be read")
    assert (found.problem == "") == passes


@pytest.mark.parametrize(("devices", "problem"), [("auto", ""), ("cpu", ""), ("7", "resources.devices is 7")])
def test_a_gpu_that_the_machine_lacks_is_a_problem(
    tmp_path: Path, videos: Path, monkeypatch: pytest.MonkeyPatch, devices: str, problem: str
):
    monkeypatch.setenv("PATH", str(tmp_path))
    settings = SiteSettings.parse({"videos": str(videos / "ann"), "resources": {"devices": devices}})
    checks = check_site(settings, INVITATION, LocalStore(tmp_path), 10**12)
    gpus = next(check for check in checks if check.what == "GPUs")
    assert gpus.problem.startswith(problem)
    assert bool(gpus.result) == (not problem)
