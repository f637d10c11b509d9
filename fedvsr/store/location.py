"""From an address to a store."""

from pathlib import Path
from urllib.parse import urlsplit

from fedvsr.errors import ConfigError
from fedvsr.store.base import Store
from fedvsr.store.local import LocalStore


def open_store(uri: str) -> Store:
    """Opens the store at an address.

    Args:
        uri: A folder, or ``s3://bucket`` or ``s3://bucket/prefix``.

    Raises:
        fedvsr.errors.ConfigError: The address is neither.
    """
    parts = urlsplit(uri)
    if parts.scheme == "s3" and parts.netloc:
        # Imported here so that a run in local folders needs no S3 library.
        from fedvsr.store.s3 import S3Store

        return S3Store(parts.netloc, parts.path)
    if parts.scheme and "://" in uri:
        raise ConfigError("store", uri, "it must be a folder or s3://BUCKET/PREFIX")
    if not uri:
        raise ConfigError("store", uri, "it must be a folder or s3://BUCKET/PREFIX")
    return LocalStore(Path(uri))
