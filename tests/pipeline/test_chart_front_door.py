"""The front door for sites: what the chart opens in each mode, and what stays closed."""

import base64
import json
import ssl

import pytest

from fedvsr.access.provision import Deployment
from tests.pipeline.chart import CHART, EXTERNAL, TWO_CLIENTS, get_object, merged

pytestmark = pytest.mark.pipeline

HOST = "fed.example.org"
PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def opened(mode, values=TWO_CLIENTS, **settings):
    """Returns values with a front door."""
    return merged(values, {"s3": {"frontDoor": {"mode": mode, "host": HOST, **settings}}})


CONTROLLER = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}
GATEWAYS_LISTENER = {"name": "public", "namespace": "gateways", "sectionName": "https"}
INGRESS = opened(
    "ingress",
    allowFrom=[CONTROLLER],
    ingress={"className": "nginx", "annotations": {"cert-manager.io/cluster-issuer": "letsencrypt"}},
)
GATEWAY = opened("gateway", allowFrom=[CONTROLLER], gateway={"parentRefs": [GATEWAYS_LISTENER]})
DIRECT = opened("direct")


def kinds(objects):
    """Returns what a rendering has more than that of the default values: kind, name and namespace."""
    return {
        (manifest["kind"], manifest["metadata"]["name"], manifest["metadata"].get("namespace"))
        for manifest in objects
    }


def data_of(objects, name, namespace):
    return get_object(objects, "ConfigMap", name, namespace)["data"]


@pytest.mark.parametrize(
    ("values", "added"),
    [
        (INGRESS, {("Ingress", "front-door")}),
        (GATEWAY, {("HTTPRoute", "front-door")}),
        (DIRECT, {("Service", "front-door"), ("Secret", "fedvsr-s3-tls")}),
    ],
    ids=["ingress", "gateway", "direct"],
)
def test_a_front_door_adds_only_its_own_objects(render, values, added):
    expected = {("NetworkPolicy", "front-door"), *added}
    assert kinds(render(values)) - kinds(render(TWO_CLIENTS)) == {(*item, "fedvsr") for item in expected}


def test_an_ingress_leads_to_the_federations_bucket_alone(render):
    ingress = get_object(render(INGRESS), "Ingress", "front-door", "fedvsr")
    assert ingress["metadata"]["annotations"] == {"cert-manager.io/cluster-issuer": "letsencrypt"}
    path = {
        "path": "/fedvsr",
        "pathType": "Prefix",
        "backend": {"service": {"name": "s3", "port": {"name": "s3"}}},
    }
    assert ingress["spec"] == {
        "ingressClassName": "nginx",
        "tls": [{"hosts": [HOST], "secretName": "front-door-tls"}],
        "rules": [{"host": HOST, "http": {"paths": [path]}}],
    }


def test_an_ingress_may_use_its_controllers_own_certificate(render):
    values = opened("ingress", allowFrom=[CONTROLLER], ingress={"tlsSecret": ""})
    ingress = get_object(render(values), "Ingress", "front-door", "fedvsr")
    assert ingress["spec"]["tls"] == [{"hosts": [HOST]}]
    assert "ingressClassName" not in ingress["spec"]


def test_a_gateways_route_leads_to_the_federations_bucket_alone(render):
    values = merged(GATEWAY, {"s3": {"buckets": {"federation": "videos"}}})
    route = get_object(render(values), "HTTPRoute", "front-door", "fedvsr")
    assert route["apiVersion"] == "gateway.networking.k8s.io/v1"
    assert route["spec"] == {
        "parentRefs": [GATEWAYS_LISTENER],
        "hostnames": [HOST],
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/videos"}}],
                "backendRefs": [{"name": "s3", "port": 9000}],
            }
        ],
    }


@pytest.mark.parametrize("values", [INGRESS, GATEWAY], ids=["ingress", "gateway"])
def test_behind_a_proxy_the_clusters_own_clients_stay_as_they_are(render, values):
    before, after = render(TWO_CLIENTS), render(values)
    for kind, name, namespace in kinds(before):
        if name not in ("s3", "fedvsr") or kind not in ("StatefulSet", "ConfigMap"):
            assert get_object(before, kind, name, namespace) == get_object(after, kind, name, namespace)


@pytest.mark.parametrize("values", [INGRESS, GATEWAY, DIRECT], ids=["ingress", "gateway", "direct"])
def test_the_front_door_leads_to_the_s3_servers_port_and_nothing_else(render, values):
    before, after = render(TWO_CLIENTS), render(values)
    policy = get_object(after, "NetworkPolicy", "front-door", "fedvsr")["spec"]
    server = get_object(after, "StatefulSet", "s3", "fedvsr")["spec"]
    assert policy["podSelector"] == server["selector"]
    assert policy["policyTypes"] == ["Ingress"]
    (rule,) = policy["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 9000}]
    # Past its proxy nobody reaches the server, which would serve every path and without TLS.
    assert rule.get("from") == (None if values is DIRECT else [CONTROLLER])
    (container,) = server["template"]["spec"]["containers"]
    assert [port["containerPort"] for port in container["ports"]] == [9000]
    assert {"name": "MINIO_BROWSER", "value": "off"} in container["env"]
    for kind, name, namespace in kinds(before):
        if kind in ("NetworkPolicy", "Service"):
            assert get_object(before, kind, name, namespace) == get_object(after, kind, name, namespace)


def test_the_peers_of_the_front_door_may_be_limited(render):
    values = opened("ingress", allowFrom=["203.0.113.0/24", CONTROLLER])
    (rule,) = get_object(render(values), "NetworkPolicy", "front-door", "fedvsr")["spec"]["ingress"]
    assert rule["from"] == [{"ipBlock": {"cidr": "203.0.113.0/24"}}, CONTROLLER]
    assert rule["ports"] == [{"protocol": "TCP", "port": 9000}]


def test_a_server_that_speaks_tls_does_so_with_every_client_of_the_cluster(render):
    objects = render(DIRECT)
    endpoint = "https://s3.fedvsr.svc.cluster.local:9000"
    ca = base64.b64decode(get_object(objects, "Secret", "fedvsr-s3-tls", "fedvsr")["data"]["ca.crt"]).decode()
    settings = [("fedvsr", "fedvsr"), ("fedvsr", "kubeflow")]
    settings += [("fedvsr-client", f"fedvsr-client-{name}") for name in ("site-a", "site-b")]
    for name, namespace in settings:
        data = data_of(objects, name, namespace)
        assert (data["FEDVSR_S3_ENDPOINT"], data["FEDVSR_S3_CA"]) == (endpoint, ca)
    (job,) = get_object(objects, "Job", "fedvsr-provision", "fedvsr")["spec"]["template"]["spec"][
        "containers"
    ]
    variables = {variable["name"]: variable for variable in job["env"]}
    assert variables["FEDVSR_S3_ENDPOINT"]["value"] == endpoint
    reference = {"name": "fedvsr", "key": "FEDVSR_S3_CA"}
    assert variables["FEDVSR_S3_CA"]["valueFrom"] == {"configMapKeyRef": reference}


def test_mlflow_trusts_the_servers_certificate(render):
    pod = get_object(render(DIRECT), "Deployment", "mlflow", "fedvsr")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    values = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert values["MLFLOW_S3_ENDPOINT_URL"] == "https://s3.fedvsr.svc.cluster.local:9000"
    (mount,) = (item for item in container["volumeMounts"] if item["name"] == "authority")
    (volume,) = (item for item in pod["volumes"] if item["name"] == "authority")
    (file,) = volume["configMap"]["items"]
    assert values["AWS_CA_BUNDLE"] == f"{mount['mountPath']}/{file['path']}"
    assert (volume["configMap"]["name"], file["key"]) == ("fedvsr", "FEDVSR_S3_CA")


def handshake(certificate, key, ca, host, folder):
    """Returns whether a client that trusts an authority accepts a server's certificate for a host."""
    (folder / "tls.crt").write_text(certificate)
    (folder / "tls.key").write_text(key)
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    client_side = ssl.create_default_context(cadata=ca)
    client_side.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_side.wrap_bio(to_client, to_server, server_hostname=host)
    server = server_side.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server, client):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLCertVerificationError:
            return False
    return True


def test_the_generated_certificate_is_valid_for_its_names_alone(render, tmp_path):
    objects = render(opened("direct", direct={"names": ["192.0.2.1", "other.example.org"]}))
    stored = get_object(objects, "Secret", "fedvsr-s3-tls", "fedvsr")["data"]
    texts = {key: base64.b64decode(value).decode() for key, value in stored.items()}

    def accepts(host):
        return handshake(texts["tls.crt"], texts["tls.key"], texts["ca.crt"], host, tmp_path)

    names = ["s3", "s3.fedvsr.svc", "s3.fedvsr.svc.cluster.local", "localhost", "127.0.0.1"]
    for host in (*names, HOST, "192.0.2.1", "other.example.org"):
        assert accepts(host), host
    for host in ("example.org", "mlflow.fedvsr.svc", "192.0.2.2"):
        assert not accepts(host), host
    assert data_of(objects, "fedvsr", "fedvsr")["FEDVSR_SITE_CA"] == texts["ca.crt"]


def test_the_authoritys_key_stays_in_its_secret(render):
    objects = render(DIRECT)
    mounted = get_object(objects, "StatefulSet", "s3", "fedvsr")["spec"]["template"]["spec"]["volumes"]
    (volume,) = (item for item in mounted if item["name"] == "certificates")
    items = [item for source in volume["projected"]["sources"] for item in source["secret"]["items"]]
    assert {item["key"]: item["path"] for item in items} == {
        "tls.crt": "public.crt",
        "tls.key": "private.key",
        "ca.crt": "CAs/ca.crt",
    }
    secret = get_object(objects, "Secret", "fedvsr-s3-tls", "fedvsr")
    assert secret["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_the_operators_certificate_is_served_to_sites_beside_the_clusters_own(render, tmp_path):
    objects = render(opened("direct", direct={"existingSecret": "fed-tls"}))
    mounted = get_object(objects, "StatefulSet", "s3", "fedvsr")["spec"]["template"]["spec"]["volumes"]
    (volume,) = (item for item in mounted if item["name"] == "certificates")
    assert volume["projected"]["sources"][1]["secret"] == {
        "name": "fed-tls",
        "items": [
            {"key": "tls.crt", "path": "front-door/public.crt"},
            {"key": "tls.key", "path": "front-door/private.key"},
        ],
    }
    stored = get_object(objects, "Secret", "fedvsr-s3-tls", "fedvsr")["data"]
    texts = {key: base64.b64decode(value).decode() for key, value in stored.items()}
    assert HOST not in json.loads(texts["names"])
    assert not handshake(texts["tls.crt"], texts["tls.key"], texts["ca.crt"], HOST, tmp_path)
    settings = data_of(objects, "fedvsr", "fedvsr")
    assert settings["FEDVSR_S3_CA"] == texts["ca.crt"]
    assert "FEDVSR_SITE_CA" not in settings


def test_the_charts_certificate_may_come_from_the_values(render):
    own = {"ca": PEM, "certificate": PEM.replace("A", "B"), "key": PEM.replace("A", "C")}
    first, second = (render(opened("direct", direct={"certificate": own})) for _ in range(2))
    assert first == second
    stored = get_object(first, "Secret", "fedvsr-s3-tls", "fedvsr")["data"]
    assert base64.b64decode(stored["tls.crt"]).decode() == own["certificate"]
    assert "ca.key" not in stored


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ({}, f"https://{HOST}"),
        ({"direct": {"service": {"port": 8443}}}, f"https://{HOST}:8443"),
        ({"direct": {"service": {"type": "NodePort", "nodePort": 30443}}}, f"https://{HOST}:30443"),
        ({"address": "https://door.example.org:9443"}, "https://door.example.org:9443"),
    ],
)
def test_invitations_name_the_address_that_sites_reach(render, settings, address):
    objects = render(opened("direct", **settings))
    for namespace in ("fedvsr", "kubeflow"):
        assert data_of(objects, "fedvsr", namespace)["FEDVSR_SITE_ADDRESS"] == address
    # A client of the cluster has no use for it.
    assert "FEDVSR_SITE_ADDRESS" not in data_of(objects, "fedvsr-client", "fedvsr-client-site-a")


def test_the_service_is_the_load_balancers_node_port_or_the_clusters(render):
    node_port = {"type": "NodePort", "nodePort": 30443, "externalTrafficPolicy": "Local"}
    service = get_object(
        render(opened("direct", direct={"service": node_port})), "Service", "front-door", "fedvsr"
    )
    assert service["spec"]["type"] == "NodePort"
    assert service["spec"]["externalTrafficPolicy"] == "Local"
    (port,) = service["spec"]["ports"]
    assert port == {"name": "https", "port": 443, "targetPort": "s3", "nodePort": 30443}
    balanced = get_object(render(DIRECT), "Service", "front-door", "fedvsr")["spec"]
    assert balanced["type"] == "LoadBalancer"
    assert balanced["selector"]["app.kubernetes.io/component"] == "s3"


def test_requests_at_one_time_are_limited_behind_a_front_door(render):
    def limits(values):
        server = get_object(render(values), "StatefulSet", "s3", "fedvsr")["spec"]["template"]["spec"]
        (container,) = server["containers"]
        return {
            variable["name"]: variable["value"]
            for variable in container["env"]
            if variable["name"].startswith("MINIO_API_")
        }

    assert limits(TWO_CLIENTS) == {}
    assert limits(opened("direct", maxRequests=64, waitSeconds=5)) == {
        "MINIO_API_REQUESTS_MAX": "64",
        "MINIO_API_REQUESTS_DEADLINE": "5s",
    }


def test_provisioning_sets_the_federations_quota(render):
    def deployment(values):
        return Deployment.parse(
            json.loads(data_of(render(values), "fedvsr-provision", "fedvsr")["deployment.json"])
        )

    assert deployment(TWO_CLIENTS).quota is None
    assert deployment(merged(TWO_CLIENTS, {"s3": {"federationQuota": "50Gi"}})).quota == 50 << 30


def test_an_external_server_has_its_own_front_door(render):
    values = merged(EXTERNAL, {"s3": {"frontDoor": {"address": "https://s3.example.org", "ca": PEM}}})
    settings = data_of(render(values), "fedvsr", "fedvsr")
    assert settings["FEDVSR_SITE_ADDRESS"] == "https://s3.example.org"
    assert settings["FEDVSR_SITE_CA"] == PEM
    assert kinds(render(values)) == kinds(render(EXTERNAL))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (opened("tunnel"), "/s3/frontDoor/mode"),
        (opened("ingress", host=""), "s3.frontDoor.host: set the name"),
        (opened("ingress", host="https://fed.example.org"), "/s3/frontDoor/host"),
        (opened("gateway"), "s3.frontDoor.gateway.parentRefs: name the Gateway"),
        (opened("gateway", gateway={"parentRefs": [{"name": "public"}]}), "HTTPS listener as sectionName"),
        (opened("ingress"), "s3.frontDoor.allowFrom: name the pods"),
        (opened("direct", address="http://fed.example.org"), "/s3/frontDoor/address"),
        (opened("direct", ca="/etc/ca.crt"), "/s3/frontDoor/ca"),
        (opened("direct", allowFrom=["everybody"]), "/s3/frontDoor/allowFrom/0"),
        (opened("direct", direct={"certificate": {"ca": PEM}}), "set ca, certificate and key"),
        (opened("direct", EXTERNAL), "s3.external.endpoint names another"),
        ({"s3": {"federationQuota": "50GB"}}, "/s3/federationQuota"),
        (
            merged(EXTERNAL, {"s3": {"external": {"manage": False}, "federationQuota": "50Gi"}}),
            "set the quota there",
        ),
    ],
)
def test_invalid_front_doors_are_refused(helm, values, message):
    done = helm("template", "fedvsr", CHART, values=values)
    assert done.returncode != 0
    assert message in done.stderr
