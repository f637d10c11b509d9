"""The clients' long-term keys: made once, kept on first sight, and changed only with a person's approval."""

import pytest

from fedvsr.errors import RecordError
from fedvsr.federation import layout
from fedvsr.federation.public_keys import (
    approve_key,
    clients_with_keys,
    known_keys,
    learn_keys,
    own_identity,
    publish_key,
    published_keys,
)
from fedvsr.federation.records import write_record
from fedvsr.federation.secure_records import ClientKeyRecord
from fedvsr.privacy.secure_aggregation.identity import fingerprint
from fedvsr.store.local import LocalStore


@pytest.fixture
def federation(tmp_path):
    return LocalStore(tmp_path / "federation")


@pytest.fixture
def stores(tmp_path, federation):
    """The own stores of ann and bob, who have published their keys."""
    stores = {name: LocalStore(tmp_path / name) for name in ("ann", "bob")}
    for name, store in stores.items():
        publish_key(federation, name, own_identity(store))
    return stores


def test_a_client_makes_its_secret_once(stores):
    assert own_identity(stores["ann"]).to_bytes() == own_identity(stores["ann"]).to_bytes()
    assert own_identity(stores["ann"]).public_key != own_identity(stores["bob"]).public_key


def test_published_keys_are_those_of_the_secrets(federation, stores):
    assert clients_with_keys(federation) == ("ann", "bob")
    published = published_keys(federation, ["ann", "bob", "cleo"])
    assert published == {name: own_identity(store).public_key for name, store in stores.items()}


def test_a_changed_key_is_refused_with_both_fingerprints_until_it_is_approved(federation, stores):
    old = learn_keys(stores["ann"], published_keys(federation, ["ann", "bob"]))["bob"]
    stores["bob"].delete(layout.LONG_TERM_SECRET)
    publish_key(federation, "bob", own_identity(stores["bob"]))
    published = published_keys(federation, ["ann", "bob"])
    with pytest.raises(RecordError, match="fedvsr clients approve bob") as caught:
        learn_keys(stores["ann"], published)
    assert fingerprint(old) in str(caught.value)
    assert fingerprint(published["bob"]) in str(caught.value)
    assert known_keys(stores["ann"])["bob"] == old
    approve_key(stores["ann"], "bob", published["bob"])
    assert learn_keys(stores["ann"], published) == published


def test_a_record_that_names_another_client_is_refused(federation, stores):
    write_record(federation, layout.client_key("bob"), ClientKeyRecord(client="ann", public_key="0" * 64))
    with pytest.raises(RecordError, match="names client 'ann'"):
        published_keys(federation, ["bob"])


def test_a_damaged_record_is_refused(federation, stores):
    federation.write(layout.client_key("bob"), b'{"client": "bob", "public_key": "abc"}')
    with pytest.raises(RecordError, match="public_key"):
        published_keys(federation, ["bob"])


class TestCommands:
    @pytest.fixture(autouse=True)
    def environment(self, monkeypatch, tmp_path, stores):
        monkeypatch.setenv("FEDVSR_FEDERATION_STORE", str(tmp_path / "federation"))
        monkeypatch.setenv("FEDVSR_CLIENT_STORE", str(tmp_path / "{client}"))

    def run(self, *arguments):
        from tests.unit.tiny_run import run_command

        return run_command("clients", *arguments)

    def test_keys_are_listed_as_fingerprints(self, stores, monkeypatch):
        monkeypatch.setenv("COLUMNS", "200")
        output = self.run("keys")
        assert output.code == 0
        for name, store in stores.items():
            (line,) = [line for line in output.out.splitlines() if f" {name} " in line]
            assert fingerprint(own_identity(store).public_key) in line

    def test_a_new_key_is_approved_for_the_clients_that_know_another(self, federation, stores):
        learn_keys(stores["ann"], published_keys(federation, ["ann", "bob"]))
        stores["bob"].delete(layout.LONG_TERM_SECRET)
        publish_key(federation, "bob", own_identity(stores["bob"]))
        output = self.run("approve", "bob", "--yes")
        assert output.code == 0
        assert "approved for ann" in output.out
        assert known_keys(stores["ann"])["bob"] == own_identity(stores["bob"]).public_key
        assert "is known already" in self.run("approve", "bob", "--yes").out

    def test_a_client_without_a_key_is_an_error_that_names_those_with_one(self):
        output = self.run("approve", "cleo", "--yes")
        assert output.code == 2
        assert "ann, bob" in output.err
