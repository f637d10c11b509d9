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

TWO = json.dumps({name: each for name, each in json.loads(SETTINGS).items() if name != "cleo"})


class Sites:
    """Does what a client's container does when the API is given a Job for it."""

    def __init__(self, kubernetes, workspace):
        self.kubernetes = kubernetes
        self.workspace = workspace
        # PyTorch's random state is the process's: in their own containers they would not share it.
        self.one_at_a_time = threading.Lock()

    def __call__(self, job):
        command = job["spec"]["template"]["spec"]["containers"][0]["command"]
        assert command[:2] == ["fedvsr", "client"]
        options = dict(zip(command[3::2], command[4::2], strict=True))
        client, run = options["--client"], options["--run"]
        pod = self.kubernetes.start_pod(job, f"{job['metadata']['name']}-0", (f"{command[2]} begins",))
        with self.one_at_a_time:
            said = ""
            if command[2] == "train":
                train_client(self.workspace, run, int(options["--round"]), client)
            else:
                data = load_run(self.workspace.federation(), run).config.data
                said = ShardSummary.of(shard_client(self.workspace, client, data)).model_dump_json()
        self.kubernetes.end_pod(pod, 0, "Completed", said)
        self.kubernetes.end_job(job, "Complete")


@pytest.fixture
def deployment(tmp_path, videos, empty_database, monkeypatch, kubernetes, context):
    """Two clients' sites and a federation, as a deployment's environment names them."""
    workspace = Workspace.below(str(tmp_path / "buckets"))
    for client in ("ann", "bob"):
        shutil.copytree(videos / client, tmp_path / "buckets/clients" / client / layout.RAW_VIDEOS)
    shutil.copytree(videos / "held-out", tmp_path / "buckets/federation" / layout.EVALUATION_VIDEOS)
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    monkeypatch.setenv("FEDVSR_FEDERATION_STORE", workspace.federation_uri)
    monkeypatch.setenv("FEDVSR_CLIENT_STORE", workspace.client_uri)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv(CLIENTS_VARIABLE, TWO)
    monkeypatch.chdir(tmp_path)
    settings = {"metadata": {"name": "fedvsr"}, "data": {CLIENTS_VARIABLE: TWO}}
    kubernetes.put("configmaps", "fedvsr", settings)
    kubernetes.on_job = Sites(kubernetes, workspace)
    return workspace


@pytest.fixture
def config(settings, tmp_path):
    """The tiny run's file, without any video of this machine."""
    path = tmp_path / "run.yaml"
    values = {key: value for key, value in settings.items() if key not in ("clients", "evaluation_videos")}
    path.write_text(yaml.safe_dump(values))
    return path


def flat(settings):
    """A run's settings as the pipeline's first step gets them."""
    result = {}
    for section, values in settings.items():
        if section in ("clients", "evaluation_videos", "store", "tracking"):
            continue
        if isinstance(values, dict):
            result |= {f"{section}.{name}": value for name, value in values.items()}
        else:
            result[section] = values
    return result


def test_a_run_on_the_cluster_has_the_weights_of_one_on_this_machine(
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
    # Its name is enough to find it again, with nothing left to do but the results.
    jobs = kubernetes.asked("POST", "/jobs")
    assert run_command("resume", RUN).code == 0
    assert kubernetes.asked("POST", "/jobs") == jobs + 2, "the shards are looked at again, nobody trains"


def test_a_plan_says_who_of_the_deployment_trains_and_changes_nothing(deployment, config, kubernetes):
    output = run_command("run", config, "--on", "cluster", "--dry-run")
    assert output.code == 0, output.err
    assert "ann, bob" in output.out
    assert kubernetes.asked("POST", "") == 0
    assert not list(deployment.federation().keys("runs/"))


def test_a_namespace_without_a_deployment_is_told(deployment, config):
    output = run_command("run", config, "--on", "cluster", "--namespace", "elsewhere")
    assert output.code == 1
    assert "namespace elsewhere has no ConfigMap 'fedvsr'" in output.err
    assert "make deploy" in output.err


def test_no_cluster_is_told(deployment, config, monkeypatch, tmp_path):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    output = run_command("run", config, "--on", "cluster")
    assert output.code == 1
    assert "no Kubernetes cluster to talk to" in output.err


def test_all_clients_of_the_deployment_take_part_unless_some_are_named(deployment, settings, monkeypatch):
    (first, *_) = prepare_step(flat(settings))
    assert first["clients"] == ["ann", "bob"]
    with pytest.raises(UnknownNameError, match="unknown client 'eve'; known: ann, bob"):
        prepare_step({**flat(settings), "name": "other", "federation.clients": ["ann", "eve"]})
    # A client that is added is none of a run's that was begun without it.
    monkeypatch.setenv(CLIENTS_VARIABLE, SETTINGS)
    (first, *_) = prepare_step(flat(settings))
    assert first["clients"] == ["ann", "bob"]


def test_shards_are_made_in_jobs_and_a_failure_is_told(deployment, settings, tmp_path, kubernetes):
    prepare_step(flat(settings))
    sites = kubernetes.on_job

    def live(job):
        if job["metadata"]["namespace"] == "site-ann":
            sites(job)
            return
        # It says that all is well, and nothing that can be read.
        kubernetes.end_pod(kubernetes.start_pod(job, "bob-0"), 0, message='{"clips": "<script>"}')
        kubernetes.end_job(job, "Complete")

    kubernetes.on_job = live
    shard_step(RUN, tmp_path / "shards.md")
    rows = (tmp_path / "shards.md").read_text().splitlines()
    ann, bob, held_out = (
        next(row for row in rows if row.startswith(f"| {whose}")) for whose in ("ann", "bob", "held-out")
    )
    assert "–" not in ann + held_out
    assert "is no summary of shards" in bob
    assert "script" not in bob


STEP = """
import sys
from pathlib import Path
from fedvsr.steps.{name} import {name}
{name}({arguments})
loaded = [each for each in ("torch", "kfp") if each in sys.modules]
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
    assert [each.outcome for each in outcomes] == ["ok", "ok"]


def test_a_step_without_its_cluster_says_so(deployment, settings, tmp_path, monkeypatch):
    prepare_step(flat(settings))
    monkeypatch.setenv("KUBE_CONTEXT", "another")
    with pytest.raises(ClusterError, match="another"):
        shard_step(RUN, tmp_path / "shards.md")
