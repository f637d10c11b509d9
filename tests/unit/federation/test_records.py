"""JSON records: the same bytes for the same record, and a clear word about what is none."""

import json

import pytest

from fedvsr.errors import RecordError
from fedvsr.federation import layout
from fedvsr.federation.records import PlanRecord, RunRecord, read_record, write_record

PLAN = PlanRecord(
    run="demo", round=1, rounds=2, clients=("ann", "bob"), base_digest="d", quorum=1, deadline_seconds=9
)
KEY = layout.plan("demo", 1)


def test_a_record_comes_back_as_it_was_and_in_the_same_bytes(local_store):
    write_record(local_store, KEY, PLAN)
    found = read_record(local_store, KEY, PlanRecord)
    assert found == PLAN
    assert found.to_bytes() == local_store.read(KEY)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"version": 2}, "version: Input should be 1"),
        ({"quorum": "one"}, "quorum: "),
        ({"unknown": 3}, "unknown: Extra inputs are not permitted"),
        ({"clients": None}, "clients: "),
    ],
)
def test_a_record_that_was_changed_is_refused_with_its_key_and_field(local_store, change, problem):
    local_store.write(KEY, json.dumps(json.loads(PLAN.to_bytes()) | change).encode())
    with pytest.raises(RecordError) as caught:
        read_record(local_store, KEY, PlanRecord)
    assert f"{KEY} is no round plan of version 1: {problem}" in str(caught.value)
    assert "written by another fedvsr or changed by hand" in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", PLAN.to_bytes()[:-20]])
def test_what_is_no_json_document_is_refused(local_store, data):
    local_store.write(KEY, data)
    with pytest.raises(RecordError, match=r"is no round plan of version 1"):
        read_record(local_store, KEY, PlanRecord)


def test_a_runs_identity_is_that_of_all_but_its_number_of_rounds(make_config):
    def identity(digest: str = "d", **overrides) -> str:
        config = make_config(**overrides)
        return RunRecord(config=config, initial_digest=digest, parameters=1, fedvsr_version="any").identity

    assert identity(federation__rounds=9) == identity()
    assert len({identity(), identity("e"), identity(seed=1), identity(strategy__name="fedsr")}) == 4


def test_rounds_are_listed_in_their_order(local_store):
    for round_number in (1, 2, 9, 10, 11, 100, 999, 1000):
        local_store.write(layout.round_record("demo", round_number), b"")
    found = list(local_store.keys("runs/demo/rounds/"))
    assert found == [
        layout.round_record("demo", round_number) for round_number in (1, 2, 9, 10, 11, 100, 999, 1000)
    ]
