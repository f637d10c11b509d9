"""The addresses of the stores in a workspace."""

import pytest

from fedvsr.errors import ConfigError
from fedvsr.store.workspace import CLIENT_VARIABLE, FEDERATION_VARIABLE, Workspace


def test_every_client_has_a_separate_store_under_the_root(workspace: Workspace):
    workspace.client("ann").write("shard", b"ann's")
    assert not workspace.client("bob").exists("shard")
    assert list(workspace.federation().keys("")) == []
    assert workspace.client("ann").uri == workspace.federation().uri.replace("federation", "clients/ann")


def test_environment_variables_give_the_addresses_of_the_stores(monkeypatch, tmp_path):
    monkeypatch.setenv(FEDERATION_VARIABLE, str(tmp_path / "all"))
    monkeypatch.setenv(CLIENT_VARIABLE, str(tmp_path / "of-{client}"))
    workspace = Workspace.from_environment()
    assert workspace.federation().uri == str(tmp_path / "all")
    assert workspace.client("ann").uri == str(tmp_path / "of-ann")


@pytest.mark.parametrize(
    ("federation", "client", "field"),
    [
        ("", "x/{client}", FEDERATION_VARIABLE),
        ("x", "", CLIENT_VARIABLE),
        ("x", "same-for-all", CLIENT_VARIABLE),
    ],
)
def test_an_address_that_is_missing_or_the_same_for_all_clients_is_refused(
    monkeypatch, federation, client, field
):
    monkeypatch.setenv(FEDERATION_VARIABLE, federation)
    monkeypatch.setenv(CLIENT_VARIABLE, client)
    with pytest.raises(ConfigError) as caught:
        Workspace.from_environment()
    assert caught.value.field == field
