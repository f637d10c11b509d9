"""Batches of patches are repeatable, and ground-truth and low-resolution patches match."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedvsr.errors import ConfigError, ShardError, VideoError
from fedvsr.video.degradations.registry import get_degradation
from fedvsr.video.patches import Augmentation, ClipPair, PatchSampler
from fedvsr.video.shards import GROUND_TRUTH, ClipInfo, open_shard, shard_kind, write_shard

SCALE = 4
AUGMENTATIONS = [Augmentation(*(bool(bits >> position & 1) for position in range(4))) for bits in range(16)]


def make_pair(name, frames=9, height=10, width=14, scale=SCALE):
    """Makes a pair in which the low-resolution pixel (t, y, x) and its block have the colour (t, y, x)."""
    low_resolution = np.stack(np.indices((frames, height, width)), axis=-1).astype(np.uint8)
    return ClipPair(name, low_resolution.repeat(scale, axis=1).repeat(scale, axis=2), low_resolution, scale)


def make_sampler(pairs, **changes):
    values = {"frames": 5, "patch_size": 16, "batch_size": 3, "seed": 11}
    return PatchSampler(pairs, **(values | changes))


def assert_equal_batches(first, second):
    np.testing.assert_array_equal(first.low_resolution, second.low_resolution)
    np.testing.assert_array_equal(first.ground_truth, second.ground_truth)
    assert first.clips == second.clips


PAIRS = [make_pair(f"clip{index}", frames=9 + index) for index in range(7)]


class TestBatch:
    def test_a_batch_has_the_documented_shapes_types_and_range(self):
        batch = make_sampler(PAIRS).batch(0)
        assert batch.low_resolution.shape == (3, 5, 3, 4, 4)
        assert batch.ground_truth.shape == (3, 5, 3, 16, 16)
        assert batch.low_resolution.dtype == batch.ground_truth.dtype == np.float32
        assert len(batch.clips) == 3
        white = ClipPair("white", np.full((5, 16, 16, 3), 255, np.uint8), np.zeros((5, 4, 4, 3), np.uint8), 4)
        batch = make_sampler([white]).batch(0)
        assert (batch.ground_truth == 1).all()
        assert (batch.low_resolution == 0).all()

    @settings(max_examples=40)
    @given(step=st.integers(0, 2**40), seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([2, 4]))
    def test_both_patches_have_the_same_position_and_augmentation(self, step, seed, scale):
        pairs = [make_pair(str(index), scale=scale) for index in range(2)]
        batch = make_sampler(pairs, seed=seed, patch_size=16).batch(step)
        enlarged = batch.low_resolution.repeat(scale, axis=3).repeat(scale, axis=4)
        np.testing.assert_array_equal(batch.ground_truth, enlarged)

    def test_a_batch_depends_only_on_seed_and_step(self):
        first, second = make_sampler(PAIRS), make_sampler(PAIRS)
        batches = [first.batch(step) for step in range(6)]
        for step in (5, 0, 3, 3, 1):
            assert_equal_batches(second.batch(step), batches[step])
        assert len({batch.low_resolution.tobytes() for batch in batches}) == 6
        assert (
            make_sampler(PAIRS, seed=12).batch(0).low_resolution.tobytes()
            != batches[0].low_resolution.tobytes()
        )

    def test_every_position_and_clip_is_drawn(self):
        pairs = [make_pair("a", frames=6, height=5, width=6), make_pair("b", frames=6, height=5, width=6)]
        sampler = make_sampler(pairs, augmentation=Augmentation())
        positions = set()
        for step in range(150):
            batch = sampler.batch(step)
            corners = np.rint(batch.low_resolution[:, 0, :, 0, 0] * 255).astype(int)
            positions.update(
                (clip, *corner) for clip, corner in zip(batch.clips, corners.tolist(), strict=True)
            )
        assert positions == {
            (clip, t, y, x) for clip in "ab" for t in (0, 1) for y in (0, 1) for x in (0, 1, 2)
        }

    def test_no_clip_is_twice_in_a_batch_if_there_are_enough(self):
        for step in range(20):
            assert len(set(make_sampler(PAIRS, batch_size=7).batch(step).clips)) == 7
        assert len(make_sampler(PAIRS[:2], batch_size=5).batch(0).clips) == 5

    def test_without_augmentation_patches_keep_their_orientation(self):
        for step in range(10):
            patch = make_sampler(PAIRS, augmentation=Augmentation()).batch(step).low_resolution[0] * 255
            np.testing.assert_allclose(np.diff(patch[:, 0], axis=0), 1, atol=1e-4)  # time runs forward
            np.testing.assert_allclose(np.diff(patch[:, 1], axis=1), 1, atol=1e-4)  # rows go down
            np.testing.assert_allclose(np.diff(patch[:, 2], axis=2), 1, atol=1e-4)  # columns go right

    def test_with_augmentation_all_16_symmetries_occur(self):
        symmetries = set()
        sampler = make_sampler(PAIRS)
        for step in range(100):
            for patch in sampler.batch(step).low_resolution * 255:
                first, last = patch[0, :, 0, 0], patch[-1, :, -1, -1]
                right = patch[0, :, 0, -1]
                signs = np.sign(np.rint(last - first)).astype(int).tolist()
                transposed = bool(np.rint(abs(right[1] - first[1])) > 0)
                symmetries.add((*signs, transposed))
        assert len(symmetries) == 16

    @pytest.mark.parametrize("allowed", [*AUGMENTATIONS[1:15:3], Augmentation()])
    def test_only_the_augmentations_that_are_allowed_occur_and_positions_stay(self, allowed):
        every, some = make_sampler(PAIRS), make_sampler(PAIRS, augmentation=allowed)
        seen = set()
        for step in range(30):
            batch, all_allowed = some.batch(step), every.batch(step)
            assert batch.clips == all_allowed.clips
            for patch, other in zip(batch.low_resolution, all_allowed.low_resolution, strict=True):
                # The same pixels, in another order.
                np.testing.assert_array_equal(np.sort(patch, axis=None), np.sort(other, axis=None))
                straight = sorted(patch.transpose(0, 2, 3, 1).reshape(-1, 3).tolist())
                frames = np.reshape(straight, (5, 4, 4, 3))
                seen |= {
                    augmentation
                    for augmentation in AUGMENTATIONS
                    if np.array_equal(augmentation(frames).transpose(0, 3, 1, 2), patch)
                }
        names = ("horizontal_flip", "vertical_flip", "transpose", "time_reversal")
        assert len(seen) == 2 ** sum(getattr(allowed, name) for name in names)
        assert all(
            getattr(allowed, name) or not getattr(augmentation, name)
            for augmentation in seen
            for name in names
        )


class TestEpoch:
    @pytest.mark.parametrize(("clips", "batch_size", "length"), [(7, 3, 3), (6, 3, 2), (1, 4, 1), (7, 1, 7)])
    def test_an_epoch_has_each_clip_exactly_once(self, clips, batch_size, length):
        sampler = make_sampler(PAIRS[:clips], batch_size=batch_size)
        assert sampler.epoch_length == length
        for epoch in range(3):
            batches = [sampler.epoch_batch(epoch, index) for index in range(length)]
            names = [name for batch in batches for name in batch.clips]
            assert sorted(names) == [pair.name for pair in PAIRS[:clips]]

    @pytest.mark.parametrize("batch_size", [1, 4, 200])
    def test_in_an_epoch_of_frames_each_frame_begins_a_patch_once(self, batch_size):
        pairs = [make_pair("a", frames=9), make_pair("b", frames=5), make_pair("c", frames=12)]
        sampler = make_sampler(pairs, batch_size=batch_size, augmentation=Augmentation(), epoch="frames")
        assert sampler.epoch_length == -(-26 // batch_size)
        for epoch in range(2):
            first_frames = {"a": [], "b": [], "c": []}
            for index in range(sampler.epoch_length):
                batch = sampler.epoch_batch(epoch, index)
                # The first channel of a pixel is the number of its frame.
                numbers = np.rint(batch.low_resolution[:, 0, 0, 0, 0] * 255).astype(int).tolist()
                for name, number in zip(batch.clips, numbers, strict=True):
                    first_frames[name].append(number)
            for pair in pairs:
                length = pair.low_resolution.shape[0]
                # The last four frames of a clip cannot begin a patch of five: random frames do.
                assert len(first_frames[pair.name]) == length
                assert set(first_frames[pair.name]) == set(range(length - 4))

    def test_epochs_of_frames_differ_and_can_be_repeated(self):
        sampler = make_sampler(PAIRS, epoch="frames")
        assert sampler.epoch_batch(0, 3).clips != sampler.epoch_batch(1, 3).clips
        assert_equal_batches(sampler.epoch_batch(1, 3), make_sampler(PAIRS, epoch="frames").epoch_batch(1, 3))

    def test_epochs_differ_and_can_be_repeated(self):
        sampler = make_sampler(PAIRS, batch_size=7)
        assert len({sampler.epoch_batch(epoch, 0).clips for epoch in range(5)}) > 1
        assert_equal_batches(sampler.epoch_batch(2, 0), make_sampler(PAIRS, batch_size=7).epoch_batch(2, 0))

    def test_an_index_outside_the_epoch_is_refused(self):
        for index in (-1, 3):
            with pytest.raises(IndexError, match="an epoch has 3 batches"):
                make_sampler(PAIRS).epoch_batch(0, index)


class TestAugmentation:
    @pytest.mark.parametrize("augmentation", AUGMENTATIONS)
    def test_the_order_of_degradation_and_augmentation_does_not_matter(self, noise, augmentation):
        # Noise has no symmetry that could hide a difference. MATLAB's bicubic interpolation has all 16.
        square = noise[:, :, :24]
        degrade = get_degradation("bi")
        augmented_first = degrade(np.ascontiguousarray(augmentation(square)), SCALE)
        np.testing.assert_array_equal(augmented_first, augmentation(degrade(square, SCALE)))

    def test_the_16_augmentations_differ_and_the_default_changes_nothing(self, noise):
        square = noise[:, :, :24]
        assert len({augmentation(square).tobytes() for augmentation in AUGMENTATIONS}) == 16
        np.testing.assert_array_equal(Augmentation()(noise), noise)


class TestReadingFromShards:
    def write_shards(self, folder, clips):
        for kind, file in ((GROUND_TRUTH, "frames"), (shard_kind("bi", SCALE), "bi-x4")):
            described_clips = []
            for name, frames in clips.items():
                pixels = frames if kind == GROUND_TRUTH else get_degradation("bi")(frames, SCALE)
                length, height, width, _ = pixels.shape
                info = ClipInfo(
                    name=name, frames=length, height=height, width=width, fps=24.0, source="a.mp4"
                )
                described_clips.append((info, pixels))
            write_shard(folder / file, kind, described_clips)
        return open_shard(folder / "frames"), open_shard(folder / "bi-x4")

    def test_patches_from_shards_equal_patches_from_memory(self, tmp_path, noise):
        ground_truth, low_resolution = self.write_shards(tmp_path, {"a": noise, "b": noise[::-1]})
        pairs = [ClipPair(name, ground_truth[name], low_resolution[name], SCALE) for name in ground_truth]
        batch = make_sampler(pairs, patch_size=24).batch(0)
        in_memory = [
            ClipPair(pair.name, np.array(pair.ground_truth), np.array(pair.low_resolution), 4)
            for pair in pairs
        ]
        assert_equal_batches(batch, make_sampler(in_memory, patch_size=24).batch(0))

    def test_clips_with_different_shapes_are_refused(self, noise):
        with pytest.raises(ShardError, match="clip 'a': expected ground truth of shape"):
            ClipPair("a", noise, noise, 2)

    def test_only_the_pixels_of_the_patch_are_read(self):
        class Recorder:
            def __init__(self, pixels):
                self.pixels, self.shape, self.values_read = pixels, pixels.shape, 0

            def __getitem__(self, key):
                values = self.pixels[key]
                self.values_read += values.size
                return values

        pair = make_pair("a")
        recorders = [Recorder(pair.ground_truth), Recorder(pair.low_resolution)]
        make_sampler([ClipPair("a", *recorders, SCALE)], batch_size=1).batch(0)
        assert [recorder.values_read for recorder in recorders] == [5 * 16 * 16 * 3, 5 * 4 * 4 * 3]


class TestInvalidArguments:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"frames": 10}, r"clip 'clip0': has 9 frames.*needs 10; lower training\.frames"),
            ({"patch_size": 44}, r"clip 'clip0': is 56×40 pixels.*44×44; lower training\.patch_size"),
        ],
    )
    def test_clips_that_are_too_small_are_refused(self, change, message):
        with pytest.raises(VideoError, match=message):
            make_sampler(PAIRS, **change)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"patch_size": 18}, r"training\.patch_size: 18 .*divisible by the scale 4"),
            ({"frames": 0}, r"training\.frames: 0"),
            ({"batch_size": 0}, r"training\.batch_size: 0"),
            ({"seed": -1}, "seed: -1"),
            ({"seed": 2**32}, "seed: 4294967296"),
        ],
    )
    def test_settings_out_of_range_are_refused(self, change, message):
        with pytest.raises(ConfigError, match=message):
            make_sampler(PAIRS, **change)

    def test_no_clips_and_different_scales_are_refused(self):
        with pytest.raises(VideoError, match="no clips to train on"):
            make_sampler([])
        with pytest.raises(ShardError, match="clip 'b': has the scale 2, but the first clip has 4"):
            make_sampler([make_pair("a"), make_pair("b", scale=2)])
