"""Virtual clients on Kubeflow Pipelines: killed pods, a quorum, and a run that is terminated."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from fedvsr.config.experiment import Experiment
from fedvsr.experiment.videos import collect_videos
from fedvsr.federation import layout
from fedvsr.federation.records import OutcomesRecord, RunRecord
from fedvsr.federation.run.prepare import prepare_run
from fedvsr.federation.run.rounds import run_rounds, shard_all
from fedvsr.store.workspace import Workspace
from tests.cluster.conftest import HELD_OUT, SAMPLES, VIRTUAL_VIDEOS
from tests.cluster.deployment import kubectl, kubectl_json
from tests.cluster.test_sites import terminate
from tests.cluster.tiny import FIELDS, submit

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3000)]


@pytest.fixture(autouse=True)
def _needs_kfp(deployment):
    if not deployment.kfp:
        pytest.skip("Kubeflow Pipelines is not installed in this cluster")


def split_of(count):
    """Returns a division in which clients have different numbers of frames."""
    return {
        "path": str(SAMPLES),
        "pattern": VIRTUAL_VIDEOS,
        "count": count,
        "scheme": "quantity-skew",
        "alpha": 0.02,
        "unit": "frames",
    }


def fields_of(count, **others):
    named = {name.replace("__", "."): value for name, value in others.items()}
    return {**FIELDS, "data.dataset": f"virtual-{count}", "clients.split": split_of(count), **named}


def kill_once(deployment, run, indexes):
    """Kills the first pod of some indexes of a run's first round; returns how many were killed."""
    killed = 0
    for index in indexes:
        selector = (
            f"fedvsr/run={run},fedvsr/round=1,app.kubernetes.io/component=train,"
            f"batch.kubernetes.io/job-completion-index={index}"
        )
        where = ("-l", selector, "-n", deployment.virtual_namespace)
        kubectl("wait", "--for=create", "pod", *where, "--timeout=900s")
        # A pod that has ended already is not waited for.
        kubectl("wait", "--for=jsonpath={.status.phase}=Running", "pod", *where, "--timeout=20s", check=False)
        killed += "deleted" in kubectl("delete", "pod", *where, "--force", "--grace-period=0", check=False)
    return killed


def outcomes_of(deployment, run):
    key = layout.outcomes(run, 1)
    return OutcomesRecord.from_bytes(deployment.read(key), key).outcomes


def jobs_of(deployment, run):
    selected = kubectl_json("get", "jobs", "-n", deployment.virtual_namespace, "-l", f"fedvsr/run={run}")
    return selected["items"]


def test_sixty_clients_of_whom_a_third_is_killed_give_the_weights_of_one_process(deployment, tmp_path):
    run, count, rounds = "sixty", 60, 2
    fields = fields_of(count, federation__rounds=rounds, federation__quorum=40, training__local_steps=100)
    with ThreadPoolExecutor(1) as pool:
        killer = pool.submit(kill_once, deployment, run, range(0, count, 3))
        submit(deployment, run, fields, virtual=True)
        killed = killer.result()
    outcomes = outcomes_of(deployment, run)
    assert {str(outcome.outcome) for outcome in outcomes} == {"ok"}
    # A pod may have ended just before it was killed.
    retried = [outcome.client for outcome in outcomes if "retr" in outcome.reason]
    assert killed == count // 3
    assert len(retried) >= count // 4
    assert jobs_of(deployment, run) == []
    # The steps' logs are counts and failures, no wall.
    lines = deployment.fedvsr("logs", run, "--step", "train_clients").stdout.splitlines()
    assert len(lines) < 4 * count

    config = RunRecord.from_bytes(deployment.read(layout.config(run)), "config").config
    held_out = {"path": str(SAMPLES), "pattern": HELD_OUT[0]}
    sections = {"clients": {"split": split_of(count)}, "evaluation_videos": held_out}
    experiment = Experiment.parse({**config.model_dump(mode="json"), **sections})
    videos = collect_videos(experiment)
    assert tuple(videos.clients) == config.federation.clients
    workspace = Workspace.under(str(tmp_path))
    shard_all(workspace, videos, config.data)
    run_rounds(workspace, prepare_run(workspace.federation(), config))
    for round_number in range(rounds + 1):
        key = layout.global_weights(run, round_number)
        assert deployment.read(key) == workspace.federation().read(key), f"round {round_number}"


def test_a_round_that_waits_for_a_quorum_cuts_the_others_off(deployment):
    run, count, quorum = "quorum", 12, 4
    fields = fields_of(count, federation__rounds=1, federation__quorum=quorum, federation__wait_for="quorum")
    submit(deployment, run, fields, virtual=True)
    outcomes = [str(outcome.outcome) for outcome in outcomes_of(deployment, run)]
    assert set(outcomes) == {"ok", "cut-off"}
    assert outcomes.count("ok") >= quorum
    assert jobs_of(deployment, run) == []


def test_terminating_a_run_removes_its_job_and_the_next_submission_has_the_clients_that_are_left(deployment):
    run, count = "terminated", 12
    fields = fields_of(count, federation__rounds=1, training__local_steps=300)
    submit(deployment, run, fields, virtual=True, follow=False)
    where = ("-n", deployment.virtual_namespace, "-l", f"fedvsr/run={run},fedvsr/round=1")
    kubectl("wait", "--for=create", "job", *where, "--timeout=600s")
    # The first client has delivered.
    kubectl("wait", "--for=jsonpath={.status.succeeded}", "job", *where, "--timeout=300s")
    (job,) = [item for item in jobs_of(deployment, run) if "fedvsr/round" in item["metadata"]["labels"]]
    terminate(deployment, run)
    kubectl("wait", "--for=delete", f"job/{job['metadata']['name']}", *where[:2], "--timeout=60s")
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(submit, deployment, run, fields, virtual=True)
        kubectl("wait", "--for=create", "job", *where, "--timeout=600s")
        (again,) = [item for item in jobs_of(deployment, run) if "fedvsr/round" in item["metadata"]["labels"]]
        second.result()
    assert again["spec"]["completions"] < count
    assert {str(outcome.outcome) for outcome in outcomes_of(deployment, run)} == {"ok"}
