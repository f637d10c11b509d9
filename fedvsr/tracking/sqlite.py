"""MLflow in an SQLite file: its address, its errors, and the folder of its artifacts.

SQLAlchemy is imported only if there is such a file or an error, because its import takes as long as sending a
round to a server.
"""

from pathlib import Path
from urllib.parse import unquote, urlsplit

_ARTIFACTS = "mlartifacts"


def sqlite_uri(database: Path) -> str:
    """Returns the tracking URI of an SQLite file. The path may contain any character."""
    from sqlalchemy.engine import URL

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
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        database = make_url(uri).database
    except (ArgumentError, ValueError):
        return None
    return Path(database).absolute() if database and database != ":memory:" else None


def database_error() -> type[Exception]:
    """Returns the class of all errors of a database, for an ``except`` clause."""
    from sqlalchemy.exc import SQLAlchemyError

    return SQLAlchemyError


def driver_error(error: BaseException | None) -> Exception | None:
    """Returns the error of the database's driver that one of SQLAlchemy's errors wraps, or None."""
    from sqlalchemy.exc import DBAPIError

    if isinstance(error, DBAPIError) and isinstance(error.orig, Exception):
        return error.orig
    return None


def artifacts_folder(database: Path) -> Path:
    """Returns the folder next to an SQLite file where its experiments store their artifacts."""
    return database.absolute().parent / _ARTIFACTS


def location_path(location: str) -> Path | None:
    """Returns the path of an artifact location, or None if it is not a ``file:`` URI."""
    parts = urlsplit(location)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None
