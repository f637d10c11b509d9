"""Deploying, deploying again and undeploying, by the command lines that run."""

import json
import subprocess
import sys

import pytest

from fedvsr.kubeflow.pipeline import pipeline_name as uploaded_name
from scripts.deploy import __main__ as program
from scripts.deploy import kfp, release
from scripts.deploy.settings import CPU_BASE_IMAGE, ROOT
from scripts.deploy.shell import Cluster, DeployError
from scripts.deploy.undeploy import undeploy
from tests.unit.deploy.conftest import settings

RELEASE_RECORD = {
    "info": {"status": "deployed"},
    "version": 3,
    "manifest": "kind: Service",
    "config": {"clients": []},
    "hooks": [{"manifest": "kind: Job", "last_run": {"phase": "Succeeded"}}],
}
PLANNED = {**RELEASE_RECORD, "version": 4, "hooks": [{"manifest": "kind: Job", "last_run": {}}]}


@pytest.fixture
def released(programs):
    programs.answer("^helm status fedvsr", json.dumps(RELEASE_RECORD))
    programs.answer("^helm upgrade .*--dry-run=server", json.dumps(PLANNED))
    return programs


def test_an_unchanged_release_is_not_upgraded(released, cluster):
    assert release.upgrade(settings(), cluster, "tag") is False
    assert not released.called("helm upgrade --install")


@pytest.mark.parametrize(
    "difference",
    [
        {"manifest": "kind: Service\nspec: {}"},
        {"config": None},
        {"hooks": []},
        {"hooks": [{"manifest": "kind: Job\nspec: {}"}]},
    ],
)
def test_a_changed_release_is_upgraded(released, cluster, difference):
    released.answer("^helm upgrade .*--dry-run=server", json.dumps({**PLANNED, **difference}))
    assert release.upgrade(settings(), cluster, "tag") is True
    (line,) = released.called("helm upgrade --install fedvsr ")
    assert all(word in line for word in ("--wait", "images.tag=tag", "images.registry=localhost:5001"))


def test_a_deleted_object_is_restored(released, cluster):
    released.answer("^kubectl get -f - ", 'Error from server (NotFound): services "s3" not found', 1)
    assert release.upgrade(settings(), cluster, "tag") is True


def test_a_failed_release_is_upgraded_again(released, cluster):
    released.answer("^helm status fedvsr", json.dumps({**RELEASE_RECORD, "info": {"status": "failed"}}))
    assert release.upgrade(settings(), cluster, "tag") is True


def test_a_pending_release_is_not_upgraded(released, cluster):
    released.answer(
        "^helm status fedvsr", json.dumps({**RELEASE_RECORD, "info": {"status": "pending-upgrade"}})
    )
    with pytest.raises(DeployError, match="pending-upgrade"):
        release.upgrade(settings(), cluster, "tag")


def test_the_first_release_is_installed(programs, cluster):
    programs.answer("^helm status fedvsr", "Error: release: not found", 1)
    assert release.upgrade(settings(namespace="other", values="mine.yaml", kfp="0"), cluster, "tag") is True
    (line,) = programs.called("helm upgrade --install fedvsr ")
    words = ("--namespace other", "--values mine.yaml", "kfp.enabled=false", "--create-namespace")
    assert all(word in line for word in words)


def test_every_command_has_the_prefix_and_the_context(programs):
    cluster = Cluster(("env", "A=1"), "other")
    assert cluster.kubectl_command("get")[:5] == ("env", "A=1", "kubectl", "--context", "other")
    assert cluster.helm_command("list")[-2:] == ("--kube-context", "other")


def test_a_whole_deployment_without_kfp(programs, monkeypatch, capsys):
    programs.answer("^helm status fedvsr", "Error: release: not found", 1)
    programs.answer("image inspect", "none", 1)
    monkeypatch.setenv("KFP", "0")
    assert program.main(["deploy"]) == 0
    changes = [" ".join(call.split()[:2]) for call in programs.calls if call.split()[1] in ("build", "push")]
    assert changes == ["docker build"] * 2 + ["docker push"] * 2
    assert programs.calls[-1].startswith("helm upgrade --install")
    assert "deployed to context 'somewhere'" in capsys.readouterr().err


def test_kfp_is_installed_from_its_official_manifests(programs, cluster):
    kfp.install(settings(), cluster)
    applied = programs.called("kubectl apply -k github.com/kubeflow/pipelines/manifests/kustomize/")
    assert [line.rpartition("kustomize/")[2] for line in applied] == [
        "cluster-scoped-resources?ref=2.17.0",
        "env/platform-agnostic?ref=2.17.0",
    ]


def test_an_error_is_one_line_and_an_exit_code(programs, capsys):
    programs.remove("docker")
    assert program.main(["deploy"]) == 1
    assert capsys.readouterr().err.startswith("error: docker is not installed")
    assert program.main(["nonsense"]) == 2
    assert capsys.readouterr().err.startswith("usage: python -m scripts.deploy COMMAND")


def test_help_lists_every_command(capsys):
    assert program.main(["--help"]) == 0
    usage = capsys.readouterr().out
    assert all(f"\n  {command} " in usage for command in program.COMMANDS)


def test_undeploying_keeps_the_data(released, cluster):
    undeploy(settings(kfp="0"), cluster)
    assert len(released.called("helm uninstall fedvsr -n fedvsr --wait")) == 1
    (deleted,) = released.called("kubectl delete")
    assert deleted.startswith("kubectl delete job,pod -n fedvsr ")
    assert "component in (provision,check)" in deleted


PROXY = "/api/v1/namespaces/kubeflow/services/http:ml-pipeline:8888/proxy/apis/v2beta1/pipelines"


def test_undeploying_removes_the_pipeline_from_kfp(released, cluster):
    released.answer("^kubectl get --raw", json.dumps({"pipeline_id": "1-2"}))
    undeploy(settings(namespace="other"), cluster)
    assert released.called("kubectl get --raw") == [
        f"kubectl get --raw {PROXY}/names/federated-training-other"
    ]
    assert released.called("kubectl delete --raw") == [f"kubectl delete --raw {PROXY}/1-2?cascade=true"]


@pytest.mark.parametrize("namespace", ["fedvsr", "other"])
def test_undeploying_removes_the_pipeline_that_was_uploaded(namespace):
    assert kfp.pipeline_name(settings(namespace=namespace)) == uploaded_name(namespace)


@pytest.mark.parametrize(
    ("answer", "is_reported"),
    [
        ("Error from server (NotFound): the server could not find the requested resource", False),
        ("Error from server (ServiceUnavailable): no endpoints available for service", True),
    ],
)
def test_undeploying_continues_without_an_answer_from_kfp(released, cluster, capsys, answer, is_reported):
    released.answer("^kubectl get --raw", answer, 1)
    undeploy(settings(), cluster)
    assert ("stays in KFP" in capsys.readouterr().err) is is_reported
    assert released.called("helm uninstall")


def test_purging_removes_the_namespace_too(released, cluster):
    released.answer("^kubectl api-resources", "configmaps\nevents\nevents.events.k8s.io\nsecrets")
    released.answer("^kubectl get namespace fedvsr ", "namespace/fedvsr")
    released.answer("^kubectl get configmaps,secrets -n fedvsr ", json.dumps({"items": [kubernetes_own()]}))
    undeploy(settings(purge="1", kfp="0"), cluster)
    assert [line.split(" -n ")[0] for line in released.called("kubectl delete")] == [
        "kubectl delete job,pod",
        "kubectl delete pvc,secret",
        "kubectl delete namespace fedvsr --ignore-not-found --timeout=10m",
    ]


def kubernetes_own(**metadata):
    return {"kind": "ConfigMap", "metadata": {"name": "kube-root-ca.crt", **metadata}}


def test_purging_keeps_a_namespace_that_holds_other_objects(released, cluster, capsys):
    deployment = {"kind": "Deployment", "metadata": {"name": "website"}}
    owned_pod = {"kind": "Pod", "metadata": {"name": "website-1", "ownerReferences": [{}]}}
    released.answer("^kubectl get namespace fedvsr ", "namespace/fedvsr")
    released.answer("^kubectl api-resources", "deployments.apps\npods")
    items = [kubernetes_own(), deployment, owned_pod]
    released.answer("^kubectl get deployments.apps,pods ", json.dumps({"items": items}))
    undeploy(settings(purge="1", kfp="0"), cluster)
    assert released.called("kubectl delete pvc,secret -n fedvsr ")
    assert not released.called("kubectl delete namespace")
    assert "stays: it also holds Deployment/website\n" in capsys.readouterr().err


def test_undeploying_without_a_release_succeeds(programs, cluster):
    programs.answer("^helm status fedvsr", "Error: release: not found", 1)
    undeploy(settings(purge="1", kfp="0"), cluster)
    assert not programs.called("helm uninstall")


@pytest.mark.parametrize(
    ("target", "status", "message"),
    [("ui", 2, "fedvsr is not deployed in namespace"), ("undeploy", 0, "there is no release")],
)
def test_ui_and_undeploy_need_no_package_and_install_none(programs, tmp_path, target, status, message):
    programs.answer("^helm status fedvsr", "Error: release: not found", 1)
    python = f"PYTHON={sys.executable} -S"
    line = ["make", "-C", ROOT, target, python, f"VENV={tmp_path / 'none'}", "KFP=0"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (done.returncode, message in done.stderr) == (status, True), done.stderr
    assert not (tmp_path / "none").exists()


def test_settings_are_read_as_make_exports_them():
    cpu = settings(torch="cpu", exec="ssh 'a host'", kfp_install=" 1 ", purge="0", kfp="")
    assert cpu.exec == ("ssh", "a host")
    assert (cpu.kfp, cpu.kfp_install, cpu.purge) == (True, True, False)
    assert cpu.base_image == CPU_BASE_IMAGE
    assert settings(torch="cuda").base_image == ""
