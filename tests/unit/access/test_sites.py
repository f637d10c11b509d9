"""Sites are invited, listed, rotated and revoked; each may be cut off anywhere and run again."""

from datetime import UTC, datetime, timedelta

import pytest

from fedvsr.access import sites
from fedvsr.access.sites import FrontDoor, SiteKeys, invite_site, list_sites, revoke_site, rotate_site
from fedvsr.errors import InputError, StoreError, UnknownNameError
from fedvsr.federation import layout
from fedvsr.federation.records import ClientRecord, read_record, write_record
from fedvsr.federation.site_records import FederationRecord, HeartbeatRecord, SiteRecord

DOOR = FrontDoor("hospitals", "https://fed.example.org", "fedvsr")
SAME_FEDERATION = FrontDoor("", "https://fed.example.org", "fedvsr")


class Cut(Exception):
    """The process ends here."""


class Server:
    """A fake of `fedvsr.store.s3_admin.S3Admin` with the users' keys and policies in memory."""

    def __init__(self):
        self.known, self.calls_left = {}, None

    def users(self):
        return dict.fromkeys(self.known, True)

    def set_user(self, name, secret, policy):
        self.step()
        self.known[name] = (secret, policy)

    def remove_user(self, name):
        self.step()
        self.known.pop(name, None)

    def step(self):
        """Ends the process if it has made its last call."""
        if self.calls_left is not None:
            if not self.calls_left:
                raise Cut
            self.calls_left -= 1

    def accepts(self, invitation):
        return self.known.get(invitation.access_key, ("", None))[0] == invitation.secret_key


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def store(local_store, server, monkeypatch):
    """A store whose writes are steps too, as the process may end before each."""
    write = local_store.write

    def counted(key, data):
        server.step()
        write(key, data)

    monkeypatch.setattr(local_store, "write", counted)
    return local_store


def state(store, name="ann"):
    return {entry.record.site: entry for entry in list_sites(store)}[name]


def test_an_invitation_has_keys_that_the_server_accepts(store, server):
    invitation = invite_site(store, server, DOOR, "ann")
    assert server.accepts(invitation)
    assert (invitation.access_key, invitation.site, invitation.federation) == ("site-ann", "ann", "hospitals")
    assert len(invitation.secret_key) >= 32
    assert invitation.expires is None
    assert read_record(store, layout.FEDERATION, FederationRecord).name == "hospitals"
    assert state(store).refusal is None


def test_the_secret_is_stored_nowhere(store, server):
    secret = invite_site(store, server, DOOR, "ann").secret_key.encode()
    assert not [key for key in store.keys("") if secret in store.read(key)]


def test_keys_expire_by_the_policy_and_in_the_records(store, server):
    invitation = invite_site(store, server, DOOR, "ann", days=30)
    assert timedelta(days=29) < invitation.expires - datetime.now(UTC) <= timedelta(days=30)
    assert state(store).record.expires == invitation.expires
    moment = invitation.expires.strftime("%Y-%m-%dT%H:%M:%SZ")
    allowed = [entry for entry in server.known["site-ann"][1]["Statement"] if entry["Effect"] == "Allow"]
    assert allowed
    for statement in allowed:
        assert statement["Condition"]["DateLessThan"] == {"aws:CurrentTime": moment}


@pytest.mark.parametrize("source", ["list", "record", "user"])
def test_the_name_of_a_hosted_client_is_taken(store, server, source):
    if source == "record":
        write_record(store, layout.client("ann"), ClientRecord(name="ann"))
    if source == "user":
        server.set_user("client-ann", "secret", {})
    with pytest.raises(InputError, match="'ann' is a client of the federation already"):
        invite_site(store, server, DOOR, "ann", hosted={"ann": None} if source == "list" else {})
    assert "site-ann" not in server.known


def test_the_name_of_a_client_that_was_removed_is_free(store, server, monkeypatch):
    server.set_user("client-ann", "secret", {})
    monkeypatch.setattr(server, "users", lambda: {"client-ann": False})
    assert server.accepts(invite_site(store, server, DOOR, "ann"))


def test_a_site_that_is_invited_keeps_its_keys(store, server):
    invitation = invite_site(store, server, DOOR, "ann")
    with pytest.raises(InputError, match=r"invited already; `fedvsr sites rotate ann`"):
        invite_site(store, server, DOOR, "ann")
    assert server.accepts(invitation)


def test_rotated_keys_replace_the_old_ones_at_once(store, server):
    old = invite_site(store, server, DOOR, "ann", days=30)
    new = rotate_site(store, server, SAME_FEDERATION, "ann")
    assert server.accepts(new)
    assert not server.accepts(old)
    # What the operator did not name stays as it was.
    assert new.federation == "hospitals"
    assert timedelta(days=29) < new.expires - datetime.now(UTC) <= timedelta(days=30)


def test_expired_keys_are_rotated_or_the_site_is_invited_again(store, server):
    invite_site(store, server, DOOR, "ann", days=1)
    expired = SiteRecord(site="ann", invited="2025-01-01T00:00:00Z", expires="2025-01-02T00:00:00Z")
    write_record(store, layout.site("ann"), expired)
    assert "expired" in state(store).refusal
    assert server.accepts(rotate_site(store, server, DOOR, "ann"))
    write_record(store, layout.site("ann"), expired)
    assert server.accepts(invite_site(store, server, DOOR, "ann"))
    assert state(store).refusal is None


def test_a_revoked_site_is_refused_and_named_and_may_be_invited_again(store, server):
    old = invite_site(store, server, DOOR, "ann")
    for _ in range(2):
        revoke_site(store, server, "ann")
        assert not server.accepts(old)
        assert "revoked" in state(store).refusal
    first = state(store).record.revoked
    revoke_site(store, server, "ann")
    assert state(store).record.revoked == first
    with pytest.raises(InputError, match="`fedvsr sites invite ann`"):
        rotate_site(store, server, DOOR, "ann")
    new = invite_site(store, server, DOOR, "ann")
    assert server.accepts(new)
    assert not server.accepts(old)
    assert state(store).refusal is None


@pytest.mark.parametrize(
    "action", [rotate_site, lambda store, server, _, name: revoke_site(store, server, name)]
)
def test_an_unknown_site_is_named_beside_the_known_ones(store, server, action):
    invite_site(store, server, DOOR, "bob")
    with pytest.raises(UnknownNameError, match=r"unknown site 'ann'; known: bob"):
        action(store, server, DOOR, "ann")


@pytest.mark.parametrize("steps", range(4))
def test_an_invitation_that_was_cut_off_is_repeated(store, server, steps):
    server.calls_left = steps
    with pytest.raises(Cut):
        invite_site(store, server, DOOR, "ann")
    server.calls_left = None
    assert server.accepts(invite_site(store, server, DOOR, "ann"))


@pytest.mark.parametrize("steps", range(4))
def test_a_rotation_that_was_cut_off_is_repeated(store, server, steps):
    old = invite_site(store, server, DOOR, "ann", days=3)
    server.calls_left = steps
    with pytest.raises(Cut):
        rotate_site(store, server, DOOR, "ann")
    server.calls_left = None
    new = rotate_site(store, server, DOOR, "ann")
    assert server.accepts(new)
    assert not server.accepts(old)
    assert new.expires is not None


@pytest.mark.parametrize("steps", range(2))
def test_a_revocation_that_was_cut_off_never_leaves_a_revoked_site_with_keys(store, server, steps):
    invitation = invite_site(store, server, DOOR, "ann")
    server.calls_left = steps
    with pytest.raises(Cut):
        revoke_site(store, server, "ann")
    server.calls_left = None
    assert state(store).record.revoked is None or not server.accepts(invitation)
    revoke_site(store, server, "ann")
    assert not server.accepts(invitation)
    assert state(store).record.revoked is not None


def test_the_list_tells_what_agents_do(store, server, monkeypatch):
    for name in ("ann", "bob", "eve"):
        invite_site(store, server, DOOR, name)
    heartbeat = HeartbeatRecord(
        site="ann", agent="a", fedvsr_version="0.1.0", activity="idle", free_disk_bytes=5, gpus=("H100",)
    )
    write_record(store, layout.heartbeat("ann"), heartbeat)
    # Whoever has a site's keys may write anything there.
    store.write(layout.heartbeat("eve"), b"\xff not a heartbeat")
    monkeypatch.setattr(type(store), "age", lambda self, key: self.size(key) and 12.0)
    states = {entry.record.site: entry for entry in list_sites(store)}
    assert (states["ann"].heartbeat, states["ann"].age) == (heartbeat, 12.0)
    assert (states["bob"].heartbeat, states["bob"].age) == (None, None)
    assert (states["eve"].heartbeat, states["eve"].age) == (None, 12.0)


def test_a_server_that_refuses_leaves_no_record_of_a_site(store, server, monkeypatch):
    def refuse(*arguments):
        raise StoreError("the server refuses")

    monkeypatch.setattr(server, "set_user", refuse)
    with pytest.raises(StoreError):
        invite_site(store, server, DOOR, "ann")
    assert not sites.site_names(store)


def test_keys_that_were_made_by_hand_are_in_the_invitation_and_the_server_is_not_asked(store):
    invitation = invite_site(store, SiteKeys("AKIA1", "first"), DOOR, "ann", days=30)
    assert (invitation.access_key, invitation.secret_key) == ("AKIA1", "first")
    assert state(store).record.expires == invitation.expires is not None
    assert "first" not in repr(SiteKeys("AKIA1", "first"))

    with pytest.raises(InputError, match=r"invited already; `fedvsr sites rotate ann`"):
        invite_site(store, SiteKeys("AKIA2", "second"), DOOR, "ann")
    rotated = rotate_site(store, SiteKeys("AKIA2", "second"), SAME_FEDERATION, "ann")
    assert (rotated.access_key, rotated.federation) == ("AKIA2", "hospitals")

    revoke_site(store, None, "ann")
    assert "revoked" in state(store).refusal


def test_keys_that_were_made_by_hand_are_not_for_the_name_of_a_hosted_client(store):
    write_record(store, layout.client("ann"), ClientRecord(name="ann"))
    with pytest.raises(InputError, match="'ann' is a client of the federation already"):
        invite_site(store, SiteKeys("AKIA1", "first"), DOOR, "ann")
    assert not sites.site_names(store)
