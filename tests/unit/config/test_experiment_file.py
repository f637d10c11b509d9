"""The YAML file of a run: its meaning, its relative paths, and overrides."""

from pathlib import Path

import pytest

from fedvsr.config.experiment import Experiment, load_experiment
from fedvsr.errors import ConfigError


def save(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def test_the_videos_paths_are_relative_to_the_file_and_the_store_to_the_working_folder(tmp_path: Path):
    path = save(
        tmp_path / "studies" / "run.yaml",
        """
        name: demo
        clients:
          videos:
            ann: {path: clips/ann}
            bob: clips/bob
            cleo: /absolute/cleo
        evaluation_videos: {path: ../held-out}
        store: runs
        """,
    )
    experiment = load_experiment(path)
    paths = {name: Path(videos.path) for name, videos in experiment.clients.videos.items()}
    assert paths == {
        "ann": tmp_path / "studies" / "clips" / "ann",
        "bob": tmp_path / "studies" / "clips" / "bob",
        "cleo": Path("/absolute/cleo"),
    }
    assert Path(experiment.evaluation_videos.path).resolve() == tmp_path / "held-out"
    assert experiment.store == "runs"


def test_the_paths_of_a_split_are_relative_to_the_file(tmp_path: Path):
    path = save(
        tmp_path / "run.yaml",
        "name: demo\nclients: {split: {path: videos, count: 2, scheme: dirichlet, labels: labels.csv}}",
    )
    split = load_experiment(path).clients.split
    assert (Path(split.path), Path(split.labels)) == (tmp_path / "videos", tmp_path / "labels.csv")


def test_an_empty_labels_field_stays_empty(tmp_path: Path):
    path = save(tmp_path / "run.yaml", "name: demo\nclients: {split: {path: videos, count: 2}}")
    assert load_experiment(path).clients.split.labels == ""


def test_overrides_replace_fields_at_any_depth_and_keep_their_paths(tmp_path: Path):
    path = save(
        tmp_path / "run.yaml", "name: demo\ntraining: {frames: 4}\nevaluation_videos: {path: held-out}"
    )
    experiment = load_experiment(
        path,
        {"name": "other", "training.batch_size": 3, "federation.rounds": 7, "evaluation_videos.path": "here"},
    )
    assert experiment.name == "other"
    assert (experiment.training.frames, experiment.training.batch_size) == (4, 3)
    assert experiment.federation.rounds == 7
    assert experiment.evaluation_videos.path == "here"


def test_an_override_is_checked_like_a_field(tmp_path: Path):
    path = save(tmp_path / "run.yaml", "name: demo")
    with pytest.raises(ConfigError, match=r"^training\.steps: 3 is not allowed; no such field"):
        load_experiment(path, {"training.steps": 3})


def test_an_override_inside_a_field_that_is_not_a_section_is_refused(tmp_path: Path):
    path = save(tmp_path / "run.yaml", "name: demo")
    with pytest.raises(ConfigError, match=r"^name: 'demo' is not allowed; it must be a mapping of fields$"):
        load_experiment(path, {"name.first": "x"})


def test_a_section_that_holds_only_comments_has_its_defaults_and_can_be_overridden(tmp_path: Path):
    path = save(tmp_path / "run.yaml", "name: demo\nfederation:\n  # rounds: 3\ntraining:\n")
    assert load_experiment(path) == Experiment(name="demo")
    assert load_experiment(path, {"federation.rounds": 3}).federation.rounds == 3


def test_numbers_as_yaml_writes_them(tmp_path: Path):
    # YAML 1.1 reads 1e-4, without a point, as a string.
    path = save(tmp_path / "run.yaml", "name: demo\ntraining: {learning_rate: 1e-4}")
    assert load_experiment(path).training.learning_rate == 1e-4


def test_the_file_is_utf_8(tmp_path: Path):
    path = save(tmp_path / "run.yaml", "name: demo\nevaluation_videos: {path: /Prüfung}")
    assert load_experiment(path).evaluation_videos.path == "/Prüfung"


def test_a_run_config_has_what_the_weights_depend_on_and_its_clients(tmp_path: Path):
    path = save(
        tmp_path / "run.yaml", "name: demo\nseed: 5\nfederation: {clients_per_round: 2}\nstore: s3://b"
    )
    config = load_experiment(path).run_config(("ann", "bob"))
    assert (config.name, config.seed, config.federation.clients) == ("demo", 5, ("ann", "bob"))
    assert not hasattr(config, "store")


def test_a_run_config_checks_its_clients_against_the_counts(tmp_path: Path):
    path = save(tmp_path / "run.yaml", "name: demo\nfederation: {clients_per_round: 3}")
    with pytest.raises(ConfigError, match=r"^federation\.clients_per_round: 3 is not allowed"):
        load_experiment(path).run_config(("ann", "bob"))


def test_the_paths_of_pretrained_weights_are_relative_to_the_file(tmp_path: Path):
    path = save(
        tmp_path / "run.yaml",
        "name: demo\ntraining: {pretrained: {spynet: flow.pth, tail: {path: /weights/tail.pth}}}",
    )
    pretrained = load_experiment(path).training.pretrained
    assert {part: file.path for part, file in pretrained.items()} == {
        "spynet": str(tmp_path / "flow.pth"),
        "tail": "/weights/tail.pth",
    }
