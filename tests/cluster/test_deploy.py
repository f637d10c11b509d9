"""`make deploy` again, and the chart's own test."""

import pytest

from tests.cluster.conftest import make
from tests.cluster.deployment import command, kubectl_json

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


def versions(deployment):
    """The version of every object of the deployment that only a change would raise."""
    namespaces = [deployment.release, *(deployment.client_namespace(name) for name in ("ann", "bob"))]
    kinds = "deployments,statefulsets,services,secrets,configmaps,networkpolicies,resourcequotas,roles,pods"
    return {
        (namespace, each["kind"], each["metadata"]["name"]): (
            each["metadata"]["uid"],
            each["metadata"].get("generation"),
            each.get("data"),
        )
        for namespace in namespaces
        for each in kubectl_json("get", kinds, "-n", namespace)["items"]
    }


def test_deploying_again_changes_nothing(deployment):
    before = versions(deployment)
    revision = command("helm", "history", "fedvsr", "-n", deployment.release).stdout
    make("deploy", deployment.values, *deployment.options)
    assert versions(deployment) == before
    assert command("helm", "history", "fedvsr", "-n", deployment.release).stdout == revision


def test_the_charts_test_puts_gets_and_asks_the_registry(deployment):
    assert "Phase:          Succeeded" in command("helm", "test", "fedvsr", "-n", deployment.release).stdout


def test_clients_that_are_ready_are_told_so_and_what_is_missing_is_named(deployment):
    ready = deployment.fedvsr("clients", "check", "ann", "bob")
    assert ready.stdout.count("cannot be reached: ok") == 4
    missing = deployment.fedvsr("clients", "check", "dee", "--gpus", "1", "--no-job", check=False)
    assert missing.returncode == 1
    assert "fedvsr.test/none" in missing.stdout
