"""A hosted client and two sites in one federation: the sites are processes outside the cluster, over TLS."""

import json
import re

import pytest
import urllib3

from fedvsr.access.proof import search_federation
from fedvsr.errors import AccessDeniedError
from fedvsr.federation import layout
from fedvsr.federation.records import RoundRecord
from fedvsr.store.connection import S3Connection
from fedvsr.store.s3 import S3Store
from tests.cluster.sites import invite, operator
from tests.cluster.tiny import fields_of, run_of, submit

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

RUN = "sites"
ROUNDS, HOSTED = 4, "ann"
_TRIED = ("runs/access/", "runs/another/", "runs/fedvsr-check/", "checks/")
# No hosted client has these videos: the log of its Job may name them.
SITES = {"eli": ("train_041.mp4",), "fay": ("train_050.mp4", "train_094.mp4")}


@pytest.fixture(scope="module")
def sites(deployment, tmp_path_factory):
    """Two sites whose agents run."""
    folder = tmp_path_factory.mktemp("sites")
    joined = {name: invite(deployment, name, videos, folder) for name, videos in SITES.items()}
    with joined["eli"].running(), joined["fay"].running():
        yield joined
    for name in SITES:
        operator(deployment, "revoke", name)


@pytest.fixture(scope="module")
def finished(deployment, sites):
    return run_of(deployment, RUN, fields_of((HOSTED, *SITES), ROUNDS), registered_model="sites-model")


def test_its_weights_equal_those_of_the_same_run_in_one_process(finished, deployment, in_one_process, sites):
    reference = in_one_process(RUN, SITES)
    for round_number in range(ROUNDS + 1):
        key = layout.global_weights(RUN, round_number)
        assert deployment.read(key) == reference.read(key), f"round {round_number}"


def test_every_round_has_the_outcome_of_all_three(finished, deployment):
    for round_number in range(1, ROUNDS + 1):
        key = layout.round_record(RUN, round_number)
        record = RoundRecord.from_bytes(deployment.read(key), key)
        outcomes = {outcome.client: str(outcome.outcome) for outcome in record.outcomes}
        assert outcomes == {HOSTED: "ok", **dict.fromkeys(SITES, "ok")}


def test_the_steps_logs_have_the_progress_of_the_sites(finished, deployment):
    if not deployment.kfp:
        pytest.skip("KFP is not installed")
    logs = deployment.fedvsr("logs", RUN).stdout
    for name in SITES:
        assert re.search(rf"{name} \| training \d/\d", logs)
        assert f"{name} | done" in logs


def test_no_object_of_the_federation_holds_a_pixel_or_a_videos_name(finished, deployment):
    keys = deployment.credentials()
    connection = S3Connection(
        deployment.s3, keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"], deployment.ca_certificate
    )
    names = [video for videos in SITES.values() for video in videos]
    findings = list(search_federation(S3Store.connect(connection, deployment.namespace), names))
    assert sum(finding.count for finding in findings) > 50
    problems = [problem for finding in findings for problem in finding.problems]
    # Other tests leave bytes there that are neither weights nor records, to try who may write what.
    assert [text for text in problems if not text.startswith(_TRIED)] == []


def test_a_sites_audit_log_has_what_the_federation_got(finished, deployment, sites):
    sent = {entry.key for entry in sites["eli"].audit() if entry.direction == "sent"}
    rounds = range(1, ROUNDS + 1)
    assert sent == {
        layout.heartbeat("eli"),
        *(layout.answer("eli", RUN, number) for number in range(ROUNDS + 1)),
        *(layout.update(RUN, number, "eli") for number in rounds),
        *(layout.report(RUN, number, "eli") for number in rounds),
    }


def test_keys_are_in_no_log_and_no_process_list(finished, deployment, sites):
    secrets = [
        json.loads((site.folder / "invitation.json").read_text())["secret_key"] for site in sites.values()
    ]
    texts = [site.log for site in sites.values()]
    if deployment.kfp:
        texts.append(deployment.fedvsr("logs", RUN).stdout)
    assert not any(secret in text for secret in secrets for text in texts)


def test_the_operator_lists_the_sites(finished, deployment):
    table = operator(deployment, "list").stdout
    for name in SITES:
        assert name in table


def terminate(deployment, run):
    """Terminates a run as KFP's UI does."""
    pool = urllib3.PoolManager()
    api = f"{deployment.kfp}/apis/v2beta1/runs"
    runs = pool.request("GET", api, fields={"page_size": "100", "sort_by": "created_at desc"}).json()["runs"]
    run_id = next(entry["run_id"] for entry in runs if entry["display_name"] == run)
    assert pool.request("POST", f"{api}/{run_id}:terminate").status == 200


def test_terminating_a_run_reaches_a_site_within_a_minute(deployment, sites):
    """A step that is killed says nothing more: its lease becomes stale."""
    if not deployment.kfp:
        pytest.skip("KFP is not installed")
    run, site = "stopped", sites["eli"]
    submit(deployment, run, fields_of(("eli",), 1, training__local_steps=100_000), follow=False)
    site.wait_for(f"{run} round 1: begins", 300)
    terminate(deployment, run)
    site.wait_for(f"{run} round 1: stopped: the federation does not wait for it any more", 60)


def test_a_revoked_site_is_refused_and_named(deployment, tmp_path):
    site = invite(deployment, "gil", ("train_012.mp4",), tmp_path)
    operator(deployment, "revoke", "gil")
    refused = site.fedvsr("check", check=False)
    assert refused.returncode == 1
    assert "InvalidAccessKeyId" in refused.stdout
    assert "revoked it" in operator(deployment, "list").stdout


def test_a_sites_keys_open_nothing_else(finished, deployment, sites):
    """Each request with a site's keys, and what the server answers."""
    invitation = json.loads((sites["eli"].folder / "invitation.json").read_text())
    connection = S3Connection(
        deployment.front_door, invitation["access_key"], invitation["secret_key"], deployment.ca_certificate
    )
    store = S3Store.connect(connection, deployment.namespace)
    own_bucket = S3Store.connect(connection, deployment.client_bucket(HOSTED))
    tried = {
        "list all": lambda: list(store.keys("")),
        "list the sites": lambda: list(store.keys("sites/")),
        "list another site": lambda: list(store.keys("sites/fay/")),
        "list the runs": lambda: list(store.keys("runs/")),
        "read another site's record": lambda: store.read(layout.site("fay")),
        "read another site's heartbeat": lambda: store.read(layout.heartbeat("fay")),
        "read another site's answer": lambda: store.read(layout.answer("fay", RUN, 1)),
        "read another site's update": lambda: store.read(layout.update(RUN, 1, "fay")),
        "read a hosted client's report": lambda: store.read(layout.report(RUN, 1, HOSTED)),
        "read a round's record": lambda: store.read(layout.round_record(RUN, 1)),
        "read the experiment": lambda: store.read(layout.experiment(RUN)),
        "read a held-out video": lambda: store.read("evaluation-videos/eval_103.mp4"),
        "read a hosted client's video": lambda: own_bucket.read("raw/train_012.mp4"),
        "write another site's update": lambda: store.write(layout.update(RUN, 1, "fay"), b"x"),
        "write another site's answer": lambda: store.write(layout.answer("fay", RUN, 1), b"x"),
        "write its own record": lambda: store.write(layout.site("eli"), b"x"),
        "write an assignment": lambda: store.write(layout.assignment("eli", RUN, 1), b"x"),
        "write the global weights": lambda: store.write(layout.global_weights(RUN, 1), b"x"),
        "write the plan": lambda: store.write(layout.plan(RUN, 1), b"x"),
        "write a lease": lambda: store.write(layout.lease(RUN, 1), b"x"),
        "delete its own update": lambda: store.delete(layout.update(RUN, 1, "eli")),
        "delete its own heartbeat": lambda: store.delete(layout.heartbeat("eli")),
    }
    answers = {}
    for what, request in tried.items():
        try:
            request()
            answers[what] = "allowed"
        except AccessDeniedError:
            answers[what] = "refused"
    assert answers == dict.fromkeys(tried, "refused")
    assert b'"site": "eli"' in store.read(layout.site("eli"))
