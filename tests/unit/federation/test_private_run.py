"""Rounds with differential privacy: clipped, noisy, accounted for, and ended by the budget."""

import numpy as np
import pytest

from fedvsr.errors import ConfigError
from fedvsr.federation import layout
from fedvsr.federation.evaluations import is_evaluated
from fedvsr.federation.privacy_budget import describe_budget, planned_rounds
from fedvsr.federation.records import PlanRecord, ReportRecord, read_record, write_record
from fedvsr.federation.run.in_process import InProcessRunner
from fedvsr.federation.run.prepare import plan_round, prepare_run
from fedvsr.federation.run.training_round import train_round
from fedvsr.federation.runs import rounds_left
from fedvsr.federation.server.aggregate import aggregate_round
from fedvsr.privacy.accounting import Accounting
from fedvsr.store.base import bytes_digest
from fedvsr.store.workspace import Workspace
from fedvsr.strategies.registry import build_strategy, strategy_class, strategy_names
from fedvsr.weights import load, serialize

RUN = "test"
CLIENTS = ("ann", "bob", "cleo")
PRIVATE = {"privacy__differential_privacy": True}


@pytest.fixture
def private_run(tmp_path, make_config, make_clip, write_clips):
    """Makes a run of three clients with 1 to 3 clips."""

    def make(name="private", **settings):
        root = tmp_path / name
        workspace = Workspace.under(str(root / "stores"))
        for index, client in enumerate(CLIENTS):
            clips = {f"{client}-{clip}": make_clip(10 * index + clip) for clip in range(index + 1)}
            write_clips(workspace.client(client), layout.training_clips("default"), clips, root)
        config = make_config(
            **{"federation__clients": list(CLIENTS), "federation__quorum": 2, **PRIVATE, **settings}
        )
        return workspace, prepare_run(workspace.federation(), config)

    return make


def one_round(workspace, record, round_number=1):
    train_round(workspace, record, round_number, InProcessRunner())
    return aggregate_round(workspace.federation(), record, round_number)


def changes(workspace, round_number=1):
    store = workspace.federation()
    before, after = (
        load(store.read(layout.global_weights(RUN, number)), "weights")
        for number in (round_number - 1, round_number)
    )
    return np.concatenate([(after[name].astype(np.float64) - before[name]).ravel() for name in sorted(after)])


@pytest.mark.parametrize("strategy", ["fedvsr", "fedavg", "fedprox"])
def test_almost_without_noise_the_round_is_the_mean_of_clipped_updates(private_run, strategy):
    settings = {"strategy__name": strategy, "privacy__clipping_norm": 0.01, "privacy__noise_multiplier": 1e-6}
    workspace, record = private_run(**settings)
    result = one_round(workspace, record)
    store = workspace.federation()
    base = load(store.read(layout.global_weights(RUN, 0)), "base")
    mean = 0
    for client in CLIENTS:
        weights = load(store.read(layout.update(RUN, 1, client)), client)
        difference = np.concatenate(
            [(np.float64(weights[name]) - base[name]).ravel() for name in sorted(base)]
        )
        # The client has clipped it itself.
        assert np.linalg.norm(difference) == pytest.approx(0.01, rel=1e-3)
        mean = mean + difference / 3
    assert changes(workspace) == pytest.approx(mean, abs=1e-7)
    assert {participant.weight for participant in result.participants} == {1 / 3}


def test_the_noise_has_the_deviation_of_multiplier_times_norm(private_run):
    workspace, record = private_run(privacy__clipping_norm=1.0, privacy__noise_multiplier=5.0)
    one_round(workspace, record)
    assert changes(workspace).std() == pytest.approx(5.0 / 3, rel=0.05)


def test_two_equal_runs_have_different_noise(private_run):
    first, second = private_run("first"), private_run("second")
    one_round(*first)
    one_round(*second)
    assert not np.array_equal(changes(first[0]), changes(second[0]))


def test_a_client_that_sends_a_huge_update_moves_no_more_than_the_norm(private_run):
    workspace, record = private_run(privacy__clipping_norm=0.01, privacy__noise_multiplier=1e-6)
    train_round(workspace, record, 1, InProcessRunner())
    store = workspace.federation()
    weights = load(store.read(layout.update(RUN, 1, "bob")), "bob")
    data = serialize({name: array * 1000 for name, array in weights.items()})
    store.write(layout.update(RUN, 1, "bob"), data)
    report = read_record(store, layout.report(RUN, 1, "bob"), ReportRecord)
    lie = report.model_copy(update={"update_digest": bytes_digest(data), "update_bytes": len(data)})
    write_record(store, layout.report(RUN, 1, "bob"), lie)
    aggregate_round(store, record, 1)
    assert np.linalg.norm(changes(workspace)) <= 0.0101


def test_a_missing_client_does_not_change_the_divisor(private_run):
    workspace, record = private_run(privacy__clipping_norm=0.01, privacy__noise_multiplier=1e-6)
    train_round(workspace, record, 1, InProcessRunner())
    workspace.federation().delete(layout.report(RUN, 1, "ann"))
    result = aggregate_round(workspace.federation(), record, 1)
    assert {participant.weight for participant in result.participants} == {1 / 3}
    assert np.linalg.norm(changes(workspace)) <= 0.01 * 2 / 3 * 1.001


def test_every_round_records_what_has_been_spent(private_run):
    workspace, record = private_run(privacy__noise_multiplier=3.0, privacy__delta=1e-6)
    for round_number in (1, 2):
        privacy = one_round(workspace, record, round_number).privacy
        assert privacy is not None
        assert privacy.epsilon == Accounting(3, 3, 3.0, 1e-6).epsilon(round_number)
        assert privacy.delta == 1e-6


def test_a_round_that_has_ended_draws_no_noise_again(private_run):
    workspace, record = private_run()
    first = one_round(workspace, record)
    assert aggregate_round(workspace.federation(), record, 1) == first


def test_adaptive_clipping_takes_the_next_norm_into_the_next_plan(private_run):
    workspace, record = private_run(privacy__clipping="adaptive", privacy__clipping_norm=100.0)
    first = one_round(workspace, record)
    assert first.privacy is not None
    assert first.privacy.clipping_norm == 100.0
    # No update is as large, so the norm falls, whatever the noise: by at most exp(−η·(b̃ − γ)).
    plan = plan_round(workspace.federation(), record, 2)
    assert plan.clipping_norm == first.privacy.next_clipping_norm != 100.0


SMALL_BUDGET = {"privacy__noise_multiplier": 4.0, "privacy__epsilon": 1.5, "federation__rounds": 9}


class TestBudget:
    def test_the_run_has_as_many_rounds_as_the_budget_allows(self, private_run):
        workspace, record = private_run(**SMALL_BUDGET)
        expected = Accounting(3, 3, 4.0, 1e-5).rounds_within(1.5, 9)
        assert 0 < expected < 9
        assert planned_rounds(record.config) == expected
        assert rounds_left(workspace.federation(), record) == list(range(1, expected + 1))
        assert is_evaluated(record.config, expected)
        assert f"allows {expected} of 9 rounds" in describe_budget(record.config)

    def test_the_budget_may_be_raised_later(self, private_run, make_config):
        workspace, record = private_run(**SMALL_BUDGET)
        settings = {**SMALL_BUDGET, "privacy__epsilon": 100.0}
        config = make_config(
            **{"federation__clients": list(CLIENTS), "federation__quorum": 2, **PRIVATE, **settings}
        )
        raised = prepare_run(workspace.federation(), config)
        assert planned_rounds(raised.config) == 9
        assert raised.identity == record.identity

    def test_a_budget_below_one_round_is_refused(self, private_run):
        with pytest.raises(ConfigError, match=r"privacy\.epsilon: 0\.01.*one round takes ε"):
            private_run(privacy__epsilon=0.01)


class TestConfiguration:
    @pytest.mark.parametrize("strategy", sorted(set(strategy_names()) - {"fedavg", "fedprox"}))
    def test_strategies_that_need_more_than_the_sum_are_refused(self, private_run, strategy):
        takes_a_sum = strategy.startswith("fedvsr") or strategy_class(strategy).server_optimiser
        if takes_a_sum or strategy == "moon":
            private_run(strategy__name=strategy)
            return
        needed = build_strategy(strategy).min_updates
        clients = [f"client-{number}" for number in range(needed)]
        with pytest.raises(ConfigError, match="releases only a noisy sum"):
            private_run(strategy__name=strategy, federation__clients=clients, federation__quorum=needed)

    def test_without_privacy_records_are_as_before(self, make_config):
        config = make_config()
        assert "privacy" not in config.model_dump()
        plan = PlanRecord(
            run="a", round=1, rounds=1, clients=(), base_digest="", quorum=1, deadline_seconds=1
        )
        assert b"clipping_norm" not in plan.to_bytes()

    def test_a_budget_without_differential_privacy_is_refused(self, make_config):
        with pytest.raises(ConfigError, match=r"privacy\.epsilon.*differential_privacy"):
            make_config(privacy__epsilon=3.0)
