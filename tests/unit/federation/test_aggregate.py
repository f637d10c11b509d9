"""The server accepts or refuses updates, and their order does not matter."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedvsr.errors import DataError, NotFoundError, QuorumError, UpdateError, WeightsError
from fedvsr.federation import layout
from fedvsr.federation.records import (
    Outcome,
    OutcomesRecord,
    PlanRecord,
    RoundRecord,
    read_record,
    write_record,
)
from fedvsr.federation.server.aggregate import aggregate_round
from fedvsr.store.base import bytes_digest
from fedvsr.strategies.base import Aggregate
from fedvsr.strategies.fedavg import FedAvg
from fedvsr.strategies.registry import strategy_names
from fedvsr.strategies.scaffold import Scaffold, ScaffoldOptions
from fedvsr.weights import WeightsFile

RUN = "test"
WEIGHT = "features.weight"
UPDATE = layout.update(RUN, 1, "bob")


def with_weight(trained, change) -> None:
    """Sends bob's update again with one tensor changed."""
    tensors = trained.tensors("bob")
    trained.rewrite_update("bob", tensors | {WEIGHT: change(tensors[WEIGHT])})


def without_weight(trained) -> None:
    tensors = trained.tensors("bob")
    del tensors[WEIGHT]
    trained.rewrite_update("bob", tensors)


def with_another_tensor(trained) -> None:
    trained.rewrite_update("bob", trained.tensors("bob") | {"other.weight": np.zeros(3, np.float32)})


def truncate(trained) -> None:
    path = trained.file(UPDATE)
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(trained) -> None:
    path = trained.file(UPDATE)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def send_text(trained) -> None:
    trained.store.write(UPDATE, b"no weights")
    trained.rewrite_report("bob", update_digest=bytes_digest(b"no weights"), update_bytes=10)


# How bob's delivery is damaged, and the reason for its refusal.
SPOILT = {
    "missing tensor": (without_weight, f"tensor '{WEIGHT}' is missing"),
    "unknown tensor": (with_another_tensor, "tensor 'other.weight' is not in the model"),
    "shape": (
        lambda t: with_weight(t, lambda array: array.T),
        f"tensor '{WEIGHT}': expected float32 [4, 3, 5, 5], found float32 [5, 5, 3, 4]",
    ),
    "dtype": (
        lambda t: with_weight(t, np.float64),
        f"tensor '{WEIGHT}': expected float32 [4, 3, 5, 5], found float64 [4, 3, 5, 5]",
    ),
    "all NaN": (
        lambda t: with_weight(t, lambda array: array * np.float32(np.nan)),
        f"tensor '{WEIGHT}': expected finite values, found 300 that are not",
    ),
    "one infinity": (
        lambda t: with_weight(t, lambda array: np.where(array == array.max(), np.float32(-np.inf), array)),
        f"tensor '{WEIGHT}': expected finite values, found 1 that are not",
    ),
    "base": (
        lambda t: t.rewrite_report("bob", base_digest="0" * 64),
        f"its report has base_digest {'0' * 64}, expected ",
    ),
    "run": (lambda t: t.rewrite_report("bob", run="other"), "its report has run other, expected test"),
    "round": (lambda t: t.rewrite_report("bob", round=2), "its report has round 2, expected 1"),
    "client": (lambda t: t.rewrite_report("bob", client="ann"), "its report has client ann, expected bob"),
    "truncated": (truncate, "the object was changed or cut short"),
    "one bit": (flip_a_bit, "the object was changed or cut short"),
    "text": (send_text, "its update: not a whole safetensors file"),
    "no update": (lambda t: t.store.delete(UPDATE), f"no object '{UPDATE}'"),
    "empty report": (
        lambda t: t.store.write(layout.report(RUN, 1, "bob"), b"{}"),
        "is no client report of version 1: run: Field required",
    ),
    "no clips": (lambda t: t.rewrite_report("bob", clips=0), "clips: Input should be greater than"),
    "NaN loss": (
        lambda t: t.rewrite_report("bob", loss=float("nan")),
        "is no client report of version 1: loss",
    ),
    "strategy tensors": (
        lambda t: t.rewrite_strategy_tensors("bob", {WEIGHT: np.zeros(3, np.float32)}),
        f"strategy tensor '{WEIGHT}': fedavg sends none",
    ),
}


def check_bob(trained) -> None:
    trained.check_update("bob")


@pytest.mark.parametrize("what", SPOILT)
def test_a_spoilt_update_is_refused_with_its_client_and_reason(trained_round, what):
    spoil, reason = SPOILT[what]
    trained = trained_round()
    check_bob(trained)
    spoil(trained)
    with pytest.raises(UpdateError) as caught:
        check_bob(trained)
    assert (caught.value.client, caught.value.round_number) == ("bob", 1)
    assert reason in caught.value.reason
    assert str(caught.value) == f"round 1: the update of client 'bob' is refused: {caught.value.reason}"


@pytest.mark.parametrize("what", ["missing tensor", "all NaN", "truncated"])
def test_a_refused_client_does_not_count_and_the_others_do(trained_round, what):
    spoil, reason = SPOILT[what]
    trained = trained_round()
    spoil(trained)
    record = aggregate_round(trained.store, trained.run, 1)
    assert [participant.client for participant in record.participants] == ["ann", "cleo"]
    outcomes = {client_outcome.client: client_outcome for client_outcome in record.outcomes}
    assert outcomes["bob"].outcome is Outcome.REFUSED
    assert reason in outcomes["bob"].reason
    assert outcomes["ann"].outcome is Outcome.OK
    # Ann has 1 clip and cleo 3.
    weights = {participant.client: participant.weight for participant in record.participants}
    assert weights == {"ann": 0.25, "cleo": 0.75}


def test_a_client_that_delivered_nothing_keeps_its_recorded_outcome(trained_round):
    trained = trained_round()
    trained.store.delete(layout.report(RUN, 1, "bob"))
    key = layout.outcomes(RUN, 1)
    recorded = read_record(trained.store, key, OutcomesRecord)
    changed = [
        client_outcome.model_copy(update={"outcome": Outcome.TIMED_OUT, "reason": "too slow"})
        if client_outcome.client == "bob"
        else client_outcome
        for client_outcome in recorded.outcomes
    ]
    write_record(trained.store, key, recorded.model_copy(update={"outcomes": tuple(changed)}))
    record = aggregate_round(trained.store, trained.run, 1)
    outcomes = {client_outcome.client: client_outcome for client_outcome in record.outcomes}
    assert (outcomes["bob"].outcome, outcomes["bob"].reason) == (Outcome.TIMED_OUT, "too slow")
    assert len(record.participants) == 2


@pytest.mark.parametrize(
    ("outcome", "reason", "kept"),
    [
        (Outcome.OK, "ok after 1 retry: Evicted", "ok after 1 retry: Evicted"),
        (Outcome.CUT_OFF, "too slow", "it delivered, although the training step recorded cut-off: too slow"),
    ],
)
def test_a_failure_before_a_delivery_stays_in_the_record(trained_round, outcome, reason, kept):
    trained = trained_round()
    key = layout.outcomes(RUN, 1)
    recorded = read_record(trained.store, key, OutcomesRecord)
    changed = [
        client_outcome.model_copy(update={"outcome": outcome, "reason": reason})
        for client_outcome in recorded.outcomes
    ]
    write_record(trained.store, key, recorded.model_copy(update={"outcomes": tuple(changed)}))
    record = aggregate_round(trained.store, trained.run, 1)
    assert {(client.outcome, client.reason) for client in record.outcomes} == {(Outcome.OK, kept)}
    assert [client.seconds for client in record.outcomes] == [client.seconds for client in recorded.outcomes]


def test_an_update_counts_even_without_a_recorded_outcome(trained_round):
    trained = trained_round()
    trained.store.delete(layout.outcomes(RUN, 1))
    assert len(aggregate_round(trained.store, trained.run, 1).participants) == 3


def test_below_the_quorum_nothing_is_written_and_only_refused_reports_are_deleted(trained_round):
    trained = trained_round()
    trained.store.delete(layout.report(RUN, 1, "ann"))
    trained.store.delete(layout.outcomes(RUN, 1))
    truncate(trained)
    before = list(trained.store.keys(""))
    with pytest.raises(QuorumError) as caught:
        aggregate_round(trained.store, trained.run, 1)
    message, *table = str(caught.value).splitlines()
    assert message == (
        "round 1 of 'test': 1 of 3 clients delivered; the quorum is 2; fix the clients and continue the run:"
    )
    assert table[0] == "  ann: failed (it delivered nothing)"
    assert table[1].startswith("  bob: refused (")
    assert table[2] == "  cleo: ok"
    before.remove(layout.report(RUN, 1, "bob"))
    assert list(trained.store.keys("")) == before


@pytest.mark.parametrize("strategy", ["fedavg", "fedmedian", "fedvsr", "scaffold"])
def test_the_record_describes_the_strategys_aggregation(trained_round, strategy):
    trained = trained_round(strategy)
    sent = {client: trained.tensors(client) for client in ("ann", "bob", "cleo")}
    record = aggregate_round(trained.store, trained.run, 1)
    data = trained.store.read(layout.global_weights(RUN, 1))
    assert record.global_digest == bytes_digest(data)
    assert record.base_digest == trained.plan.base_digest
    aggregated = WeightsFile(trained.file(layout.global_weights(RUN, 1))).load()
    stack = np.stack([tensors[WEIGHT].astype(np.float64) for tensors in sent.values()])
    if strategy == "fedmedian":
        expected = np.median(stack, axis=0)
        assert [participant.weight for participant in record.participants] == [None] * 3
    else:
        shares = [participant.weight for participant in record.participants]
        assert sum(shares) == pytest.approx(1)
        expected = np.average(stack, axis=0, weights=shares)
    np.testing.assert_allclose(aggregated[WEIGHT], expected, rtol=1e-6, atol=1e-9)
    assert (record.strategy_digest is not None) == (strategy == "scaffold")
    assert record.losses == tuple(trained.report(client).loss for client in sent)
    assert record.bytes_up == sum(
        trained.report(client).update_bytes + trained.report(client).extra_bytes for client in sent
    )
    assert record.bytes_down > 0


@pytest.mark.parametrize("strategy", strategy_names())
def test_a_second_call_gives_the_same_record_and_writes_nothing(trained_round, strategy, monkeypatch):
    trained = trained_round(strategy)
    first = aggregate_round(trained.store, trained.run, 1)
    monkeypatch.setattr(type(trained.store), "write", lambda *arguments: pytest.fail("wrote"))
    assert aggregate_round(trained.store, trained.run, 1) == first


@pytest.mark.parametrize("strategy", strategy_names())
def test_an_aggregation_that_died_before_its_record_gives_the_same_bytes_again(trained_round, strategy):
    trained = trained_round(strategy)

    def written():
        folder = layout.round_folder(RUN, 1)
        return {key: trained.store.read(key) for key in trained.store.keys(folder) if "round.json" not in key}

    first = aggregate_round(trained.store, trained.run, 1)
    before = written()
    trained.store.delete(layout.round_record(RUN, 1))
    again = aggregate_round(trained.store, trained.run, 1)
    assert written() == before
    assert again.model_copy(update={"seconds": first.seconds}) == first


@pytest.mark.parametrize("strategy", strategy_names())
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(["ann", "bob", "cleo"]), arrival=st.permutations(["ann", "bob", "cleo"]))
def test_the_bytes_do_not_depend_on_the_order_of_the_plan_or_of_arrival(
    trained_at_once, strategy, order, arrival
):
    trained = trained_at_once(strategy)
    keys = [layout.global_weights(RUN, 1), layout.strategy_state(RUN, 1), layout.round_record(RUN, 1)]
    for key in keys:
        trained.store.delete(key)
    whole = aggregate_round(trained.store, trained.run, 1).global_digest
    for key in keys:
        trained.store.delete(key)
    write_record(
        trained.store, layout.plan(RUN, 1), trained.plan.model_copy(update={"clients": tuple(order)})
    )
    for client in arrival:
        for key in list(trained.store.keys(f"{layout.updates_folder(RUN, 1)}{client}/")):
            data = trained.store.read(key)
            trained.store.delete(key)
            trained.store.write(key, data)
    record = aggregate_round(trained.store, trained.run, 1)
    assert record.global_digest == whole
    assert [participant.client for participant in record.participants] == ["ann", "bob", "cleo"]


@pytest.fixture
def trained_at_once(trained_round):
    """Copies the trained round once for all of Hypothesis's examples."""
    copies = {}

    def find(strategy: str):
        if strategy not in copies:
            copies[strategy] = trained_round(strategy)
        return copies[strategy]

    return find


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda t: t.rewrite_report("bob", extra_digest=None, extra_bytes=0), "control variate is missing"),
        (
            lambda t: t.rewrite_strategy_tensors("bob", {"residual.bias": np.zeros(3, np.float32)}),
            "strategy tensor 'residual.bias': expected float32 [12], found float32 [3]",
        ),
        (
            lambda t: t.rewrite_strategy_tensors("bob", {"nothing": np.zeros(3, np.float32)}),
            "strategy tensor 'nothing' belongs to no parameter",
        ),
        (
            lambda t: t.rewrite_strategy_tensors("bob", {"residual.bias": np.full(12, np.nan, np.float32)}),
            "tensor 'residual.bias': expected finite values, found 12",
        ),
        (
            lambda t: t.store.delete(layout.strategy_tensors(RUN, 1, "bob")),
            "no object 'runs/test/rounds/0001/updates/bob/strategy.safetensors'",
        ),
    ],
)
def test_scaffolds_control_variates_are_checked_like_weights(trained_round, spoil, reason):
    trained = trained_round("scaffold")
    spoil(trained)
    record = aggregate_round(trained.store, trained.run, 1)
    client_outcome = next(entry for entry in record.outcomes if entry.client == "bob")
    assert client_outcome.outcome is Outcome.REFUSED
    assert reason in client_outcome.reason


def test_damaged_global_weights_stop_the_round(trained_round):
    trained = trained_round()
    path = trained.file(layout.global_weights(RUN, 0))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"global\.safetensors: expected SHA-256"):
        aggregate_round(trained.store, trained.run, 1)
    assert not trained.store.exists(layout.global_weights(RUN, 1))


def test_a_round_without_a_plan_is_an_error(trained_round):
    trained = trained_round()
    with pytest.raises(NotFoundError, match=r"rounds/0002/plan\.json"):
        aggregate_round(trained.store, trained.run, 2)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda tensors: {WEIGHT: tensors[WEIGHT]}, "is missing"),
        (lambda tensors: tensors | {WEIGHT: tensors[WEIGHT].astype(np.float64)}, "found float64"),
        (lambda tensors: tensors | {WEIGHT: tensors[WEIGHT] * np.float32(np.nan)}, "expected finite values"),
    ],
)
def test_unusable_weights_of_a_strategy_are_not_written(trained_round, monkeypatch, spoil, problem):
    real = FedAvg.aggregate

    def faulty(self, *arguments) -> Aggregate:
        return Aggregate(spoil(real(self, *arguments).tensors))

    monkeypatch.setattr(FedAvg, "aggregate", faulty)
    trained = trained_round()
    with pytest.raises(
        WeightsError, match=rf"strategy 'fedavg' returned weights that cannot be used: .*{problem}"
    ):
        aggregate_round(trained.store, trained.run, 1)
    assert not trained.store.exists(layout.global_weights(RUN, 1))


def test_weights_that_overflow_at_the_server_are_not_written(trained_round, monkeypatch):
    options = ScaffoldOptions(global_learning_rate=1e60)
    monkeypatch.setattr(Scaffold, "__init__", lambda self, _: setattr(self, "options", options))
    trained = trained_round("scaffold")
    with pytest.raises(WeightsError, match=r"expected finite values"):
        aggregate_round(trained.store, trained.run, 1)
    assert not trained.store.exists(layout.round_record(RUN, 1))


def test_the_plan_and_the_round_read_back_as_they_were_written(trained_round):
    trained = trained_round()
    record = aggregate_round(trained.store, trained.run, 1)
    assert read_record(trained.store, layout.round_record(RUN, 1), RoundRecord) == record
    assert read_record(trained.store, layout.plan(RUN, 1), PlanRecord).clients == ("ann", "bob", "cleo")
