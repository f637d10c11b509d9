"""`fedvsr upload`."""

import pytest


@pytest.fixture
def buckets(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDVSR_FEDERATION_STORE", str(tmp_path / "federation"))
    monkeypatch.setenv("FEDVSR_CLIENT_STORE", str(tmp_path / "clients/{client}"))
    return tmp_path


def test_a_clients_videos_go_into_its_bucket_and_held_out_videos_into_the_federations(
    fedvsr, buckets, videos
):
    output = fedvsr("upload", videos / "ann", "--client", "ann")
    assert (output.code, output.err) == (0, "")
    assert f"2 files in {buckets}/clients/ann/raw/" in output.out
    assert fedvsr("upload", videos / "held-out", "--held-out").code == 0
    assert sorted(path.name for path in (buckets / "clients/ann/raw").iterdir()) == ["ann-0.avi", "ann-1.avi"]
    assert [path.name for path in (buckets / "federation/evaluation-videos").iterdir()] == ["clip.avi"]


def test_the_videos_of_virtual_clients_keep_their_paths_in_the_federations_bucket(fedvsr, buckets, videos):
    assert fedvsr("upload", videos, "--training").code == 0
    folder = buckets / "federation/training-videos"
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.avi"))
    assert names == ["ann/ann-0.avi", "ann/ann-1.avi", "bob/bob-0.avi", "bob/bob-1.avi", "held-out/clip.avi"]


@pytest.mark.parametrize(
    "owner", [[], ["--client", "ann", "--held-out"], ["--held-out", "--training"]], ids=len
)
def test_exactly_one_owner_must_be_named(fedvsr, buckets, videos, owner):
    output = fedvsr("upload", videos / "ann", *owner)
    assert output.code == 2
    assert "give one of --client NAME, --held-out and --training" in output.err


def test_a_folder_without_videos_is_refused(fedvsr, buckets, tmp_path):
    (tmp_path / "empty").mkdir()
    output = fedvsr("upload", tmp_path / "empty", "--client", "ann")
    assert output.code == 2
    assert "no video was found" in output.err
