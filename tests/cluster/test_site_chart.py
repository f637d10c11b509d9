"""A site's chart in a namespace that stands for another cluster: it trains, and has no rights elsewhere."""

import json

import pytest

from fedvsr.federation import layout
from tests.cluster.conftest import SAMPLES
from tests.cluster.deployment import kubectl
from tests.cluster.site_deployment import deployed_site
from tests.cluster.sites import operator
from tests.cluster.test_access import probe
from tests.cluster.tiny import drive, fields_of

# The timeout of the first test includes the deployments.
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

SITE, NAMESPACE = "north", "fedvsr-test-hospital"
AGENT = f"system:serviceaccount:{NAMESPACE}:fedvsr-site-agent"
WORK = f"system:serviceaccount:{NAMESPACE}:fedvsr-site-work"


@pytest.fixture(scope="module")
def site(deployment, tmp_path_factory):
    invitation = tmp_path_factory.mktemp("site") / "north.fedvsr-invitation"
    door = f"https://front-door.{deployment.namespace}.svc.cluster.local"
    operator(deployment, "invite", SITE, "--output", invitation, "--address", door)
    image = json.loads(deployment.settings()["FEDVSR_CLIENTS"])["ann"]["image"]
    videos = [SAMPLES / "train_012.mp4"]
    with deployed_site(deployment, NAMESPACE, invitation, videos, image) as deployed:
        yield deployed
    operator(deployment, "revoke", SITE)


def test_the_charts_own_test_checks_address_keys_and_videos(site):
    log = site.helm_test()
    assert "failed" not in log
    assert "listing other sites is refused" in log
    assert "videos in /videos: 1 video" in log


def test_it_trains_in_jobs_and_delivers(site, deployment):
    run = "at-a-site"
    done = drive(deployment, run, fields_of([SITE], 2), on="sites")
    for round_number in (1, 2):
        (outcome,) = deployment.record(layout.round_record(run, round_number))["outcomes"]
        assert (outcome["client"], outcome["outcome"]) == (SITE, "ok")
    assert "north | training" in done.stdout
    log = site.log()
    assert "north | decode: 1/1 train_012" in log
    assert log.count("north | delivered") == 2
    assert site.jobs() == []
    # What the federation was told has no name of a video.
    assert "train_012" not in done.stdout


@pytest.mark.parametrize(
    ("verb", "kind", "options", "answer"),
    [
        ("create", "jobs", ("-n", NAMESPACE), "yes"),
        ("get", "secrets", ("-n", NAMESPACE), "no"),
        ("create", "pods", ("-n", NAMESPACE), "no"),
        ("create", "pods/exec", ("-n", NAMESPACE), "no"),
        ("update", "deployments", ("-n", NAMESPACE), "no"),
        ("create", "jobs", ("-n", "fedvsr-test"), "no"),
        ("get", "pods", ("-n", "fedvsr-test"), "no"),
        ("list", "namespaces", (), "no"),
    ],
)
def test_the_agents_rights_end_at_its_namespace(site, verb, kind, options, answer):
    assert kubectl("auth", "can-i", verb, kind, *options, "--as", AGENT, check=False).strip() == answer


@pytest.mark.parametrize("kind", ["jobs", "pods", "secrets", "configmaps"])
def test_the_account_of_the_jobs_has_no_rights(site, kind):
    assert kubectl("auth", "can-i", "get", kind, "-n", NAMESPACE, "--as", WORK, check=False).strip() == "no"


@pytest.mark.timeout(180)
def test_the_jobs_pods_reach_the_front_door_alone(site, deployment):
    labels = {
        "app.kubernetes.io/component": "work",
        "app.kubernetes.io/instance": "site",
        "app.kubernetes.io/part-of": "fedvsr-site",
    }
    ports = {"front-door": 443, "mlflow": 5000, "postgres": 5432}
    names = {service: f"{service}.{deployment.namespace}.svc.cluster.local" for service in ports}
    addresses = [f"{names[service]}:{port}" for service, port in ports.items()]
    reached = probe(NAMESPACE, *addresses, "kubernetes.default.svc.cluster.local:443", labels=labels)
    assert reached == {
        names["front-door"]: "reached",
        names["mlflow"]: "refused",
        names["postgres"]: "refused",
        "kubernetes.default.svc.cluster.local": "refused",
    }
