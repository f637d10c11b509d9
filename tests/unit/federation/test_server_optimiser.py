"""A run's server optimiser: its state at the server, its configuration, and any way to aggregate."""

import json

import numpy as np
import pytest

from fedvsr.config.run import RunConfig
from fedvsr.errors import ConfigError, DataError, NotFoundError, UnknownNameError, WeightsError
from fedvsr.federation import layout
from fedvsr.federation.records import PlanRecord, RunRecord
from fedvsr.federation.run.in_process import InProcessRunner
from fedvsr.federation.run.prepare import check_settings, prepare_run
from fedvsr.federation.run.training_round import train_round
from fedvsr.federation.server.aggregate import aggregate_round
from fedvsr.server_optimisers.momentum import Momentum
from fedvsr.store.base import bytes_digest
from fedvsr.strategies.registry import build_strategy, strategy_names
from fedvsr.weights import load

RUN = "test"
CLIENTS = ["ann", "bob", "cleo"]
SECURE = {"privacy__secure_aggregation": True, "communication__upload": "int8"}
PRIVATE = {"privacy__differential_privacy": True, "privacy__clipping_norm": 0.1}
MOMENTUM = {"server__optimiser": "momentum"}


@pytest.fixture
def start(workspace, give_clips, make_config):
    """Starts a run of three clients."""

    def prepare(**settings):
        give_clips({client: index for index, client in enumerate(CLIENTS, start=1)})
        config = make_config(**{"federation__clients": CLIENTS, **settings})
        return prepare_run(workspace.federation(), config)

    return prepare


@pytest.fixture
def one_round(workspace):
    def run(record, number):
        train_round(workspace, record, number, InProcessRunner())
        return aggregate_round(workspace.federation(), record, number)

    return run


def tensors(store, key):
    return load(store.read(key), key)


@pytest.mark.parametrize(
    "strategy", sorted({"fedavg", "fedvsr", "fedmedian", "scaffold", "fedsr", "fedprox"})
)
def test_momentum_goes_with_any_strategy(start, one_round, workspace, strategy):
    record = start(strategy__name=strategy, **MOMENTUM)
    check_momentum(workspace.federation(), [one_round(record, number) for number in (1, 2)])


@pytest.mark.parametrize("settings", [SECURE, PRIVATE], ids=["secure", "private"])
def test_momentum_goes_with_sums_of_updates(start, one_round, workspace, settings):
    record = start(strategy__name="fedavgm", **settings)
    check_momentum(workspace.federation(), [one_round(record, number) for number in (1, 2)])


def check_momentum(store, rounds):
    """With η = 1, the momentum is the step that the round took."""
    before, *after = (tensors(store, layout.global_weights(RUN, number)) for number in range(3))
    for record, weights in zip(rounds, after, strict=True):
        key = layout.server_state(RUN, record.round)
        assert record.server_digest == bytes_digest(store.read(key))
        state = tensors(store, key)
        assert state
        for name, moment in state.items():
            tensor = name.removeprefix("momentum/")
            np.testing.assert_allclose(
                moment, weights[tensor].astype(np.float64) - before[tensor], rtol=1e-4, atol=1e-6
            )
        before = weights


def test_the_first_momentum_step_is_the_strategys_and_the_second_is_not(start, one_round, workspace):
    with_momentum = start(name=RUN, **MOMENTUM)
    plain = start(name="plain")
    for record in (with_momentum, plain):
        for number in (1, 2):
            one_round(record, number)
    store = workspace.federation()
    (first, plain_first), (second, plain_second) = (
        [tensors(store, layout.global_weights(name, number)) for name in (RUN, "plain")] for number in (1, 2)
    )
    # The runs have different names, and so different batches: only Adam's first steps are alike.
    assert max(np.abs(first[key] - plain_first[key]).max() for key in first) < 1e-2
    assert any(np.abs(second[key] - plain_second[key]).max() > 1e-4 for key in second)


def test_a_strategys_options_are_its_server_optimisers(start, one_round, workspace):
    record = start(strategy__name="fedavgm", strategy__options={"learning_rate": 0.5, "beta": 0.0})
    one_round(record, 1)
    store = workspace.federation()
    before, after = (tensors(store, layout.global_weights(RUN, number)) for number in (0, 1))
    state = tensors(store, layout.server_state(RUN, 1))
    for name, change in state.items():
        tensor = name.removeprefix("momentum/")
        np.testing.assert_allclose(after[tensor], before[tensor] + 0.5 * change, rtol=1e-5, atol=1e-7)


def test_clients_need_no_state_and_the_plan_does_not_name_it(start, one_round, workspace):
    record = start(strategy__name="fedadam")
    ended = one_round(record, 1)
    store = workspace.federation()
    one_round(record, 2)
    plan = store.read(layout.plan(RUN, 2)).decode()
    assert ended.server_digest not in plan
    assert set(json.loads(plan)) <= set(PlanRecord.model_fields)


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda store, key: store.write(key, store.read(key)[:-1]), DataError, "expected SHA-256"),
        (lambda store, key: store.delete(key), NotFoundError, "no object"),
    ],
    ids=["damaged", "missing"],
)
def test_a_state_that_is_damaged_or_missing_stops_the_round(
    start, one_round, workspace, spoil, error, message
):
    record = start(strategy__name="fedyogi")
    one_round(record, 1)
    store, key = workspace.federation(), layout.server_state(RUN, 1)
    spoil(store, key)
    with pytest.raises(error, match=message) as caught:
        one_round(record, 2)
    assert key in str(caught.value)
    assert not store.exists(layout.round_record(RUN, 2))


def test_a_step_that_overflows_is_not_written(start, one_round, workspace):
    record = start(strategy__name="fedavgm", strategy__options={"learning_rate": 1e60})
    with pytest.raises(
        WeightsError, match=r"^server optimiser 'momentum' returned .* lower its learning rate$"
    ):
        one_round(record, 1)
    assert not workspace.federation().exists(layout.global_weights(RUN, 1))


def test_an_aggregation_that_died_before_its_record_gives_the_same_bytes_again(start, one_round, workspace):
    record = start(strategy__name="fedadagrad")
    one_round(record, 1)
    first = one_round(record, 2)
    store = workspace.federation()
    keys = [layout.global_weights(RUN, 2), layout.server_state(RUN, 2)]
    written = [store.read(key) for key in keys]
    for missing in ([], keys[:1], keys[1:], keys):
        for key in (*missing, layout.round_record(RUN, 2)):
            store.delete(key)
        again = aggregate_round(store, record, 2)
        assert [store.read(key) for key in keys] == written
        assert again.model_copy(update={"seconds": first.seconds}) == first


# Configuration.


def config(**server) -> RunConfig:
    return RunConfig.parse({"name": "a", "server": server})


@pytest.mark.parametrize("section", [None, {}, {"optimiser": "none"}, {"options": {}}])
def test_a_run_without_an_optimiser_has_the_record_of_a_run_from_before_the_section(section):
    stated = RunConfig.parse({"name": "a", "server": section})
    assert '"server"' not in stated.model_dump_json()


def test_the_optimiser_is_part_of_the_runs_identity():
    def identity(config: RunConfig) -> str:
        return RunRecord(config=config, initial_digest="0" * 64, parameters=1, fedvsr_version="0").identity

    changed = config(optimiser="adam", options={"tau": 0.1})
    assert RunConfig.model_validate_json(changed.model_dump_json()) == changed
    assert len({identity(changed), identity(config()), identity(config(optimiser="adam"))}) == 3


@pytest.mark.parametrize(
    ("sections", "error", "message"),
    [
        (
            {"strategy": {"name": "fedadam"}, "server": {"optimiser": "adam"}},
            ConfigError,
            "server.optimiser: 'adam' is not allowed; the strategy fedadam has a server optimiser of its own",
        ),
        (
            {"server": {"optimiser": "adm"}},
            UnknownNameError,
            "unknown server optimiser 'adm'; known: adagrad, ",
        ),
        (
            {"server": {"optimiser": "adam", "options": {"beta": 1}}},
            ConfigError,
            "server.options.beta: 1 is not allowed; no such field; known here: beta1, beta2, ",
        ),
        (
            {"strategy": {"name": "fedavgm", "options": {"beta": 1}}},
            ConfigError,
            "strategy.options.beta: 1 is not allowed; it must be less than 1",
        ),
    ],
)
def test_what_does_not_fit_is_refused_at_configuration(sections, error, message):
    with pytest.raises(error) as caught:
        check_settings(RunConfig.parse({"name": "a", **sections}))
    assert message in str(caught.value)


def test_options_without_an_optimiser_are_refused():
    with pytest.raises(ConfigError, match=r"^server\.options: .* they need a server\.optimiser"):
        config(options={"beta": 0.5})


@pytest.mark.parametrize("strategy", strategy_names())
def test_every_other_strategy_takes_a_server_optimiser(strategy):
    own = strategy in {"fedavgm", "fedadam", "fedyogi", "fedadagrad", "fedvsr-annealed"}
    sections = {
        "name": "a",
        "strategy": {"name": strategy},
        "server": {"optimiser": "yogi"},
        "federation": {"quorum": build_strategy(strategy).min_updates},
    }
    if own:
        with pytest.raises(ConfigError):
            check_settings(RunConfig.parse(sections))
    else:
        check_settings(RunConfig.parse(sections))


def test_a_strategy_with_an_optimiser_builds_it_with_its_own_options():
    from fedvsr.federation.server.optimiser import find_server_optimiser

    strategy = build_strategy("fedavgm", {"beta": 0.25})
    optimiser = find_server_optimiser(RunConfig.parse({"name": "a"}), strategy)
    assert isinstance(optimiser, Momentum)
    assert optimiser.options is strategy.options
    assert strategy.options.beta == 0.25
