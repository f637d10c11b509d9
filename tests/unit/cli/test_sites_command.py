"""fedvsr sites: invite, list, rotate, revoke and policy, as an operator calls them."""

import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import pytest

from fedvsr.access.invitation import read_invitation
from fedvsr.access.policies import site_policy
from fedvsr.cluster.settings import CLIENTS_VARIABLE
from fedvsr.federation import layout
from fedvsr.federation.records import write_record
from fedvsr.federation.site_records import HeartbeatRecord
from fedvsr.store import s3_admin
from fedvsr.store.s3 import S3Store
from fedvsr.store.workspace import FEDERATION_VARIABLE
from tests.unit.store.certificates import authority

ADDRESS = "https://fed.example.org"


class Server:
    """A fake of `fedvsr.store.s3_admin.S3Admin`."""

    known: ClassVar[dict[str, str]] = {}

    def users(self):
        return dict.fromkeys(self.known, True)

    def set_user(self, name, secret, policy):
        self.known[name] = secret

    def remove_user(self, name):
        self.known.pop(name, None)


@pytest.fixture
def users(monkeypatch):
    """The users of the server, and their secret keys."""
    monkeypatch.setattr(Server, "known", {})
    monkeypatch.setattr(s3_admin, "S3Admin", Server)
    return Server.known


@pytest.fixture
def federation(bucket, s3_environment, users, tmp_path, monkeypatch):
    """The federation's store, which the environment names; the working folder is empty."""
    for name in ("FEDVSR_SITE_ADDRESS", "FEDVSR_SITE_CA", "FEDVSR_S3_CA", CLIENTS_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(FEDERATION_VARIABLE, f"s3://{bucket}")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    store = S3Store(bucket)
    yield store
    for key in list(store.keys("")):
        store.delete(key)


def full(*arguments):
    raise OSError(28, "No space left on device")


def read_written(name):
    return read_invitation(Path(name))


def test_a_site_from_its_invitation_to_its_end(fedvsr, federation, users, tmp_path):
    output = fedvsr(
        "sites", "invite", "ann", "--address", ADDRESS, "--federation", "hospitals", "--expires", 30
    )
    assert output.code == 0, output.err
    path = tmp_path / "ann.fedvsr-invitation"
    first = read_invitation(path)
    assert (first.site, first.federation, first.endpoint) == ("ann", "hospitals", ADDRESS)
    assert first.bucket == federation.bucket
    assert users == {"site-ann": first.secret_key}
    assert path.name in output.out
    assert f"{first.expires:%Y-%m-%d}" in output.out

    again = fedvsr("sites", "invite", "ann", "--address", ADDRESS)
    assert (again.code, users) == (2, {"site-ann": first.secret_key})
    assert "fedvsr sites rotate ann" in again.err

    rotated = fedvsr("sites", "rotate", "ann", "--address", ADDRESS)
    second = read_invitation(path)
    assert (rotated.code, second.federation) == (0, "hospitals")
    assert users == {"site-ann": second.secret_key} != {"site-ann": first.secret_key}
    assert second.expires is not None

    for _ in range(2):
        assert fedvsr("sites", "revoke", "ann").code == 0
        assert not users
    assert "the operator revoked it" in fedvsr("sites", "list").out
    printed = "".join(text for entry in (output, again, rotated) for text in (entry.out, entry.err))
    assert not [secret for secret in (first.secret_key, second.secret_key) if secret in printed]


def test_the_list_shows_what_each_site_does(fedvsr, federation, monkeypatch):
    for name in ("ann", "bob"):
        fedvsr("sites", "invite", name, "--address", ADDRESS)
    heartbeat = HeartbeatRecord(
        site="ann",
        agent="a",
        fedvsr_version="0.1.0",
        activity="demo round 3: [red]training[/] 120/400",
        free_disk_bytes=42_000_000_000,
        gpus=("NVIDIA H100",),
    )
    write_record(federation, layout.heartbeat("ann"), heartbeat)
    # On a busy machine a second passes between the heartbeat and the look at it.
    monkeypatch.setattr(S3Store, "age", lambda store, key: 0.2)
    output = fedvsr("sites", "list")
    (ann,) = [line for line in output.out.splitlines() if " ann " in line]
    (bob,) = [line for line in output.out.splitlines() if " bob " in line]
    for text in ("0 s ago", "demo round 3: [red]training[/] 120/400", "42.0 GB", "NVIDIA H100", "member"):
        assert text in ann
    assert "never" in bob


def test_a_site_that_is_silent_is_offline(fedvsr, federation, monkeypatch):
    fedvsr("sites", "invite", "ann", "--address", ADDRESS)
    heartbeat = HeartbeatRecord(site="ann", agent="a", fedvsr_version="0.1.0", activity="idle")
    write_record(federation, layout.heartbeat("ann"), heartbeat)
    monkeypatch.setattr(S3Store, "age", lambda store, key: 3 * 86_400.0)
    (line,) = [line for line in fedvsr("sites", "list").out.splitlines() if " ann " in line]
    assert "3 d ago" in line
    assert "offline" in line


@pytest.mark.parametrize("variable", ["FEDVSR_SITE_CA", "FEDVSR_S3_CA"])
def test_the_deployments_settings_name_address_and_authority(fedvsr, federation, monkeypatch, variable):
    monkeypatch.setenv("FEDVSR_S3_CA", "of the server inside")
    monkeypatch.setenv(variable, "of the front door")
    monkeypatch.setenv("FEDVSR_SITE_ADDRESS", ADDRESS)
    assert fedvsr("sites", "invite", "ann", "--output", "file").code == 0
    assert read_written("file").ca_certificate == "of the front door"
    assert read_written("file").endpoint == ADDRESS


def test_an_authority_may_be_in_a_file(fedvsr, federation, tmp_path):
    _, pem = authority("hospital")
    (tmp_path / "ca.pem").write_text(pem)
    assert fedvsr("sites", "invite", "ann", "--address", ADDRESS, "--ca", "ca.pem").code == 0
    assert read_written("ann.fedvsr-invitation").ca_certificate == pem


def test_the_name_of_a_hosted_client_is_taken(fedvsr, federation, users, monkeypatch):
    monkeypatch.setenv(CLIENTS_VARIABLE, json.dumps({"ann": {"namespace": "ann", "image": "fedvsr"}}))
    output = fedvsr("sites", "invite", "ann", "--address", ADDRESS)
    assert (output.code, users) == (2, {})
    assert "'ann' is a client of the federation already" in output.err


BY_HAND = ("ann", "--address", ADDRESS, "--access-key", "AKIA1")


def test_keys_that_were_made_by_hand_come_from_a_file_or_standard_input(
    fedvsr, federation, users, tmp_path, monkeypatch
):
    (tmp_path / "secret").write_text("first\n")
    invited = fedvsr("sites", "invite", *BY_HAND, "--secret-file", "secret")
    first = read_written("ann.fedvsr-invitation")
    assert (invited.code, first.access_key, first.secret_key) == (0, "AKIA1", "first")

    monkeypatch.setattr("sys.stdin", io.StringIO("second\n"))
    rotated = fedvsr("sites", "rotate", *BY_HAND)
    second = read_written("ann.fedvsr-invitation")
    assert (rotated.code, second.access_key, second.secret_key) == (0, "AKIA1", "second")

    monkeypatch.setattr(s3_admin, "S3Admin", None)
    assert fedvsr("sites", "revoke", "ann", "--keys-removed").code == 0
    assert "the operator revoked it" in fedvsr("sites", "list").out
    assert not users
    assert not [text for text in (invited.out, rotated.out) if "first" in text or "second" in text]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*BY_HAND, "--secret-file", "missing"), "it must be a readable text file"),
        ((*BY_HAND, "--secret-file", "two"), "the secret key and nothing else"),
        (BY_HAND, "'standard input' is not allowed; it must have the secret key"),
        (("ann", "--address", ADDRESS, "--secret-file", "two"), "--access-key"),
    ],
)
def test_a_secret_key_that_cannot_be_read_invites_nobody(
    fedvsr, federation, users, tmp_path, monkeypatch, arguments, message
):
    (tmp_path / "two").write_text("one two")
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    output = fedvsr("sites", "invite", *arguments)
    assert output.code == 2
    assert message in " ".join(output.err.split())
    assert "one two" not in output.err
    assert not users
    assert not list(federation.keys(layout.SITES))


def test_an_invitation_with_keys_made_by_hand_that_cannot_be_written_is_written_again(
    fedvsr, federation, tmp_path, monkeypatch
):
    (tmp_path / "secret").write_text("first")
    with monkeypatch.context() as patch:
        patch.setattr("fedvsr.access.invitation.os.fsync", full)
        output = fedvsr("sites", "invite", *BY_HAND, "--secret-file", "secret")
    assert output.code == 1
    assert "fedvsr sites rotate ann --access-key AKIA1" in " ".join(output.err.split())
    assert fedvsr("sites", "rotate", *BY_HAND, "--secret-file", "secret").code == 0
    assert read_written("ann.fedvsr-invitation").secret_key == "first"


@pytest.mark.parametrize("command", ["invite", "rotate"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ann"], "FEDVSR_SITE_ADDRESS"),
        (["ann", "--address", "http://fed.example.org"], "https://HOST"),
        (["ann", "--address", "https://fed.example.org/path"], "--address"),
        (["Ann", "--address", ADDRESS], "lower-case"),
        (["../ann", "--address", ADDRESS], "lower-case"),
        (["ann", "--address", ADDRESS, "--federation", "My Federation"], "--federation"),
        (["ann", "--address", ADDRESS, "--ca", "missing.pem"], "--ca"),
        (["ann", "--address", ADDRESS, "--ca", "no.pem"], "--ca"),
        (["ann", "--address", ADDRESS, "--output", "missing/file"], "--output"),
        (["ann", "--address", ADDRESS, "--expires", 0], "--expires"),
        (["ann", "--address", ADDRESS, "--expires", 10**9], "--expires"),
    ],
)
def test_wrong_inputs_make_no_keys(fedvsr, federation, users, tmp_path, command, arguments, message):
    (tmp_path / "no.pem").write_text("no certificate")
    output = fedvsr("sites", command, *arguments)
    assert output.code == 2
    assert message in output.err
    assert not users
    assert not list(federation.keys(layout.SITES))


def test_a_federation_in_a_folder_has_no_sites(fedvsr, federation, users, monkeypatch, tmp_path):
    monkeypatch.setenv(FEDERATION_VARIABLE, str(tmp_path / "federation"))
    output = fedvsr("sites", "invite", "ann", "--address", ADDRESS)
    assert (output.code, users) == (2, {})
    assert "s3://BUCKET" in output.err


def test_an_invitation_that_cannot_be_written_says_how_to_get_another(fedvsr, federation, monkeypatch):
    monkeypatch.setattr("fedvsr.access.invitation.os.fsync", full)
    output = fedvsr("sites", "invite", "ann", "--address", ADDRESS)
    assert output.code == 1
    assert "No space left on device" in output.err
    assert "fedvsr sites rotate ann" in output.err


@pytest.mark.parametrize("command", ["rotate", "revoke"])
def test_an_unknown_site_is_an_error(fedvsr, federation, command):
    address = ["--address", ADDRESS] if command == "rotate" else []
    output = fedvsr("sites", command, "ann", *address)
    assert output.code == 2
    assert "unknown site 'ann'" in output.err


def test_the_policy_is_printed_for_other_servers(fedvsr, federation):
    output = fedvsr("sites", "policy", "ann")
    assert json.loads(output.out) == site_policy("ann", federation.bucket)
    limited = json.loads(fedvsr("sites", "policy", "ann", "--expires", 1).out)
    moment = limited["Statement"][0]["Condition"]["DateLessThan"]["aws:CurrentTime"]
    assert 0 < (datetime.fromisoformat(moment) - datetime.now(UTC)).total_seconds() <= 86_400
