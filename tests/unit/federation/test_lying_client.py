"""A client that lies in a valid delivery is held, and the records say so."""

from pathlib import Path

import numpy as np
import pytest

from fedvsr.config.run import RobustnessConfig
from fedvsr.federation import layout
from fedvsr.federation.records import ReportRecord, RoundRecord, RunRecord, read_record, write_record
from fedvsr.federation.run.in_process import InProcessRunner
from fedvsr.federation.run.prepare import prepare_run
from fedvsr.federation.run.rounds import run_rounds
from fedvsr.federation.server.aggregate import aggregate_round
from fedvsr.progress import LogProgress
from fedvsr.report.summary import summarise_run
from fedvsr.store.base import bytes_digest
from fedvsr.strategies.registry import strategy_names
from fedvsr.weights import WeightsFile, serialize

RUN = "test"
OFF = RobustnessConfig(max_share=0, max_norm=0)
# With these, one liar of three hardly moves the global weights without the bounds too.
HOLD_ONE_OF_THREE = {"fedmedian", "krum", "geometric-median"}


def aggregate(trained, robustness: RobustnessConfig | None = None) -> RoundRecord:
    """Aggregates the round again, with the defaults or with these settings."""
    trained.store.delete(layout.round_record(RUN, 1))
    run: RunRecord = trained.run
    if robustness:
        config = run.config.model_copy(update={"robustness": robustness})
        run = run.model_copy(update={"config": config})
    return aggregate_round(trained.store, run, 1)


def shares(record: RoundRecord) -> dict[str, float | None]:
    return {participant.client: participant.weight for participant in record.participants}


def scale_update(trained, client: str, factor: float) -> None:
    """Scales what a client's training changed, as a model replacement does."""
    base = WeightsFile(trained.file(layout.global_weights(RUN, 0))).load()
    tensors = {
        name: (base[name] + factor * (array.astype(np.float64) - base[name])).astype(array.dtype)
        if array.dtype.kind == "f"
        else array
        for name, array in trained.tensors(client).items()
    }
    trained.rewrite_update(client, tensors)


def movement(trained) -> float:
    """How far the round moved the global weights."""
    base, new = (WeightsFile(trained.file(layout.global_weights(RUN, number))).load() for number in (0, 1))
    return float(
        np.sqrt(sum(np.square(new[name].astype(np.float64) - array).sum() for name, array in base.items()))
    )


@pytest.mark.parametrize("strategy", strategy_names())
def test_an_honest_round_has_the_same_bytes_with_and_without_the_options(trained_round, strategy):
    trained = trained_round(strategy)

    def written(record: RoundRecord) -> bytes:
        # Only the seconds differ from one aggregation to the next.
        return record.model_copy(update={"seconds": {}}).to_bytes()

    plain, bounded = aggregate(trained, OFF), aggregate(trained)
    assert written(bounded) == written(plain)
    assert bounded.limits == ()
    assert b"clipping" not in trained.store.read(layout.round_record(RUN, 1))
    assert b"before_bound" not in trained.store.read(layout.round_record(RUN, 1))


def test_a_loss_of_almost_zero_takes_no_more_than_the_bound(trained_round):
    trained = trained_round("fedvsr")
    honest = shares(aggregate(trained))
    trained.rewrite_report("bob", loss=1e-9)
    free = shares(aggregate(trained, OFF))["bob"]
    record = aggregate(trained)
    # 2/(3 − 1 + 2), while the others keep their shares' ratio.
    assert shares(record)["bob"] == 0.5 < free
    assert sum(shares(record).values()) == pytest.approx(1)
    assert shares(record)["ann"] == pytest.approx(0.25, abs=0.01)
    (bob,) = [participant for participant in record.participants if participant.client == "bob"]
    assert bob.weight_before_bound == free
    assert record.limits == (
        f"client bob: its share was cut from {free:.4f} to 0.5000 "
        f"(it reported loss 1e-09 and {bob.clips} clips)",
    )
    assert honest["bob"] < 0.4


def test_a_huge_number_of_clips_takes_no_more_than_the_bound(trained_round):
    trained = trained_round("fedavg")
    trained.rewrite_report("bob", clips=2**53)
    assert shares(aggregate(trained, OFF))["bob"] == pytest.approx(1)
    # 5/(3 − 1 + 5); ann has 1 clip and cleo 3.
    assert shares(aggregate(trained)) == pytest.approx(
        {"ann": 2 / 7 / 4, "bob": 5 / 7, "cleo": 2 / 7 * 3 / 4}
    )


def test_a_round_of_two_clients_is_bounded_too(trained_round):
    trained = trained_round("fedvsr")
    trained.store.delete(layout.report(RUN, 1, "cleo"))
    trained.rewrite_report("bob", loss=1e-9)
    assert shares(aggregate(trained)) == pytest.approx({"ann": 1 / 3, "bob": 2 / 3})


@pytest.mark.parametrize("strategy", strategy_names())
def test_an_update_scaled_by_1000_moves_the_global_weights_little(trained_round, strategy):
    trained = trained_round(strategy)
    aggregate(trained)
    honest = movement(trained)
    scale_update(trained, "bob", 1000)
    record = aggregate(trained)
    assert movement(trained) < 15 * honest
    bob = next(participant for participant in record.participants if participant.client == "bob")
    assert bob.update_clipping.norm > 50 * bob.update_clipping.max_norm
    (sentence,) = record.limits
    assert sentence.startswith("client bob: its update was scaled down from norm ")
    assert RoundRecord.from_bytes(record.to_bytes(), "the record") == record
    aggregate(trained, OFF)
    # Adaptive server optimisers divide the change by its own size.
    if strategy not in HOLD_ONE_OF_THREE | {"fedadagrad", "fedadam", "fedyogi"}:
        assert movement(trained) > 100 * honest


def test_scaffolds_control_variate_is_held(trained_round):
    trained = trained_round("scaffold")
    file = WeightsFile(trained.file(layout.strategy_tensors(RUN, 1, "bob")))
    honest = aggregate(trained)
    trained.rewrite_strategy_tensors(
        "bob", {name: np.full_like(array, 1e30) for name, array in file.load().items()}
    )
    record = aggregate(trained)
    assert (honest.limits, record.limited_clients) == ((), 1)
    assert "its strategy tensors were scaled down from norm " in record.limits[0]
    state = WeightsFile(trained.file(layout.strategy_state(RUN, 1))).load()
    assert max(float(np.abs(array).max()) for array in state.values()) < 1e3


def test_a_round_that_is_left_with_two_updates_clips_none(trained_round):
    trained = trained_round()
    scale_update(trained, "bob", 1000)
    path = trained.file(layout.update(RUN, 1, "cleo"))
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    record = aggregate(trained)
    # Two updates are left, whose median says nothing.
    assert shares(record).keys() == {"ann", "bob"}
    assert record.limits == ()


class LyingRunner(InProcessRunner):
    """Trains honestly; then bob's report claims a loss, and his update is far too large."""

    def run_part(self, part):
        outcomes = super().run_part(part)
        store, number = part.workspace.federation(), part.plan.round
        base = WeightsFile(Path(store.uri, layout.global_weights(RUN, number - 1))).load()
        key, report_key = layout.update(RUN, number, "bob"), layout.report(RUN, number, "bob")
        update = WeightsFile(Path(store.uri, key)).load()
        data = serialize({name: base[name] + 1000 * (update[name] - base[name]) for name in update})
        store.write(key, data)
        report = read_record(store, report_key, ReportRecord)
        changes = {"loss": 1e-9, "update_digest": bytes_digest(data), "update_bytes": len(data)}
        write_record(store, report_key, report.model_copy(update=changes))
        return outcomes


def test_a_run_with_a_liar_says_so_in_every_round(workspace, make_config, give_clips):
    give_clips({"ann": 1, "bob": 2, "cleo": 3})
    config = make_config(
        strategy__name="fedvsr", federation__clients=["ann", "bob", "cleo"], training__learning_rate=1e-5
    )
    record = prepare_run(workspace.federation(), config)
    lines, records = [], []
    run_rounds(
        workspace,
        record,
        runner=LyingRunner(),
        on_round=lambda round_record, evaluation: records.append(round_record),
        progress=LogProgress(lines.append),
    )
    first, second = records
    # In the last round all clients count the same, whatever they claim.
    assert [len(first.limits), len(second.limits)] == [2, 1]
    assert [shares(first)["bob"], shares(second)["bob"]] == pytest.approx([0.5, 1 / 3])
    for round_record in records:
        assert {f"round {round_record.round}: {limit}" for limit in round_record.limits} <= set(lines)
    page = summarise_run(workspace.federation(), record)
    assert page.limits == (
        f"Round 1: {first.limits[0]}.",
        f"Round 1: {first.limits[1]}.",
        f"Round 2: {second.limits[0]}.",
    )
