"""The whole pipeline under kfp.local, compared with the same run in this process."""

import os
import shutil
import warnings
from pathlib import Path

import pytest
from kfp import local
from mlflow import MlflowClient

from fedvsr.config.run import RunConfig
from fedvsr.federation import layout
from fedvsr.federation.owner.videos import FederationVideos, local_videos
from fedvsr.federation.run.prepare import prepare_run
from fedvsr.federation.run.rounds import run_rounds, shard_all
from fedvsr.store.workspace import Workspace
from pipelines.federated_training import federated_training

pytestmark = pytest.mark.pipeline

SAMPLES = Path(__file__).parents[2] / "samples"
CLIENTS = {"north": ("train_000.mp4", "train_003.mp4"), "south": ("train_007.mp4",)}
HELD_OUT = "eval_045.mp4"
SETTINGS = {
    "data.dataset": "tiny",
    "data.split_shots": False,
    "model.options": {"channels": 8, "blocks": 1},
    "training.batch_size": 1,
    "training.frames": 3,
    "training.patch_size": 32,
    "training.threads": 1,
}


@pytest.fixture(scope="module")
def finished_workspace(tmp_path_factory):
    """Returns a workspace after two rounds of the pipeline under kfp.local."""
    root = tmp_path_factory.mktemp("piped")
    workspace = Workspace.under(str(root))
    for client, names in CLIENTS.items():
        for name in names:
            put(SAMPLES / name, root / "clients" / client / layout.RAW_VIDEOS)
    put(SAMPLES / HELD_OUT, root / "federation" / layout.HELD_OUT_VIDEOS)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        # This environment has the packages of the image.
        warnings.filterwarnings("ignore", "You may be attemping to run a task", RuntimeWarning)
        # Settings of a step that only a cluster uses.
        warnings.filterwarnings("ignore", r"Task '.*': settings .* have no effect")
        patch.setenv("FEDVSR_FEDERATION_STORE", workspace.federation_uri)
        patch.setenv("FEDVSR_CLIENT_STORE", workspace.client_uri)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/mlflow.db")
        # Each step is a process that starts in the working folder.
        patch.setenv("PYTHONPATH", os.fspath(SAMPLES.parent))
        patch.chdir(root)
        local.init(
            local.SubprocessRunner(use_venv=False),
            pipeline_root=str(root / "outputs"),
            raise_on_error=True,
        )
        federated_training(
            run_name="piped",
            rounds=2,
            clients=list(CLIENTS),
            local_steps=2,
            learning_rate=1e-3,
            settings=SETTINGS,
        )
    return workspace


def put(source, folder):
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, folder)


def test_the_weights_of_every_round_equal_those_of_a_run_in_this_process(finished_workspace, tmp_path):
    workspace = Workspace.under(str(tmp_path))
    config = RunConfig.parse(
        {
            "name": "piped",
            "data": {"dataset": "tiny", "split_shots": False},
            "model": {"options": {"channels": 8, "blocks": 1}},
            "training": {
                "local_steps": 2,
                "batch_size": 1,
                "frames": 3,
                "patch_size": 32,
                "learning_rate": 1e-3,
                "threads": 1,
            },
            "federation": {"rounds": 2, "clients": list(CLIENTS)},
        }
    )
    videos = FederationVideos(
        {
            client: [video for name in names for video in local_videos(SAMPLES, name)]
            for client, names in CLIENTS.items()
        },
        local_videos(SAMPLES, HELD_OUT),
    )
    shard_all(workspace, videos, config.data)
    run_rounds(workspace, prepare_run(workspace.federation(), config))
    for round_number in (0, 1, 2):
        key = layout.global_weights("piped", round_number)
        assert workspace.federation().read(key) == finished_workspace.federation().read(key)


def test_mlflow_has_both_rounds_and_a_challenger(finished_workspace):
    root = Path(finished_workspace.federation_uri).parent
    client = MlflowClient(f"sqlite:///{root}/mlflow.db")
    version = client.get_model_version_by_alias("fedvsr", "challenger")
    assert version.tags["fedvsr.run"] == "piped"
    for metric in ("client_loss_mean", "psnr_y", "participants"):
        history = client.get_metric_history(version.run_id, metric)
        assert [metric_value.step for metric_value in history] == [1, 2]


def test_steps_write_readable_outputs(finished_workspace):
    outputs = Path(finished_workspace.federation_uri).parent / "outputs"
    texts = [path.read_text() for path in outputs.rglob("*") if path.is_file()]
    for heading in ("# Shards", "# Round 1: clients", "# Round 2\n", "# fedvsr version 1"):
        assert any(text.startswith(heading) for text in texts), heading
    assert any(text.startswith("<!doctype html>") for text in texts)
