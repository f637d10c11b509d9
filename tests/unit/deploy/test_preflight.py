"""The checks before a deployment: each error is one line that says what to do."""

import json

import pytest

from scripts.deploy import preflight
from scripts.deploy.shell import DeployError
from tests.unit.deploy.conftest import CLAIM, DEFAULT_CLASS, settings


def refusal(cluster, **variables):
    with pytest.raises(DeployError) as caught:
        preflight.check_all(settings(**variables), cluster)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_complete_cluster_passes(programs, cluster):
    assert preflight.check_all(settings(), cluster) == "somewhere"


def test_the_checks_change_nothing(programs, cluster):
    preflight.check_all(settings(), cluster)
    changing = (" apply", " create -", " delete", "upgrade", " build", " push", "kind load")
    assert not [call for call in programs.calls if any(word in call for word in changing)]


def test_a_missing_container_tool(programs, cluster):
    programs.remove("docker")
    assert "CONTAINER_TOOL=podman" in refusal(cluster)


def test_only_the_chosen_container_tool_is_checked(programs, cluster):
    programs.remove("docker")
    preflight.check_all(settings(container_tool="podman"), cluster)


def test_a_docker_daemon_that_does_not_run(programs, cluster):
    programs.answer("^docker version", "Cannot connect to the Docker daemon", 1)
    assert "daemon does not answer; start it" in refusal(cluster)


@pytest.mark.parametrize("program", ["kubectl", "helm"])
def test_a_missing_program(programs, cluster, program):
    programs.answer(f"^{program} version", f"{program}: not found", 127)
    assert f"install {program}" in refusal(cluster)


def test_a_missing_current_context(programs, cluster):
    programs.answer("^kubectl config current-context", "error: current-context is not set", 1)
    assert "KUBE_CONTEXT" in refusal(cluster)


def test_a_cluster_that_does_not_answer(programs, cluster):
    programs.answer(
        "^kubectl version --request", "E1123 memcache.go\nUnable to connect to the server: EOF\n", 1
    )
    message = refusal(cluster)
    assert "'somewhere' does not answer (Unable to connect to the server: EOF)" in message
    assert "KUBE_CONTEXT" in message


def test_a_user_who_may_not_create_namespaces(programs, cluster):
    programs.answer("^kubectl auth can-i create namespaces", "no", 1)
    assert "may not create namespaces" in refusal(cluster)


def test_a_user_who_may_not_create_admission_policies(programs, cluster):
    programs.answer("^kubectl auth can-i create validatingadmissionpolicies", "no", 1)
    assert "may not create validatingadmissionpolicies" in refusal(cluster)
    preflight.check_all(settings(kfp="0"), cluster)


def test_missing_kubeflow_pipelines(programs, cluster):
    programs.answer("^kubectl get service ml-pipeline ", "")
    message = refusal(cluster)
    assert all(word in message for word in ("'kubeflow'", "KFP_NAMESPACE", "KFP_INSTALL=1", "KFP=0"))


@pytest.mark.parametrize("variables", [{"kfp": "0"}, {"kfp_install": "1"}])
def test_kubeflow_pipelines_may_be_missing_if_unused_or_to_be_installed(programs, cluster, variables):
    programs.answer("^kubectl get service ml-pipeline ", "")
    preflight.check_all(settings(**variables), cluster)


def test_kubeflow_pipelines_is_installed_only_into_its_own_namespace(programs, cluster):
    variables = {"kfp_install": "1", "kfp_namespace": "pipelines"}
    preflight.check_all(settings(**variables), cluster)
    programs.answer("^kubectl get service ml-pipeline ", "")
    assert "only into namespace 'kubeflow'" in refusal(cluster, **variables)


def test_a_missing_default_storage_class(programs, cluster):
    classes = [{"metadata": {"name": "slow"}}]
    programs.answer("^kubectl get storageclass", json.dumps({"items": classes}))
    assert "no StorageClass is the default (existing: slow)" in refusal(cluster)


def test_a_missing_storage_class_of_the_values(programs, cluster):
    programs.answer("^helm template", CLAIM + "  storageClassName: slow\n")
    assert "no StorageClass 'slow' (existing: standard)" in refusal(cluster, values="mine.yaml")
    slow = {"metadata": {"name": "slow"}}
    programs.answer("^kubectl get storageclass", json.dumps({"items": [slow]}))
    preflight.check_all(settings(values="mine.yaml"), cluster)


def test_a_storage_class_is_not_needed_without_volumes(programs, cluster):
    programs.answer("^helm template", "---\nkind: Service\n")
    programs.answer("^kubectl get storageclass", json.dumps({"items": []}))
    preflight.check_all(settings(), cluster)


def test_the_charts_own_error_is_shown(programs, cluster):
    error = "Error: execution error at (fedvsr/templates/validate.yaml:6:4): clients: two are named 'ann'"
    programs.answer("^helm template", f"level=WARN\n{error}\n\nUse --debug to see more", 1)
    assert error in refusal(cluster)


@pytest.mark.parametrize(("context", "program"), [("kind-here", "kind"), ("minikube", "minikube")])
def test_a_missing_node_loader(programs, cluster, context, program):
    programs.answer("^kubectl config current-context", context)
    preflight.check_all(settings(), cluster)
    programs.remove(program)
    assert "set IMAGE_LOADER" in refusal(cluster)


def test_a_missing_image_loader(programs, cluster):
    assert "IMAGE_LOADER's program no-such-loader" in refusal(cluster, image_loader="no-such-loader --fast")


@pytest.mark.parametrize(
    ("manifest", "classes"),
    [
        (CLAIM, {""}),
        (CLAIM + '  storageClassName: "a-b"\n', {"a-b"}),
        ("kind: StatefulSet\nspec:\n  volumeClaimTemplates:\n    - spec:\n        accessModes: []\n", {""}),
        (f"{CLAIM}{CLAIM}  storageClassName: fast\n", {"", "fast"}),
        ("kind: Pod\n", set()),
    ],
)
def test_storage_classes_of_a_manifest(manifest, classes):
    assert preflight.storage_classes(manifest) == classes


def test_the_storage_class_of_these_tests_is_the_default():
    assert preflight._is_default(DEFAULT_CLASS)
