"""A run of three rounds and two clients, from the videos in the buckets to the champion that upscales one."""

import json

import pytest
from mlflow import MlflowClient

from fedvsr.federation import layout
from fedvsr.federation.records import RoundRecord
from tests.cluster.deployment import kubectl
from tests.cluster.tiny import fields_of, run_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

RUN, MODEL = "e2e", "e2e-model"
ROUNDS, CLIENTS = 3, ("ann", "bob")


@pytest.fixture(scope="module")
def finished(deployment):
    """The run, through Kubeflow Pipelines where that is installed, else by `fedvsr run --on cluster`."""
    return run_of(deployment, RUN, fields_of(CLIENTS, ROUNDS), registered_model=MODEL)


@pytest.fixture(scope="module")
def mlflow(deployment):
    return MlflowClient(deployment.mlflow)


def test_its_weights_are_those_of_the_same_run_in_one_process(finished, deployment, in_one_process):
    alone = in_one_process(RUN)
    for round_number in range(ROUNDS + 1):
        key = layout.global_weights(RUN, round_number)
        assert deployment.read(key) == alone.read(key), f"round {round_number}"


def test_every_round_has_a_record_with_both_clients(finished, deployment):
    for round_number in range(1, ROUNDS + 1):
        key = layout.round_record(RUN, round_number)
        record = RoundRecord.from_bytes(deployment.read(key), key)
        assert {each.client: str(each.outcome) for each in record.outcomes} == {"ann": "ok", "bob": "ok"}
        assert all(each.seconds > 0 for each in record.outcomes)


def test_nothing_but_updates_and_reports_came_from_the_clients(finished, deployment):
    listed = deployment.bucket().list_objects(
        bucket_name=deployment.release, prefix=f"runs/{RUN}/rounds/", recursive=True
    )
    updates = {each.object_name.rpartition("/")[2] for each in listed if "/updates/" in each.object_name}
    assert updates == {"update.safetensors", "report.json"}
    for client in CLIENTS:
        kept = deployment.bucket(client).list_objects(
            bucket_name=deployment.client_bucket(client), recursive=True
        )
        # What `fedvsr clients check` tries to write lies there too: a client cannot delete it.
        assert {each.object_name.partition("/")[0] for each in kept} - {"checks"} == {"raw", "shards"}


def test_its_jobs_are_gone(finished, deployment):
    for client in CLIENTS:
        assert not kubectl("get", "jobs", "-n", deployment.client_namespace(client), "-o", "name")


def test_mlflow_has_a_step_a_round_and_a_challenger(finished, mlflow):
    (run,) = mlflow.search_runs(
        [each.experiment_id for each in mlflow.search_experiments()], f"tags.`fedvsr.run` = '{RUN}'"
    )
    history = mlflow.get_metric_history(run.info.run_id, "client_loss_mean")
    assert sorted(each.step for each in history) == [1, 2, 3]
    assert run.info.status == "FINISHED"
    assert mlflow.get_model_version_by_alias(MODEL, "challenger").version == "1"
    assert {each.path for each in mlflow.list_artifacts(run.info.run_id)} >= {"report.html", "crops.png"}


def test_the_challenger_is_promoted_and_the_champion_upscales_on_the_cluster(
    finished, deployment, mlflow, tmp_path
):
    deployment.fedvsr("promote", "--name", MODEL, "--force")
    assert mlflow.get_model_version_by_alias(MODEL, "champion").version == "1"
    settings = deployment.settings()
    image = next(iter(json.loads(settings["FEDVSR_CLIENTS"]).values()))["image"]
    # What the pod upscales is a held-out clip, fetched and looked at by fedvsr itself.
    script = (
        "from pathlib import Path\n"
        "from fedvsr.store.workspace import Workspace\n"
        "Workspace.from_environment().federation().download("
        "'evaluation-videos/eval_103.mp4', Path('/tmp/in.mp4'))\n"
    )
    steps = (
        f'python -c "{script}" && '
        f"fedvsr upscale /tmp/in.mp4 /tmp/out.mkv --model models:/{MODEL}@champion && ls -l /tmp/out.mkv"
    )
    kubectl("delete", "pod", "upscale", "-n", deployment.release, "--ignore-not-found")
    kubectl("apply", "-n", deployment.release, "-f", "-", stdin=json.dumps(_pod(image, steps)))
    try:
        kubectl(
            "wait", "pod/upscale", "-n", deployment.release, "--for=jsonpath={.status.phase}=Succeeded",
            "--timeout=300s",
        )  # fmt: skip
        assert "/tmp/out.mkv" in kubectl("logs", "upscale", "-n", deployment.release)
    finally:
        kubectl("delete", "pod", "upscale", "-n", deployment.release, "--wait=false")


def _pod(image, command):
    """A pod as an operator would start one beside the deployment."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "upscale"},
        "spec": {
            "restartPolicy": "Never",
            "containers": [
                {
                    "name": "fedvsr",
                    "image": image,
                    "command": ["sh", "-c", command],
                    "envFrom": [
                        {"configMapRef": {"name": "fedvsr"}},
                        {"secretRef": {"name": "fedvsr-federation"}},
                    ],
                }
            ],
        },
    }
