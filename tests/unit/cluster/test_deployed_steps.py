"""The pipeline's steps and `fedvsr run --on cluster` in a deployment, with clients that really train."""

import json
import shutil
import subprocess
import sys
import threading

import pytest
import yaml

from fedvsr.cluster.settings import CLIENTS_VARIABLE
from fedvsr.errors import ClusterError, UnknownNameError
from fedvsr.federation import layout
from fedvsr.federation.client.train import train_client
from fedvsr.federation.owner.sharding import shard_client
from fedvsr.federation.records import OutcomesRecord, read_record
from fedvsr.federation.runs import load_run
from fedvsr.federation.shard_records import ShardSummary
from fedvsr.steps.prepare import prepare as prepare_step
from fedvsr.steps.shard import shard as shard_step
from fedvsr.store.workspace import Workspace
from tests.unit.cluster.conftest import SETTINGS
from tests.unit.tiny_run import RUN, run_command

TWO_CLIENTS = json.dumps({name: client for name, client in json.loads(SETTINGS).items() if name != "cleo"})


class ClientContainers:
    """Does what a client's container does when a Job is created."""

    def __init__(self, kubernetes, workspace):
        self.kubernetes = kubernetes
        self.workspace = workspace
        # Clients in one process share PyTorch's random state; in containers they do not.
        self.one_at_a_time = threading.Lock()

    def __call__(self, job):
        command = job["spec"]["template"]["spec"]["containers"][0]["command"]
        assert command[:2] == ["fedvsr", "client"]
        options = dict(zip(command[3::2], command[4::2], strict=True))
        client, run = options["--client"], options["--run"]
        pod = self.kubernetes.start_pod(job, f"{job['metadata']['name']}-0", (f"{command[2]} begins",))
        with self.one_at_a_time:
            message = ""
            record = load_run(self.workspace.federation(), run)
            if command[2] == "train":
                train_client(
                    self.workspace.federation(),
                    self.workspace.client(client),
                    record,
                    int(options["--round"]),
                    client,
                )
            else:
                message = ShardSummary.of(
                    shard_client(self.workspace, client, record.config.data)
                ).model_dump_json()
        self.kubernetes.end_pod(pod, 0, "Completed", message)
        self.kubernetes.end_job(job, "Complete")


@pytest.fixture
def deployment(tmp_path, videos, empty_database, monkeypatch, kubernetes, context):
    """The stores of two clients and a federation, in the environment of a deployment."""
    workspace = Workspace.under(str(tmp_path / "buckets"))
    for client in ("ann", "bob"):
        shutil.copytree(videos / client, tmp_path / "buckets/clients" / client / layout.RAW_VIDEOS)
    shutil.copytree(videos / "held-out", tmp_path / "buckets/federation" / layout.HELD_OUT_VIDEOS)
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    monkeypatch.setenv("FEDVSR_FEDERATION_STORE", workspace.federation_uri)
    monkeypatch.setenv("FEDVSR_CLIENT_STORE", workspace.client_uri)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv(CLIENTS_VARIABLE, TWO_CLIENTS)
    monkeypatch.chdir(tmp_path)
    settings = {"metadata": {"name": "fedvsr"}, "data": {CLIENTS_VARIABLE: TWO_CLIENTS}}
    kubernetes.put("configmaps", "fedvsr", settings)
    kubernetes.on_job = ClientContainers(kubernetes, workspace)
    return workspace


@pytest.fixture
def config(settings, tmp_path):
    """The tiny run's file, without videos on this machine."""
    path = tmp_path / "run.yaml"
    values = {key: value for key, value in settings.items() if key not in ("clients", "evaluation_videos")}
    path.write_text(yaml.safe_dump(values))
    return path


def flat(settings):
    """Returns a run's settings as the pipeline's first step gets them."""
    result = {}
    for section, values in settings.items():
        if section in ("clients", "evaluation_videos", "store", "tracking"):
            continue
        if isinstance(values, dict):
            result |= {f"{section}.{name}": value for name, value in values.items()}
        else:
            result[section] = values
    return result


def test_a_run_on_the_cluster_gives_the_weights_of_a_run_in_one_process(
    deployment, config, finished, kubernetes
):
    output = run_command("run", config, "--on", "cluster")
    assert output.code == 0, output.err
    for round_number in (0, 1, 2):
        key = layout.global_weights(RUN, round_number)
        assert deployment.federation().read(key) == finished.weights(round_number)
    assert "ann | train begins" in output.out
    assert "bob | shard begins" in output.out
    assert "alias challenger" in output.out
    assert kubernetes.names("jobs") == []
    # Resumed by its name, the run has nothing left to do but the results.
    jobs = kubernetes.request_count("POST", "/jobs")
    assert run_command("resume", RUN).code == 0
    assert kubernetes.request_count("POST", "/jobs") == jobs + 2, (
        "the shards are checked again, nobody trains"
    )


def test_a_dry_run_lists_the_deployments_clients_and_changes_nothing(deployment, config, kubernetes):
    output = run_command("run", config, "--on", "cluster", "--dry-run")
    assert output.code == 0, output.err
    assert "ann, bob" in output.out
    assert kubernetes.request_count("POST", "") == 0
    assert not list(deployment.federation().keys("runs/"))


def test_a_namespace_without_a_deployment_is_an_error(deployment, config):
    output = run_command("run", config, "--on", "cluster", "--namespace", "elsewhere")
    assert output.code == 1
    assert "namespace elsewhere has no ConfigMap 'fedvsr'" in output.err
    assert "make deploy" in output.err


def test_no_cluster_is_an_error(deployment, config, monkeypatch, tmp_path):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    output = run_command("run", config, "--on", "cluster")
    assert output.code == 1
    assert "no Kubernetes cluster to talk to" in output.err


def test_all_clients_of_the_deployment_take_part_unless_some_are_named(deployment, settings, monkeypatch):
    (first, *_) = prepare_step(flat(settings))
    assert first["clients"] == ["ann", "bob"]
    with pytest.raises(UnknownNameError, match="unknown client 'eve'; known: ann, bob"):
        prepare_step({**flat(settings), "name": "other", "federation.clients": ["ann", "eve"]})
    # A client that is added later does not join a run that has begun.
    monkeypatch.setenv(CLIENTS_VARIABLE, SETTINGS)
    (first, *_) = prepare_step(flat(settings))
    assert first["clients"] == ["ann", "bob"]


def test_shards_are_made_in_jobs_and_a_failure_is_reported(deployment, settings, tmp_path, kubernetes):
    prepare_step(flat(settings))
    container = kubernetes.on_job

    def play(job):
        if job["metadata"]["namespace"] == "client-ann":
            container(job)
            return
        # It ends well with a message that cannot be read.
        kubernetes.end_pod(kubernetes.start_pod(job, "bob-0"), 0, message='{"clips": "<script>"}')
        kubernetes.end_job(job, "Complete")

    kubernetes.on_job = play
    shard_step(RUN, tmp_path / "shards.md")
    rows = (tmp_path / "shards.md").read_text().splitlines()
    ann, bob, held_out = (
        next(row for row in rows if row.startswith(f"| {owner}")) for owner in ("ann", "bob", "held-out")
    )
    assert "–" not in ann + held_out
    assert "is no summary of shards" in bob
    assert "script" not in bob


STEP = """
import sys
from pathlib import Path
from fedvsr.steps.{name} import {name}
{name}({arguments})
loaded = [name for name in ("torch", "kfp") if name in sys.modules]
print("loaded:", loaded)
"""


def test_the_steps_that_start_jobs_need_no_pytorch(deployment, settings, tmp_path, kubernetes):
    prepare_step(flat(settings))
    for name, arguments in (
        ("shard", f"{RUN!r}, Path('shards.md')"),
        ("train_clients", f"{RUN!r}, 1, Path('clients.md')"),
    ):
        script = STEP.format(name=name, arguments=arguments)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "loaded: []" in done.stdout
        assert f"ann | {name.partition('_')[0]} begins" in done.stdout
    outcomes = read_record(deployment.federation(), layout.outcomes(RUN, 1), OutcomesRecord).outcomes
    assert [outcome.outcome for outcome in outcomes] == ["ok", "ok"]


def test_a_step_without_a_cluster_is_an_error(deployment, settings, tmp_path, monkeypatch):
    prepare_step(flat(settings))
    monkeypatch.setenv("KUBE_CONTEXT", "another")
    with pytest.raises(ClusterError, match="another"):
        shard_step(RUN, tmp_path / "shards.md")
