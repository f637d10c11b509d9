"""Addresses of stores: a folder, or a bucket with a prefix."""

import re
from dataclasses import dataclass
from typing import Final

from fedvsr.errors import ConfigError, StoreError
from fedvsr.store.base import require_key
from fedvsr.text import without_password

_SCHEME: Final = "s3://"
_FORM: Final = "it must be a folder or s3://BUCKET/PREFIX"
# Amazon's rules, which other servers follow, because a bucket's name can be a part of a host's name.
_BUCKET = re.compile(r"(?=.{3,63}\Z)[a-z0-9]+((\.|-+)[a-z0-9]+)*")
_IP_ADDRESS = re.compile(r"\d+(\.\d+){3}")


@dataclass(frozen=True)
class BucketAddress:
    """A bucket, and the prefix of every key inside it; empty for the whole bucket."""

    bucket: str
    prefix: str


def parse_address(address: str) -> BucketAddress | None:
    """Returns the bucket that an address names, or None if the address is a folder.

    Nothing is decoded: ``per%20cent`` is the folder or prefix of that name. A folder may also have ``?`` and
    ``#`` in its name.

    Args:
        address: A folder, ``s3://BUCKET`` or ``s3://BUCKET/PREFIX``.

    Raises:
        fedvsr.errors.ConfigError: The address is neither.
    """
    if not _is_text(address):
        raise _refusal(address, f"{_FORM}, in Unicode and without control characters")
    if not address.lower().startswith("s3:"):
        if not address or "://" in address:
            raise _refusal(address, _FORM)
        return None
    if not address.lower().startswith(_SCHEME):
        raise _refusal(address, f"{_FORM}; a folder of this name is ./{address}")
    bucket, _, prefix = address[len(_SCHEME) :].partition("/")
    if not _BUCKET.fullmatch(bucket) or _IP_ADDRESS.fullmatch(bucket):
        raise _refusal(
            address, f"{_FORM}, and a bucket's name has 3 to 63 lower-case letters, digits, dots and dashes"
        )
    prefix = prefix.strip("/")
    if "?" in prefix or "#" in prefix:
        raise _refusal(address, f"{_FORM}, without '?' and '#'")
    if prefix:
        try:
            require_key(prefix)
        except StoreError:
            raise _refusal(address, f"{_FORM}, and PREFIX has no empty part, '.' or '..'") from None
    return BucketAddress(bucket, prefix)


def _is_text(address: str) -> bool:
    """Returns whether an address can be a path, a part of a URL and a line of a message."""
    try:
        address.encode()
    except UnicodeEncodeError:
        return False
    return not any(character < " " or character == "\x7f" for character in address)


def _refusal(address: str, allowed: str) -> ConfigError:
    return ConfigError("store", without_password(address), allowed)
