"""How to reach an S3 server: its address, keys and certificate."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class S3Connection:
    """An S3 server and a user's keys. Its text form has no secret key.

    Attributes:
        endpoint: ``https://HOST:PORT``.
        access_key: The user's access key.
        secret_key: The user's secret key.
        ca_certificate: The PEM text of a private certificate authority; empty for the public ones.
        region: The server's region.
    """

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    ca_certificate: str = field(default="", repr=False)
    region: str = "us-east-1"
