"""The chart renders what goldens/ says, refuses wrong values in words, and gives no pod a right too many.

`FEDVSR_UPDATE_GOLDENS=1 pytest tests/pipeline/test_chart.py` writes the goldens anew; `git diff` shows what
has changed.
"""

import json
import os
from pathlib import Path

import pytest
import yaml

from tests.pipeline.chart import CHART, EXTERNAL, GPU_CLIENT, TWO_CLIENTS, named

pytestmark = pytest.mark.pipeline

GOLDENS = Path(__file__).parent / "goldens"
CLIENT_TEMPLATES = [f"clients/{path.name}" for path in sorted((CHART / "templates" / "clients").iterdir())]
RENDERINGS = {
    "two-clients": (TWO_CLIENTS, []),
    "external-servers": (EXTERNAL, []),
    "gpu-client": (GPU_CLIENT, [*CLIENT_TEMPLATES, "settings/pipeline.yaml"]),
}


def test_the_chart_passes_lint(helm):
    done = helm("lint", "--strict", CHART, values=TWO_CLIENTS)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", RENDERINGS)
def test_the_chart_renders_its_golden(render, name):
    values, only = RENDERINGS[name]
    found = yaml.safe_dump_all(render(values, only), sort_keys=False, width=120)
    golden = GOLDENS / f"{name}.yaml"
    if os.environ.get("FEDVSR_UPDATE_GOLDENS"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(found)
    assert found == golden.read_text(), "look at the difference; FEDVSR_UPDATE_GOLDENS=1 takes it over"


@pytest.mark.parametrize("values", [TWO_CLIENTS, EXTERNAL], ids=["all", "external"])
def test_every_pod_is_restricted(render, values):
    objects = render(values)
    specs = [each["spec"]["template"]["spec"] for each in objects if "template" in each.get("spec", {})]
    specs += [each["spec"] for each in objects if each["kind"] == "Pod"]
    assert len(specs) == (5 if values is TWO_CLIENTS else 3)
    for spec in specs:
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]


def test_a_server_is_watched_and_not_stopped_by_a_drain(render):
    objects = render(TWO_CLIENTS)
    servers = [each for each in objects if each["kind"] in {"Deployment", "StatefulSet"}]
    assert {each["metadata"]["name"] for each in servers} == {"s3", "mlflow", "postgres"}
    for server in servers:
        (container,) = server["spec"]["template"]["spec"]["containers"]
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
        budget = named(objects, "PodDisruptionBudget", server["metadata"]["name"], "fedvsr")
        assert budget["spec"]["maxUnavailable"] == 0
        assert budget["spec"]["selector"] == server["spec"]["selector"]


def test_what_the_data_needs_is_kept(render):
    kept = {
        (each["kind"], each["metadata"]["name"])
        for each in render(TWO_CLIENTS)
        if each["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
    }
    assert kept == {
        ("PersistentVolumeClaim", "s3"),
        ("PersistentVolumeClaim", "postgres"),
        ("Secret", "fedvsr-s3"),
        ("Secret", "fedvsr-s3-users"),
        ("Secret", "fedvsr-postgres"),
    }


def test_the_pipeline_has_no_clients_credentials(render):
    objects = render(TWO_CLIENTS)
    secrets = {
        each["metadata"]["name"]
        for each in objects
        if each["kind"] == "Secret" and each["metadata"]["namespace"] == "kubeflow"
    }
    assert secrets == {"fedvsr-federation"}
    role = named(objects, "Role", "fedvsr-jobs", "fedvsr-client-site-a")
    assert not [rule for rule in role["rules"] if "secrets" in rule["resources"] or "*" in rule["verbs"]]
    keys = {
        (each["metadata"]["namespace"], each["stringData"]["AWS_SECRET_ACCESS_KEY"])
        for each in objects
        if each["kind"] == "Secret" and "AWS_SECRET_ACCESS_KEY" in each.get("stringData", {})
    }
    assert len({key for _, key in keys}) == 4  # federation (in two namespaces), MLflow, two clients


def test_the_pipelines_clients_are_what_the_contract_says(render):
    settings = named(render(GPU_CLIENT), "ConfigMap", "fedvsr", "kubeflow")["data"]
    (client,) = json.loads(settings["FEDVSR_CLIENTS"]).values()
    assert client == {
        "namespace": "hospital",
        **{
            key: GPU_CLIENT["clients"][0][key]
            for key in (
                "image",
                "imagePullPolicy",
                "gpuResource",
                "resources",
                "nodeSelector",
                "tolerations",
                "runtimeClassName",
                "cacheSize",
            )
        },
    }
    assert settings["FEDVSR_CLIENT_STORE"] == "s3://fedvsr-client-{client}"


S3 = "https://s3.example.org"
REFUSED = [
    ({"clients": [{"name": "Ann"}]}, "/clients/0/name"),
    ({"clients": [{"name": "ann-"}]}, "/clients/0/name"),
    ({"clients": [{"name": "a" * 41}]}, "/clients/0/name"),
    ({"clients": [{"nam": "ann"}]}, "additional properties 'nam' not allowed"),
    ({"client": []}, "additional properties 'client' not allowed"),
    ({"clients": [{"name": "ann", "cacheSize": "10GB"}]}, "/clients/0/cacheSize"),
    ({"clients": [{"name": "ann", "gpuResource": "gpu"}]}, "/clients/0/gpuResource"),
    ({"clients": [{"name": "ann", "allowModels": ["acme:net"]}]}, "/clients/0/allowModels/0"),
    ({"s3": {"allowFrom": ["everybody"]}}, "/s3/allowFrom/0"),
    ({"clients": [{"name": "ann"}, {"name": "ann"}]}, 'two are named "ann"'),
    ({"clients": [{"name": "ann", "namespace": "kubeflow"}]}, "is KFP's already"),
    (
        {"clients": [{"name": "ann", "namespace": "x"}, {"name": "bob", "namespace": "x"}]},
        "is client ann's already",
    ),
    ({"s3": {"external": {"endpoint": "s3.example.org"}}}, "/s3/external/endpoint"),
    ({"s3": {"external": {"endpoint": S3}, "rootPassword": ""}}, "give its root user as s3.existingSecret"),
    ({"s3": {"external": {"endpoint": S3, "manage": False}}}, "s3.external.cidrs: say where"),
    ({"postgres": {"external": {"enabled": True}}}, "postgres.external.uri"),
    ({"mlflow": {"publicUrl": "mlflow.example.org"}}, "/mlflow/publicUrl"),
]


@pytest.mark.parametrize(("values", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_wrong_values_are_refused(helm, values, words):
    done = helm("template", "fedvsr", CHART, values=values)
    assert done.returncode != 0
    assert words in done.stderr


def test_a_name_that_kubernetes_would_refuse_is_refused_first(helm):
    done = helm(
        "template",
        "fedvsr",
        CHART,
        "--set",
        "s3.buckets.clientPrefix=" + "p" * 30,
        values={"clients": [{"name": "a" * 40}]},
    )
    assert "longer than 63 characters" in done.stderr
    assert "s3.buckets.clientPrefix" in done.stderr
