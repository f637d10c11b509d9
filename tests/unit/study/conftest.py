"""A tiny study: two strategies that are the same, one that fails, and central training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.tiny_run import write_video


@pytest.fixture(scope="session")
def study_values(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, Any]) -> dict[str, Any]:
    """The content of a study's file."""
    folder = tmp_path_factory.mktemp("study")
    for number in range(4):
        write_video(folder / "videos" / f"train_{number}.avi", number)
    write_video(folder / "other" / "other.avi", 77)
    split = {"path": str(folder / "videos"), "count": 2}
    experiment = {**settings, "clients": {"split": split}}
    (folder / "experiment.yaml").write_text(yaml.safe_dump(experiment))
    return {
        "name": "tiny-study",
        "experiment": str(folder / "experiment.yaml"),
        "overrides": {"federation.rounds": 2, "training.local_steps": 2},
        "seeds": [1, 2],
        "reference": "fedavg",
        "strategies": {
            "fedavg": {"overrides": {"strategy.name": "fedavg"}},
            "twin": {"overrides": {"strategy.name": "fedavg"}},
            "diverging": {"overrides": {"training.learning_rate": 1e12}, "seeds": [1]},
        },
        "factors": {"failing": {"none": {}, "half": {"federation.failing_share": 0.5}}},
        "other_domain": {"path": str(folder / "other")},
        "comparisons": {"twin": ["fedavg"]},
        "target_gain": -50.0,
    }


@pytest.fixture
def study_file(tmp_path: Path, study_values: dict[str, Any]) -> Callable[..., Path]:
    """Writes a study with changed fields into the test's folder, and returns the file."""

    def write(**changes: Any) -> Path:
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({**study_values, **changes}, sort_keys=False))
        return path

    return write
