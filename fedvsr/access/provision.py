"""Makes the object stores of a deployment what its list of clients says: buckets, users, policies."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Protocol

from pydantic import Field, StringConstraints, model_validator

from fedvsr.access.policies import Policy, client_policy, owner_policy
from fedvsr.config.base import FieldError, Section
from fedvsr.config.run import Name
from fedvsr.errors import ConfigError

FEDERATION_USER = "federation"
MLFLOW_USER = "mlflow"
_CLIENT_USER = "client-"
# What S3 servers take; an administrator's secret is never that short.
_SHORTEST_SECRET = 8

_Bucket = StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$")


class Deployment(Section):
    """What there shall be.

    Attributes:
        federation: The federation's bucket.
        mlflow: The bucket of MLflow's artifacts.
        clients: Each client's own bucket.
    """

    federation: Annotated[str, _Bucket]
    mlflow: Annotated[str, _Bucket]
    clients: dict[Name, Annotated[str, _Bucket]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _a_bucket_each(self) -> "Deployment":
        taken = [self.federation, self.mlflow]
        for name, bucket in self.clients.items():
            if bucket in taken:
                raise FieldError(f"clients.{name}", bucket, "no two of them may share a bucket")
            taken.append(bucket)
        if self.federation == self.mlflow:
            raise FieldError("mlflow", self.mlflow, "no two of them may share a bucket")
        return self

    def users(self) -> dict[str, tuple[str, Policy]]:
        """Returns each user's bucket and policy, by the user's name."""
        owners = {FEDERATION_USER: self.federation, MLFLOW_USER: self.mlflow}
        users = {user: (bucket, owner_policy(bucket)) for user, bucket in owners.items()}
        for name, bucket in self.clients.items():
            users[client_user(name)] = (bucket, client_policy(name, self.federation, bucket))
        return users


class Admin(Protocol):
    """What is asked of `fedvsr.store.s3_admin.S3Admin`."""

    def make_bucket(self, name: str) -> bool: ...
    def users(self) -> Mapping[str, bool]: ...
    def set_user(self, name: str, secret: str, policy: Policy) -> None: ...
    def disable_user(self, name: str) -> None: ...


def client_user(name: str) -> str:
    """The S3 user of a client."""
    return _CLIENT_USER + name


def provision(
    admin: Admin, deployment: Deployment, secrets: Mapping[str, str], tell: Callable[[str], None]
) -> None:
    """Makes what is missing, sets what is there, and disables the users of clients that are gone.

    A bucket is never deleted: a client that comes back finds its data.

    Args:
        admin: The server.
        deployment: What there shall be.
        secrets: Each user's secret key.
        tell: Takes a line for each thing that was done.

    Raises:
        fedvsr.errors.FedVSRError: The server refuses.
    """
    wanted, found = deployment.users(), admin.users()
    for bucket in sorted({bucket for bucket, _ in wanted.values()}):
        tell(f"bucket {bucket}: {'made' if admin.make_bucket(bucket) else 'is there'}")
    for user, (bucket, policy) in wanted.items():
        admin.set_user(user, secrets[user], policy)
        done = "made" if user not in found else "set" if found[user] else "enabled again"
        tell(f"user {user}: {done}; its bucket is {bucket}")
    for user, enabled in found.items():
        if enabled and user not in wanted and user.startswith(_CLIENT_USER):
            admin.disable_user(user)
            tell(f"user {user}: disabled, since it is no client any more; its bucket stays")


def read_secrets(folder: Path, deployment: Deployment) -> dict[str, str]:
    """Reads each user's secret key from the file of its name, as Kubernetes mounts a Secret.

    Raises:
        fedvsr.errors.ConfigError: One is missing, or no secret key.
    """
    secrets = {}
    for user in deployment.users():
        path = folder / user
        try:
            secret = path.read_text().strip()
        except OSError as error:
            allowed = f"it must hold the user's secret key ({error.strerror})"
            raise ConfigError(str(path), None, allowed) from None
        if len(secret) < _SHORTEST_SECRET or re.search(r"\s", secret):
            allowed = f"a secret key has at least {_SHORTEST_SECRET} characters and no spaces"
            raise ConfigError(str(path), "…", allowed)
        secrets[user] = secret
    return secrets
