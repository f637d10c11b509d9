"""Records of shards: the owner's manifests, and their summary, which may leave the owner."""

from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field

from fedvsr.federation.records import Count, Digest, PositiveCount, Record
from fedvsr.store.base import bytes_digest

SOURCE = "source"
"""The storage that has all frames of a video, also those that are in no clip."""

COMPUTED = "computed"
"""Low resolution that is not stored but computed from the ground truth when it is read."""


def _is_empty(value: object) -> bool:
    return not value


class ShardFile(BaseModel):
    """One shard. Only older shards, which have clips of several videos, have the clips' names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str
    bytes: int
    clips: tuple[str, ...] = Field((), exclude_if=_is_empty)
    frames: int


class ShardedVideo(BaseModel):
    """A video whose clips are in the shards; ``height`` and ``width`` are in pixels.

    An older manifest, whose shards have clips of several videos, has none of the fields after
    ``damaged_frames``.

    Attributes:
        video: The video's name.
        fingerprint: What the clips were made from: the fingerprint of the video's bytes, or the digest of the
            record of its ground truth.
        storage: How the frames are stored: a name in `fedvsr.video.storage.registry`, or `COMPUTED`.
        fps: Frames per second.
        shots: First frame in the video and number of frames of each clip, in order.
        shards: Number of shards.
        bytes: Size of the shards.
        record: The digest of the video's record (`VideoRecord`), which names its shards.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    video: str
    fingerprint: str
    clips: int
    frames: int
    height: int
    width: int
    damaged_frames: int = 0
    storage: str = Field("", exclude_if=_is_empty)
    fps: float = Field(0.0, exclude_if=_is_empty)
    shots: tuple[tuple[int, int], ...] = Field((), exclude_if=_is_empty)
    shards: int = Field(0, exclude_if=_is_empty)
    bytes: int = Field(0, exclude_if=_is_empty)
    record: str = Field("", exclude_if=_is_empty)

    @property
    def positions(self) -> tuple[int, ...]:
        """The position of each clip's first frame in the frames of all shards of the video."""
        if self.storage == SOURCE:
            return tuple(first_frame for first_frame, _ in self.shots)
        ends = accumulate(frames for _, frames in self.shots)
        return (0, *ends)[: len(self.shots)]


class VideoRecord(Record):
    """video.json: the shards of one video, in the order of its frames.

    ``entry`` is the video's entry in the manifest without its fingerprint and without the digest of this
    record. So the same frames have the same record, whatever they were made from.
    """

    what: ClassVar[str] = "record of a video's shards"

    kind: str
    entry: ShardedVideo
    shards: tuple[ShardFile, ...]


def identity_of(video: str, fingerprint: str, settings_digest: str) -> str:
    """Returns the name of the folder of a video's shards: it depends on all that they are made from."""
    return bytes_digest(f"{settings_digest}\n{fingerprint}\n{video}".encode())[:32]


class SkippedVideo(BaseModel):
    """A video that cannot be used, and the reason. None of its clips is in the shards."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    video: str
    reason: str
    fingerprint: str = ""


class ManifestRecord(Record):
    """manifest.json: the table of contents of one kind of shards.

    It has the videos, and of each what is needed to draw training patches. The shards of a video are in the
    video's own record (`VideoRecord`). Only an older manifest names shards, with clips of several videos.

    ``source_digest`` identifies what the shards were made from. Every manifest has the videos that cannot be
    used for its kind.
    """

    what: ClassVar[str] = "shard manifest"

    dataset: str
    kind: str
    source_digest: str
    settings_digest: str
    shards: tuple[ShardFile, ...] = Field((), exclude_if=_is_empty)
    videos: tuple[ShardedVideo, ...] = Field((), exclude_if=_is_empty)
    skipped: tuple[SkippedVideo, ...] = Field((), exclude_if=_is_empty)

    @property
    def is_older(self) -> bool:
        """Whether its shards have clips of several videos, as an older fedvsr made them."""
        return bool(self.shards)

    @property
    def clips(self) -> int:
        return sum(len(shard.clips) for shard in self.shards) or sum(video.clips for video in self.videos)

    @property
    def frames(self) -> int:
        return sum(entry.frames for entry in self.shards or self.videos)

    @property
    def bytes(self) -> int:
        return sum(entry.bytes for entry in self.shards or self.videos)

    def identity_of(self, video: ShardedVideo) -> str:
        """Returns the name of the folder of a video's shards."""
        return identity_of(video.video, video.fingerprint, self.settings_digest)

    @property
    def digests(self) -> tuple[str, ...]:
        """The digests that identify all pixels: those of the videos' records, or of the older shards."""
        return tuple(shard.digest for shard in self.shards) or tuple(video.record for video in self.videos)

    @property
    def digest(self) -> str:
        """The SHA-256 of `digests`, one per line."""
        return bytes_digest("\n".join(self.digests).encode())


@dataclass(frozen=True)
class Manifests:
    """An owner's manifests of the ground truth and of the low resolution of a configuration."""

    ground_truth: ManifestRecord
    low_resolution: ManifestRecord

    @property
    def skipped(self) -> tuple[SkippedVideo, ...]:
        """The videos that cannot be used."""
        return self.ground_truth.skipped + self.low_resolution.skipped

    @property
    def damaged(self) -> tuple[ShardedVideo, ...]:
        """The videos without some of their frames, because these cannot be decoded."""
        return tuple(video for video in self.ground_truth.videos if video.damaged_frames)

    def smaller_than(self, side: int) -> tuple[ShardedVideo, ...]:
        """Returns the videos with clips whose height or width is below ``side``, in pixels.

        An older manifest does not have the sizes; then there are none.
        """
        skipped = {entry.video for entry in self.low_resolution.skipped}
        return tuple(
            video
            for video in self.ground_truth.videos
            if min(video.height, video.width) < side and video.video not in skipped
        )


class ShardSummary(Record):
    """The only facts about shards that leave a client: counts and a digest, no names of videos or clips.

    ``skipped`` is the number of videos that are not used: they cannot be, or they are too small for the run.
    """

    what: ClassVar[str] = "summary of shards"

    clips: PositiveCount
    frames: PositiveCount
    bytes: PositiveCount
    digest: Digest
    skipped: Count = Field(0, exclude_if=_is_empty)

    @classmethod
    def of(cls, manifests: Manifests, min_side: int = 0) -> Self:
        """Summarises an owner's low-resolution shards.

        Args:
            manifests: The owner's manifests.
            min_side: The height and width in pixels that the run needs.
        """
        manifest = manifests.low_resolution
        return cls(
            clips=manifest.clips,
            frames=manifest.frames,
            bytes=manifest.bytes,
            digest=manifest.digest,
            skipped=len(manifests.skipped) + len(manifests.smaller_than(min_side)),
        )
