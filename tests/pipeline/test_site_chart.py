"""The chart of a site renders its goldens, restricts its pods, and gives its parts only what they need.

`FEDVSR_UPDATE_GOLDENS=1 pytest tests/pipeline/test_site_chart.py` updates the goldens.
"""

import json
import os
import re
from pathlib import Path

import pytest
import yaml

from fedvsr.cluster.job_spec import job_manifest
from fedvsr.cluster.site_launcher import work_job
from fedvsr.cluster.site_settings import SITE_JOB_VARIABLE, load_site_job
from fedvsr.federation.site_records import AssignmentRecord
from fedvsr.site.settings import PolicyConfig, Requirements, ResourcesConfig, SiteSettings
from fedvsr.store.base import bytes_digest
from tests.pipeline.chart import SITE_CHART, get_object, merged

pytestmark = pytest.mark.pipeline

GOLDENS = Path(__file__).parent / "goldens"
NAMESPACE = "hospital"
DIGEST = "sha256:" + "0123456789abcdef" * 4
SMALLEST = {
    "image": {"repository": "registry.example.org/fedvsr-trainer", "digest": DIGEST},
    "videos": {"existingClaim": "videos"},
    "networkPolicy": {
        "federation": {"to": ["203.0.113.7/32"]},
        "apiServer": {"to": ["192.0.2.1/32"]},
    },
}
SERVER = {
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "fedvsr"}},
    "podSelector": {"matchLabels": {"app.kubernetes.io/component": "s3"}},
}
# Every value that differs from its default.
LARGEST = {
    "image": {
        "repository": "localhost:5001/fedvsr-trainer",
        "tag": "1.2.3",
        "allowTag": True,
        "pullPolicy": "Always",
        "pullSecrets": ["registry"],
    },
    "invitation": {"existingSecret": "joined", "key": "north.json"},
    "videos": {"existingClaim": "archive", "subPath": "released", "groups": [2000, 2001]},
    "state": {"existingClaim": "scratch", "accessMode": "ReadWriteMany"},
    "site": {
        "pattern": "**/*.mp4",
        "policy": {
            "runs": ["demo-*"],
            "approve": True,
            "strategies": ["fedavg"],
            "models": ["basicvsr"],
            "allow_models": ["acme.models"],
            "hours": "22:00-06:00 Europe/Berlin",
            "days": ["sat", "sun"],
            "rounds_a_day": 3,
            "minimum_clients": 4,
            "requires": {"secure_aggregation": True},
        },
        "resources": {"bandwidth": "2MiB", "minimum_free_disk": "20GiB"},
    },
    "gpus": {"max": 2, "resource": "amd.com/gpu"},
    "agent": {"resources": {"requests": {"cpu": "10m"}, "limits": {"memory": "512Mi"}}},
    "work": {
        "resources": {"requests": {"cpu": 8}, "limits": {"memory": "64Gi"}},
        "sharedMemory": "8Gi",
        "temporarySize": "50Gi",
    },
    "user": 4711,
    "nodeSelector": {"gpu": "mi300"},
    "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "runtimeClassName": "amd",
    "proxy": {"https": "http://proxy.example.org:3128", "noProxy": ".example.org"},
    "env": {"OMP_NUM_THREADS": 4},
    "networkPolicy": {
        "federation": {"to": [SERVER], "port": 9000},
        "apiServer": {"to": ["192.0.2.0/24"], "ports": [6443]},
        "dns": {"to": ["192.0.2.53/32"], "port": 1053},
    },
}
RENDERINGS = {"site": SMALLEST, "site-every-value": LARGEST}
BOTH = pytest.mark.parametrize("values", RENDERINGS.values(), ids=RENDERINGS)


@pytest.fixture
def job(render_site, tmp_path):
    """Returns the Job that the agent makes for an assignment, with the values' settings."""

    def manifest(values):
        objects = render_site(values)
        path = tmp_path / "job.yaml"
        path.write_text(get_object(objects, "ConfigMap", "fedvsr-site-work", NAMESPACE)["data"]["job.yaml"])
        assignment = AssignmentRecord(
            run="demo",
            round=1,
            site="north",
            identity=bytes_digest(b"run"),
            clients=2,
            deadline_seconds=60,
            gpus=8,
            fedvsr_version="1",
        )
        return job_manifest(work_job(assignment), load_site_job(path))

    return manifest


@pytest.fixture
def pods(render_site, job):
    """Returns the specifications of a site's pods by their component, and the labels that select them."""

    def specs(values):
        objects = render_site(values)
        check = get_object(objects, "Pod", "fedvsr-site-check", NAMESPACE)
        templates = [
            get_object(objects, "Deployment", "fedvsr-site-agent", NAMESPACE)["spec"]["template"],
            job(values)["spec"]["template"],
            check,
        ]
        return {
            template["metadata"]["labels"]["app.kubernetes.io/component"]: (
                template["spec"],
                template["metadata"]["labels"],
            )
            for template in templates
        }

    return specs


@pytest.mark.parametrize("name", RENDERINGS)
def test_the_chart_renders_its_golden(render_site, name):
    rendered = yaml.safe_dump_all(render_site(RENDERINGS[name]), sort_keys=False, width=120)
    golden = GOLDENS / f"{name}.yaml"
    if os.environ.get("FEDVSR_UPDATE_GOLDENS"):
        golden.write_text(rendered)
    assert rendered == golden.read_text(), "check the difference; FEDVSR_UPDATE_GOLDENS=1 accepts it"


@BOTH
def test_the_chart_passes_lint(run_helm, values):
    done = run_helm("lint", "--strict", SITE_CHART, values=values)
    assert done.returncode == 0, done.stdout


def test_every_template_file_has_one_object():
    for path in (SITE_CHART / "templates").rglob("*.yaml"):
        if path.name != "validate.yaml":
            assert len(re.findall("^kind: ", path.read_text(), re.MULTILINE)) == 1, path


@BOTH
def test_every_pod_satisfies_pod_security_restricted(pods, values):
    for spec, _ in pods(values).values():
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        # `restricted` allows no host folders.
        kinds = {kind for volume in spec["volumes"] for kind in volume if kind != "name"}
        assert kinds <= {"emptyDir", "persistentVolumeClaim", "projected"}
        (container,) = spec["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
        assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]


@BOTH
def test_videos_are_read_only_and_the_agent_has_none(pods, values):
    mounts = {
        component: [
            mount for mount in spec["containers"][0]["volumeMounts"] if mount["mountPath"] == "/videos"
        ]
        for component, (spec, _) in pods(values).items()
    }
    assert mounts["agent"] == []
    for component in ("work", "check"):
        (mount,) = mounts[component]
        assert mount["readOnly"] is True
    for spec, _ in (pods(values)[component] for component in ("work", "check")):
        (claim,) = (
            volume["persistentVolumeClaim"] for volume in spec["volumes"] if volume["name"] == "videos"
        )
        assert claim == {"claimName": values["videos"]["existingClaim"], "readOnly": True}


def test_only_the_agent_has_a_token_and_its_rights_end_at_its_namespace(render_site, pods):
    for component, (spec, _) in pods(SMALLEST).items():
        assert spec["automountServiceAccountToken"] is (component == "agent")
        assert spec["serviceAccountName"] == (
            "fedvsr-site-agent" if component == "agent" else "fedvsr-site-work"
        )
    objects = render_site(SMALLEST)
    assert not [manifest for manifest in objects if manifest["kind"].startswith("ClusterRole")]
    assert {manifest["metadata"]["namespace"] for manifest in objects} == {NAMESPACE}
    binding = get_object(objects, "RoleBinding", "fedvsr-site-agent", NAMESPACE)
    assert [subject["name"] for subject in binding["subjects"]] == ["fedvsr-site-agent"]
    rules = get_object(objects, "Role", "fedvsr-site-agent", NAMESPACE)["rules"]
    allowed = {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}
    assert allowed == {
        *(("jobs", verb) for verb in ("create", "get", "list", "watch", "delete")),
        *(("pods", verb) for verb in ("get", "list", "watch")),
        ("pods/log", "get"),
        ("events", "list"),
    }


def egress(objects, labels):
    """Returns what pods with these labels may connect to, as pairs of a peer and a port."""
    reached = set()
    for manifest in objects:
        if manifest["kind"] != "NetworkPolicy":
            continue
        selected = manifest["spec"]["podSelector"]["matchLabels"]
        if selected.items() <= labels.items():
            for rule in manifest["spec"].get("egress", []):
                reached |= {
                    (json.dumps(peer, sort_keys=True), port["port"])
                    for peer in rule["to"]
                    for port in rule["ports"]
                }
    return reached


def test_the_pods_reach_the_federation_and_dns_and_only_the_agent_the_api_server(render_site, pods):
    objects = render_site(SMALLEST)
    dns = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    }
    common = {
        (json.dumps(dns, sort_keys=True), 53),
        (json.dumps({"ipBlock": {"cidr": "203.0.113.7/32"}}), 443),
    }
    api = {(json.dumps({"ipBlock": {"cidr": "192.0.2.1/32"}}), port) for port in (443, 6443)}
    for component, (_, labels) in pods(SMALLEST).items():
        assert egress(objects, labels) == common | (api if component == "agent" else set())
    policies = [manifest["spec"] for manifest in objects if manifest["kind"] == "NetworkPolicy"]
    assert not [policy for policy in policies if "ingress" in policy]
    (closed,) = (policy for policy in policies if "egress" not in policy)
    assert closed["policyTypes"] == ["Ingress", "Egress"]
    assert all(
        closed["podSelector"]["matchLabels"].items() <= labels.items()
        for _, labels in pods(SMALLEST).values()
    )


def test_a_federation_in_the_same_cluster_is_reached_by_its_pods(render_site, pods):
    reached = egress(render_site(LARGEST), pods(LARGEST)["work"][1])
    assert (json.dumps(SERVER, sort_keys=True), 9000) in reached


def test_without_network_policies_there_are_none(render_site):
    objects = render_site(merged(SMALLEST, {"networkPolicy": {"enabled": False}}))
    assert not [manifest for manifest in objects if manifest["kind"] == "NetworkPolicy"]


@pytest.mark.parametrize(("mode", "is_beside"), [("ReadWriteOnce", True), ("ReadWriteMany", False)])
def test_a_volume_of_one_node_keeps_the_jobs_on_the_agents_node(pods, mode, is_beside):
    specs = pods(merged(SMALLEST, {"state": {"accessMode": mode}}))
    _, agents_labels = specs["agent"]
    assert "affinity" not in specs["agent"][0]
    for component in ("work", "check"):
        affinity = specs[component][0].get("affinity")
        assert bool(affinity) is is_beside
        if affinity:
            (term,) = affinity["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
            assert term["topologyKey"] == "kubernetes.io/hostname"
            assert term["labelSelector"]["matchLabels"].items() <= agents_labels.items()


def test_the_agent_is_alone_and_restarts_with_new_settings(render_site):
    def deployment(values):
        return get_object(render_site(values), "Deployment", "fedvsr-site-agent", NAMESPACE)["spec"]

    before = deployment(SMALLEST)
    assert (before["replicas"], before["strategy"]) == (1, {"type": "Recreate"})
    for changes in ({"site": {"pattern": "*.mkv"}}, {"gpus": {"max": 3}}):
        after = deployment(merged(SMALLEST, changes))
        assert after["template"]["metadata"] != before["template"]["metadata"]


@BOTH
def test_the_parts_agree_on_the_sites_files(pods, values):
    for component, (spec, _) in pods(values).items():
        (container,) = spec["containers"]
        environment = {variable["name"]: variable["value"] for variable in container["env"]}
        key = values.get("invitation", {}).get("key", "invitation")
        files = ["/site", "/etc/fedvsr-site/site.yaml", f"/etc/fedvsr-site/invitation/{key}"]
        assert container["args"] == ["--folder", files[0], "--settings", files[1], "--invitation", files[2]]
        names = ("FEDVSR_SITE", "FEDVSR_SITE_SETTINGS", "FEDVSR_SITE_INVITATION")
        assert [environment[name] for name in names] == files
        (settings,) = (volume["projected"] for volume in spec["volumes"] if volume["name"] == "settings")
        maps = [source["configMap"]["name"] for source in settings["sources"] if "configMap" in source]
        if component == "agent":
            assert environment[SITE_JOB_VARIABLE] == "/etc/fedvsr-site/job.yaml"
            assert maps == ["fedvsr-site", "fedvsr-site-work"]
        else:
            assert SITE_JOB_VARIABLE not in environment
            assert maps == ["fedvsr-site"]


def test_a_proxy_is_not_asked_for_the_api_server(pods):
    environment = pods(LARGEST)["agent"][0]["containers"][0]["env"]
    variables = {variable["name"]: variable["value"] for variable in environment}
    assert variables["HTTPS_PROXY"] == "http://proxy.example.org:3128"
    assert variables["NO_PROXY"] == ".example.org,$(KUBERNETES_SERVICE_HOST)"
    assert variables["OMP_NUM_THREADS"] == "4"


def test_the_image_is_named_by_its_digest(pods):
    images = {spec["containers"][0]["image"] for spec, _ in pods(SMALLEST).values()}
    assert images == {f"registry.example.org/fedvsr-trainer@{DIGEST}"}
    # A tag that is allowed does not replace a digest.
    both = merged(SMALLEST, {"image": {"allowTag": True, "tag": "1.2.3"}})
    assert {spec["containers"][0]["image"] for spec, _ in pods(both).values()} == images


def test_uninstalling_keeps_shards_and_the_audit_log(render_site):
    claim = get_object(render_site(SMALLEST), "PersistentVolumeClaim", "fedvsr-site", NAMESPACE)
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    claims = [manifest for manifest in render_site(LARGEST) if manifest["kind"] == "PersistentVolumeClaim"]
    assert claims == []


def site_yaml(objects):
    text = get_object(objects, "ConfigMap", "fedvsr-site", NAMESPACE)["data"]["site.yaml"]
    return SiteSettings.parse(yaml.safe_load(text))


def test_the_default_settings_are_those_of_a_new_site(render_site):
    assert site_yaml(render_site(SMALLEST)) == SiteSettings(videos=Path("/videos"))


def test_every_setting_of_a_site_reaches_it(render_site):
    settings = site_yaml(render_site(LARGEST))
    assert settings.pattern == "**/*.mp4"
    assert settings.policy == PolicyConfig.parse(LARGEST["site"]["policy"])
    assert settings.resources == ResourcesConfig.parse(LARGEST["site"]["resources"])


def test_the_schema_has_the_settings_of_a_site():
    schema = json.loads((SITE_CHART / "values.schema.json").read_text())["properties"]["site"]["properties"]
    assert {*schema, "videos"} == set(SiteSettings.model_fields)
    policy = schema["policy"]["properties"]
    assert set(policy) == set(PolicyConfig.model_fields)
    assert set(policy["requires"]["properties"]) == set(Requirements.model_fields)
    # Kubernetes gives the Jobs their devices and memory.
    assert {*schema["resources"]["properties"], "devices", "memory"} == set(ResourcesConfig.model_fields)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": {"digest": ""}}, "/image/digest"),
        ({"image": {"digest": "sha256:12"}}, "/image/digest"),
        ({"image": {"tag": "1.2.3"}}, "/image/tag"),
        ({"image": {"digest": "", "allowTag": True}}, "/image"),
        ({"image": {"repository": "registry.example.org/fedvsr-trainer:1.2.3"}}, "/image/repository"),
        ({"videos": {"existingClaim": ""}}, "/videos/existingClaim"),
        ({"videos": {"hostPath": "/data"}}, "additional properties 'hostPath' not allowed"),
        ({"state": {"accessMode": "ReadWriteOncePod"}}, "/state/accessMode"),
        ({"site": {"policy": {"run": []}}}, "additional properties 'run' not allowed"),
        ({"site": {"videos": "/other"}}, "additional properties 'videos' not allowed"),
        ({"user": 0}, "/user"),
        ({"networkPolicy": {"federation": {"to": []}}}, "networkPolicy.federation.to: set the address"),
        ({"networkPolicy": {"federation": {"to": ["fed.example.org"]}}}, "/networkPolicy/federation/to/0"),
        ({"networkPolicy": {"apiServer": {"to": []}}}, "networkPolicy.apiServer.to: set the address"),
        ({"replicas": 2}, "additional properties 'replicas' not allowed"),
    ],
)
def test_invalid_values_are_refused(run_helm, changes, message):
    done = run_helm("template", "site", SITE_CHART, values=merged(SMALLEST, changes))
    assert done.returncode != 0
    assert message in done.stderr
