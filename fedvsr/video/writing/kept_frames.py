"""Counts the frames that a stopped writer has kept."""

from pathlib import Path

from fedvsr.video.writing.folder_sinks import IMAGES
from fedvsr.video.writing.segments import SegmentRecord, segments_folder


def count_kept_frames(path: Path) -> int:
    """Returns how many finished frames of an unfinished video are there to continue."""
    folder = segments_folder(path)
    if (folder / IMAGES).is_dir():
        return len(list((folder / IMAGES).glob("[0-9]*")))
    records = folder.glob("[0-9]*.json")
    return sum(len(SegmentRecord.model_validate_json(record.read_bytes()).ticks) for record in records)
