"""A client that wants to harm the federation is refused, and the round ends with the other clients."""

import json

import numpy as np
import pytest

from fedvsr.errors import RecordError, TrainingError, UpdateError
from fedvsr.federation import layout
from fedvsr.federation.client import train as client
from fedvsr.federation.client.train import train_client
from fedvsr.federation.delivery import find_delivery, find_report
from fedvsr.federation.records import Outcome
from fedvsr.federation.run.clients import deliveries
from fedvsr.federation.runs import load_run
from fedvsr.federation.server.aggregate import aggregate_round
from fedvsr.federation.shard_records import ShardSummary
from fedvsr.store.base import bytes_digest
from fedvsr.store.local import LocalStore
from fedvsr.training.local import TrainingSummary

RUN = "test"
UPDATE, EXTRA, REPORT = (
    key(RUN, 1, "bob") for key in (layout.update, layout.strategy_tensors, layout.report)
)
NO_DIGESTS = ["/proc/x", "../../x", "a" * 300, "x\0y", "", "A" * 64, "0" * 64 + "\n"]
DIGESTS = ["update_digest", "extra_digest", "base_digest", "dataset_digest"]
HUGE = f"1{'0' * 400}"
# As JSON spells them; not all are numbers to Python.
NO_NUMBERS = {
    "round": ["-1", HUGE],
    "update_bytes": ["-1", str(2**53 + 1), HUGE, f"1{'0' * 5000}"],
    "extra_bytes": ["-1", HUGE],
    "downloaded_bytes": ["-1", HUGE],
    "clips": ["0", "-5", HUGE],
    "steps": ["0", HUGE],
    "samples": ["0", HUGE],
    "loss": ["-1", "1e13", "1e400", "Infinity", "NaN"],
    "seconds": ["-1", "1e10", "-Infinity"],
}


def say(trained, field, value) -> None:
    """Puts a value into bob's report that `ReportRecord` would refuse."""
    report = trained.report("bob").model_dump(mode="json") | {field: "VALUE"}
    trained.store.write(REPORT, json.dumps(report).replace('"VALUE"', value).encode())


def refused(trained, *, looks_delivered=False):
    """Returns the reason for bob's refusal, in a round that ends with the other clients."""
    assert (find_delivery(trained.store, trained.plan, "bob") is not None) == looks_delivered
    record = aggregate_round(trained.store, trained.run, 1)
    assert [participant.client for participant in record.participants] == ["ann", "cleo"]
    (client_outcome,) = [entry for entry in record.outcomes if entry.client == "bob"]
    assert client_outcome.outcome is Outcome.REFUSED
    assert client_outcome.reason.isprintable()
    assert len(client_outcome.reason) <= 501
    return client_outcome.reason


@pytest.mark.parametrize("digest", NO_DIGESTS)
@pytest.mark.parametrize("field", DIGESTS)
def test_an_invalid_digest_is_refused(trained_round, field, digest):
    trained = trained_round()
    trained.rewrite_report("bob", **{field: digest})
    assert find_report(trained.store, trained.plan, "bob") is None
    assert f"is no client report of version 1: {field}: String should match" in refused(trained)


@pytest.mark.parametrize(
    ("field", "value"), [(field, number) for field in NO_NUMBERS for number in NO_NUMBERS[field]]
)
def test_a_number_that_no_honest_client_writes_is_refused(trained_round, field, value):
    trained = trained_round()
    say(trained, field, value)
    assert find_report(trained.store, trained.plan, "bob") is None
    assert "is no client report of version 1: " in refused(trained)


@pytest.mark.parametrize("field", ["clips", "frames", "bytes"])
@pytest.mark.parametrize("value", ["0", "-1", str(2**53 + 1), HUGE])
def test_an_unreasonable_number_in_a_summary_of_shards_is_refused(field, value):
    good = {"clips": 1, "frames": 1, "bytes": 1, "digest": "0" * 64}
    assert ShardSummary(**good)
    text = json.dumps(good | {field: "VALUE"}).replace('"VALUE"', value)
    with pytest.raises(RecordError, match=field):
        ShardSummary.from_bytes(text.encode(), "the summary")


@pytest.mark.parametrize("value", ["-1", str(2**53 + 1), HUGE, '["a.mp4"]', '"a.mp4"'])
def test_the_videos_left_out_are_a_number_in_a_summary(value):
    text = f'{{"clips": 1, "frames": 1, "bytes": 1, "digest": "{"0" * 64}", "skipped": {value}}}'
    with pytest.raises(RecordError, match="skipped"):
        ShardSummary.from_bytes(text.encode(), "the summary")


def test_an_error_about_a_record_has_no_control_characters():
    with pytest.raises(RecordError) as caught:
        ShardSummary.from_bytes(
            rb'{"\u001b[2J": 1, "clips": 1, "frames": 1, "bytes": 1, "digest": "' + b"0" * 64 + b'"}',
            "the summary",
        )
    assert str(caught.value).isprintable()


def test_a_report_that_is_too_large_is_not_read(trained_round, monkeypatch):
    trained = trained_round()
    trained.store.write(REPORT, b" " * (1 << 20) + trained.store.read(REPORT))
    real = LocalStore.read

    def read(self, key):
        assert key != REPORT
        return real(self, key)

    monkeypatch.setattr(LocalStore, "read", read)
    assert "a client report has at most 1048576" in refused(trained)


@pytest.mark.parametrize("extra", [False, True])
def test_a_file_too_large_for_the_model_is_not_downloaded(trained_round, monkeypatch, extra):
    trained = trained_round("scaffold")
    tensors = {"padding": np.zeros(2 << 20, np.uint8)}
    key, rewrite = (EXTRA, trained.rewrite_strategy_tensors) if extra else (UPDATE, trained.rewrite_update)
    rewrite("bob", tensors)
    real = LocalStore.fetch

    def fetch(self, fetched_key, folder):
        assert fetched_key != key
        return real(self, fetched_key, folder)

    monkeypatch.setattr(LocalStore, "fetch", fetch)
    assert f"{key}: {trained.store.size(key)} bytes, the model explains at most " in refused(trained)


@pytest.mark.parametrize(
    ("strategy", "field", "problem"),
    [
        ("fedavg", "update_bytes", "its report says 0 bytes, found"),
        ("scaffold", "extra_bytes", "its report says 0 bytes, found"),
    ],
)
def test_a_report_with_a_wrong_size_is_refused(trained_round, strategy, field, problem):
    trained = trained_round(strategy)
    trained.rewrite_report("bob", **{field: 0})
    assert problem in refused(trained)


def test_a_report_with_a_size_but_no_file_is_refused(trained_round):
    trained = trained_round()
    trained.rewrite_report("bob", extra_bytes=2**53)
    assert "9007199254740992 bytes of strategy tensors and no digest" in refused(trained)


@pytest.mark.parametrize("name", ["\x1b[2J\x07", "x" * 100_000, "a\nb\u202ec"])
def test_a_tensors_name_reaches_the_record_as_a_short_line(trained_round, name):
    trained = trained_round()
    trained.rewrite_update("bob", trained.tensors("bob") | {name: np.zeros(1, np.float32)})
    assert refused(trained, looks_delivered=True).startswith("tensor '")


def test_a_run_that_a_report_names_reaches_the_record_as_a_short_line(trained_round):
    trained = trained_round()
    trained.rewrite_report("bob", run="\x1b]0;" + "x" * 100_000)
    with pytest.raises(UpdateError) as caught:
        trained.check_update("bob")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


def test_a_loss_too_large_for_a_report_is_an_error_at_the_client(trained_round, monkeypatch):
    trained = trained_round()
    trained.store.delete(REPORT)
    monkeypatch.setattr(client, "train_locally", lambda *_, **__: TrainingSummary(1e13, 1, 1, 1.0))
    with pytest.raises(TrainingError, match=r"the mean loss is 1e\+13, .*; lower training"):
        train_client(
            trained.workspace.federation(),
            trained.workspace.client("bob"),
            load_run(trained.workspace.federation(), RUN),
            1,
            "bob",
        )
    assert not trained.store.exists(REPORT)


@pytest.mark.parametrize("round_number", ["abcd", "----", "1e03", "²²²²", " 1  "])
def test_a_report_under_an_invalid_round_is_not_a_delivery(local_store, round_number):
    local_store.write(f"runs/x/rounds/{round_number}/updates/ann/report.json", b"{}")
    local_store.write(layout.report("x", 1, "ann"), b"{}")
    assert deliveries(local_store) == {"ann": {("x", 1)}}


def test_the_digests_of_an_honest_report_are_valid(trained_round):
    report = trained_round("scaffold").report("bob")
    for field in DIGESTS:
        assert len(getattr(report, field)) == 64
    assert len(bytes_digest(b"")) == 64
