"""Records of shards: the owner's manifests, and their summary, which may leave the owner."""

from dataclasses import dataclass
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field

from fedvsr.federation.records import Count, Digest, PositiveCount, Record
from fedvsr.store.base import bytes_digest


def _is_empty(value: object) -> bool:
    return not value


class ShardFile(BaseModel):
    """One shard of a manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str
    bytes: int
    clips: tuple[str, ...]
    frames: int


class ShardedVideo(BaseModel):
    """A video whose clips are in the shards; ``height`` and ``width`` are in pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    video: str
    fingerprint: str
    clips: int
    frames: int
    height: int
    width: int
    damaged_frames: int = 0


class SkippedVideo(BaseModel):
    """A video that cannot be used, and the reason. None of its clips is in the shards."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    video: str
    reason: str
    fingerprint: str = ""


class ManifestRecord(Record):
    """manifest.json: the shards of one kind. ``source_digest`` identifies what they were made from.

    The manifest of the ground truth has the videos. Older ones do not. Every manifest has the videos that
    cannot be used for its kind.
    """

    what: ClassVar[str] = "shard manifest"

    dataset: str
    kind: str
    source_digest: str
    settings_digest: str
    shards: tuple[ShardFile, ...]
    videos: tuple[ShardedVideo, ...] = Field((), exclude_if=_is_empty)
    skipped: tuple[SkippedVideo, ...] = Field((), exclude_if=_is_empty)

    @property
    def clips(self) -> int:
        return sum(len(shard.clips) for shard in self.shards)

    @property
    def frames(self) -> int:
        return sum(shard.frames for shard in self.shards)

    @property
    def bytes(self) -> int:
        return sum(shard.bytes for shard in self.shards)


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
        digest = bytes_digest("\n".join(shard.digest for shard in manifest.shards).encode())
        return cls(
            clips=manifest.clips,
            frames=manifest.frames,
            bytes=manifest.bytes,
            digest=digest,
            skipped=len(manifests.skipped) + len(manifests.smaller_than(min_side)),
        )
