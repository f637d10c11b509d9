"""FEDVSR_CLIENTS, and the Jobs that follow from it."""

import json

import pytest

from fedvsr.cluster.job_spec import JobSpec, job_manifest
from fedvsr.cluster.settings import (
    CLIENTS_VARIABLE,
    ClientSettings,
    choose_clients,
    clients_from_environment,
    parse_clients,
)
from fedvsr.errors import ConfigError, UnknownNameError

FULL = {
    "namespace": "client-ann",
    "image": "registry/trainer:1",
    "imagePullPolicy": "Always",
    "gpuResource": "nvidia.com/mig-3g.40gb",
    "resources": {"requests": {"cpu": "500m"}, "limits": {"memory": "4Gi"}},
    "nodeSelector": {"gpu": "yes"},
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "runtimeClassName": "nvidia",
    "cacheSize": "5Gi",
}


def spec(**values):
    settings = {
        "component": "train",
        "client": "ann",
        "run": "demo",
        "round_number": 7,
        "key": "identity digest",
        "arguments": ("train", "--run", "demo"),
        "gpus": 0,
        "retries": 2,
        "deadline_seconds": 90,
    }
    return JobSpec(**{**settings, **values})


@pytest.mark.parametrize(
    ("text", "field", "allowed"),
    [
        ("{", "FEDVSR_CLIENTS", "it must be JSON"),
        ("[]", "FEDVSR_CLIENTS", "valid dictionary"),
        ('{"Ann!": {}}', "FEDVSR_CLIENTS.Ann!", "string should match"),
        ('{"ann": {"image": "x"}}', "FEDVSR_CLIENTS.ann.namespace", "required"),
        ('{"ann": {"namespace": "n", "image": "x", "gpu": 1}}', "FEDVSR_CLIENTS.ann.gpu", "gpuResource"),
        ('{"ann": {"namespace": "N", "image": "x"}}', "FEDVSR_CLIENTS.ann.namespace", "pattern"),
        (
            '{"ann": {"namespace": "n", "image": "x", "tolerations": "all"}}',
            "FEDVSR_CLIENTS.ann.tolerations",
            "valid tuple",
        ),
        (
            '{"ann": {"namespace": "n", "image": "x", "resources": {"limits": {"memory": []}}}}',
            "FEDVSR_CLIENTS.ann.resources.limits.memory",
            "valid string",
        ),
    ],
)
def test_an_invalid_setting_is_reported_with_client_and_field(text, field, allowed):
    with pytest.raises(ConfigError) as caught:
        parse_clients(text)
    assert caught.value.field.startswith(field)
    assert allowed in caught.value.allowed


def test_clients_from_environment(monkeypatch):
    monkeypatch.delenv(CLIENTS_VARIABLE, raising=False)
    assert clients_from_environment() is None
    monkeypatch.setenv(CLIENTS_VARIABLE, json.dumps({"bob": FULL, "ann": FULL}))
    assert list(clients_from_environment()) == ["ann", "bob"]


def test_all_clients_are_chosen_unless_some_are_named():
    assert choose_clients(["bob", "ann"], ()) == ("ann", "bob")
    assert choose_clients(["bob", "ann"], ["bob"]) == ("bob",)
    with pytest.raises(UnknownNameError, match="unknown client 'eve'; known: ann, bob"):
        choose_clients(["bob", "ann"], ["eve"])
    with pytest.raises(ConfigError, match="add a client with"):
        choose_clients([], ())


def test_a_jobs_name_is_a_function_of_its_work_and_fits_a_label():
    names = {
        spec().name,
        spec(client="bob").name,
        spec(round_number=8).name,
        spec(key="another").name,
        spec(component="shard", round_number=None).name,
        spec(run="a" * 40, round_number=9999).name,
        spec(run="", round_number=None, component="check").name,
    }
    assert len(names) == 7
    assert all(len(name) <= 57 and not name.endswith("-") and "--" not in name for name in names)
    assert spec().name == spec(gpus=4, retries=0, deadline_seconds=1).name
    assert spec().name.startswith("fedvsr-train-demo-r0007-")


def test_a_pod_is_restricted_and_has_the_clients_settings():
    job = job_manifest(spec(gpus=2), ClientSettings.model_validate(FULL))
    assert job["metadata"]["namespace"] == "client-ann"
    assert (job["spec"]["backoffLimit"], job["spec"]["activeDeadlineSeconds"]) == (2, 90)
    rules = job["spec"]["podFailurePolicy"]["rules"]
    assert rules[0]["onExitCodes"]["values"] == [65]
    assert rules[1]["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    pod = job["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert pod["automountServiceAccountToken"] is False
    assert pod["serviceAccountName"] == "fedvsr-client"
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert (pod["nodeSelector"], pod["runtimeClassName"]) == ({"gpu": "yes"}, "nvidia")
    assert pod["tolerations"] == FULL["tolerations"]
    assert pod["volumes"] == [{"name": "tmp", "emptyDir": {"sizeLimit": "5Gi"}}]
    (container,) = pod["containers"]
    assert container["command"] == ["fedvsr", "client", "train", "--run", "demo"]
    assert container["imagePullPolicy"] == "Always"
    assert container["resources"] == {
        "requests": {"cpu": "500m", "nvidia.com/mig-3g.40gb": "2"},
        "limits": {"memory": "4Gi", "nvidia.com/mig-3g.40gb": "2"},
    }
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["envFrom"] == [
        {"configMapRef": {"name": "fedvsr-client"}},
        {"secretRef": {"name": "fedvsr-client"}},
    ]


def test_without_gpus_none_is_requested():
    job = job_manifest(spec(), ClientSettings.model_validate(FULL))
    resources = job["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert "nvidia.com/mig-3g.40gb" not in {**resources["requests"], **resources["limits"]}
