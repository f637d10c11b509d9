"""A run whose clients fail for different reasons, and a run that is killed."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from fedvsr.federation import layout
from fedvsr.federation.records import OutcomesRecord, RoundRecord
from tests.cluster.deployment import kubectl, kubectl_json
from tests.cluster.tiny import fields_of, run_of, submit

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]


def watch_for(*arguments, timeout="300s"):
    """Waits with `kubectl wait`."""
    return kubectl("wait", *arguments, f"--timeout={timeout}")


def test_a_round_survives_a_killed_pod_too_little_memory_and_missing_gpus(deployment, two_gpus):
    """With a quorum of 1 the run ends well, and its record names the three reasons."""
    run, ann = "three-reasons", deployment.client_namespace("ann")

    def kill_anns_first_pod():
        selector = f"fedvsr/run={run},app.kubernetes.io/component=train"
        watch_for("--for=create", "pod", "-l", selector, "-n", ann)
        watch_for("--for=condition=Ready", "pod", "-l", selector, "-n", ann)
        return kubectl("delete", "pod", "-l", selector, "-n", ann, "--force", "--grace-period=0")

    fields = fields_of(
        ["ann", "cas", "dee"],
        1,
        jobs__gpus=1,
        training__local_steps=200,
        federation__quorum=1,
        federation__deadline_seconds=150,
    )
    with ThreadPoolExecutor(1) as pool:
        killer = pool.submit(kill_anns_first_pod)
        run_of(deployment, run, fields)
        assert "deleted" in killer.result()
    record = RoundRecord.from_bytes(deployment.read(layout.round_record(run, 1)), "round")
    outcomes = {outcome.client: (str(outcome.outcome), outcome.reason) for outcome in record.outcomes}
    assert outcomes["ann"][0] == "ok"
    assert "deleted" in outcomes["ann"][1]
    assert outcomes["cas"][0] == "failed"
    assert "OOMKilled" in outcomes["cas"][1]
    assert outcomes["dee"][0] == "unschedulable"
    assert "Insufficient fedvsr.test/none" in outcomes["dee"][1]
    assert [participant.client for participant in record.participants] == ["ann"]


def test_with_two_gpus_two_clients_get_one_each_and_none_gets_three(deployment, two_gpus):
    run_of(deployment, "one-each", fields_of(["ann", "bob"], 1, jobs__gpus=1))
    record = RoundRecord.from_bytes(deployment.read(layout.round_record("one-each", 1)), "round")
    assert [str(outcome.outcome) for outcome in record.outcomes] == ["ok", "ok"]

    fields = fields_of(["ann", "bob"], 1, jobs__gpus=3, federation__deadline_seconds=20)
    done = run_of(deployment, "three-each", fields, check=False)
    assert done.returncode == 1
    key = layout.outcomes("three-each", 1)
    outcomes = OutcomesRecord.from_bytes(deployment.read(key), key).outcomes
    assert {str(outcome.outcome) for outcome in outcomes} == {"unschedulable"}
    assert all("Insufficient nvidia.com/gpu" in outcome.reason for outcome in outcomes)


def test_a_killed_run_that_is_submitted_again_gives_the_same_weights(deployment, in_one_process):
    if not deployment.kfp:
        pytest.skip("Kubeflow Pipelines is not installed in this cluster")
    run, rounds = "killed", 2
    fields = fields_of(["ann", "bob"], rounds)
    submit(deployment, run, fields, follow=False)
    # In the middle of the second round, while its clients train.
    selector = f"fedvsr/run={run},fedvsr/round=2"
    watch_for("--for=create", "job", "-l", selector, "-n", deployment.client_namespace("ann"))
    (workflow,) = [
        item["metadata"]["name"]
        for item in kubectl_json("get", "workflows", "-n", deployment.kfp_namespace)["items"]
        if item["metadata"]["labels"].get("workflows.argoproj.io/completed") != "true"
    ]
    kubectl("delete", "workflow", workflow, "-n", deployment.kfp_namespace, "--wait")
    # KFP does not know of the deletion and still shows the run as running: `submit` uses `--replace`.
    submit(deployment, run, fields)
    undisturbed = in_one_process(run)
    for round_number in range(1, rounds + 1):
        key = layout.global_weights(run, round_number)
        assert deployment.read(key) == undisturbed.read(key), f"round {round_number}"


def test_a_wrong_parameter_ends_the_step_with_one_sentence(deployment):
    if deployment.kfp is None:
        pytest.skip("needs Kubeflow Pipelines")
    fields = fields_of(("ann", "bob"), 1, warm_start="models:/nothing@champion")
    output = submit(deployment, "wrong", fields, check=False)
    assert output.returncode == 1
    assert "models:/nothing@champion cannot be loaded from MLflow" in output.stdout
    assert "Traceback" not in output.stdout + output.stderr
