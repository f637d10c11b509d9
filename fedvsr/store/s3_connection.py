"""Connects to an S3 server: by the environment, or by an explicit address and keys."""

import ipaddress
import os
import re
import urllib.request
from typing import Any
from urllib.parse import unquote, urlsplit

import certifi
import urllib3
from minio import Minio
from minio.credentials.providers import (
    AWSConfigProvider,
    ChainedProvider,
    EnvAWSProvider,
    EnvMinioProvider,
    IamAwsProvider,
    StaticProvider,
)
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util import make_headers

from fedvsr.errors import ConfigError
from fedvsr.store.bandwidth import Bandwidth
from fedvsr.store.connection import S3Connection
from fedvsr.text import without_password

ENDPOINT_VARIABLE = "FEDVSR_S3_ENDPOINT"
# PEM text of a private certificate authority. A variable needs no file in the pods of every namespace.
CA_VARIABLE = "FEDVSR_S3_CA"
# A host's name, an IPv4 address, or an IPv6 address in brackets.
_ENDPOINT = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<address>([a-z0-9]([a-z0-9._-]*[a-z0-9])?|\[(?P<ipv6>[^]]*)\])(:(?P<port>\d{1,5}))?)/?",
    re.IGNORECASE | re.ASCII,
)
# A server that cannot be reached is an error within seconds. The library's default is half an hour.
_CONNECT_SECONDS, _READ_SECONDS = 5.0, 60.0
_METADATA_SECONDS = 2.0
# The server, or a proxy in front of it, says that another attempt may succeed.
_TRY_AGAIN = (408, 429, 500, 502, 503, 504)
_SEND_BYTES = 32 << 10


def s3_address() -> tuple[str, bool]:
    """Returns the HOST:PORT of FEDVSR_S3_ENDPOINT, and whether it uses TLS; without the variable, Amazon's.

    Raises:
        fedvsr.errors.ConfigError: FEDVSR_S3_ENDPOINT is not a valid address.
    """
    return parse_endpoint(os.environ.get(ENDPOINT_VARIABLE) or "https://s3.amazonaws.com", ENDPOINT_VARIABLE)


def parse_endpoint(endpoint: str, field: str) -> tuple[str, bool]:
    """Returns the HOST:PORT of an S3 server's address, and whether it uses TLS.

    Args:
        endpoint: ``http://HOST:PORT`` or ``https://HOST``.
        field: The name of the setting, for the error.

    Raises:
        fedvsr.errors.ConfigError: The address has another form.
    """
    match = _ENDPOINT.fullmatch(endpoint)
    if not match or not 0 < int(match["port"] or 1) < 1 << 16 or not _is_ipv6(match["ipv6"] or "::"):
        raise ConfigError(
            field,
            without_password(endpoint),
            "it must be http://HOST:PORT or https://HOST, without a path; "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY hold the keys",
        )
    return match["address"], match["scheme"].lower() == "https"


def client_from_environment() -> Minio:
    """Connects to the server at FEDVSR_S3_ENDPOINT with the first credentials that this machine has.

    They are looked up in environment variables, in files, and in the metadata of the pod or machine.
    """
    address, secure = s3_address()
    return Minio(
        endpoint=address,
        secure=secure,
        region=os.environ.get("AWS_REGION", "us-east-1"),
        credentials=ChainedProvider(
            [
                EnvAWSProvider(),
                EnvMinioProvider(),
                AWSConfigProvider(),
                IamAwsProvider(http_client=_connections(_METADATA_SECONDS, _METADATA_SECONDS, retries=0)),
            ]
        ),
        http_client=s3_connections(),
    )


def client_of(connection: S3Connection, bandwidth: Bandwidth | None = None) -> Minio:
    """Connects to a server with explicit keys. Of the environment, only the proxies are used.

    HTTPS_PROXY and HTTP_PROXY name a proxy, NO_PROXY the hosts that are reached without it.

    Args:
        connection: The server and the keys.
        bandwidth: Limits what is sent; None for no limit.

    Raises:
        fedvsr.errors.ConfigError: The address of the server or of the proxy is invalid.
    """
    address, secure = parse_endpoint(connection.endpoint, "endpoint")
    return Minio(
        endpoint=address,
        secure=secure,
        region=connection.region,
        credentials=StaticProvider(connection.access_key, connection.secret_key),
        http_client=_connections(
            _CONNECT_SECONDS,
            _READ_SECONDS,
            retries=3,
            ca_certificate=connection.ca_certificate,
            proxy=_find_proxy(address, secure),
            bandwidth=bandwidth,
        ),
    )


def s3_connections(retries: int = 3) -> urllib3.PoolManager:
    """Returns a pool of connections to the server of the environment, with certificates and time limits."""
    ca_certificate = os.environ.get(CA_VARIABLE) or ""
    return _connections(_CONNECT_SECONDS, _READ_SECONDS, retries, ca_certificate=ca_certificate)


def _connections(
    connect: float,
    read: float,
    retries: int,
    ca_certificate: str = "",
    proxy: str = "",
    bandwidth: Bandwidth | None = None,
) -> urllib3.PoolManager:
    options: dict[str, Any] = {
        "timeout": urllib3.Timeout(connect=connect, read=read),
        "maxsize": 10,
        "cert_reqs": "CERT_REQUIRED",
        "ca_certs": os.environ.get("SSL_CERT_FILE") or certifi.where(),
        "ca_cert_data": ca_certificate or None,
        "retries": urllib3.Retry(
            total=retries,
            connect=min(retries, 1),
            backoff_factor=0.2,
            status_forcelist=_TRY_AGAIN,
        ),
    }
    manager = _proxy_manager(proxy, options) if proxy else urllib3.PoolManager(**options)
    manager.pool_classes_by_scheme = _pool_classes(read, bandwidth or Bandwidth(0))
    return manager


def _pool_classes(seconds: float, bandwidth: Bandwidth) -> dict[str, type[HTTPConnectionPool]]:
    """Returns pools whose connections send a request's body piece by piece.

    ``http.client`` sends the whole body under the time limit for connecting. On a slow line, a part of an
    upload would never get through. Here the limit is that of a piece.

    Args:
        seconds: The longest time without progress.
        bandwidth: Limits what is sent.
    """

    class Plain(HTTPConnection):
        def send(self, data: Any) -> None:
            pieces = memoryview(data)
            for start in range(0, len(pieces), _SEND_BYTES):
                piece = pieces[start : start + _SEND_BYTES]
                bandwidth.take(len(piece))
                super().send(piece)
                self.sock.settimeout(seconds)

    class Secure(Plain, HTTPSConnection):
        pass

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


def _find_proxy(address: str, secure: bool) -> str:
    """Returns the proxy's address for a server, or nothing if it is reached directly."""
    if urllib.request.proxy_bypass(address):
        return ""
    proxy = urllib.request.getproxies().get("https" if secure else "http", "")
    return proxy if "://" in proxy or not proxy else f"http://{proxy}"


def _proxy_manager(proxy: str, options: dict[str, Any]) -> urllib3.ProxyManager:
    """Returns the connections through a proxy, with the user and password of the proxy's address."""
    try:
        parts = urlsplit(proxy)
        host, port = parts.hostname, parts.port
        headers = None
        if parts.username:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers = make_headers(proxy_basic_auth=user)
        if not host or parts.scheme not in {"http", "https"}:
            raise ValueError(proxy)
    except ValueError:
        allowed = "HTTPS_PROXY and HTTP_PROXY must be http://HOST:PORT or https://HOST:PORT"
        raise ConfigError("proxy", without_password(proxy), allowed) from None
    # Without the password, which could appear in errors.
    server = f"[{host}]" if ":" in host else host
    address = f"{parts.scheme}://{server}" + (f":{port}" if port else "")
    return urllib3.ProxyManager(address, proxy_headers=headers, **options)


def _is_ipv6(address: str) -> bool:
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return False
    return True
