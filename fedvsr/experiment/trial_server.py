"""An S3 server with TLS on this machine, for a trial of sites. It checks users' policies."""

import ipaddress
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fedvsr.errors import ConfigError
from fedvsr.waiting import end_process

SERVER_VARIABLE: Final = "FEDVSR_S3_SERVER"
"""Names the program of the S3 server, or its container image."""

_PROGRAMS = ("silo", "minio")
_CONTAINER_TOOLS = ("docker", "podman", "nerdctl")
_IMAGE = "docker.io/pgsty/silo:RELEASE.2026-08-06T00-00-00Z"
_MODULE = "github.com/minio/minio@latest"
_HOST = "127.0.0.1"
_VALID_DAYS = 30
_GRACE_SECONDS = 10.0


@dataclass(frozen=True)
class TrialServer:
    """A running S3 server.

    Attributes:
        endpoint: Its address.
        ca_certificate: The PEM text of its certificate's authority.
        user: The administrator's name.
        password: The administrator's secret key.
    """

    endpoint: str
    ca_certificate: str
    user: str
    password: str = field(repr=False)


@contextmanager
def trial_server(folder: Path) -> Iterator[TrialServer]:
    """Runs an S3 server in the block, with its data and certificates in a folder.

    The program is that of FEDVSR_S3_SERVER, or `silo` or `minio` on the path; without one, a container tool
    runs MinIO's maintained continuation; without that, Go builds the last public MinIO from the Go modules'
    registry, once.

    Raises:
        fedvsr.errors.ConfigError: This machine has none of these.
    """
    data, certificates = folder / "data", folder / "certificates"
    data.mkdir(parents=True, exist_ok=True)
    ca_certificate = _write_certificate(certificates)
    port = _free_port()
    user, password = "trial", _password(folder / "password")
    command = _server_command(folder, data, certificates, port)
    environment = {
        **os.environ,
        "MINIO_ROOT_USER": user,
        "MINIO_ROOT_PASSWORD": password,
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
    }
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 -- a program that the user named or installed
            command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield TrialServer(f"https://{_HOST}:{port}", ca_certificate, user, password)
        finally:
            end_process(process, _GRACE_SECONDS)


def _server_command(folder: Path, data: Path, certificates: Path, port: int) -> list[str]:
    program = os.environ.get(SERVER_VARIABLE) or next(filter(None, map(shutil.which, _PROGRAMS)), None)
    address = f"{_HOST}:{port}"
    if program is None:
        tool = next(filter(None, map(shutil.which, _CONTAINER_TOOLS)), None)
        if tool:
            return [
                *(tool, "run", "--rm", "--network", "host", "--user", f"{os.getuid()}:{os.getgid()}"),
                *("--volume", f"{data}:/data", "--volume", f"{certificates}:/certificates:ro"),
                *("--env", "MINIO_ROOT_USER", "--env", "MINIO_ROOT_PASSWORD", "--env", "MINIO_BROWSER"),
                *(_IMAGE, "server", "/data", "--address", address, "--certs-dir", "/certificates"),
            ]
        program = str(_build(folder))
    return [program, "server", str(data), "--address", address, "--certs-dir", str(certificates)]


def _build(folder: Path) -> Path:
    """Builds the server with Go, unless it is built, and returns its program."""
    program = folder / "bin" / "minio"
    go = shutil.which("go")
    if program.exists():
        return program
    if go is None:
        raise ConfigError(
            SERVER_VARIABLE,
            "",
            f"this machine has no S3 server: install one of {', '.join(_PROGRAMS)}, a container tool "
            f"({', '.join(_CONTAINER_TOOLS)}) or Go, or name the program of a MinIO-compatible server here",
        )
    environment = {**os.environ, "GOBIN": str(program.parent.absolute())}
    built = subprocess.run([go, "install", _MODULE], env=environment, capture_output=True, text=True)  # noqa: S603
    if built.returncode:
        raise ConfigError(SERVER_VARIABLE, "", f"`go install {_MODULE}` failed: {built.stderr[-300:]}")
    return program


def _password(path: Path) -> str:
    """Returns the administrator's password, which stays the same for the server's data."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(24))
    return path.read_text()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((_HOST, 0))
        port: int = listener.getsockname()[1]
        return port


def _write_certificate(folder: Path) -> str:
    """Writes a certificate of a new authority, as the server reads it. Returns the authority's PEM text."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name, name = _name("fedvsr trial authority"), _name("fedvsr trial server")
    ca = _certificate(ca_name, ca_key, ca_name, ca_key, x509.BasicConstraints(ca=True, path_length=0))
    alternatives = x509.SubjectAlternativeName(
        [x509.IPAddress(ipaddress.ip_address(_HOST)), x509.DNSName("localhost")]
    )
    certificate = _certificate(name, key, ca_name, ca_key, alternatives)
    (folder / "public.crt").write_bytes(certificate)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "private.key"
    path.touch(mode=0o600)
    path.write_bytes(private)
    return ca.decode()


def _certificate(
    name: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> bytes:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=_VALID_DAYS))
        .add_extension(extension, critical=False)
    )
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
