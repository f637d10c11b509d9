"""Equal records have equal bytes, and an invalid record is refused with a clear error."""

import json

import pytest

from fedvsr.errors import RecordError
from fedvsr.federation import layout
from fedvsr.federation.records import PlanRecord, RunRecord, read_record, write_record

PLAN = PlanRecord(
    run="demo", round=1, rounds=2, clients=("ann", "bob"), base_digest="d", quorum=1, deadline_seconds=9
)
KEY = layout.plan("demo", 1)


def test_a_record_reads_back_as_written_and_has_the_same_bytes_again(local_store):
    write_record(local_store, KEY, PLAN)
    plan = read_record(local_store, KEY, PlanRecord)
    assert plan == PLAN
    assert plan.to_bytes() == local_store.read(KEY)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"version": 2}, "version: Input should be 1"),
        ({"quorum": "one"}, "quorum: "),
        ({"unknown": 3}, "unknown: Extra inputs are not permitted"),
        ({"clients": None}, "clients: "),
    ],
)
def test_a_changed_record_is_refused_by_an_error_with_its_key_and_field(local_store, change, problem):
    local_store.write(KEY, json.dumps(json.loads(PLAN.to_bytes()) | change).encode())
    with pytest.raises(RecordError) as error:
        read_record(local_store, KEY, PlanRecord)
    assert f"{KEY} is no round plan of version 1: {problem}" in str(error.value)
    assert "written by another fedvsr or changed by hand" in str(error.value)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", PLAN.to_bytes()[:-20]])
def test_bytes_that_are_not_a_json_object_are_refused(local_store, data):
    local_store.write(KEY, data)
    with pytest.raises(RecordError, match=r"is no round plan of version 1"):
        read_record(local_store, KEY, PlanRecord)


def test_a_runs_identity_depends_on_everything_except_the_number_of_rounds(make_config):
    def identity(digest: str = "d", **overrides) -> str:
        config = make_config(**overrides)
        return RunRecord(config=config, initial_digest=digest, parameters=1, fedvsr_version="any").identity

    assert identity(federation__rounds=9) == identity()
    assert len({identity(), identity("e"), identity(seed=1), identity(strategy__name="fedsr")}) == 4


def test_a_run_without_newer_settings_has_the_identity_that_it_always_had(make_config):
    record = RunRecord(config=make_config(), initial_digest="d", parameters=1, fedvsr_version="any")
    data = json.loads(record.to_bytes())["config"]["data"]
    assert not {"strict", "damaged_frames"} & set(data)
    # Computed before there were data.strict and data.damaged_frames.
    assert record.identity == "3322b8578d69fe6ae707630b652b50935ec6f28bab44697575c0b4742bac78fc"


@pytest.mark.parametrize("field", ["schedule", "weight_decay", "ema_decay"])
def test_newer_training_settings_leave_no_trace_at_their_defaults(make_config, field):
    record = RunRecord(config=make_config(), initial_digest="d", parameters=1, fedvsr_version="any")
    assert field not in json.loads(record.to_bytes())["config"]["training"]


def test_newer_settings_survive_a_record(make_config):
    config = make_config(data__strict=True, data__damaged_frames="skip")
    record = RunRecord(config=config, initial_digest="d", parameters=1, fedvsr_version="any")
    assert RunRecord.from_bytes(record.to_bytes(), KEY) == record


def test_round_records_are_listed_in_order(local_store):
    round_numbers = (1, 2, 9, 10, 11, 100, 999, 1000)
    keys = [layout.round_record("demo", round_number) for round_number in round_numbers]
    for key in keys:
        local_store.write(key, b"")
    assert list(local_store.keys("runs/demo/rounds/")) == keys
