"""One deployment for all cluster tests: created from nothing, and removed at the end."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from fedvsr.federation import layout
from fedvsr.federation.owner.videos import FederationVideos, local_videos
from fedvsr.federation.records import RunRecord
from fedvsr.federation.run.prepare import prepare_run
from fedvsr.federation.run.rounds import run_rounds, shard_all
from fedvsr.store.base import Store
from fedvsr.store.workspace import Workspace
from scripts.deploy.forward import forward_service
from scripts.deploy.settings import Settings
from scripts.deploy.shell import Cluster
from tests.cluster.deployment import ROOT, Deployment, command, kubectl

NAMESPACE = "fedvsr-test"
SAMPLES = ROOT / "samples"
# Clients with few videos. Each test names the clients that it uses.
VIDEOS = {
    "ann": ("train_012.mp4",),
    "bob": ("train_087.mp4",),
    "cas": ("train_036.mp4",),
    "dee": ("train_090.mp4",),
}
HELD_OUT = ("eval_103.mp4",)
# Divided among virtual clients.
VIRTUAL_VIDEOS = "train_*.mp4"
SMALL = {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"memory": "2Gi"}}
# They train in runs of Kubeflow Pipelines only.
VIRTUAL_CLIENTS = {"enabled": True, "parallelism": 6, "resources": SMALL}
VALUES = {
    "s3": {
        "storage": "2Gi",
        "federationQuota": "1Gi",
        # Every test so uses TLS. Nothing balances loads or routes addresses in a cluster of tests.
        "frontDoor": {
            "mode": "direct",
            "host": "localhost",
            "direct": {
                "service": {"type": "ClusterIP"},
                # What a site in another namespace calls it.
                "names": [f"front-door.{NAMESPACE}.svc.cluster.local"],
            },
        },
    },
    "postgres": {"storage": "1Gi"},
    "clients": [
        {"name": "ann", "resources": SMALL},
        {"name": "bob", "resources": SMALL},
        # A client with too little memory: Kubernetes kills its Jobs.
        {"name": "cas", "resources": {"requests": {"memory": "64Mi"}, "limits": {"memory": "96Mi"}}},
        # A client with a GPU resource that no node has.
        {"name": "dee", "gpuResource": "fedvsr.test/none", "resources": SMALL},
    ],
}


def make(target: str, values: Path, *options: str) -> str:
    return command(
        "make", "--no-print-directory", target, f"NAMESPACE={NAMESPACE}", f"VALUES={values}", *options
    ).stdout


@pytest.fixture(scope="session")
def values(tmp_path_factory, has_kfp: bool) -> Path:
    path = tmp_path_factory.mktemp("deploy") / "values.yaml"
    virtual = {"virtualClients": VIRTUAL_CLIENTS} if has_kfp else {}
    path.write_text(yaml.safe_dump(VALUES | virtual))
    return path


@pytest.fixture(scope="session")
def has_kfp() -> bool:
    """Returns whether Kubeflow Pipelines is installed in the cluster; with KFP=0 the tests do not use it."""
    if os.environ.get("KFP") == "0":
        return False
    return bool(kubectl("get", "deployment", "ml-pipeline", "-n", "kubeflow", "--ignore-not-found"))


@pytest.fixture(scope="session")
def deployment(values: Path, has_kfp: bool) -> Iterator[Deployment]:
    """Installs fedvsr with `make deploy` on an empty cluster, and uploads videos to the clients' buckets."""
    options = () if has_kfp else ("KFP=0",)
    make("undeploy", values, "PURGE=1", *options)
    make("deploy", values, *options)
    try:
        with ExitStack() as forwards:
            cluster = Cluster.of(Settings.read())

            def reach(namespace: str, service: str, port: int, scheme: str = "http") -> str:
                forward = forward_service(cluster, namespace, service, port, scheme=scheme)
                return forwards.enter_context(forward).url

            deployment = Deployment(
                namespace=NAMESPACE,
                s3=reach(NAMESPACE, "s3", 9000, "https"),
                front_door=reach(NAMESPACE, "front-door", 443, "https"),
                mlflow=reach(NAMESPACE, "mlflow", 5000),
                kfp=reach("kubeflow", "ml-pipeline", 8888) if has_kfp else None,
                values=values,
                options=options,
            )
            for client, names in VIDEOS.items():
                paths = [SAMPLES / name for name in names]
                deployment.fedvsr("upload", *paths, "--client", client, client=client)
            deployment.fedvsr("upload", *(SAMPLES / name for name in HELD_OUT), "--held-out")
            if has_kfp:
                deployment.fedvsr("upload", *sorted(SAMPLES.glob(VIRTUAL_VIDEOS)), "--training")
            yield deployment
    finally:
        if not os.environ.get("FEDVSR_KEEP_DEPLOYMENT"):
            make("undeploy", values, "PURGE=1", *options)


@pytest.fixture
def in_one_process(deployment: Deployment, tmp_path: Path) -> Callable[..., Store]:
    """Trains a run of the deployment again in this process; returns the store with its rounds.

    Videos, configuration, PyTorch and the number of threads are the same, so the weights must be equal byte
    for byte. Only on another kind of CPU may the last bits differ; both runs use this machine.
    """

    def train(run: str, sites: Mapping[str, Sequence[str]] | None = None) -> Store:
        config = RunRecord.from_bytes(deployment.read(layout.config(run)), "config").config
        for owner, names in {**VIDEOS, **(sites or {}), "held-out": HELD_OUT}.items():
            (tmp_path / owner).mkdir()
            for name in names:
                shutil.copy(SAMPLES / name, tmp_path / owner)
        workspace = Workspace.under(str(tmp_path / "stores"))
        clients = {client: local_videos(tmp_path / client) for client in config.federation.clients}
        shard_all(workspace, FederationVideos(clients, local_videos(tmp_path / "held-out")), config.data)
        run_rounds(workspace, prepare_run(workspace.federation(), config))
        return workspace.federation()

    return train


@pytest.fixture
def two_gpus() -> Iterator[None]:
    """Makes the node offer two GPUs, which is all that the scheduler needs."""
    path = "/status/capacity/nvidia.com~1gpu"
    (node,) = kubectl("get", "nodes", "-o", "name").split()

    def patch(operation: dict[str, str]) -> None:
        kubectl("patch", node, "--subresource=status", "--type=json", "-p", json.dumps([operation]))

    patch({"op": "add", "path": path, "value": "2"})
    yield
    patch({"op": "remove", "path": path})
