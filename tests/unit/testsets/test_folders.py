"""The layouts of the published copies of the test sets, and the errors for other layouts."""

import pytest

from fedvsr.errors import UnknownNameError, VideoError
from fedvsr.testsets.folders import locate_clips
from fedvsr.testsets.registry import get_test_set, known_test_sets

REDS4 = ("000", "011", "015", "020")
VID4 = ("calendar", "city", "foliage", "walk")
SEPTUPLETS = ("00001/0266", "00096/0936")
IMAGES = [f"im{n}" for n in range(1, 8)]


def located(name, root, degradation="bi"):
    clips = locate_clips(get_test_set(name), root, degradation, 4)
    return {
        clip.name: (
            str(clip.ground_truth.relative_to(root)),
            None if clip.low_resolution is None else str(clip.low_resolution.relative_to(root)),
        )
        for clip in clips
    }


@pytest.mark.parametrize(
    ("truth", "low"),
    [
        ("", None),
        ("GT", None),
        ("GT", "sharp_bicubic"),
        ("GT", "BIx4"),
        ("train_sharp", "train_sharp_bicubic/X4"),
        ("train/train_sharp", "train/train_sharp_bicubic/X4"),
    ],
)
def test_reds4(tmp_path, write_frames, truth, low):
    for clip in (*REDS4, "001"):  # of train_sharp's 240 clips, four count
        write_frames(tmp_path / truth / clip)
        if low:
            write_frames(tmp_path / low / clip, scale=4)
    expected = {
        clip: (str((tmp_path / truth / clip).relative_to(tmp_path)), low and f"{low}/{clip}")
        for clip in REDS4
    }
    assert located("reds4", tmp_path) == expected
    assert list(located("reds4", tmp_path)) == list(REDS4)


def test_the_degradation_selects_the_low_resolution(tmp_path, write_frames):
    for clip in VID4:
        write_frames(tmp_path / "GT" / clip)
        for folder in ("BIx4", "BDx4", "BIx2"):
            write_frames(tmp_path / folder / clip, scale=4)
    assert located("vid4", tmp_path)["walk"] == ("GT/walk", "BIx4/walk")
    assert located("vid4", tmp_path, "bd")["walk"] == ("GT/walk", "BDx4/walk")
    assert located("vid4", tmp_path, "matlab-bd")["walk"] == ("GT/walk", "BDx4/walk")


def test_a_root_that_is_the_ground_truth_ignores_folders_next_to_it(tmp_path, write_frames):
    for clip in VID4:
        write_frames(tmp_path / "GT" / clip)
        write_frames(tmp_path / "BIx4" / clip, scale=4)
    assert located("vid4", tmp_path / "GT")["city"] == ("city", None)


def test_the_copies_of_pfnl(tmp_path, write_frames):
    for clip in ("archpeople", "lake"):
        write_frames(tmp_path / clip / "truth")
        write_frames(tmp_path / clip / "blur4", scale=4)
    assert located("udm10", tmp_path, "bd") == {
        "archpeople": ("archpeople/truth", "archpeople/blur4"),
        "lake": ("lake/truth", "lake/blur4"),
    }
    # PFNL's low-resolution frames are not made by the blur that papers report.
    assert located("udm10", tmp_path, "matlab-bd")["lake"] == ("lake/truth", None)


def test_every_folder_of_frames_is_a_clip_of_udm10(tmp_path, write_frames):
    for clip in ("000", "001", "010"):
        write_frames(tmp_path / "GT" / clip)
        write_frames(tmp_path / "BDx4" / clip, scale=4)
    (tmp_path / "GT" / "no frames").mkdir()
    assert located("udm10", tmp_path, "matlab-bd") == {
        clip: (f"GT/{clip}", f"BDx4/{clip}") for clip in ("000", "001", "010")
    }


@pytest.mark.parametrize(
    ("root", "truth", "low"),
    [
        ("", "sequences", "sequences_LR"),
        ("", "sequences", None),
        ("", "vimeo_septuplet/sequences", "vimeo_septuplet_matlabLRx4/sequences"),
        ("sequences", "", None),
    ],
)
def test_vimeo_has_the_clips_that_its_list_names(tmp_path, write_frames, root, truth, low):
    (tmp_path / "sep_testlist.txt").write_text("\n".join(SEPTUPLETS) + "\n\n")
    for clip in (*SEPTUPLETS, "00001/0001"):
        write_frames(tmp_path / root / truth / clip, 7, IMAGES)
        if low:
            write_frames(tmp_path / low / clip, 7, IMAGES, scale=4)
    prefix = f"{truth}/" if truth else ""
    assert located("vimeo90k-t", tmp_path / root) == {
        clip: (prefix + clip, low and f"{low}/{clip}") for clip in SEPTUPLETS
    }


def test_a_root_that_does_not_exist(tmp_path):
    with pytest.raises(VideoError, match=r"nowhere: no such folder; --root is the folder of Vid4"):
        located("vid4", tmp_path / "nowhere")


def test_a_root_without_any_clip(tmp_path, write_frames):
    write_frames(tmp_path / "walking")
    expected = (
        r"expected the clips calendar, city, foliage, walk of Vid4, each a folder of images, in this "
        r"folder or in GT; found walking"
    )
    with pytest.raises(VideoError, match=expected):
        located("vid4", tmp_path)
    (tmp_path / "empty").mkdir()
    expected = r"expected the clips of UDM10, .* in this folder or in GT; found nothing"
    with pytest.raises(VideoError, match=expected):
        located("udm10", tmp_path / "empty")


def test_missing_clips(tmp_path, write_frames):
    for clip in VID4[:2]:
        write_frames(tmp_path / "GT" / clip)
    (tmp_path / "GT" / "walk").mkdir()  # without a frame
    with pytest.raises(VideoError, match=r"GT: expected .* found calendar, city, missing: foliage, walk"):
        located("vid4", tmp_path)


def test_missing_low_resolution_frames(tmp_path, write_frames):
    for clip in REDS4:
        write_frames(tmp_path / "GT" / clip)
    write_frames(tmp_path / "BIx4" / "011", scale=4)
    with pytest.raises(
        VideoError, match=r"BIx4: expected the low-resolution frames .*; missing: 000, 015, 020"
    ):
        located("reds4", tmp_path)


def test_an_error_names_at_most_eight_clips(tmp_path, write_frames):
    (tmp_path / "sep_testlist.txt").write_text("\n".join(f"00001/{n:04d}" for n in range(30)))
    write_frames(tmp_path / "sequences/00001/0000", 7, IMAGES)
    with pytest.raises(VideoError, match=r"missing: 00001/0001, .*, 00001/0008 and 21 more"):
        located("vimeo90k-t", tmp_path)


def test_vimeo_without_its_list(tmp_path, write_frames):
    write_frames(tmp_path / "sequences/00001/0266", 7, IMAGES)
    with pytest.raises(VideoError, match=r"expected sep_testlist\.txt"):
        located("vimeo90k-t", tmp_path)
    (tmp_path / "sep_testlist.txt").write_text("\n")
    with pytest.raises(VideoError, match=r"sep_testlist\.txt: lists no septuplet"):
        located("vimeo90k-t", tmp_path)


def test_every_test_set_has_its_registered_name():
    assert known_test_sets() == ("reds4", "udm10", "vid4", "vimeo90k-t")
    assert all(get_test_set(name).name == name for name in known_test_sets())
    with pytest.raises(UnknownNameError, match="unknown test set 'set5'; known: reds4, udm10"):
        get_test_set("set5")
