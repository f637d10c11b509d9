"""Records of shards: the owner's manifest, and its summary, which may leave the owner."""

from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict

from fedvsr.federation.records import Digest, PositiveCount, Record
from fedvsr.store.base import bytes_digest


class ShardFile(BaseModel):
    """One shard of a manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str
    bytes: int
    clips: tuple[str, ...]
    frames: int


class ManifestRecord(Record):
    """manifest.json: the shards of one kind. ``source_digest`` identifies what they were made from."""

    what: ClassVar[str] = "shard manifest"

    dataset: str
    kind: str
    source_digest: str
    settings_digest: str
    shards: tuple[ShardFile, ...]

    @property
    def clips(self) -> int:
        return sum(len(shard.clips) for shard in self.shards)

    @property
    def frames(self) -> int:
        return sum(shard.frames for shard in self.shards)

    @property
    def bytes(self) -> int:
        return sum(shard.bytes for shard in self.shards)


class ShardSummary(Record):
    """The only facts about shards that leave a client: sizes and a digest, no names of videos or clips."""

    what: ClassVar[str] = "summary of shards"

    clips: PositiveCount
    frames: PositiveCount
    bytes: PositiveCount
    digest: Digest

    @classmethod
    def of(cls, manifest: ManifestRecord) -> Self:
        """Summarises a manifest."""
        digest = bytes_digest("\n".join(shard.digest for shard in manifest.shards).encode())
        return cls(clips=manifest.clips, frames=manifest.frames, bytes=manifest.bytes, digest=digest)
