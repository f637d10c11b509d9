"""Corrects the artifact locations in MLflow's SQLite file after its store was moved or copied.

MLflow stores absolute locations, and reads a relative one from the working folder. So a store that was moved
would be read at its old place, and a copy would write into the store that it was copied from.
"""

import logging
from collections.abc import Collection
from pathlib import Path
from shlex import quote

from sqlalchemy import (
    URL,
    ColumnClause,
    ColumnElement,
    Connection,
    String,
    column,
    create_engine,
    func,
    inspect,
    or_,
    select,
    table,
    update,
)

from fedvsr.errors import InputError
from fedvsr.tracking.sqlite import artifacts_folder, location_path

# The columns with a location: that of an experiment, or one below it.
_EXPERIMENTS = ("experiments", "artifact_location")
_RUNS = (("runs", "artifact_uri"),)
_MODELS = (
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
    ("model_versions", "source"),
)
_LOG = logging.getLogger(__name__)


def correct_locations(database: Path) -> None:
    """Makes the artifact locations of an SQLite file those in the folder next to it.

    Only changes locations in a folder of that name elsewhere, where experiments stored their artifacts
    before. A line in the log tells of it.

    Args:
        database: MLflow's SQLite file. Nothing happens if it does not exist.

    Raises:
        fedvsr.errors.InputError: The artifacts were not moved or copied with the file. Nothing was changed.
        sqlalchemy.exc.SQLAlchemyError: The file cannot be read or written.
    """
    if not database.is_file():
        return
    home = artifacts_folder(database)
    engine = create_engine(URL.create("sqlite", database=str(database)))
    try:
        with engine.begin() as connection:
            for location, earlier in _earlier_folders(connection, home).items():
                _check_artifacts_came_along(connection, location, earlier, home)
                _replace(connection, location, home.as_uri())
                _LOG.warning("MLflow's artifacts are in %s now, and were in %s", home, earlier)
    finally:
        engine.dispose()


def _earlier_folders(connection: Connection, home: Path) -> dict[str, Path]:
    """Returns the locations of experiments in the artifacts folder of another place, with their paths."""
    if not inspect(connection).has_table(_EXPERIMENTS[0]):
        return {}
    name, field = _EXPERIMENTS
    locations = connection.scalars(select(_text_column(field)).select_from(table(name)).distinct())
    paths = {location: location_path(location) for location in locations if location}
    # A link to the store is not another place.
    return {
        location: path
        for location, path in paths.items()
        if path and path.name == home.name and path.resolve() != home.resolve()
    }


def _check_artifacts_came_along(connection: Connection, location: str, earlier: Path, home: Path) -> None:
    models = _locations_below(connection, location, _MODELS)
    for path in filter(None, map(location_path, models | _locations_below(connection, location, _RUNS))):
        if path.exists() and not (home / path.relative_to(earlier)).exists():
            raise InputError(
                f"the MLflow database in {home.parent} was copied without all its artifacts, and the others "
                f"are in {earlier}; copy them: cp -r {quote(str(earlier))}/. {quote(str(home))}"
            )
    if models and not home.is_dir():
        raise InputError(
            f"the MLflow database in {home.parent} has its artifacts in {earlier}, which does not exist; "
            f"move that folder to {home}"
        )


def _locations_below(connection: Connection, location: str, columns: Collection[tuple[str, str]]) -> set[str]:
    queries = [
        select(_text_column(field)).select_from(table(name)).where(_is_below(field, location))
        for name, field in columns
    ]
    return {result for query in queries for result in connection.scalars(query)}


def _replace(connection: Connection, location: str, new_location: str) -> None:
    for name, field in (_EXPERIMENTS, *_RUNS, *_MODELS):
        target = _text_column(field)
        rest = func.substr(target, len(location) + 1)
        connection.execute(
            update(table(name, target)).where(_is_below(field, location)).values({field: new_location + rest})
        )


def _is_below(field: str, location: str) -> ColumnElement[bool]:
    """Returns the condition that a field is a location, or one below it."""
    target = _text_column(field)
    return or_(target == location, func.substr(target, 1, len(location) + 1) == f"{location}/")


def _text_column(field: str) -> ColumnClause[str]:
    return column(field, String)
