"""What the chart and fedvsr must agree on: variables, settings of clients, names of users and buckets.

Most of these tests read the text of the templates and need no helm.
"""

import json
import re

import pytest
import yaml

from fedvsr.access.provision import Deployment
from fedvsr.cluster.deployment import CONFIG_MAP
from fedvsr.cluster.settings import ClientSettings, VirtualSettings, parse_virtual
from pipelines.cluster import ADDRESSES, CREDENTIALS, OPTIONAL_ADDRESSES
from scripts.deploy import ui
from tests.pipeline.chart import CHART, TWO_CLIENTS, VIRTUAL_CLIENTS, get_object

pytestmark = pytest.mark.pipeline

TEMPLATES = CHART / "templates"
CLIENT_SCHEMA = json.loads((CHART / "values.schema.json").read_text())["properties"]


def variables(text):
    """Returns the environment variables that are keys of a template."""
    return re.findall(r"^ *([A-Z][A-Z0-9_]+): ", text, re.MULTILINE)


def helper(file, name):
    """Returns the body of a named template."""
    text = (TEMPLATES / file).read_text()
    return re.search(rf'define "{re.escape(name)}" -}}}}(.*?)\n{{{{- end }}}}', text, re.DOTALL).group(1)


def test_the_config_map_has_the_addresses_that_a_step_gets():
    text = (TEMPLATES / "settings" / "configmap.yaml").read_text()
    assert sorted(variables(text)) == sorted({*ADDRESSES, *OPTIONAL_ADDRESSES, *ui._OPTIONAL_SETTINGS})


def test_the_secret_has_the_credentials_that_a_step_gets():
    assert variables(helper("_secrets.tpl", "fedvsr.s3Keys")) == list(CREDENTIALS)
    assert 'include "fedvsr.s3Keys"' in (TEMPLATES / "settings" / "secret.yaml").read_text()


def test_the_rendered_settings_have_the_addresses_and_credentials_in_both_namespaces(render):
    objects = render(TWO_CLIENTS)
    for namespace in ("fedvsr", "kubeflow"):
        addresses = get_object(objects, "ConfigMap", "fedvsr", namespace)["data"]
        credentials = get_object(objects, "Secret", "fedvsr-federation", namespace)["stringData"]
        assert (sorted(addresses), sorted(credentials)) == (sorted(ADDRESSES), sorted(CREDENTIALS))


def test_the_names_in_kfps_namespace_are_those_of_the_pipeline(render):
    objects = render(TWO_CLIENTS, namespace="other")
    # pipelines.cluster names them so for FEDVSR_NAMESPACE=other: see test_compiled_pipeline.
    get_object(objects, "ConfigMap", "other", "kubeflow")
    get_object(objects, "Secret", "other-federation", "kubeflow")


def test_the_commands_read_the_objects_that_the_chart_writes(render):
    objects = render(TWO_CLIENTS)
    assert CONFIG_MAP == ui._CONFIG_MAP
    settings = get_object(objects, "ConfigMap", CONFIG_MAP, "fedvsr")["data"]
    assert {*ui._SHARED_SETTINGS, "FEDVSR_S3_ENDPOINT"} <= settings.keys()
    get_object(objects, "Secret", ui._SECRET, "fedvsr")


def test_the_pipeline_gets_every_setting_of_a_client():
    keys = re.search(r"pick \. ((?:\"\w+\" ?)+)", helper("_clients.tpl", "fedvsr.clientsForThePipeline"))
    fields = {field.alias or name for name, field in ClientSettings.model_fields.items()}
    assert set(re.findall(r"\w+", keys.group(1))) == fields


def test_a_client_may_set_every_default_of_a_client():
    defaults = CLIENT_SCHEMA["clientDefaults"]["properties"]
    client = CLIENT_SCHEMA["clients"]["items"]["properties"]
    assert {name: client[name] for name in client if name not in ("name", "namespace")} == defaults
    assert yaml.safe_load((CHART / "values.yaml").read_text())["clientDefaults"].keys() == defaults.keys()


def test_virtual_clients_may_set_every_default_of_a_client():
    virtual = CLIENT_SCHEMA["virtualClients"]["properties"]
    own = ("enabled", "parallelism", "namespace")
    defaults = CLIENT_SCHEMA["clientDefaults"]["properties"]
    assert {name: virtual[name] for name in virtual if name not in own} == defaults


def test_the_pipeline_gets_every_setting_of_virtual_clients(render):
    with_virtual, without = (
        get_object(render(values), "ConfigMap", "fedvsr", "kubeflow")["data"]
        for values in (VIRTUAL_CLIENTS, TWO_CLIENTS)
    )
    text = with_virtual["FEDVSR_VIRTUAL_CLIENTS"]
    fields = {field.alias or name for name, field in VirtualSettings.model_fields.items()}
    assert json.loads(text).keys() == fields
    assert parse_virtual(text).parallelism == 8
    assert "FEDVSR_VIRTUAL_CLIENTS" not in without


def test_virtual_clients_keep_their_shards_apart_in_one_bucket(render):
    objects = render(VIRTUAL_CLIENTS)
    store = get_object(objects, "ConfigMap", "fedvsr-client", "fedvsr-virtual")["data"]["FEDVSR_CLIENT_STORE"]
    listed = json.loads(
        get_object(objects, "ConfigMap", "fedvsr-provision", "fedvsr")["data"]["deployment.json"]
    )
    assert store == f"s3://{listed['virtual']}/clients/{{client}}"
    key = get_object(objects, "Secret", "fedvsr-client", "fedvsr-virtual")["stringData"]["AWS_ACCESS_KEY_ID"]
    assert Deployment.parse(listed).users()[key][0] == listed["virtual"]


@pytest.mark.parametrize("values", [TWO_CLIENTS, VIRTUAL_CLIENTS], ids=["hosted", "virtual"])
def test_every_s3_user_has_a_secret_key(render, values):
    objects = render(values)
    listed = get_object(objects, "ConfigMap", "fedvsr-provision", "fedvsr")["data"]["deployment.json"]
    keys = get_object(objects, "Secret", "fedvsr-s3-users", "fedvsr")["data"]
    assert keys.keys() - {"seed"} == Deployment.parse(json.loads(listed)).users().keys()
