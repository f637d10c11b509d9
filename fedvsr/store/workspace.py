"""Which store belongs to whom: the federation's and each client's own."""

import os
from dataclasses import dataclass

from fedvsr.errors import ConfigError
from fedvsr.store.base import Store
from fedvsr.store.location import open_store

FEDERATION_VARIABLE = "FEDVSR_FEDERATION_STORE"
CLIENT_VARIABLE = "FEDVSR_CLIENT_STORE"


@dataclass(frozen=True)
class Workspace:
    """The addresses of the stores of one deployment.

    Attributes:
        federation_uri: The store that holds runs, weights and evaluation clips.
        client_uri: A client's own store, with ``{client}`` where its name goes; it holds the
            client's videos and shards, and no other client may read it.
    """

    federation_uri: str
    client_uri: str

    @classmethod
    def below(cls, root: str) -> "Workspace":
        """Places every store below one folder or bucket, for a federation on one machine."""
        root = root.rstrip("/")
        return cls(f"{root}/federation", f"{root}/clients/{{client}}")

    @classmethod
    def from_environment(cls) -> "Workspace":
        """Reads FEDVSR_FEDERATION_STORE and FEDVSR_CLIENT_STORE, as a pod has them.

        Raises:
            fedvsr.errors.ConfigError: One is unset, or the client's lacks ``{client}``.
        """
        federation = os.environ.get(FEDERATION_VARIABLE, "")
        client = os.environ.get(CLIENT_VARIABLE, "")
        if not federation:
            raise ConfigError(FEDERATION_VARIABLE, federation, "set it to a folder or s3://BUCKET")
        if "{client}" not in client:
            raise ConfigError(CLIENT_VARIABLE, client, "set it to an address with {client} in it")
        return cls(federation, client)

    def federation(self) -> Store:
        """Opens the federation's store."""
        return open_store(self.federation_uri)

    def client(self, name: str) -> Store:
        """Opens a client's own store."""
        return open_store(self.client_uri.replace("{client}", name))
