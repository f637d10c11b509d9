"""Every published architecture takes part in a federation: two clients, tiny presets, and the loss falls."""

import math
from pathlib import Path

import pytest

from fedvsr.config.run import RunConfig
from fedvsr.federation import layout
from fedvsr.federation.owner.shards import shard_videos
from fedvsr.federation.owner.videos import local_videos
from fedvsr.federation.records import RoundRecord, read_record
from fedvsr.federation.run.prepare import prepare_run
from fedvsr.federation.run.rounds import run_rounds
from fedvsr.models.registry import model_names
from fedvsr.store.workspace import Workspace
from tests.unit.models.tiny import TINY

SAMPLES = Path(__file__).parents[3] / "samples"
VIDEOS = {"north": "train_000.mp4", "south": "train_007.mp4"}
PRESETS = TINY | {"basicvsr": {"channels": 8, "blocks": 1}}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """Returns two clients with one clip each. The clip of one of them is also the held-out clip."""
    stores = Workspace.under(str(tmp_path_factory.mktemp("models")))
    data = RunConfig(name="data").data
    for client, name in VIDEOS.items():
        shard_videos(
            stores.client(client),
            layout.training_clips(data.dataset),
            local_videos(SAMPLES, name),
            data,
            client,
        )
    return stores


def test_every_trainable_model_has_a_preset_in_this_file():
    # fastvsr starts at bicubic interpolation: `make run` shows what it learns, not six steps.
    assert set(PRESETS) == set(model_names()) - {"bicubic", "fastvsr"}


@pytest.mark.parametrize("name", PRESETS)
def test_two_rounds_with_two_clients(workspace, name, monkeypatch):
    # No evaluation: whole clips take these networks too long on a CPU.
    monkeypatch.setattr("fedvsr.federation.run.rounds.is_evaluated", lambda config, round_number: False)
    run = name.replace("+", "p")
    config = RunConfig.parse(
        {
            "name": run,
            "model": {"name": name, "options": PRESETS[name]},
            "training": {
                "local_steps": 6,
                "batch_size": 1,
                "frames": 3,
                "patch_size": 64,
                "learning_rate": 2e-3,
                "threads": 1,
            },
            "federation": {"rounds": 2, "clients": list(VIDEOS)},
        }
    )
    run_rounds(workspace, prepare_run(workspace.federation(), config))
    records = [
        read_record(workspace.federation(), layout.round_record(run, round_number), RoundRecord)
        for round_number in (1, 2)
    ]
    first, second = (sum(record.losses) / len(record.losses) for record in records)
    assert all(len(record.participants) == 2 for record in records)
    assert math.isfinite(first)
    assert second < first
