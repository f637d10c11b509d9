"""Training patches, drawn from shards; they depend only on a seed and a step."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import accumulate
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from fedvsr.errors import ConfigError, ShardError, VideoError
from fedvsr.video.frames import Frames
from fedvsr.video.pixels import Pixels

# The last number of a seed, so that the three streams of random numbers differ. It is never 0, because
# NumPy treats [seed, step] and [seed, step, 0] as equal.
_RANDOM_STEP, _EPOCH_STEP, _EPOCH_ORDER = 1, 2, 3
_MAX_SEED = 2**32 - 1


@dataclass(frozen=True)
class ClipPair:
    """A clip's ground-truth and low-resolution frames.

    Attributes:
        name: The clip's name, for error messages.
        ground_truth: uint8 (T, scale·H, scale·W, 3).
        low_resolution: uint8 (T, H, W, 3).
        scale: How many times smaller the low-resolution frames are, at least 1.
        fps: Frames per second.

    Raises:
        fedvsr.errors.ShardError: The two shapes do not match.
    """

    name: str
    ground_truth: Pixels
    low_resolution: Pixels
    scale: int
    fps: float = 25.0

    def __post_init__(self) -> None:
        frames, height, width, channels = self.low_resolution.shape
        expected = (frames, self.scale * height, self.scale * width, channels)
        if tuple(self.ground_truth.shape) != expected:
            raise ShardError(
                f"clip {self.name!r}: expected ground truth of shape {expected}, {self.scale} times the "
                f"low resolution {tuple(self.low_resolution.shape)}, got {tuple(self.ground_truth.shape)}; "
                "make the shards again from one set of videos"
            )


@dataclass(frozen=True)
class Augmentation:
    """One of the 16 symmetries of a clip. A transposition and a flip together are a rotation by 90°."""

    horizontal_flip: bool = False
    vertical_flip: bool = False
    transpose: bool = False
    time_reversal: bool = False

    def draw(self, random: np.random.Generator) -> Self:
        """Returns a random augmentation; each part that is set here is set there with probability ½.

        The same number of random bits is drawn, whichever parts are set.
        """
        allowed = (getattr(self, field.name) for field in fields(self))
        bits = random.integers(2, size=len(fields(self)))
        return type(self)(*(bool(bit) and part for bit, part in zip(bits, allowed, strict=True)))

    def __call__(self, frames: Frames) -> Frames:
        """Returns a view of the augmented frames.

        Args:
            frames: uint8 (T, H, W, 3).

        Returns:
            uint8 (T, H, W, 3), or (T, W, H, 3) if transposed.
        """
        if self.horizontal_flip:
            frames = frames[:, :, ::-1]
        if self.vertical_flip:
            frames = frames[:, ::-1]
        if self.transpose:
            frames = frames.swapaxes(1, 2)
        if self.time_reversal:
            frames = frames[::-1]
        return frames


EVERY_AUGMENTATION = Augmentation(True, True, True, True)


@dataclass(frozen=True)
class PatchBatch:
    """N patches of T frames, with p × p ground-truth pixels and p / scale × p / scale low-resolution pixels.

    Attributes:
        low_resolution: float32 (N, T, 3, p / scale, p / scale) in [0, 1].
        ground_truth: float32 (N, T, 3, p, p) in [0, 1].
        clips: The names of the N patches' clips.
    """

    low_resolution: NDArray[np.float32]
    ground_truth: NDArray[np.float32]
    clips: tuple[str, ...]


class PatchSampler:
    """Draws batches of patches.

    A batch depends only on the seed and the step, or on the seed, epoch and index. So it can be drawn again
    on any machine, and steps can be drawn in any order. All positions on the low-resolution grid are equally
    likely, in space and time. All clips are equally likely, whatever their lengths.

    Args:
        pairs: The clips, at least one, all of one scale.
        frames: Number of frames of a patch, T; at least 1.
        patch_size: The side of a ground-truth patch in pixels, p; divisible by the scale.
        batch_size: Number of patches of a batch, N; at least 1.
        seed: From 0 to 2³² − 1.
        augmentation: What may happen to a patch. Each part that is set happens to half of the patches.
        epoch: What an epoch contains once: each clip, or each frame. A frame stands for the patch that begins
            with it. If too few frames follow it in its clip, the patch begins at a random frame, as in
            BasicSR's REDSRecurrentDataset.

    Raises:
        fedvsr.errors.ConfigError: A setting is out of range.
        fedvsr.errors.VideoError: There are no clips, or a clip has fewer than ``frames`` frames or a
            side of fewer than ``patch_size`` pixels.
        fedvsr.errors.ShardError: The clips have different scales.
    """

    def __init__(
        self,
        pairs: Sequence[ClipPair],
        *,
        frames: int,
        patch_size: int,
        batch_size: int,
        seed: int,
        augmentation: Augmentation = EVERY_AUGMENTATION,
        epoch: Literal["clips", "frames"] = "clips",
    ) -> None:
        for field, value in (("frames", frames), ("patch_size", patch_size), ("batch_size", batch_size)):
            if value < 1:
                raise ConfigError(f"training.{field}", value, "it must be at least 1")
        if not 0 <= seed <= _MAX_SEED:
            raise ConfigError("seed", seed, f"it must be between 0 and {_MAX_SEED}")
        if not pairs:
            raise VideoError("there are no clips to train on; add videos with longer shots")
        for pair in pairs:
            _check_pair(pair, pairs[0].scale, frames, patch_size)
        self.pairs = tuple(pairs)
        self.frames = frames
        self.patch_size = patch_size
        self.batch_size = batch_size
        self.seed = seed
        self.augmentation = augmentation
        # An epoch's samples are numbered clip by clip: sample i is of the first clip whose end exceeds i.
        samples = (1 if epoch == "clips" else pair.low_resolution.shape[0] for pair in pairs)
        self._ends = np.array(tuple(accumulate(samples)))
        self._begins_with_frame = epoch == "frames"

    @property
    def epoch_length(self) -> int:
        """Number of batches in an epoch: ⌈samples / batch_size⌉; a sample is a clip, or a frame."""
        return -(-int(self._ends[-1]) // self.batch_size)

    def batch(self, step: int) -> PatchBatch:
        """Returns the batch of a step, from random clips.

        Args:
            step: At least 0.

        Returns:
            N patches. If there are at least N clips, no clip is in the batch twice.
        """
        random = np.random.default_rng([self.seed, step, 0, _RANDOM_STEP])
        with_repeats = self.batch_size > len(self.pairs)
        clips = random.choice(len(self.pairs), size=self.batch_size, replace=with_repeats)
        return self._cut(clips, random)

    def epoch_batch(self, epoch: int, index: int) -> PatchBatch:
        """Returns a batch of an epoch. An epoch contains each clip, or each frame, once, in random order.

        Args:
            epoch: At least 0.
            index: From 0 to `epoch_length` − 1.

        Returns:
            N patches; the last batch of an epoch may have fewer.

        Raises:
            IndexError: ``index`` is outside the epoch.
        """
        if not 0 <= index < self.epoch_length:
            raise IndexError(f"an epoch has {self.epoch_length} batches, so it has no batch {index}")
        order = np.random.default_rng([self.seed, epoch, 0, _EPOCH_ORDER]).permutation(int(self._ends[-1]))
        random = np.random.default_rng([self.seed, epoch, index, _EPOCH_STEP])
        samples = order[index * self.batch_size : (index + 1) * self.batch_size]
        clips = np.searchsorted(self._ends, samples, side="right")
        if not self._begins_with_frame:
            return self._cut(clips, random)
        # A clip's samples end where the next clip's begin, so this counts from the end of the clip.
        frames = [
            self.pairs[clip].low_resolution.shape[0] - int(self._ends[clip] - sample)
            for clip, sample in zip(clips, samples, strict=True)
        ]
        return self._cut(clips, random, frames)

    def _cut(
        self, clips: NDArray[np.int64], random: np.random.Generator, first_frames: Sequence[int] | None = None
    ) -> PatchBatch:
        """Cuts one patch from each of the clips with these indices in `pairs`.

        Args:
            clips: The clips' indices.
            random: Draws the patches' positions and augmentations.
            first_frames: The frame that each patch begins with, if enough frames follow it; None for random
                ones.
        """
        scale = self.pairs[0].scale
        small_size = self.patch_size // scale
        shape = (len(clips), self.frames, 3)
        low_resolution = np.empty((*shape, small_size, small_size), np.float32)
        ground_truth = np.empty((*shape, self.patch_size, self.patch_size), np.float32)
        for patch, clip in enumerate(clips):
            pair = self.pairs[clip]
            length, height, width = pair.low_resolution.shape[:3]
            first_frame = int(random.integers(length - self.frames + 1))
            if first_frames is not None and first_frames[patch] <= length - self.frames:
                first_frame = first_frames[patch]
            top = int(random.integers(height - small_size + 1))
            left = int(random.integers(width - small_size + 1))
            augmentation = self.augmentation.draw(random)
            for pixels, target, factor in (
                (pair.low_resolution, low_resolution[patch], 1),
                (pair.ground_truth, ground_truth[patch], scale),
            ):
                frames: Frames = pixels[
                    first_frame : first_frame + self.frames,
                    factor * top : factor * (top + small_size),
                    factor * left : factor * (left + small_size),
                ]
                target[:] = augmentation(frames).transpose(0, 3, 1, 2)
        low_resolution /= 255
        ground_truth /= 255
        return PatchBatch(low_resolution, ground_truth, tuple(self.pairs[clip].name for clip in clips))


def _check_pair(pair: ClipPair, scale: int, frames: int, patch_size: int) -> None:
    if pair.scale != scale:
        raise ShardError(
            f"clip {pair.name!r}: has the scale {pair.scale}, but the first clip has {scale}; "
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
