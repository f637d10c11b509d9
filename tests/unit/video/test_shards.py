"""Shards keep clips exactly, in a pinned format, and a broken shard is refused."""

import hashlib
import json
import os
import resource
import signal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from fedvsr.errors import ShardError, StoreError
from fedvsr.video.degradations.registry import degradation_names
from fedvsr.video.shards import GROUND_TRUTH, ClipInfo, open_shard, shard_kind, write_shard


def describe(name, frames, **changes):
    length, height, width, _ = frames.shape
    values = {
        "name": name,
        "frames": length,
        "height": height,
        "width": width,
        "fps": 24.0,
        "source": "film.mp4",
    }
    return ClipInfo(**(values | changes))


def make_clips(seed=0, sizes=((3, 8, 12), (2, 5, 7), (4, 8, 8))):
    random = np.random.default_rng(seed)
    clips = [random.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    return [
        (describe(f"film/{index:06d}", clip, first_frame=9 * index), clip) for index, clip in enumerate(clips)
    ]


@pytest.fixture
def shard_path(tmp_path):
    path = tmp_path / "frames.safetensors"
    write_shard(path, GROUND_TRUTH, make_clips())
    return path


class TestRoundTrip:
    def test_clips_and_descriptions_are_read_as_written(self, tmp_path):
        clips = make_clips()
        path = tmp_path / "new" / "bi-x4.safetensors"
        info = write_shard(path, shard_kind("bi", 4), clips)
        assert info.digest == hashlib.sha256(path.read_bytes()).hexdigest()
        assert info.size_bytes == path.stat().st_size
        assert list(info.clips) == [clip for clip, _ in clips]
        shard = open_shard(path)
        assert shard.kind == "bi-x4"
        assert list(shard.clips.values()) == [clip for clip, _ in clips]
        assert list(shard) == [clip.name for clip, _ in clips]
        assert len(shard) == 3
        assert "film/000001" in shard
        for clip, frames in clips:
            np.testing.assert_array_equal(shard[clip.name], frames)
            np.testing.assert_array_equal(shard[clip.name][1:2, 2:5, 3:4], frames[1:2, 2:5, 3:4])

    def test_pixels_are_mapped_from_the_file_and_read_only(self, shard_path):
        frames = open_shard(shard_path)["film/000000"]
        assert not frames.flags.owndata
        with pytest.raises(ValueError, match="read-only"):
            frames[0, 0, 0, 0] = 1

    def test_safetensors_own_reader_reads_a_shard(self, shard_path):
        with safe_open(shard_path, framework="np") as file:
            assert json.loads(file.metadata()["fedvsr"])["kind"] == "frames"
            for clip, frames in make_clips():
                np.testing.assert_array_equal(file.get_tensor(clip.name), frames)

    def test_the_documented_format_can_be_read_with_json_alone(self, shard_path):
        data = shard_path.read_bytes()
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        assert (8 + length) % 8 == 0
        metadata = json.loads(header["__metadata__"]["fedvsr"])
        assert (metadata["format"], metadata["version"]) == ("fedvsr-shard", 1)
        assert metadata["clips"][1]["first_frame"] == 9
        clip, frames = make_clips()[1]
        begin, end = header[clip.name]["data_offsets"]
        assert data[8 + length + begin : 8 + length + end] == frames.tobytes()

    def test_equal_clips_give_equal_bytes(self, tmp_path):
        paths = [tmp_path / name for name in ("a", "b")]
        first, second = (write_shard(path, GROUND_TRUTH, iter(make_clips())) for path in paths)
        assert first == second
        assert paths[0].read_bytes() == paths[1].read_bytes()

    def test_the_bytes_of_version_1_do_not_change(self, tmp_path):
        frames = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
        info = write_shard(tmp_path / "a", "bi-x4", [(describe("clip", frames, label="sea"), frames)])
        # If this digest changes, the format needs a new version.
        assert info.digest == "d1ca310d62e6bab5cee21aa50316b90cdf2a9cb3fe08eaa5f691c0c018e0a7b0"

    @settings(max_examples=25)
    @given(
        clips=st.dictionaries(
            st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__"),
            st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)),
            min_size=1,
            max_size=4,
        )
    )
    def test_clips_may_have_any_name_and_size(self, tmp_path_factory, clips):
        path = tmp_path_factory.mktemp("shards") / "shard"
        pixels = {name: np.full((*size, 3), sum(size), np.uint8) for name, size in clips.items()}
        write_shard(path, GROUND_TRUTH, [(describe(name, frames), frames) for name, frames in pixels.items()])
        shard = open_shard(path)
        assert list(shard) == list(clips)
        for name, size in clips.items():
            assert (shard[name] == sum(size)).all()

    def test_a_transposed_view_is_written_in_its_own_order(self, tmp_path):
        frames = make_clips()[0][1].swapaxes(1, 2)
        write_shard(tmp_path / "a", GROUND_TRUTH, [(describe("clip", frames), frames)])
        np.testing.assert_array_equal(open_shard(tmp_path / "a")["clip"], frames)


class TestWriteErrors:
    def test_no_clips_duplicate_names_and_wrong_descriptions_are_refused(self, tmp_path):
        (clip, frames), (other, _), _ = make_clips()
        for clips, message in [
            ([], "without clips"),
            ([(clip, frames), (clip, frames)], "'film/000000' is taken"),
            ([(describe("__metadata__", frames), frames)], "'__metadata__' is taken"),
            ([(other, frames)], r"described as uint8 \(2, 5, 7, 3\).*\(3, 8, 12, 3\)"),
            ([(clip, frames.astype(np.float32))], "float32"),
        ]:
            with pytest.raises(ShardError, match=message):
                write_shard(tmp_path / "shard", GROUND_TRUTH, clips)
        with pytest.raises(ShardError, match="the kind 'bicubic'"):
            write_shard(tmp_path / "shard", "bicubic", [(clip, frames)])
        assert list(tmp_path.iterdir()) == []

    def test_a_full_disk_leaves_the_existing_shard_unchanged(self, shard_path):
        before = shard_path.read_bytes()
        clips = make_clips(seed=1, sizes=[(8, 64, 64)])
        # A limit on the size of files makes a write fail in the middle, as a full disk does.
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
        try:
            with pytest.raises(StoreError, match=r"frames\.safetensors: the shard could not be written"):
                write_shard(shard_path, GROUND_TRUTH, clips)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handler)
        assert [path.name for path in shard_path.parent.iterdir()] == [shard_path.name]
        assert shard_path.read_bytes() == before

    def test_an_error_in_the_clips_leaves_the_existing_shard_unchanged(self, shard_path):
        def failing():
            yield make_clips(seed=1)[0]
            raise RuntimeError("the decoder failed")

        before = shard_path.read_bytes()
        with pytest.raises(RuntimeError, match="the decoder failed"):
            write_shard(shard_path, GROUND_TRUTH, failing())
        assert [path.name for path in shard_path.parent.iterdir()] == [shard_path.name]
        assert shard_path.read_bytes() == before

    def test_a_folder_that_cannot_be_created_is_an_error(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(StoreError, match="could not be written"):
            write_shard(tmp_path / "file" / "shard", GROUND_TRUTH, make_clips())


class TestBrokenShards:
    def rewrite(self, path, change):
        """Changes the header of a shard and writes it back with its new length."""
        data = path.read_bytes()
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        metadata = json.loads(header["__metadata__"]["fedvsr"])
        change(header, metadata)
        if "__metadata__" in header:
            header["__metadata__"]["fedvsr"] = json.dumps(metadata)
        encoded = json.dumps(header).encode()
        path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + data[8 + length :])

    @pytest.mark.parametrize("length", [0, 4, 8, 100, -1])
    def test_a_truncated_shard_is_refused(self, shard_path, length):
        shard_path.write_bytes(shard_path.read_bytes()[:length])
        with pytest.raises(ShardError, match=r"frames\.safetensors.*delete the shard and make it again"):
            open_shard(shard_path)

    def test_a_shard_with_extra_bytes_is_refused(self, shard_path):
        with shard_path.open("ab") as file:
            file.write(b"0")
        with pytest.raises(ShardError, match=r"expected \d+ bytes, found \d+"):
            open_shard(shard_path)

    def test_a_file_without_a_safetensors_header_is_refused(self, shard_path):
        shard_path.write_bytes(os.urandom(8)[:7] + b"\x7f" + b"0" * 100)
        with pytest.raises(ShardError, match="a header of"):
            open_shard(shard_path)
        shard_path.write_bytes((16).to_bytes(8, "little") + b"this is no JSON!")
        with pytest.raises(ShardError, match="not JSON"):
            open_shard(shard_path)

    def test_a_safetensors_file_of_weights_is_refused(self, shard_path):
        self.rewrite(shard_path, lambda header, metadata: header.pop("__metadata__"))
        with pytest.raises(ShardError, match="is not a shard of fedvsr"):
            open_shard(shard_path)

    def test_another_version_is_refused(self, shard_path):
        self.rewrite(shard_path, lambda header, metadata: metadata.update(version=2))
        with pytest.raises(
            ShardError, match="expected fedvsr-shard version 1, found 'fedvsr-shard' version 2"
        ):
            open_shard(shard_path)

    def test_an_invalid_field_is_an_error_that_names_it(self, shard_path):
        self.rewrite(shard_path, lambda header, metadata: metadata["clips"][1].update(fps=-1))
        with pytest.raises(ShardError, match=r"'clips\.1\.fps'"):
            open_shard(shard_path)

    def test_tensors_that_the_metadata_does_not_list_are_refused(self, shard_path):
        self.rewrite(shard_path, lambda header, metadata: metadata["clips"].pop())
        with pytest.raises(ShardError, match="not the clips"):
            open_shard(shard_path)

    @pytest.mark.parametrize(
        "change", [{"dtype": "F32"}, {"shape": [2, 7, 5, 3]}, {"data_offsets": [0, 210]}]
    )
    def test_a_tensor_that_does_not_match_its_clip_is_refused(self, shard_path, change):
        self.rewrite(shard_path, lambda header, metadata: header["film/000001"].update(change))
        with pytest.raises(ShardError, match="clip 'film/000001': expected"):
            open_shard(shard_path)

    def test_a_missing_file_and_a_missing_clip_are_errors(self, shard_path):
        with pytest.raises(ShardError, match="cannot be opened"):
            open_shard(shard_path.parent / "missing")
        with pytest.raises(ShardError, match="none of its 3 clips is called 'other'"):
            open_shard(shard_path)["other"]


@pytest.mark.parametrize("degradation", [*degradation_names(), "package.module:Name"])
def test_every_degradation_has_a_kind_that_a_shard_can_have(tmp_path, degradation):
    frames = np.zeros((2, 4, 4, 3), np.uint8)
    kind = shard_kind(degradation, 4)
    write_shard(tmp_path / "shard", kind, [(describe("clip", frames), frames)])
    assert open_shard(tmp_path / "shard").kind == kind
