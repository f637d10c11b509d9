"""Secure aggregation and differential privacy on a cluster: real Jobs, S3 policies and Kubeflow Pipelines."""

import math
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fedvsr.federation import layout
from fedvsr.federation.privacy_budget import planned_rounds
from fedvsr.federation.records import EvaluationRecord, RoundRecord, RunRecord
from fedvsr.weights import load
from tests.cluster.deployment import kubectl
from tests.cluster.tiny import fields_of, run_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

CLIENTS = ("ann", "bob", "dee")
PATIENCE_SECONDS = 600


def keys(deployment, prefix):
    objects = deployment.bucket().list_objects(
        bucket_name=deployment.namespace, prefix=prefix, recursive=True
    )
    return {item.object_name for item in objects}


def test_a_client_that_is_killed_before_its_masked_update_is_in_the_sum(deployment):
    run = "masked"

    def kill_the_first_client_that_has_trained():
        """Kills a client's pod while it waits for the other two; returns the client."""
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            sent = keys(deployment, layout.updates_folder(run, 1))
            trained = [client for client in CLIENTS if layout.trained(run, 1, client) in sent]
            if trained:
                client = trained[0]
                selector = f"fedvsr/run={run},app.kubernetes.io/component=train"
                kubectl(
                    "delete", "pod", "-l", selector, "-n", deployment.client_namespace(client), "--force",
                    "--grace-period=0",
                )  # fmt: skip
                return client
            time.sleep(0.1)
        pytest.fail("no client has trained")

    fields = fields_of(
        CLIENTS,
        2,
        strategy__name="fedvsr",
        communication__upload="int4",
        privacy__secure_aggregation=True,
        training__local_steps=40,
        federation__quorum=3,
    )
    with ThreadPoolExecutor(1) as pool:
        killer = pool.submit(kill_the_first_client_that_has_trained)
        run_of(deployment, run, fields)
        killed = killer.result()
    for round_number in (1, 2):
        key = layout.round_record(run, round_number)
        record = RoundRecord.from_bytes(deployment.read(key), key)
        assert {outcome.client: str(outcome.outcome) for outcome in record.outcomes} == dict.fromkeys(
            CLIENTS, "ok"
        )
        assert [participant.client for participant in record.participants] == list(CLIENTS)
        assert record.diagnostics["masked"] == 1.0
        if round_number == 1:
            reasons = {outcome.client: outcome.reason for outcome in record.outcomes}
            assert "deleted" in reasons[killed]
        before, after = (
            load(deployment.read(layout.global_weights(run, number)), "weights")
            for number in (round_number - 1, round_number)
        )
        assert all(np.isfinite(array).all() for array in after.values())
        assert any((after[name] != before[name]).any() for name in after)
        for client in CLIENTS:
            # The only tensor of a masked update is its packed vector.
            update = load(deployment.read(layout.update(run, round_number, client)), "update")
            assert list(update) == ["masked"]
            # Uniform bytes: their mean is 127.5, with a deviation of 74 / √n.
            vector = update["masked"].astype(np.float64)
            assert abs(vector.mean() - 127.5) < 6 * 74 / math.sqrt(vector.size)


def test_a_budget_of_epsilon_ends_a_run_well(deployment):
    run, rounds = "budget", 4
    fields = fields_of(
        ("ann", "bob"),
        rounds,
        privacy__differential_privacy=True,
        privacy__noise_multiplier=4.0,
        privacy__epsilon=1.2,
    )
    run_of(deployment, run, fields)
    config = RunRecord.from_bytes(deployment.read(layout.config(run)), run).config
    last = planned_rounds(config)
    assert 1 <= last < rounds
    ended = {key for key in keys(deployment, f"runs/{run}/rounds/") if key.endswith("round.json")}
    assert ended == {layout.round_record(run, number) for number in range(1, last + 1)}
    record = RoundRecord.from_bytes(deployment.read(layout.round_record(run, last)), run)
    assert record.privacy is not None
    assert 0 < record.privacy.epsilon <= 1.2
    evaluation = EvaluationRecord.from_bytes(deployment.read(layout.evaluation(run, last)), run)
    assert evaluation.round == last
    assert layout.registration(run) in keys(deployment, f"runs/{run}/")
