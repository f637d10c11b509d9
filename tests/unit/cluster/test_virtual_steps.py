"""The pipeline's steps with virtual clients that really train, compared with `fedvsr run`."""

import json
import shutil
import threading

import pytest
import yaml

from fedvsr.cluster.indexed_job_spec import clients_of
from fedvsr.cluster.settings import CLIENTS_VARIABLE, VIRTUAL_VARIABLE
from fedvsr.errors import ConfigError, UnknownNameError, VideoError
from fedvsr.federation import layout
from fedvsr.federation.client.train import train_client
from fedvsr.federation.division_records import find_division
from fedvsr.federation.owner.virtual import read_own_division, shard_virtual_client
from fedvsr.federation.records import OutcomesRecord, read_record
from fedvsr.federation.runs import load_run
from fedvsr.federation.shard_records import ShardSummary
from fedvsr.steps.aggregate import aggregate as aggregate_step
from fedvsr.steps.prepare import prepare as prepare_step
from fedvsr.steps.shard import shard as shard_step
from fedvsr.steps.train_clients import train_clients as train_step
from fedvsr.store.workspace import Workspace
from tests.unit.tiny_run import RUN, run_command, write_video

SPLITS = {
    "videos": {"count": 3, "pattern": "*.avi"},
    "frames": {"count": 3, "unit": "frames", "scheme": "quantity-skew", "alpha": 0.4},
    "labels": {"count": 2, "scheme": "dirichlet", "alpha": 0.5, "labels": "labels.csv"},
}
VIRTUAL = json.dumps({"namespace": "virtual", "image": "registry/trainer:1", "parallelism": 2})


class VirtualContainers:
    """Does what the pods of an Indexed Job do."""

    def __init__(self, kubernetes, workspace):
        self.kubernetes, self.workspace = kubernetes, workspace
        # Clients in one process share PyTorch's random state; in containers they do not.
        self.one_at_a_time = threading.Lock()
        self.jobs = []

    def __call__(self, job):
        command = job["spec"]["template"]["spec"]["containers"][0]["command"]
        options = dict(zip(command[3::2], command[4::2], strict=True))
        self.jobs.append((command[2], clients_of(job)))
        for index, client in enumerate(clients_of(job)):
            pod = self.kubernetes.start_pod(job, f"{command[2]}-{client}", (), index)
            with self.one_at_a_time:
                message = self.work(command[2], options, client)
            self.kubernetes.end_pod(pod, 0, "Completed", message)
            self.kubernetes.end_index(job, index)
        self.kubernetes.end_job(job, "Complete")

    def work(self, kind, options, client):
        federation, run = self.workspace.federation(), options["--run"]
        record = load_run(federation, run)
        if kind == "train":
            own = self.workspace.client(client)
            train_client(federation, own, record, int(options["--round"]), client)
            return ""
        division = read_own_division(federation, run, client)
        manifests = shard_virtual_client(self.workspace, division, client, record.config.data)
        return ShardSummary.of(manifests).model_dump_json()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of videos in natural order, one of them in a folder of its own, and their labels."""
    root = tmp_path_factory.mktemp("all")
    for number, frames in enumerate((9, 12, 7, 10, 8)):
        name = f"video-{number * 3}" if number else "town/street"
        write_video(root / f"{name}.avi", number, frames)
    rows = [f"video-{number * 3},{'ab'[number % 2]}" for number in range(1, 5)]
    (root / "labels.csv").write_text("\n".join([*rows, "town/street,a"]))
    return root


@pytest.fixture
def deployment(tmp_path, folder, videos, empty_database, monkeypatch):
    """A federation's store with the videos of its virtual clients, in the environment of a step."""
    workspace = Workspace.under(str(tmp_path / "buckets"))
    shutil.copytree(folder, tmp_path / "buckets/federation" / layout.TRAINING_VIDEOS)
    shutil.copytree(videos / "held-out", tmp_path / "buckets/federation" / layout.HELD_OUT_VIDEOS)
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    monkeypatch.setenv("FEDVSR_FEDERATION_STORE", workspace.federation_uri)
    monkeypatch.setenv("FEDVSR_CLIENT_STORE", workspace.client_uri)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.delenv(CLIENTS_VARIABLE, raising=False)
    monkeypatch.delenv(VIRTUAL_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    return workspace


@pytest.fixture
def containers(deployment, monkeypatch, kubernetes, context):
    """Makes it a deployment with virtual clients and no others; returns their pods."""
    monkeypatch.setenv(CLIENTS_VARIABLE, "{}")
    monkeypatch.setenv(VIRTUAL_VARIABLE, VIRTUAL)
    kubernetes.on_job = VirtualContainers(kubernetes, deployment)
    return kubernetes.on_job


@pytest.fixture
def parameters(settings):
    """Returns a run's settings by dotted name, with a split."""

    def build(split, **others):
        fields = {f"clients.split.{name}": value for name, value in split.items()}
        for section in ("data", "model", "federation", "training"):
            fields |= {f"{section}.{name}": value for name, value in settings[section].items()}
        return {"name": RUN, "seed": settings["seed"], **fields, **others}

    return build


@pytest.fixture
def reference(settings, folder, store, tmp_path):
    """Runs `fedvsr run` with the split of a folder; returns the store of its rounds."""

    def run(split):
        local = {**split, "path": str(folder)}
        if "labels" in local:
            local["labels"] = str(folder / local["labels"])
        path = tmp_path / "reference.yaml"
        path.write_text(yaml.safe_dump({**settings, "clients": {"split": local}}))
        output = run_command("run", path, "--store", store)
        assert output.code == 0, output.err
        return Workspace.under(str(store)).federation()

    return run


def run_steps(parameters, folder):
    """Runs all steps but the evaluations; returns the rounds as `prepare` planned them."""
    rounds = prepare_step(parameters)
    shard_step(RUN, folder / "shards.md")
    for planned in rounds:
        train_step(RUN, planned["round"], folder / "clients.md")
        aggregate_step(RUN, planned["round"], folder / "participants.md")
    return rounds


def check_equal(store, expected):
    for round_number in (0, 1, 2):
        key = layout.global_weights(RUN, round_number)
        assert store.read(key) == expected.read(key), f"round {round_number}"


@pytest.mark.parametrize("name", SPLITS)
def test_indexed_jobs_give_the_weights_of_a_run_in_one_process(
    name, deployment, containers, parameters, reference, tmp_path, kubernetes
):
    rounds = run_steps(parameters(SPLITS[name]), tmp_path)
    clients = tuple(f"client-{number}" for number in range(1, SPLITS[name]["count"] + 1))
    assert [planned["clients"] for planned in rounds] == [list(clients)] * 2
    assert containers.jobs == [("shard", clients), ("train", clients), ("train", clients)]
    assert kubernetes.names("jobs") == []
    rows = [line for line in (tmp_path / "shards.md").read_text().splitlines() if "| client" in line]
    assert len(rows) == len(clients)
    assert "–" not in "".join(rows)
    check_equal(deployment.federation(), reference(SPLITS[name]))


def test_steps_without_a_deployment_give_them_too(deployment, parameters, reference, tmp_path):
    run_steps(parameters(SPLITS["frames"]), tmp_path)
    check_equal(deployment.federation(), reference(SPLITS["frames"]))


def test_some_of_the_virtual_clients_may_be_named(deployment, containers, parameters, tmp_path):
    fields = parameters(SPLITS["videos"])
    (first, _) = prepare_step({**fields, "federation.clients": ["client-3", "client-1"]})
    assert sorted(first["clients"]) == ["client-1", "client-3"]
    with pytest.raises(UnknownNameError, match="unknown client 'client-4'; known: client-1"):
        prepare_step({**fields, "federation.clients": ["client-4"]})


def test_a_run_that_is_submitted_again_without_its_split_keeps_it(
    deployment, containers, parameters, tmp_path
):
    prepare_step(parameters(SPLITS["videos"]))
    shard_step(RUN, tmp_path / "shards.md")
    (first, *_) = prepare_step(parameters({}))
    train_step(RUN, first["round"], tmp_path / "clients.md")
    outcomes = read_record(deployment.federation(), layout.outcomes(RUN, 1), OutcomesRecord).outcomes
    assert [(outcome.client, str(outcome.outcome)) for outcome in outcomes] == [
        (f"client-{number}", "ok") for number in (1, 2, 3)
    ]


def test_a_run_of_the_pipeline_goes_on_with_fedvsr_run_on_the_cluster(
    deployment, containers, parameters, reference, settings, kubernetes, tmp_path
):
    prepare_step(parameters(SPLITS["frames"]))
    data = {CLIENTS_VARIABLE: "{}", VIRTUAL_VARIABLE: VIRTUAL}
    kubernetes.put("configmaps", "fedvsr", {"metadata": {"name": "fedvsr"}, "data": data})
    path = tmp_path / "run.yaml"
    of_this_machine = ("clients", "evaluation_videos")
    path.write_text(
        yaml.safe_dump({key: value for key, value in settings.items() if key not in of_this_machine})
    )
    output = run_command("run", path, "--on", "cluster")
    assert output.code == 0, output.err
    assert [kind for kind, _ in containers.jobs] == ["shard", "train", "train"]
    check_equal(deployment.federation(), reference(SPLITS["frames"]))


def test_another_number_of_clients_is_another_run(deployment, containers, parameters):
    prepare_step(parameters(SPLITS["videos"]))
    with pytest.raises(ConfigError, match=r"federation\.clients.*was started with"):
        prepare_step(parameters({"count": 2}))
    assert len(find_division(deployment.federation(), RUN).clients) == 3


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"count": 6}, r"clients\.split\.count.*5 videos it must be between 1 and 5"),
        ({"scheme": "equal"}, r"clients\.split\.count.*required"),
        ({"count": 2, "schem": "equal"}, r"clients\.split\.schem.*no such field"),
        ({"count": 2, "scheme": "dirichlet", "labels": "none.csv"}, r"clients\.split\.labels.*put the file"),
    ],
)
def test_a_wrong_split_is_refused_before_anything_is_written(
    deployment, containers, parameters, split, message
):
    with pytest.raises(ConfigError, match=message):
        prepare_step(parameters(split))
    assert not list(deployment.federation().keys("runs/"))


def test_videos_that_are_not_there_are_named(deployment, containers, parameters):
    with pytest.raises(
        VideoError, match=r"training-videos/ holds no video that matches '\*\.mp4'.*fedvsr upload"
    ):
        prepare_step(parameters({"count": 2, "pattern": "*.mp4"}))


def test_a_deployment_without_virtual_clients_says_how_to_have_them(
    deployment, containers, parameters, monkeypatch
):
    monkeypatch.delenv(VIRTUAL_VARIABLE)
    with pytest.raises(ConfigError, match=r"virtualClients\.enabled"):
        prepare_step(parameters({"count": 2}))
