"""A second `make deploy`, and the chart's own test."""

import pytest

from tests.cluster.conftest import make
from tests.cluster.deployment import command, kubectl_json

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


def versions(deployment):
    """Returns the UID, generation and data of every object of the deployment, which only a change alters."""
    namespaces = [deployment.namespace, *(deployment.client_namespace(name) for name in ("ann", "bob"))]
    kinds = "deployments,statefulsets,services,secrets,configmaps,networkpolicies,resourcequotas,roles,pods"
    return {
        (namespace, item["kind"], item["metadata"]["name"]): (
            item["metadata"]["uid"],
            item["metadata"].get("generation"),
            item.get("data"),
        )
        for namespace in namespaces
        for item in kubectl_json("get", kinds, "-n", namespace)["items"]
    }


def test_deploying_again_changes_nothing(deployment):
    before = versions(deployment)
    revision = command("helm", "history", "fedvsr", "-n", deployment.namespace).stdout
    make("deploy", deployment.values, *deployment.options)
    assert versions(deployment) == before
    assert command("helm", "history", "fedvsr", "-n", deployment.namespace).stdout == revision


def test_the_charts_own_test_passes(deployment):
    assert "Phase:          Succeeded" in command("helm", "test", "fedvsr", "-n", deployment.namespace).stdout


def test_ready_clients_pass_the_check_and_a_missing_gpu_is_named(deployment):
    ready = deployment.fedvsr("clients", "check", "ann", "bob")
    assert ready.stdout.count("cannot be reached: ok") == 4
    missing = deployment.fedvsr("clients", "check", "dee", "--gpus", "1", "--no-job", check=False)
    assert missing.returncode == 1
    assert "fedvsr.test/none" in missing.stdout
