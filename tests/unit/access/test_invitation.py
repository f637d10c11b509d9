"""The invitation: a file with keys that is written with care and read with suspicion."""

import json
import stat
from datetime import UTC, datetime, timedelta

import pytest

from fedvsr.access.invitation import Invitation, read_invitation
from fedvsr.errors import AccessFileError, FedVSRError, RecordError

SECRET = "the-secret-key-of-ann"


@pytest.fixture
def invitation():
    return Invitation(
        federation="hospitals",
        site="ann",
        fedvsr_version="0.1.0",
        endpoint="https://fed.example.org",
        bucket="fedvsr",
        ca_certificate="-----BEGIN CERTIFICATE-----",
        access_key="site-ann",
        secret_key=SECRET,
        expires=datetime.now(UTC) + timedelta(days=1),
    )


def changed(invitation, path, **fields):
    """Writes an invitation with other fields, as another fedvsr or a person may."""
    values = json.loads(invitation.to_bytes()) | fields
    path.write_text(json.dumps(values))
    return path


def test_a_written_invitation_is_read_again_and_names_the_connection(invitation, tmp_path):
    path = tmp_path / "ann.fedvsr-invitation"
    invitation.write(path)
    read = read_invitation(path)
    assert read == invitation
    connection = read.connection()
    assert (connection.endpoint, connection.access_key) == ("https://fed.example.org", "site-ann")
    assert (connection.secret_key, connection.ca_certificate) == (SECRET, "-----BEGIN CERTIFICATE-----")


def test_only_the_owner_may_read_the_file_also_if_it_replaces_an_open_one(invitation, tmp_path):
    path = tmp_path / "ann.fedvsr-invitation"
    path.write_text("older")
    path.chmod(0o644)
    invitation.write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_file_that_cannot_be_written_leaves_nothing(invitation, tmp_path):
    with pytest.raises(AccessFileError, match="name another file"):
        invitation.write(tmp_path / "missing" / "ann.fedvsr-invitation")
    (tmp_path / "folder").mkdir()
    with pytest.raises(AccessFileError):
        invitation.write(tmp_path / "folder")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_text_forms_have_no_secret(invitation):
    for text in (repr(invitation), str(invitation), f"{invitation}", repr(invitation.connection())):
        assert "site-ann" in text
        assert SECRET not in text
        assert "BEGIN CERTIFICATE" not in text


@pytest.mark.parametrize(
    "fields",
    [
        {"version": 2},
        {"secret_key": [SECRET]},
        {"site": "No Name"},
        {"expires": "soon"},
        {"another": SECRET},
        {"protocol": 0},
    ],
)
def test_an_invitation_that_was_changed_is_refused_without_its_secret(invitation, tmp_path, fields):
    path = changed(invitation, tmp_path / "file", **fields)
    with pytest.raises(RecordError, match=r"is no invitation|protocol 0") as caught:
        read_invitation(path)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"PK\x03\x04", b'{"protocol": 1}'])
def test_another_file_is_no_invitation(tmp_path, data):
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(RecordError, match="is no invitation"):
        read_invitation(path)


def test_a_missing_file_says_who_makes_one(tmp_path):
    with pytest.raises(AccessFileError, match=r"cannot be read .*`fedvsr sites invite`"):
        read_invitation(tmp_path / "missing")


def test_a_newer_protocol_says_what_to_upgrade(invitation, tmp_path):
    path = changed(invitation, tmp_path / "file", protocol=2, fedvsr_version="9.9", a_new_field=1)
    with pytest.raises(RecordError, match=r"protocol 2 of fedvsr 9.9.*upgrade this fedvsr"):
        read_invitation(path)


def test_expired_keys_say_since_when_and_how_to_get_new_ones(invitation, tmp_path):
    path = changed(invitation, tmp_path / "file", expires="2025-01-02T03:04:05Z")
    with pytest.raises(FedVSRError, match=r"expired on 2025-01-02 03:04 UTC.*`fedvsr sites rotate ann`"):
        read_invitation(path)


def test_keys_without_an_end_are_valid(invitation, tmp_path):
    assert read_invitation(changed(invitation, tmp_path / "file", expires=None)).expires is None
