"""The chart renders what goldens/ says, refuses wrong values in words, and gives no pod a right too many.

`FEDVSR_UPDATE_GOLDENS=1 pytest tests/pipeline/test_chart.py` writes the goldens anew; `git diff` shows what
has changed.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from fedvsr.cluster.job import JobSpec, job_manifest
from fedvsr.cluster.settings import ClientSettings

pytestmark = pytest.mark.pipeline

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "fedvsr"
GOLDENS = Path(__file__).parent / "goldens"
HELM = os.environ.get("HELM") or shutil.which("helm")

# What is generated in a cluster is given here, so that every rendering is the same.
GIVEN = {
    "images": {"tag": "1.2.3"},
    "s3": {"rootPassword": "root-password", "userSeed": "seed-of-the-users"},
    "postgres": {"password": "postgres-password"},
}
TWO_CLIENTS = {**yaml.safe_load((ROOT / "samples" / "cluster.yaml").read_text())}
EXTERNAL = {
    "kfp": {"enabled": False},
    "s3": {
        "external": {"endpoint": "https://s3.example.org", "cidrs": ["203.0.113.7/32"]},
        "existingSecret": "s3-root",
        "userSeed": "seed-of-the-users",
        "buckets": {"federation": "video-fed", "mlflow": "video-mlflow", "clientPrefix": "video-"},
    },
    "postgres": {"external": {"enabled": True, "cidrs": ["203.0.113.8/32"]}, "existingSecret": "database"},
    "mlflow": {"publicUrl": "https://mlflow.example.org", "env": {"MLFLOW_LOGGING_LEVEL": "DEBUG"}},
    "clients": [{"name": "site-a"}],
}
GPU_CLIENT = {
    "clients": [
        {
            "name": "site-a",
            "namespace": "hospital",
            "image": "registry.example.org/fedvsr-trainer:cuda",
            "imagePullPolicy": "Always",
            "gpuResource": "nvidia.com/mig-3g.40gb",
            "runtimeClassName": "nvidia",
            "nodeSelector": {"gpu": "a100"},
            "tolerations": [
                {
                    "key": "gpu",
                    "operator": "Equal",
                    "value": "a",
                    "effect": "NoExecute",
                    "tolerationSeconds": 60,
                }
            ],
            "resources": {"requests": {"cpu": 8, "memory": "64Gi"}, "limits": {"memory": "96Gi"}},
            "cacheSize": "200Gi",
            "allowModels": ["acme", "radiology.models"],
            "namespaceLabels": {"owner": "radiology"},
            "quota": {"requests.nvidia.com/mig-3g.40gb": "2"},
        }
    ],
}
CLIENT_TEMPLATES = [f"clients/{path.name}" for path in sorted((CHART / "templates" / "clients").iterdir())]
RENDERINGS = {
    "two-clients": (TWO_CLIENTS, []),
    "external-servers": (EXTERNAL, []),
    "gpu-client": (GPU_CLIENT, [*CLIENT_TEMPLATES, "settings/pipeline.yaml"]),
}


def merged(base, more):
    both = dict(base)
    for key, value in more.items():
        inner = isinstance(value, dict) and isinstance(both.get(key), dict)
        both[key] = merged(both[key], value) if inner else value
    return both


@pytest.fixture(scope="module")
def helm(tmp_path_factory):
    """Runs a helm command on the chart with values."""
    if not HELM:
        pytest.skip("helm is not on PATH and HELM does not name it")
    folder = tmp_path_factory.mktemp("helm")
    # Helm's own settings and plugins stay out of it.
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}

    def run(*arguments, values):
        path = folder / "values.yaml"
        path.write_text(yaml.safe_dump(merged(GIVEN, values)))
        return subprocess.run(
            [HELM, *arguments, "--namespace", "fedvsr", "--values", path],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture(scope="module")
def render(helm):
    """Returns the objects that the chart makes of values."""

    def objects(values, only=()):
        chosen = [word for name in only for word in ("--show-only", f"templates/{name}")]
        done = helm("template", "fedvsr", CHART, *chosen, values=values)
        assert done.returncode == 0, done.stderr
        return [found for found in yaml.safe_load_all(done.stdout) if found]

    return objects


def named(objects, kind, name, namespace):
    (found,) = (
        each
        for each in objects
        if each["kind"] == kind
        and each["metadata"]["name"] == name
        and each["metadata"].get("namespace") == namespace
    )
    return found


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


def test_the_jobs_of_kfps_runner_are_held_to_fedvsrs_own(render):
    objects = render(merged(GPU_CLIENT, {"kfp": {"namespace": "pipelines", "serviceAccount": "runner"}}))
    policy = named(objects, "ValidatingAdmissionPolicy", "fedvsr-client-jobs", None)["spec"]
    binding = named(objects, "ValidatingAdmissionPolicyBinding", "fedvsr-client-jobs", None)["spec"]
    assert binding == {"policyName": "fedvsr-client-jobs", "validationActions": ["Deny"]}
    assert policy["failurePolicy"] == "Fail"
    (condition,) = policy["matchConditions"]
    assert condition["expression"].endswith("== 'system:serviceaccount:pipelines:runner'")
    namespace = named(objects, "Namespace", "hospital", None)["metadata"]
    selected = policy["matchConstraints"]["namespaceSelector"]["matchLabels"]
    assert selected.items() <= namespace["labels"].items()
    assert namespace["annotations"] == {"fedvsr/image": GPU_CLIENT["clients"][0]["image"]}


def annotations(objects):
    """The annotations of every pod of a server."""
    servers = [each for each in objects if each["kind"] in {"Deployment", "StatefulSet"}]
    return {
        each["metadata"]["name"]: each["spec"]["template"]["metadata"].get("annotations") for each in servers
    }


@pytest.mark.parametrize(
    ("changed", "restarted"),
    [
        ({"s3": {"rootPassword": "another-password"}}, {"s3"}),
        ({"postgres": {"password": "another-password"}}, {"mlflow"}),
        # The generated seed is in every annotation, so that guesses of a password cannot be tried on it.
        ({"s3": {"userSeed": "another-seed-of-the-users"}}, {"s3", "mlflow"}),
    ],
)
def test_a_pod_starts_anew_with_another_password(render, changed, restarted):
    before, after = annotations(render(TWO_CLIENTS)), annotations(render(merged(TWO_CLIENTS, changed)))
    assert {name for name in before if before[name] != after[name]} == restarted


def test_others_may_be_let_to_the_s3_server(render):
    ingress = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}
    policies = [
        named(render(values), "NetworkPolicy", "s3", "fedvsr")["spec"]["ingress"][0]["from"]
        for values in (TWO_CLIENTS, merged(TWO_CLIENTS, {"s3": {"allowFrom": ["203.0.113.0/24", ingress]}}))
    ]
    assert policies[1] == [*policies[0], {"ipBlock": {"cidr": "203.0.113.0/24"}}, ingress]


def test_a_client_imports_models_from_the_packages_it_lists_alone(render):
    allowed = named(render(GPU_CLIENT), "ConfigMap", "fedvsr-client", "hospital")["data"]
    assert allowed["FEDVSR_ALLOW_MODELS"] == "acme,radiology.models"
    plain = named(render(TWO_CLIENTS), "ConfigMap", "fedvsr-client", "fedvsr-client-site-a")["data"]
    assert "FEDVSR_ALLOW_MODELS" not in plain


def test_what_looks_like_a_number_stays_a_text(render):
    digits = {"s3": {"rootUser": "12345", "rootPassword": "12345678"}, "postgres": {"password": "12345678"}}
    secrets = [each for each in render(merged(TWO_CLIENTS, digits)) if each["kind"] == "Secret"]
    values = [
        value for each in secrets for value in {**each.get("stringData", {}), **each.get("data", {})}.values()
    ]
    assert "12345" in values
    assert all(isinstance(value, str) for value in values)


def test_without_kfp_there_is_no_runner_and_no_policy_for_it(render):
    assert not [each for each in render(EXTERNAL) if each["kind"].startswith("ValidatingAdmissionPolicy")]


def test_the_policy_knows_every_variable_that_a_job_sets(render):
    spec = JobSpec("train", "ann", "demo", 1, "key", ("train", "--client", "ann"), 1, 2, 60)
    settings = ClientSettings.model_validate({"namespace": "ann", "image": "trainer"})
    (container,) = job_manifest(spec, settings)["spec"]["template"]["spec"]["containers"]
    policy = named(render(TWO_CLIENTS), "ValidatingAdmissionPolicy", "fedvsr-client-jobs", None)["spec"]
    (rule,) = (each["expression"] for each in policy["validations"] if "valueFrom" in each["expression"])
    names = [each["name"] for each in container["env"]]
    assert f"each.name in {names!r}" in rule


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
