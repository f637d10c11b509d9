"""Provisioning makes buckets and S3 users from the list of clients."""

import pytest

from fedvsr.access.provision import Deployment, provision, read_secrets
from fedvsr.errors import ConfigError


class Server:
    """A fake of `fedvsr.store.s3_admin.S3Admin` that keeps buckets and users in memory."""

    def __init__(self):
        self.buckets, self.known, self.quotas = set(), {}, {}

    def make_bucket(self, name):
        is_new = name not in self.buckets
        self.buckets.add(name)
        return is_new

    def set_quota(self, bucket, size):
        self.quotas[bucket] = size

    def users(self):
        return {name: enabled for name, (enabled, _, _) in self.known.items()}

    def set_user(self, name, secret, policy):
        self.known[name] = (True, secret, policy)

    def disable_user(self, name):
        self.known[name] = (False, *self.known[name][1:])


def deployment(*clients):
    return Deployment.parse(
        {"federation": "fed", "mlflow": "mlflow", "clients": {name: f"fed-client-{name}" for name in clients}}
    )


def run(server, *clients):
    lines = []
    listed = deployment(*clients)
    provision(server, listed, {user: f"secret-of-{user}" for user in listed.users()}, lines.append)
    return lines


def test_buckets_and_users_are_made_once():
    server = Server()
    first = run(server, "ann", "bob")
    assert server.buckets == {"fed", "mlflow", "fed-client-ann", "fed-client-bob"}
    assert set(server.known) == {"federation", "mlflow", "client-ann", "client-bob"}
    assert "bucket fed-client-ann: made" in first
    assert "user client-ann: made; its bucket is fed-client-ann" in first
    before = dict(server.known)
    second = run(server, "ann", "bob")
    assert server.known == before
    assert not [line for line in second if "made" in line]


def test_a_removed_client_has_no_rights_and_keeps_its_bucket():
    server = Server()
    run(server, "ann", "bob")
    lines = run(server, "ann")
    assert server.users() == {"federation": True, "mlflow": True, "client-ann": True, "client-bob": False}
    assert "fed-client-bob" in server.buckets
    assert lines[-1] == "user client-bob: disabled, since the client is no longer listed; its bucket stays"
    assert not [line for line in run(server, "ann") if "client-bob" in line]
    assert "user client-bob: enabled again; its bucket is fed-client-bob" in run(server, "ann", "bob")


def test_other_users_are_not_changed():
    server = Server()
    server.known["somebody"] = (True, "", {})
    run(server, "ann")
    assert server.users()["somebody"]


def test_virtual_clients_have_one_bucket_and_one_user_as_long_as_there_are_any():
    server = Server()
    values = {"federation": "fed", "mlflow": "mlflow", "clients": {"ann": "fed-client-ann"}}
    lines = []
    for virtual in ({"virtual": "fed-virtual"}, {}):
        listed = Deployment.parse({**values, **virtual})
        provision(server, listed, dict.fromkeys(listed.users(), "secret-of-it"), lines.append)
    assert "user virtual-clients: made; its bucket is fed-virtual" in lines
    assert server.users()["virtual-clients"] is False
    assert "fed-virtual" in server.buckets


@pytest.mark.parametrize(
    ("values", "field", "message"),
    [
        ({"federation": "fed"}, "mlflow", "required"),
        ({"federation": "fed", "mlflow": "mlflow", "virtual": "fed"}, "virtual", "share a bucket"),
        (
            {"federation": "fed", "mlflow": "mlflow", "virtual": "sim", "clients": {"client-1": "x-1"}},
            "clients.client-1",
            "may begin with client-",
        ),
        ({"federation": "Fed", "mlflow": "mlflow"}, "federation", "lower-case"),
        ({"federation": "fed", "mlflow": "fed"}, "mlflow", "share a bucket"),
        ({"federation": "fed", "mlflow": "mlflow", "clients": {"a": "fed"}}, "clients.a", "share a bucket"),
        (
            {"federation": "fed", "mlflow": "mlflow", "clients": {"a": "x-x", "b": "x-x"}},
            "clients.b",
            "share a bucket",
        ),
        ({"federation": "fed", "mlflow": "mlflow", "client": {}}, "client", "no such field"),
        ([], "CONFIG", "mapping"),
    ],
)
def test_an_invalid_list_is_refused(values, field, message):
    with pytest.raises(ConfigError, match=message) as caught:
        Deployment.parse(values)
    assert caught.value.field == field


def test_an_invalid_client_name_is_refused():
    with pytest.raises(ConfigError, match="lower-case letters, digits and dashes"):
        Deployment.parse({"federation": "fed", "mlflow": "mlflow", "clients": {"../ann": "fed-client-ann"}})


def test_secrets_are_read_from_files_named_after_users(tmp_path):
    for user in ("federation", "mlflow", "client-ann"):
        (tmp_path / user).write_text(f"secret-of-{user}\n")
    secrets = read_secrets(tmp_path, deployment("ann"))
    assert secrets["client-ann"] == "secret-of-client-ann"
    with pytest.raises(ConfigError, match="client-bob"):
        read_secrets(tmp_path, deployment("ann", "bob"))
    (tmp_path / "client-ann").write_text("short")
    with pytest.raises(ConfigError, match="at least 8 characters") as caught:
        read_secrets(tmp_path, deployment("ann"))
    assert "short" not in str(caught.value)


@pytest.mark.parametrize(
    ("quota", "size"),
    [("50Gi", 50 << 30), ("1.5Ti", 3 << 39), ("20G", 20 * 10**9), ("1048576", 1 << 20), ("0", 0)],
)
def test_a_quota_is_a_kubernetes_quantity_of_bytes(quota, size):
    server = Server()
    listed = Deployment.parse({"federation": "fed", "mlflow": "mlflow", "quota": quota})
    provision(server, listed, dict.fromkeys(listed.users(), "secret-of-it"), lambda line: None)
    assert server.quotas == {"fed": size}


def test_without_a_quota_the_servers_stays():
    server = Server()
    server.quotas["fed"] = 7
    run(server, "ann")
    assert server.quotas == {"fed": 7}


@pytest.mark.parametrize("quota", ["50GiB", "much", "-1", ""])
def test_another_quota_is_refused(quota):
    with pytest.raises(ConfigError, match="quota"):
        Deployment.parse({"federation": "fed", "mlflow": "mlflow", "quota": quota})
