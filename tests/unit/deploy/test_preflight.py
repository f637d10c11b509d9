"""What is amiss is told in one line that says what to do, before anything is changed."""

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


def test_a_cluster_with_all_of_it_passes_and_its_context_is_named(programs, cluster):
    assert preflight.check_all(settings(), cluster) == "somewhere"


def test_nothing_is_changed(programs, cluster):
    preflight.check_all(settings(), cluster)
    changing = (" apply", " create -", " delete", "upgrade", " build", " push", "kind load")
    assert not [call for call in programs.calls if any(word in call for word in changing)]


def test_no_container_tool(programs, cluster):
    programs.remove("docker")
    assert "CONTAINER_TOOL=podman" in refusal(cluster)


def test_a_container_tool_that_is_named_is_the_one_looked_for(programs, cluster):
    programs.remove("docker")
    preflight.check_all(settings(container_tool="podman"), cluster)


def test_dockers_daemon_does_not_run(programs, cluster):
    programs.answer("^docker version", "Cannot connect to the Docker daemon", 1)
    assert "daemon does not answer; start it" in refusal(cluster)


@pytest.mark.parametrize("program", ["kubectl", "helm"])
def test_a_program_is_not_there(programs, cluster, program):
    programs.answer(f"^{program} version", f"{program}: not found", 127)
    assert f"install {program}" in refusal(cluster)


def test_no_current_context(programs, cluster):
    programs.answer("^kubectl config current-context", "error: current-context is not set", 1)
    assert "KUBE_CONTEXT" in refusal(cluster)


def test_a_cluster_that_does_not_answer_is_named_with_the_reason(programs, cluster):
    programs.answer(
        "^kubectl version --request", "E1123 memcache.go\nUnable to connect to the server: EOF\n", 1
    )
    message = refusal(cluster)
    assert "'somewhere' does not answer (Unable to connect to the server: EOF)" in message
    assert "KUBE_CONTEXT" in message


def test_a_user_who_may_not_make_namespaces(programs, cluster):
    programs.answer("^kubectl auth can-i create namespaces", "no", 1)
    assert "may not create namespaces" in refusal(cluster)


def test_a_user_who_may_not_make_the_policy_for_the_clients_jobs(programs, cluster):
    programs.answer("^kubectl auth can-i create validatingadmissionpolicies", "no", 1)
    assert "may not create validatingadmissionpolicies" in refusal(cluster)
    preflight.check_all(settings(kfp="0"), cluster)


def test_no_kubeflow_pipelines(programs, cluster):
    programs.answer("^kubectl get service ml-pipeline ", "")
    message = refusal(cluster)
    assert all(way in message for way in ("'kubeflow'", "KFP_NAMESPACE", "KFP_INSTALL=1", "KFP=0"))


@pytest.mark.parametrize("variables", [{"kfp": "0"}, {"kfp_install": "1"}])
def test_without_kubeflow_pipelines_where_none_is_wanted_or_it_is_to_come(programs, cluster, variables):
    programs.answer("^kubectl get service ml-pipeline ", "")
    preflight.check_all(settings(**variables), cluster)


def test_kubeflow_pipelines_cannot_be_installed_into_another_namespace(programs, cluster):
    variables = {"kfp_install": "1", "kfp_namespace": "pipelines"}
    preflight.check_all(settings(**variables), cluster)
    programs.answer("^kubectl get service ml-pipeline ", "")
    assert "into namespace 'kubeflow' alone" in refusal(cluster, **variables)


def test_no_default_storage_class(programs, cluster):
    classes = [{"metadata": {"name": "slow"}}]
    programs.answer("^kubectl get storageclass", json.dumps({"items": classes}))
    assert "no StorageClass is the default one (there are: slow)" in refusal(cluster)


def test_a_storage_class_that_the_values_name(programs, cluster):
    programs.answer("^helm template", CLAIM + "  storageClassName: slow\n")
    assert "no StorageClass 'slow' (there are: standard)" in refusal(cluster, values="mine.yaml")
    slow = {"metadata": {"name": "slow"}}
    programs.answer("^kubectl get storageclass", json.dumps({"items": [slow]}))
    preflight.check_all(settings(values="mine.yaml"), cluster)


def test_no_volumes_need_no_storage_class(programs, cluster):
    programs.answer("^helm template", "---\nkind: Service\n")
    programs.answer("^kubectl get storageclass", json.dumps({"items": []}))
    preflight.check_all(settings(), cluster)


def test_values_that_the_chart_refuses_are_told_in_its_words(programs, cluster):
    told = "Error: execution error at (fedvsr/templates/validate.yaml:6:4): clients: two are named 'ann'"
    programs.answer("^helm template", f"level=WARN\n{told}\n\nUse --debug to see more", 1)
    assert told in refusal(cluster)


@pytest.mark.parametrize(("context", "program"), [("kind-here", "kind"), ("minikube", "minikube")])
def test_the_program_that_loads_images_into_nodes_is_not_there(programs, cluster, context, program):
    programs.answer("^kubectl config current-context", context)
    preflight.check_all(settings(), cluster)
    programs.remove(program)
    assert "set IMAGE_LOADER" in refusal(cluster)


def test_an_image_loader_that_is_not_there(programs, cluster):
    assert "IMAGE_LOADER's no-such-loader" in refusal(cluster, image_loader="no-such-loader --fast")


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


def test_the_default_class_of_these_tests_is_one():
    assert preflight._is_default(DEFAULT_CLASS)
