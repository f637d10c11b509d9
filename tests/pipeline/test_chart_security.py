"""The rights that the chart gives to KFP and others, and how it keeps its secrets."""

import pytest

from fedvsr.cluster.job_spec import JobSpec, job_manifest
from fedvsr.cluster.settings import ClientSettings
from tests.pipeline.chart import EXTERNAL, GPU_CLIENT, TWO_CLIENTS, get_object, merged

pytestmark = pytest.mark.pipeline


def test_kfp_may_create_only_fedvsrs_jobs(render):
    objects = render(merged(GPU_CLIENT, {"kfp": {"namespace": "pipelines", "serviceAccount": "runner"}}))
    policy = get_object(objects, "ValidatingAdmissionPolicy", "fedvsr-client-jobs", None)["spec"]
    binding = get_object(objects, "ValidatingAdmissionPolicyBinding", "fedvsr-client-jobs", None)["spec"]
    assert binding == {"policyName": "fedvsr-client-jobs", "validationActions": ["Deny"]}
    assert policy["failurePolicy"] == "Fail"
    (condition,) = policy["matchConditions"]
    assert condition["expression"].endswith("== 'system:serviceaccount:pipelines:runner'")
    namespace = get_object(objects, "Namespace", "hospital", None)["metadata"]
    selected = policy["matchConstraints"]["namespaceSelector"]["matchLabels"]
    assert selected.items() <= namespace["labels"].items()
    assert namespace["annotations"] == {"fedvsr/image": GPU_CLIENT["clients"][0]["image"]}


def annotations(objects):
    """Returns the annotations of the servers' pods, by server."""
    servers = [manifest for manifest in objects if manifest["kind"] in {"Deployment", "StatefulSet"}]
    return {
        manifest["metadata"]["name"]: manifest["spec"]["template"]["metadata"].get("annotations")
        for manifest in servers
    }


@pytest.mark.parametrize(
    ("changed", "restarted"),
    [
        ({"s3": {"rootPassword": "another-password"}}, {"s3"}),
        ({"postgres": {"password": "another-password"}}, {"mlflow"}),
        # Every annotation includes the generated seed, so that guessed passwords cannot be tested against it.
        ({"s3": {"userSeed": "another-seed-of-the-users"}}, {"s3", "mlflow"}),
    ],
)
def test_a_pod_restarts_with_a_new_password(render, changed, restarted):
    before, after = annotations(render(TWO_CLIENTS)), annotations(render(merged(TWO_CLIENTS, changed)))
    assert {name for name in before if before[name] != after[name]} == restarted


def test_other_peers_may_be_allowed_to_reach_the_s3_server(render):
    ingress = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}
    policies = [
        get_object(render(values), "NetworkPolicy", "s3", "fedvsr")["spec"]["ingress"][0]["from"]
        for values in (TWO_CLIENTS, merged(TWO_CLIENTS, {"s3": {"allowFrom": ["203.0.113.0/24", ingress]}}))
    ]
    assert policies[1] == [*policies[0], {"ipBlock": {"cidr": "203.0.113.0/24"}}, ingress]


def test_a_client_imports_models_only_from_its_listed_packages(render):
    allowed = get_object(render(GPU_CLIENT), "ConfigMap", "fedvsr-client", "hospital")["data"]
    assert allowed["FEDVSR_ALLOW_MODELS"] == "acme,radiology.models"
    plain = get_object(render(TWO_CLIENTS), "ConfigMap", "fedvsr-client", "fedvsr-client-site-a")["data"]
    assert "FEDVSR_ALLOW_MODELS" not in plain


def test_a_secret_of_digits_stays_a_string(render):
    digits = {"s3": {"rootUser": "12345", "rootPassword": "12345678"}, "postgres": {"password": "12345678"}}
    secrets = [manifest for manifest in render(merged(TWO_CLIENTS, digits)) if manifest["kind"] == "Secret"]
    values = [
        value
        for manifest in secrets
        for value in {**manifest.get("stringData", {}), **manifest.get("data", {})}.values()
    ]
    assert "12345" in values
    assert all(isinstance(value, str) for value in values)


def test_without_kfp_there_is_no_admission_policy(render):
    assert not [
        manifest for manifest in render(EXTERNAL) if manifest["kind"].startswith("ValidatingAdmissionPolicy")
    ]


def test_the_admission_policy_allows_the_variables_of_a_job(render):
    spec = JobSpec("train", "ann", "demo", 1, "key", ("train", "--client", "ann"), 1, 2, 60)
    settings = ClientSettings.model_validate({"namespace": "ann", "image": "trainer"})
    (container,) = job_manifest(spec, settings)["spec"]["template"]["spec"]["containers"]
    policy = get_object(render(TWO_CLIENTS), "ValidatingAdmissionPolicy", "fedvsr-client-jobs", None)["spec"]
    (rule,) = (
        validation["expression"]
        for validation in policy["validations"]
        if "valueFrom" in validation["expression"]
    )
    names = [variable["name"] for variable in container["env"]]
    assert f"each.name in {names!r}" in rule
