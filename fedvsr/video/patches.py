"""Training patches, drawn from shards as a pure function of a seed and a step."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from fedvsr.errors import ConfigError, ShardError, VideoError
from fedvsr.video.frames import Frames

# Streams of random numbers that never meet. NumPy takes [seed, step] and [seed, step, 0] for the same
# entropy, so the last word is never 0.
_RANDOM_STEP, _EPOCH_STEP, _EPOCH_ORDER = 1, 2, 3
_LARGEST_SEED = 2**32 - 1


class Pixels(Protocol):
    """What a sampler asks of a clip's uint8 (T, H, W, 3) pixels: an array, in memory or mapped."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(T, H, W, 3)."""

    def __getitem__(self, key: Any, /) -> Any:
        """Returns a slab; only what is asked for need be read."""


@dataclass(frozen=True)
class ClipPair:
    """A clip as ground truth and degraded.

    Attributes:
        name: The clip's name, for messages.
        ground_truth: uint8 (T, scale·H, scale·W, 3).
        degraded: uint8 (T, H, W, 3).
        scale: How many times smaller the degraded frames are.

    Raises:
        fedvsr.errors.ShardError: The two do not fit together.
    """

    name: str
    ground_truth: Pixels
    degraded: Pixels
    scale: int

    def __post_init__(self) -> None:
        frames, height, width, channels = self.degraded.shape
        expected = (frames, self.scale * height, self.scale * width, channels)
        if tuple(self.ground_truth.shape) != expected:
            raise ShardError(
                f"clip {self.name!r}: expected ground truth of shape {expected}, {self.scale} times the "
                f"degraded {tuple(self.degraded.shape)}, got {tuple(self.ground_truth.shape)}; "
                "make the shards again from one set of videos"
            )


@dataclass(frozen=True)
class Augmentation:
    """One of the 16 symmetries of a clip; with the flips, the transposition makes the 90° rotations."""

    horizontal_flip: bool = False
    vertical_flip: bool = False
    transpose: bool = False
    time_reversal: bool = False

    @classmethod
    def draw(cls, random: np.random.Generator) -> Self:
        """Draws each of the four with probability ½."""
        return cls(*(bool(bit) for bit in random.integers(2, size=len(fields(cls)))))

    def __call__(self, frames: Frames) -> Frames:
        """Returns a view of uint8 (T, H, W, 3) frames; H and W change places when transposed."""
        if self.horizontal_flip:
            frames = frames[:, :, ::-1]
        if self.vertical_flip:
            frames = frames[:, ::-1]
        if self.transpose:
            frames = frames.swapaxes(1, 2)
        if self.time_reversal:
            frames = frames[::-1]
        return frames


@dataclass(frozen=True)
class PatchBatch:
    """N patches of T frames, p pixels a side in the ground truth and p / scale when degraded.

    Attributes:
        degraded: float32 (N, T, 3, p / scale, p / scale) in [0, 1].
        ground_truth: float32 (N, T, 3, p, p) in [0, 1].
        clips: The N clips' names.
    """

    degraded: NDArray[np.float32]
    ground_truth: NDArray[np.float32]
    clips: tuple[str, ...]


class PatchSampler:
    """Draws batches of patches.

    Every batch is a pure function of the seed and of the step, or of the epoch and index, so a step can
    be repeated anywhere and in any order. A patch's place is uniform over all places on the degraded
    grid. Clips are chosen alike however long they are, as an epoch visits them.

    Args:
        pairs: The clips, all of one scale.
        frames: Frames a patch, T.
        patch_size: Pixels a side of a ground-truth patch, p; divisible by the scale.
        batch_size: Patches a batch, N.
        seed: From 0 to 2³² − 1.
        augment: Whether each patch is flipped, transposed and reversed in time at random.

    Raises:
        fedvsr.errors.ConfigError: A setting is out of range.
        fedvsr.errors.VideoError: There are no clips, or one is shorter than ``frames`` or smaller than
            ``patch_size``.
        fedvsr.errors.ShardError: The clips are of several scales.
    """

    def __init__(
        self,
        pairs: Sequence[ClipPair],
        *,
        frames: int,
        patch_size: int,
        batch_size: int,
        seed: int,
        augment: bool = True,
    ) -> None:
        for field, value in (("frames", frames), ("patch_size", patch_size), ("batch_size", batch_size)):
            if value < 1:
                raise ConfigError(f"training.{field}", value, "it must be at least 1")
        if not 0 <= seed <= _LARGEST_SEED:
            raise ConfigError("seed", seed, f"it must be between 0 and {_LARGEST_SEED}")
        if not pairs:
            raise VideoError("there are no clips to train on; give videos with shots that are long enough")
        for pair in pairs:
            _check_pair(pair, pairs[0].scale, frames, patch_size)
        self.pairs = tuple(pairs)
        self.frames = frames
        self.patch_size = patch_size
        self.batch_size = batch_size
        self.seed = seed
        self.augment = augment

    @property
    def epoch_length(self) -> int:
        """How many batches show every clip once: ⌈clips / batch_size⌉."""
        return -(-len(self.pairs) // self.batch_size)

    def batch(self, step: int) -> PatchBatch:
        """Returns the batch of a step: clips at random, none twice unless there are fewer than N.

        Args:
            step: At least 0; any number may be asked for, in any order.
        """
        random = np.random.default_rng([self.seed, step, 0, _RANDOM_STEP])
        repeats = self.batch_size > len(self.pairs)
        chosen = random.choice(len(self.pairs), size=self.batch_size, replace=repeats)
        return self._cut(chosen, random)

    def epoch_batch(self, epoch: int, index: int) -> PatchBatch:
        """Returns a batch of an epoch, which shows each clip exactly once, in an order of its own.

        Args:
            epoch: At least 0.
            index: From 0 to `epoch_length` − 1; the last batch may be smaller.

        Raises:
            IndexError: ``index`` is outside the epoch.
        """
        if not 0 <= index < self.epoch_length:
            raise IndexError(f"an epoch has {self.epoch_length} batches, batch {index} was asked for")
        order = np.random.default_rng([self.seed, epoch, 0, _EPOCH_ORDER]).permutation(len(self.pairs))
        random = np.random.default_rng([self.seed, epoch, index, _EPOCH_STEP])
        return self._cut(order[index * self.batch_size : (index + 1) * self.batch_size], random)

    def _cut(self, chosen: NDArray[np.int64], random: np.random.Generator) -> PatchBatch:
        scale = self.pairs[0].scale
        small = self.patch_size // scale
        shape = (len(chosen), self.frames, 3)
        degraded = np.empty((*shape, small, small), np.float32)
        ground_truth = np.empty((*shape, self.patch_size, self.patch_size), np.float32)
        for row, clip in enumerate(chosen):
            pair = self.pairs[clip]
            length, height, width = pair.degraded.shape[:3]
            time = int(random.integers(length - self.frames + 1))
            top = int(random.integers(height - small + 1))
            left = int(random.integers(width - small + 1))
            symmetry = Augmentation.draw(random) if self.augment else Augmentation()
            for pixels, target, factor in (
                (pair.degraded, degraded[row], 1),
                (pair.ground_truth, ground_truth[row], scale),
            ):
                slab: Frames = pixels[
                    time : time + self.frames,
                    factor * top : factor * (top + small),
                    factor * left : factor * (left + small),
                ]
                target[:] = symmetry(slab).transpose(0, 3, 1, 2)
        degraded /= 255
        ground_truth /= 255
        return PatchBatch(degraded, ground_truth, tuple(self.pairs[clip].name for clip in chosen))


def _check_pair(pair: ClipPair, scale: int, frames: int, patch_size: int) -> None:
    if pair.scale != scale:
        raise ShardError(
            f"clip {pair.name!r}: is degraded ×{pair.scale}, but the first clip ×{scale}; "
            "train on shards of one scale"
        )
    if patch_size % scale:
        raise ConfigError("training.patch_size", patch_size, f"it must be divisible by the scale {scale}")
    length, height, width = pair.ground_truth.shape[:3]
    if length < frames:
        raise VideoError(
            f"clip {pair.name!r}: has {length} frames, but a patch needs {frames}; "
            "lower training.frames or leave this clip out"
        )
    if min(height, width) < patch_size:
        raise VideoError(
            f"clip {pair.name!r}: is {width}×{height} pixels, but a patch needs {patch_size}×{patch_size}; "
            "lower training.patch_size or leave this clip out"
        )
