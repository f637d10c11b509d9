"""What the chart lets KFP's runner and others do, and how it keeps its secrets."""

import pytest

from fedvsr.cluster.job_spec import JobSpec, job_manifest
from fedvsr.cluster.settings import ClientSettings
from tests.pipeline.chart import EXTERNAL, GPU_CLIENT, TWO_CLIENTS, merged, named

pytestmark = pytest.mark.pipeline


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
