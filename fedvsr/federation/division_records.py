"""The record of a run's virtual clients: which videos each of them has."""

from typing import ClassVar

from pydantic import Field

from fedvsr.config.run import Name
from fedvsr.errors import NotFoundError
from fedvsr.federation import layout
from fedvsr.federation.records import Record, read_record
from fedvsr.store.base import Store
from fedvsr.video.split_frames import VideoPart


class DivisionRecord(Record):
    """division.json: the virtual clients of a run, and the parts of videos that each of them has.

    ``pattern`` selected the videos in `layout.TRAINING_VIDEOS`. It is needed again, since a video's name
    depends on the other videos that were selected.
    """

    what: ClassVar[str] = "division"

    pattern: str = ""
    clients: dict[Name, tuple[VideoPart, ...]] = Field(min_length=1)


def find_division(store: Store, run: str) -> DivisionRecord | None:
    """Returns the division of a run's videos, or None if the run has no virtual clients.

    Raises:
        fedvsr.errors.RecordError: The stored division is not valid.
    """
    try:
        return read_record(store, layout.division(run), DivisionRecord)
    except NotFoundError:
        return None
