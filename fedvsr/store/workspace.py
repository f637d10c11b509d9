"""A workspace: the federation's store and one store per client."""

import os
from dataclasses import dataclass
from pathlib import Path

from fedvsr.errors import ConfigError
from fedvsr.store.address import parse_address
from fedvsr.store.base import Store
from fedvsr.store.local import LocalStore

FEDERATION_VARIABLE = "FEDVSR_FEDERATION_STORE"
CLIENT_VARIABLE = "FEDVSR_CLIENT_STORE"
_CLIENT = "{client}"  # stands for a client's name


@dataclass(frozen=True)
class Workspace:
    """The addresses of a federation's stores.

    Attributes:
        federation_uri: The store of runs, weights and held-out clips.
        client_uri: The store of a client's videos and shards, with ``{client}`` in place of the client's
            name. No other client may read it.
    """

    federation_uri: str
    client_uri: str

    @classmethod
    def under(cls, root: str) -> "Workspace":
        """Returns a workspace with all stores under one folder or bucket, for a federation on one machine.

        Raises:
            fedvsr.errors.ConfigError: The address is neither a folder nor a bucket.
        """
        # Checked before the names are added: they would turn an empty address into folders of "/".
        parse_address(root)
        if _CLIENT in root:
            raise ConfigError("store", root, f"it must not contain {_CLIENT}")
        root = root.rstrip("/")
        return cls(f"{root}/federation", f"{root}/clients/{_CLIENT}")

    @classmethod
    def from_environment(cls, with_clients: bool = True) -> "Workspace":
        """Returns the workspace of FEDVSR_FEDERATION_STORE and FEDVSR_CLIENT_STORE, which a pod has.

        Args:
            with_clients: Whether clients' stores are needed. Those of sites cannot be opened from outside.

        Raises:
            fedvsr.errors.ConfigError: A variable is not set, or FEDVSR_CLIENT_STORE lacks ``{client}``.
        """
        federation = os.environ.get(FEDERATION_VARIABLE, "")
        client = os.environ.get(CLIENT_VARIABLE, "")
        if not federation:
            raise ConfigError(FEDERATION_VARIABLE, federation, "set it to a folder or s3://BUCKET")
        if not with_clients:
            return cls(federation, client)
        if _CLIENT not in client:
            raise ConfigError(CLIENT_VARIABLE, client, f"set it to an address with {_CLIENT} in it")
        return cls(federation, client)

    def federation(self) -> Store:
        """Opens the federation's store."""
        return open_store(self.federation_uri)

    def client(self, name: str) -> Store:
        """Opens a client's own store."""
        return open_store(self.client_uri.replace(_CLIENT, name))


def open_store(uri: str) -> Store:
    """Opens the store at an address.

    Args:
        uri: A folder, or ``s3://bucket`` or ``s3://bucket/prefix``.

    Raises:
        fedvsr.errors.ConfigError: The address is not one of these.
    """
    address = parse_address(uri)
    if address is None:
        return LocalStore(Path(uri))
    # Imported here so that a run in local folders works without the S3 library.
    from fedvsr.store.s3 import S3Store

    return S3Store(address.bucket, address.prefix)
