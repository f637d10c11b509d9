"""What the kept parts of an unfinished video were made of, so that only the same video continues them."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from fedvsr.errors import VideoError
from fedvsr.video.writing.finished_files import discard, partial_path, publish
from fedvsr.video.writing.output_formats import OutputFormat

RECORD_NAME: Final = "settings.json"

# A source is recognised by its size and its ends: a film has gigabytes.
_DIGEST_BYTES = 1 << 20


class ResumeRecord(BaseModel):
    """The settings of an unfinished video.

    Attributes:
        version: The version of this record.
        output: The fields of its `OutputFormat`.
        fps: Nominal frames per second, a fraction.
        pixel_aspect: Width of a pixel divided by its height, a fraction.
        size: Height and width in pixels.
        source: A digest of the source; empty if it has none.
        part: The start and the duration of the source's part, in seconds.
        frame_settings: What else the frames depend on.
        segment_frames: The number of frames in a segment.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    output: dict[str, str | int | None]
    fps: str
    pixel_aspect: str
    size: tuple[int, int] | None
    source: str
    part: tuple[str, str]
    frame_settings: dict[str, str]
    segment_frames: int


_WORDS = {
    "output": "the format",
    "fps": "the frame rate",
    "pixel_aspect": "the aspect ratio of pixels",
    "size": "the height and width",
    "source": "the source with the digest",
    "part": "the start and the duration",
    "frame_settings": "the settings of the frames",
    "segment_frames": "the frames of a segment",
    "version": "the version of the record",
}


def make_record(
    output_format: OutputFormat,
    fps: Fraction,
    pixel_aspect: Fraction,
    source: Path | None,
    part: tuple[Fraction, Fraction | None],
    frame_settings: Mapping[str, str],
    segment_frames: int,
) -> ResumeRecord:
    """Returns the record of a video whose size is not known yet."""
    return ResumeRecord(
        output=asdict(output_format),
        fps=str(fps),
        pixel_aspect=str(pixel_aspect),
        size=None,
        source=_source_digest(source),
        part=(str(part[0]), str(part[1])),
        frame_settings=dict(frame_settings),
        segment_frames=segment_frames,
    )


def read_record(folder: Path) -> ResumeRecord | None:
    """Returns the record in a folder of kept parts, or None if there is none.

    Raises:
        fedvsr.errors.VideoError: It cannot be parsed.
    """
    path = folder / RECORD_NAME
    if not path.exists():
        return None
    try:
        return ResumeRecord.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise VideoError(
            f"{path}: is not a record of an unfinished video; delete the folder {folder} and start again"
        ) from error


def write_record(folder: Path, record: BaseModel, name: str = RECORD_NAME) -> None:
    """Writes a record to a folder, complete or not at all."""
    path = folder / name
    partial = partial_path(path)
    discard(partial)
    partial.write_text(record.model_dump_json(indent=1))
    publish(partial, path)


def check_same(folder: Path, kept: ResumeRecord, current: ResumeRecord) -> None:
    """Checks that kept parts were made with the current settings. An unknown size is not compared.

    Raises:
        fedvsr.errors.VideoError: They were not; it says what differs.
    """
    for field, words in _WORDS.items():
        before, now = getattr(kept, field), getattr(current, field)
        if before != now and not (field == "size" and None in (before, now)):
            raise VideoError(
                f"{folder}: the finished part was written with {words} {_differing(before, now)}, now it is "
                f"{_differing(now, before)}; use the same settings, or delete this folder to start again"
            )


def _differing(value: object, other: object) -> str:
    """Returns a value in words; of a mapping, only what another one has not."""
    if isinstance(value, dict) and isinstance(other, dict):
        names = [name for name in value | other if value.get(name) != other.get(name)]
        return ", ".join(f"{name} {value.get(name)}" for name in names)
    return " and ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _source_digest(source: Path | None) -> str:
    if source is None:
        return ""
    digest = hashlib.sha256()
    if source.is_dir():
        for path in sorted(source.iterdir()):
            digest.update(f"{path.name}\0{path.stat().st_size}\0".encode(errors="surrogateescape"))
        return digest.hexdigest()
    size = source.stat().st_size
    digest.update(str(size).encode())
    with source.open("rb") as file:
        digest.update(file.read(_DIGEST_BYTES))
        file.seek(max(0, size - _DIGEST_BYTES))
        digest.update(file.read(_DIGEST_BYTES))
    return digest.hexdigest()
