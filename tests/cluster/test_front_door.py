"""The front door of the real servers, as a site and as a stranger see it."""

import json
import ssl
from http.client import HTTPSConnection

import pytest
import urllib3
from minio import Minio, MinioAdmin
from minio.credentials.providers import AssumeRoleProvider, StaticProvider
from minio.error import MinioAdminException, S3Error
from urllib3.exceptions import SSLError

from tests.cluster.deployment import kubectl
from tests.cluster.test_access import probe

# The timeout of the first test includes the deployment.
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

OUTSIDE = "fedvsr-test-outside"
# Consoles, metrics, the admin API, what such servers offer to each other; paths of MLflow and KFP.
CLOSED = [
    "/",
    "/login",
    "/minio/login",
    "/minio/ui",
    "/api/v1/login",
    "/minio/prometheus/metrics",
    "/minio/v2/metrics/cluster",
    "/minio/metrics/v3",
    "/minio/admin/v3/info",
    "/minio/admin/v3/list-users",
    "/minio/kms/v1/status",
    "/minio/grid/v1",
    "/debug/pprof/",
    "/{bucket}?list-type=2",
    "/{bucket}/federation.json",
    "/mlflow",
    "/health",
    "/api/2.0/mlflow/experiments/search",
    "/apis/v2beta1/runs",
]


def administrator(deployment, access_key, secret_key):
    return MinioAdmin(
        endpoint=deployment.front_door.removeprefix("https://"),
        credentials=StaticProvider(access_key, secret_key),
        http_client=deployment.connections(),
    )


def test_only_the_deployments_authority_is_accepted(deployment):
    address = f"{deployment.front_door}/minio/health/live"
    assert deployment.connections().request("GET", address).status == 200
    with pytest.raises(SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib3.PoolManager(retries=False).request("GET", address)
    plain = urllib3.PoolManager(retries=False).request("GET", address.replace("https", "http"))
    assert (plain.status, b"HTTPS server" in plain.data) == (400, True)


def test_invitations_have_the_address_and_the_authority(deployment):
    settings = deployment.settings()
    assert settings["FEDVSR_SITE_ADDRESS"] == "https://localhost"
    assert settings["FEDVSR_SITE_CA"] == deployment.ca_certificate


@pytest.mark.parametrize("path", CLOSED)
def test_without_keys_nothing_opens(deployment, path):
    address = deployment.front_door + path.format(bucket=deployment.namespace)
    answer = deployment.connections().request("GET", address, redirect=False)
    assert answer.status == 403
    assert b"<html" not in answer.data.lower()


@pytest.mark.parametrize(
    "path", ["/../minio/health/live", "/%2e%2e/minio/health/live", "%2f..%2fminio/health/live"]
)
def test_a_path_does_not_lead_out_of_the_bucket(deployment, path):
    """An Ingress or a Gateway that does not resolve such a path passes it on: it begins with the bucket."""
    context = ssl.create_default_context(cadata=deployment.ca_certificate)
    # urllib3 would resolve the path before it sends it.
    connection = HTTPSConnection(deployment.front_door.removeprefix("https://"), context=context, timeout=10)
    connection.request("GET", f"/{deployment.namespace}{path}")
    answer = connection.getresponse()
    assert (answer.status, b"XMinioInvalidResourceName" in answer.read()) == (400, True)
    connection.close()


@pytest.mark.parametrize(
    ("action", "arguments"),
    [
        ("info", ()),
        ("user_list", ()),
        ("user_add", ("another", "secret-of-another")),
        ("policy_list", ()),
        ("service_restart", ()),
        ("bucket_quota_set", ("{bucket}", 0)),
        ("add_service_account", ()),
    ],
)
def test_a_users_keys_do_not_administer_the_server(deployment, action, arguments):
    keys = deployment.credentials("ann")
    user = administrator(deployment, keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"])
    words = [
        word.format(bucket=deployment.namespace) if isinstance(word, str) else word for word in arguments
    ]
    with pytest.raises(MinioAdminException, match="AccessDenied"):
        getattr(user, action)(*words)


def test_temporary_keys_have_no_rights(deployment):
    """Any user gets temporary keys, and replacing its keys would not end them."""
    keys = deployment.credentials("ann")
    temporary = AssumeRoleProvider(
        sts_endpoint=deployment.front_door,
        access_key=keys["AWS_ACCESS_KEY_ID"],
        secret_key=keys["AWS_SECRET_ACCESS_KEY"],
        region="us-east-1",
        http_client=deployment.connections(),
    )
    connection = Minio(
        endpoint=deployment.front_door.removeprefix("https://"),
        credentials=temporary,
        region="us-east-1",
        http_client=deployment.connections(),
    )
    with pytest.raises(S3Error, match="AccessDenied"):
        list(connection.list_objects(bucket_name=deployment.client_bucket("ann")))
    assert deployment.bucket("ann").bucket_exists(bucket_name=deployment.client_bucket("ann"))


def test_the_federations_bucket_has_its_quota(deployment):
    root = deployment.secret(deployment.namespace, "fedvsr-s3")
    admin = administrator(deployment, root["rootUser"], root["rootPassword"])
    assert json.loads(admin.bucket_quota_get(bucket=deployment.namespace))["quota"] == 1 << 30


@pytest.fixture
def outside():
    """A namespace that has nothing to do with the deployment."""
    kubectl("create", "namespace", OUTSIDE)
    yield OUTSIDE
    kubectl("delete", "namespace", OUTSIDE, "--wait=false")


@pytest.mark.timeout(180)
def test_a_stranger_reaches_the_front_door_and_no_other_server(deployment, outside):
    names = {
        service: f"{service}.{deployment.namespace}.svc.cluster.local"
        for service in ("front-door", "mlflow", "postgres")
    }
    ports = {"front-door": 443, "mlflow": 5000, "postgres": 5432}
    reached = probe(outside, *(f"{name}:{ports[service]}" for service, name in names.items()))
    assert {service: reached[name] for service, name in names.items()} == {
        "front-door": "reached",
        "mlflow": "refused",
        "postgres": "refused",
    }
