"""A run of three rounds and two clients, from videos in buckets to a champion that upscales one of them."""

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
    """Runs it on Kubeflow Pipelines if KFP is installed, otherwise with `fedvsr run --on cluster`."""
    return run_of(deployment, RUN, fields_of(CLIENTS, ROUNDS), registered_model=MODEL)


@pytest.fixture(scope="module")
def mlflow(deployment):
    return MlflowClient(deployment.mlflow)


def test_its_weights_equal_those_of_the_same_run_in_one_process(finished, deployment, in_one_process):
    reference = in_one_process(RUN)
    for round_number in range(ROUNDS + 1):
        key = layout.global_weights(RUN, round_number)
        assert deployment.read(key) == reference.read(key), f"round {round_number}"


def test_every_round_has_a_record_with_both_clients(finished, deployment):
    for round_number in range(1, ROUNDS + 1):
        key = layout.round_record(RUN, round_number)
        record = RoundRecord.from_bytes(deployment.read(key), key)
        assert {outcome.client: str(outcome.outcome) for outcome in record.outcomes} == {
            "ann": "ok",
            "bob": "ok",
        }
        assert all(outcome.seconds > 0 for outcome in record.outcomes)


def test_only_updates_and_reports_came_from_the_clients(finished, deployment):
    objects = deployment.bucket().list_objects(
        bucket_name=deployment.namespace, prefix=f"runs/{RUN}/rounds/", recursive=True
    )
    updates = {item.object_name.rpartition("/")[2] for item in objects if "/updates/" in item.object_name}
    assert updates == {"update.safetensors", "report.json"}
    for client in CLIENTS:
        objects = deployment.bucket(client).list_objects(
            bucket_name=deployment.client_bucket(client), recursive=True
        )
        keys = {item.object_name for item in objects}
        assert not [key for key in keys if key.startswith(f"secure/{RUN}/")]
        # `fedvsr clients check` and the test of secure aggregation wrote objects too, which a client cannot
        # delete.
        of_others = {"checks", "secure"}
        assert {key.partition("/")[0] for key in keys} - of_others == {"raw", "shards"}


def test_its_jobs_were_deleted(finished, deployment):
    for client in CLIENTS:
        assert not kubectl("get", "jobs", "-n", deployment.client_namespace(client), "-o", "name")


def test_mlflow_has_one_step_per_round_and_a_challenger(finished, mlflow):
    (run,) = mlflow.search_runs(
        [experiment.experiment_id for experiment in mlflow.search_experiments()],
        f"tags.`fedvsr.run` = '{RUN}'",
    )
    history = mlflow.get_metric_history(run.info.run_id, "client_loss_mean")
    assert sorted(metric.step for metric in history) == [1, 2, 3]
    assert run.info.status == "FINISHED"
    assert mlflow.get_model_version_by_alias(MODEL, "challenger").version == "1"
    assert {artifact.path for artifact in mlflow.list_artifacts(run.info.run_id)} >= {
        "report.html",
        "crops.png",
    }


def test_the_challenger_is_promoted_and_the_champion_upscales_on_the_cluster(
    finished, deployment, mlflow, tmp_path
):
    deployment.fedvsr("promote", "--name", MODEL, "--force")
    assert mlflow.get_model_version_by_alias(MODEL, "champion").version == "1"
    settings = deployment.settings()
    image = next(iter(json.loads(settings["FEDVSR_CLIENTS"]).values()))["image"]
    # The pod downloads a held-out video with fedvsr, then upscales it.
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
    kubectl("delete", "pod", "upscale", "-n", deployment.namespace, "--ignore-not-found")
    kubectl("apply", "-n", deployment.namespace, "-f", "-", stdin=json.dumps(_pod(image, steps)))
    try:
        kubectl(
            "wait", "pod/upscale", "-n", deployment.namespace, "--for=jsonpath={.status.phase}=Succeeded",
            "--timeout=300s",
        )  # fmt: skip
        assert "/tmp/out.mkv" in kubectl("logs", "upscale", "-n", deployment.namespace)
    finally:
        kubectl("delete", "pod", "upscale", "-n", deployment.namespace, "--wait=false")


def _pod(image, command):
    """Returns a pod as an operator would start it in the deployment's namespace."""
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
