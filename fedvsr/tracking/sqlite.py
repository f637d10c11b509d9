"""MLflow in an SQLite file: its address, and the folder of its artifacts."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

_ARTIFACTS = "mlartifacts"


def sqlite_uri(database: Path) -> str:
    """Returns the tracking URI of an SQLite file. The path may contain any character."""
    url = URL.create("sqlite", database=str(database))
    uri = url.render_as_string()
    if uri == f"sqlite:///{database}":
        return uri
    # From a URI that begins with sqlite:///, MLflow makes the file's folder, but under its encoded name.
    return url.set(drivername="sqlite+pysqlite").render_as_string()


def database_path(uri: str) -> Path | None:
    """Returns the SQLite file of a tracking URI, or None if MLflow is elsewhere."""
    if not uri.startswith("sqlite"):
        return None
    try:
        database = make_url(uri).database
    except (ArgumentError, ValueError):
        return None
    return Path(database).absolute() if database and database != ":memory:" else None


def artifacts_folder(database: Path) -> Path:
    """Returns the folder next to an SQLite file where its experiments store their artifacts."""
    return database.absolute().parent / _ARTIFACTS


def location_path(location: str) -> Path | None:
    """Returns the path of an artifact location, or None if it is not a ``file:`` URI."""
    parts = urlsplit(location)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None
