"""People compare long-term keys and approve a changed one."""

import pytest

from fedvsr.cli.keys import approve, print_keys
from fedvsr.errors import ConfigError, StoreError
from fedvsr.federation.public_keys import known_keys, learn_keys
from fedvsr.privacy.secure_aggregation.identity import Identity, fingerprint
from fedvsr.store.local import LocalStore

OLD, NEW = Identity.generate().public_key, Identity.generate().public_key


class BrokenStore(LocalStore):
    """A store whose server does not answer."""

    def read(self, key):
        raise StoreError("the server does not answer")


@pytest.fixture
def stores(tmp_path):
    stores = {name: LocalStore(tmp_path / name) for name in ("ann", "bob")}
    for store in stores.values():
        learn_keys(store, {"carl": OLD})
    return stores


def test_an_approved_key_replaces_the_known_one_everywhere(stores, capsys):
    approve("carl", {"carl": NEW}, stores, yes=True)
    assert all(known_keys(store) == {"carl": NEW} for store in stores.values())
    text = capsys.readouterr().out
    assert fingerprint(OLD) in text
    assert fingerprint(NEW) in text
    approve("carl", {"carl": NEW}, stores, yes=True)
    assert "is known already" in capsys.readouterr().out


def test_a_store_that_fails_is_named_and_the_others_are_approved(stores, tmp_path):
    with pytest.raises(StoreError, match=r"^not approved for abe; .*the server does not answer"):
        approve("carl", {"carl": NEW}, {"abe": BrokenStore(tmp_path / "abe"), **stores}, yes=True)
    assert all(known_keys(store) == {"carl": NEW} for store in stores.values())


def test_a_client_without_a_key_is_refused(stores):
    with pytest.raises(ConfigError, match=r"it has published no key; those that have: carl"):
        approve("dora", {"carl": NEW}, stores, yes=True)


def test_keys_are_compared_with_the_known_ones(capsys):
    print_keys({"ann": OLD, "bob": NEW, "carl": NEW}, {"ann": OLD, "bob": OLD})
    lines = {line.split("\N{BOX DRAWINGS LIGHT VERTICAL}")[1].strip(): line for line in _rows(capsys)}
    assert "yes" in lines["ann"]
    assert "no:" in lines["bob"]
    assert "not yet" in lines["carl"]


def _rows(capsys):
    separator = "\N{BOX DRAWINGS LIGHT VERTICAL}"
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith(separator)]
