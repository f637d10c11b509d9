"""The chart renders the goldens, refuses invalid values and restricts its pods.

`FEDVSR_UPDATE_GOLDENS=1 pytest tests/pipeline/test_chart.py` updates the goldens; `git diff` shows the
changes.
"""

import json
import os
import re
from pathlib import Path

import pytest
import yaml

from tests.pipeline.chart import (
    CHART,
    EXTERNAL,
    FRONT_DOOR,
    GPU_CLIENT,
    TWO_CLIENTS,
    VIRTUAL_CLIENTS,
    get_object,
)

pytestmark = pytest.mark.pipeline

GOLDENS = Path(__file__).parent / "goldens"
# In the order of the golden.
CLIENT_TEMPLATES = [
    "clients/validatingadmissionpolicy.yaml",
    "clients/validatingadmissionpolicybinding.yaml",
    "clients/namespace.yaml",
    "clients/resourcequota.yaml",
    "clients/limitrange.yaml",
    "clients/serviceaccount.yaml",
    "clients/secret.yaml",
    "clients/configmap.yaml",
    "clients/networkpolicies.yaml",
    "clients/role.yaml",
    "clients/rolebinding.yaml",
    "settings/secret.yaml",
    "settings/configmap.yaml",
]
FRONT_DOOR_TEMPLATES = [
    "front-door/certificate.yaml",
    "front-door/networkpolicy.yaml",
    "front-door/service.yaml",
    "s3/statefulset.yaml",
    "mlflow/deployment.yaml",
    "provision/configmap.yaml",
    "provision/job.yaml",
    "clients/configmap.yaml",
    "settings/configmap.yaml",
]
RENDERINGS = {
    "two-clients": (TWO_CLIENTS, []),
    "external-servers": (EXTERNAL, []),
    "gpu-client": (GPU_CLIENT, CLIENT_TEMPLATES),
    "front-door": (FRONT_DOOR, FRONT_DOOR_TEMPLATES),
    "virtual-clients": (
        VIRTUAL_CLIENTS,
        [*CLIENT_TEMPLATES, "provision/configmap.yaml", "s3/users-secret.yaml"],
    ),
}


def test_the_chart_passes_lint(helm):
    done = helm("lint", "--strict", CHART, values=TWO_CLIENTS)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", RENDERINGS)
def test_the_chart_renders_its_golden(render, name):
    values, only = RENDERINGS[name]
    rendered = yaml.safe_dump_all(render(values, only), sort_keys=False, width=120)
    golden = GOLDENS / f"{name}.yaml"
    if os.environ.get("FEDVSR_UPDATE_GOLDENS"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(rendered)
    assert rendered == golden.read_text(), "check the difference; FEDVSR_UPDATE_GOLDENS=1 accepts it"


def test_the_client_golden_covers_every_client_template():
    templates = CHART / "templates"
    paths = [path for folder in ("clients", "settings") for path in (templates / folder).iterdir()]
    assert sorted(CLIENT_TEMPLATES) == sorted(path.relative_to(templates).as_posix() for path in paths)


def test_every_template_file_has_one_object_except_a_namespaces_pair_of_network_policies():
    others = ("validate.yaml", "networkpolicies.yaml")
    paths = [path for path in (CHART / "templates").rglob("*.yaml") if path.name not in others]
    for path in paths:
        assert len(re.findall("^kind: ", path.read_text(), re.MULTILINE)) == 1, path


@pytest.mark.parametrize("values", [TWO_CLIENTS, EXTERNAL], ids=["all", "external"])
def test_every_pod_is_restricted(render, values):
    objects = render(values)
    specs = [
        manifest["spec"]["template"]["spec"] for manifest in objects if "template" in manifest.get("spec", {})
    ]
    specs += [manifest["spec"] for manifest in objects if manifest["kind"] == "Pod"]
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


def test_every_server_has_probes_and_a_disruption_budget(render):
    objects = render(TWO_CLIENTS)
    servers = [manifest for manifest in objects if manifest["kind"] in {"Deployment", "StatefulSet"}]
    assert {manifest["metadata"]["name"] for manifest in servers} == {"s3", "mlflow", "postgres"}
    for server in servers:
        (container,) = server["spec"]["template"]["spec"]["containers"]
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
        budget = get_object(objects, "PodDisruptionBudget", server["metadata"]["name"], "fedvsr")
        assert budget["spec"]["maxUnavailable"] == 0
        assert budget["spec"]["selector"] == server["spec"]["selector"]


def test_uninstalling_keeps_the_data_and_its_secrets(render):
    kept = {
        (manifest["kind"], manifest["metadata"]["name"])
        for manifest in render(TWO_CLIENTS)
        if manifest["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
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
        manifest["metadata"]["name"]
        for manifest in objects
        if manifest["kind"] == "Secret" and manifest["metadata"]["namespace"] == "kubeflow"
    }
    assert secrets == {"fedvsr-federation"}
    role = get_object(objects, "Role", "fedvsr-jobs", "fedvsr-client-site-a")
    assert not [rule for rule in role["rules"] if "secrets" in rule["resources"] or "*" in rule["verbs"]]
    keys = {
        (manifest["metadata"]["namespace"], manifest["stringData"]["AWS_SECRET_ACCESS_KEY"])
        for manifest in objects
        if manifest["kind"] == "Secret" and "AWS_SECRET_ACCESS_KEY" in manifest.get("stringData", {})
    }
    assert len({key for _, key in keys}) == 4  # federation (in two namespaces), MLflow, two clients


def test_the_pipeline_gets_the_clients_settings(render):
    settings = get_object(render(GPU_CLIENT), "ConfigMap", "fedvsr", "kubeflow")["data"]
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
INVALID_VALUES = [
    ({"clients": [{"name": "Ann"}]}, "/clients/0/name"),
    ({"clients": [{"name": "ann-"}]}, "/clients/0/name"),
    ({"clients": [{"name": "a" * 41}]}, "/clients/0/name"),
    ({"clients": [{"nam": "ann"}]}, "additional properties 'nam' not allowed"),
    ({"client": []}, "additional properties 'client' not allowed"),
    ({"clients": [{"name": "ann", "cacheSize": "10GB"}]}, "/clients/0/cacheSize"),
    ({"clients": [{"name": "ann", "gpuResource": "gpu"}]}, "/clients/0/gpuResource"),
    ({"clients": [{"name": "ann", "allowModels": ["acme:net"]}]}, "/clients/0/allowModels/0"),
    ({"s3": {"allowFrom": ["everybody"]}}, "/s3/allowFrom/0"),
    ({"clients": [{"name": "ann"}, {"name": "ann"}]}, 'two clients are named "ann"'),
    ({"virtualClients": {"count": 240}}, "additional properties 'count' not allowed"),
    ({"virtualClients": {"parallelism": 0}}, "/virtualClients/parallelism"),
    (
        {"clients": [{"name": "client-1"}], "virtualClients": {"enabled": True}},
        'client "client-1" is named as a virtual client',
    ),
    (
        {
            "clients": [{"name": "ann", "namespace": "sim"}],
            "virtualClients": {"enabled": True, "namespace": "sim"},
        },
        'already belongs to client "ann"',
    ),
    ({"clients": [{"name": "ann", "namespace": "kubeflow"}]}, "already belongs to KFP"),
    (
        {"clients": [{"name": "ann", "namespace": "x"}, {"name": "bob", "namespace": "x"}]},
        'already belongs to client "ann"',
    ),
    ({"s3": {"external": {"endpoint": "s3.example.org"}}}, "/s3/external/endpoint"),
    ({"s3": {"external": {"endpoint": S3}, "rootPassword": ""}}, "set s3.existingSecret, or s3.rootUser"),
    ({"s3": {"external": {"endpoint": S3, "manage": False}}}, "s3.external.cidrs: set the address ranges"),
    ({"postgres": {"external": {"enabled": True}}}, "postgres.external.uri"),
    ({"mlflow": {"publicUrl": "mlflow.example.org"}}, "/mlflow/publicUrl"),
]


@pytest.mark.parametrize(
    ("values", "message"), INVALID_VALUES, ids=[message for _, message in INVALID_VALUES]
)
def test_invalid_values_are_refused(helm, values, message):
    done = helm("template", "fedvsr", CHART, values=values)
    assert done.returncode != 0
    assert message in done.stderr


def test_a_name_that_is_too_long_for_kubernetes_is_refused(helm):
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
