"""Makes the buckets, S3 users and policies of a deployment from its list of clients."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Protocol

from pydantic import BeforeValidator, ByteSize, Field, StringConstraints, model_validator

from fedvsr.access.policies import VIRTUAL_PREFIX, Policy, client_policy, owner_policy, virtual_policy
from fedvsr.config.base import FieldError, Section
from fedvsr.config.run import Name
from fedvsr.errors import ConfigError

FEDERATION_USER = "federation"
MLFLOW_USER = "mlflow"
VIRTUAL_USER = "virtual-clients"
_CLIENT_USER = "client-"
# The minimum that S3 servers accept.
_MIN_SECRET_LENGTH = 8

_Bucket = StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$")


def _with_unit(quantity: object) -> object:
    """Returns a Kubernetes quantity (``50Gi``) as pydantic writes it (``50GiB``)."""
    return f"{quantity}B" if isinstance(quantity, str) else quantity


class Deployment(Section):
    """The buckets of a deployment.

    Attributes:
        federation: The federation's bucket.
        mlflow: The bucket of MLflow's artifacts.
        clients: Each client's own bucket.
        virtual: The bucket of all virtual clients; None if there are none.
        quota: The most bytes in the federation's bucket, as a Kubernetes quantity (``50Gi``); 0 removes an
            earlier quota, None leaves it.
    """

    federation: Annotated[str, _Bucket]
    mlflow: Annotated[str, _Bucket]
    clients: dict[Name, Annotated[str, _Bucket]] = Field(default_factory=dict)
    virtual: Annotated[str, _Bucket] | None = None
    quota: Annotated[ByteSize, BeforeValidator(_with_unit)] | None = None

    @model_validator(mode="after")
    def _buckets_differ(self) -> "Deployment":
        taken = [self.federation, self.mlflow]
        for name, bucket in self.clients.items():
            if bucket in taken:
                raise FieldError(f"clients.{name}", bucket, "no two of them may share a bucket")
            taken.append(bucket)
            if self.virtual and name.startswith(VIRTUAL_PREFIX):
                allowed = f"with virtual clients, no other name may begin with {VIRTUAL_PREFIX}"
                raise FieldError(f"clients.{name}", bucket, allowed)
        if self.federation == self.mlflow:
            raise FieldError("mlflow", self.mlflow, "no two of them may share a bucket")
        if self.virtual in taken:
            raise FieldError("virtual", self.virtual, "no two of them may share a bucket")
        return self

    def users(self) -> dict[str, tuple[str, Policy]]:
        """Returns each user's bucket and policy, by the user's name."""
        owners = {FEDERATION_USER: self.federation, MLFLOW_USER: self.mlflow}
        users = {user: (bucket, owner_policy(bucket)) for user, bucket in owners.items()}
        for name, bucket in self.clients.items():
            users[client_user(name)] = (bucket, client_policy(name, self.federation, bucket))
        if self.virtual:
            users[VIRTUAL_USER] = (self.virtual, virtual_policy(self.federation, self.virtual))
        return users


class Admin(Protocol):
    """The methods of `fedvsr.store.s3_admin.S3Admin` that provisioning uses."""

    def make_bucket(self, name: str) -> bool: ...
    def set_quota(self, bucket: str, size: int) -> None: ...
    def users(self) -> Mapping[str, bool]: ...
    def set_user(self, name: str, secret: str, policy: Policy) -> None: ...
    def disable_user(self, name: str) -> None: ...


def client_user(name: str) -> str:
    """Returns the name of a client's S3 user."""
    return _CLIENT_USER + name


def provision(
    admin: Admin, deployment: Deployment, secrets: Mapping[str, str], report: Callable[[str], None]
) -> None:
    """Makes missing buckets and users, updates existing users, and disables users of removed clients.

    Buckets are never deleted, so a client that returns finds its data.

    Args:
        admin: The server.
        deployment: The buckets and users that the server must have.
        secrets: The secret key of each user.
        report: Called with a line for each action.

    Raises:
        fedvsr.errors.FedVSRError: The server refuses.
    """
    listed_users, existing_users = deployment.users(), admin.users()
    for bucket in sorted({bucket for bucket, _ in listed_users.values()}):
        report(f"bucket {bucket}: {'made' if admin.make_bucket(bucket) else 'exists'}")
    if deployment.quota is not None:
        admin.set_quota(deployment.federation, deployment.quota)
        report(f"bucket {deployment.federation}: its quota is {deployment.quota.human_readable()}")
    for user, (bucket, policy) in listed_users.items():
        admin.set_user(user, secrets[user], policy)
        if user not in existing_users:
            action = "made"
        else:
            action = "updated" if existing_users[user] else "enabled again"
        report(f"user {user}: {action}; its bucket is {bucket}")
    for user, is_enabled in existing_users.items():
        is_ours = user.startswith(_CLIENT_USER) or user == VIRTUAL_USER
        if is_enabled and user not in listed_users and is_ours:
            admin.disable_user(user)
            report(f"user {user}: disabled, since the client is no longer listed; its bucket stays")


def read_secrets(folder: Path, deployment: Deployment) -> dict[str, str]:
    """Reads each user's secret key from a file with the user's name, as Kubernetes mounts a Secret.

    Raises:
        fedvsr.errors.ConfigError: A secret key is missing or invalid.
    """
    secrets = {}
    for user in deployment.users():
        path = folder / user
        try:
            secret = path.read_text().strip()
        except OSError as error:
            allowed = f"it must hold the user's secret key ({error.strerror})"
            raise ConfigError(str(path), None, allowed) from None
        if len(secret) < _MIN_SECRET_LENGTH or re.search(r"\s", secret):
            allowed = f"a secret key has at least {_MIN_SECRET_LENGTH} characters and no spaces"
            raise ConfigError(str(path), "…", allowed)
        secrets[user] = secret
    return secrets
