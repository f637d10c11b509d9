"""An experiment's videos, and the stored experiment."""

import pytest
import yaml

from fedvsr.config.experiment import load_experiment
from fedvsr.errors import ConfigError, UnknownNameError, VideoError
from fedvsr.experiment.local import plan_experiment
from fedvsr.experiment.results import results_folder
from fedvsr.experiment.stored import load_stored_experiment
from fedvsr.experiment.videos import collect_videos
from fedvsr.progress import Progress
from fedvsr.store.local import LocalStore
from tests.unit.tiny_run import RUN, write_video


@pytest.fixture
def many(tmp_path):
    """Six videos, two of each label."""
    for number in range(6):
        write_video(tmp_path / "many" / f"clip-{number}.avi", number, frames=3, size=(16, 16))
    labels = "".join(f"clip-{number},{'abc'[number // 2]}\n" for number in range(6))
    (tmp_path / "labels.csv").write_text(labels)
    return tmp_path / "many"


def split(config, many, **values):
    content = yaml.safe_load(config.read_text())
    content["clients"] = {"split": {"path": str(many), **values}}
    config.write_text(yaml.safe_dump(content))
    clients = collect_videos(load_experiment(config)).clients
    return {client: [video.name for video in videos] for client, videos in clients.items()}


def test_equal_parts_are_contiguous(config, many):
    assert split(config, many, count=3) == {
        "client-1": ["clip-0", "clip-1"],
        "client-2": ["clip-2", "clip-3"],
        "client-3": ["clip-4", "clip-5"],
    }


def test_client_names_sort_by_their_numbers(config, tmp_path):
    for number in range(10):
        write_video(tmp_path / "ten" / f"{number}.avi", number, frames=3, size=(16, 16))
    names = list(split(config, tmp_path / "ten", count=10))
    assert names == sorted(names)
    assert names[0] == "client-01"


@pytest.mark.parametrize("values", [{"scheme": "quantity-skew", "alpha": 1.0}, {"scheme": "dirichlet"}])
def test_the_parts_are_disjoint_and_complete(config, many, values):
    if values["scheme"] == "dirichlet":
        values = {**values, "labels": str(many.parent / "labels.csv"), "alpha": 0.5}
    shares = split(config, many, count=3, **values)
    assert sorted(name for share in shares.values() for name in share) == [f"clip-{n}" for n in range(6)]
    assert all(shares.values())
    assert shares == split(config, many, count=3, **values)


class Messages(Progress):
    def __init__(self):
        self.lines = []

    def message(self, text):
        self.lines.append(text)


def collect(config, many, **values):
    """Returns each client's parts of videos, and the warnings."""
    content = yaml.safe_load(config.read_text())
    content["clients"] = {"split": {"path": str(many), **values}}
    config.write_text(yaml.safe_dump(content))
    messages = Messages()
    clients = collect_videos(load_experiment(config), messages).clients
    parts = {
        client: [(video.name, video.first_frame, video.stop_frame) for video in videos]
        for client, videos in clients.items()
    }
    return parts, messages.lines


def test_a_split_by_frames_divides_videos(config, tmp_path):
    for number in range(2):
        write_video(tmp_path / "long" / f"{number}.avi", number, frames=12, size=(16, 16))
    parts, warnings = collect(config, tmp_path / "long", count=3, unit="frames")
    assert parts == {
        "client-1": [("0", 0, 8)],
        "client-2": [("0", 8, None), ("1", 0, 4)],
        "client-3": [("1", 4, None)],
    }
    assert warnings == []
    (tmp_path / "long" / "2.avi").write_bytes(b"not a video")
    _, warnings = collect(config, tmp_path / "long", count=3, unit="frames")
    assert len(warnings) == 1
    assert "warning: 2 is not split among the clients" in warnings[0]


def test_a_split_that_is_more_even_than_its_skew_is_warned_of(config, many):
    _, warnings = collect(config, many, count=6, scheme="quantity-skew", alpha=2.0)
    assert "warning: 4 of 6 clients would get less than half a video" in warnings[0]
    assert collect(config, many, count=3, scheme="quantity-skew", alpha=0.1)[1] == []
    _, warnings = collect(config, many, count=5, scheme="quantity-skew", alpha=2.0, unit="frames")
    assert "clients would get fewer than 3 frames (data.minimum_frames)" in warnings[0]


def test_labels_are_of_whole_videos(config, many):
    with pytest.raises(ConfigError, match=r"clients\.split\.unit: 'frames' .*dirichlet divides whole videos"):
        collect(config, many, count=2, scheme="dirichlet", unit="frames", labels="labels.csv")


def test_labels_that_cannot_be_read(config, many):
    with pytest.raises(ConfigError, match=r"clients\.split\.labels: .*none\.csv"):
        split(config, many, count=3, scheme="dirichlet", labels=str(many / "none.csv"))


def test_some_clients_of_the_clients_section(config):
    experiment = load_experiment(config, {"federation.clients": ["bob"]})
    assert list(collect_videos(experiment).clients) == ["bob"]
    with pytest.raises(ConfigError, match="eve"):
        collect_videos(load_experiment(config, {"federation.clients": ["eve"]}))


def test_a_plan_fills_in_the_clients_and_counts_the_videos(config, tmp_path):
    experiment, run, counts = plan_experiment(load_experiment(config, {"store": str(tmp_path / "new")}))
    assert run.federation.clients == ("ann", "bob")
    assert counts == {"ann": 2, "bob": 2, "held-out": 1}
    assert experiment.name == RUN
    assert not (tmp_path / "new").exists()


def test_a_run_is_resumed_from_another_working_folder(settings, videos, fedvsr, store, monkeypatch):
    folder = videos.parent
    content = {
        **settings,
        "clients": {"videos": {"ann": "ann", "bob": {"path": "bob"}}},
        "evaluation_videos": "held-out",
    }
    monkeypatch.chdir(folder)
    (videos / "relative.yaml").write_text(yaml.safe_dump(content))
    assert fedvsr("run", f"{videos.name}/relative.yaml", "--store", store, "--rounds", 1).code == 0
    experiment = load_stored_experiment(LocalStore(store / "federation"), RUN).experiment
    assert experiment.clients.videos["ann"].path == str(videos / "ann")
    assert experiment.evaluation_videos.path == str(videos / "held-out")
    monkeypatch.chdir("/")
    assert fedvsr("resume", RUN, "--store", store).code == 0


def test_a_moved_store_is_resumed_in_its_new_place(copied, tmp_path, monkeypatch, fedvsr):
    copied.store.rename(tmp_path / "moved")
    seen = []

    def stop(experiment, *arguments):
        seen.append(experiment.store)
        raise VideoError("seen enough")

    monkeypatch.setattr("fedvsr.experiment.local.run_experiment", stop)
    assert "seen enough" in fedvsr("resume", RUN, "--store", tmp_path / "moved").err
    assert seen == [str(tmp_path / "moved")]


def test_a_run_that_does_not_exist(tmp_path):
    with pytest.raises(UnknownNameError, match=RUN):
        load_stored_experiment(LocalStore(tmp_path), RUN)


def test_a_folder_without_videos(config, tmp_path):
    (tmp_path / "empty").mkdir()
    experiment = load_experiment(config, {"evaluation_videos.path": str(tmp_path / "empty")})
    with pytest.raises(VideoError, match="no video"):
        collect_videos(experiment)


def test_results_of_a_run_in_a_bucket_are_on_this_machine(tmp_path):
    assert results_folder(str(tmp_path), RUN) == tmp_path / "results" / RUN
    assert str(results_folder("s3://bucket/prefix", RUN)) == f"runs/results/{RUN}"


def test_videos_inside_the_store_are_refused(config, many):
    # A run writes an upscaled clip into its store. The next run would train on it.
    experiment = load_experiment(config, {"store": str(many)})
    content = {"split": {"path": str(many), "count": 2}}
    experiment = experiment.parse({**experiment.model_dump(), "clients": content})
    with pytest.raises(ConfigError, match=r"^store: .* lies in it; move the video or the store$"):
        collect_videos(experiment)
