"""Learning-rate schedules: their values, and that only the run's progress decides them."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedvsr.config.run import RunConfig, TrainingConfig
from fedvsr.config.schedule import ScheduleConfig
from fedvsr.errors import ConfigError
from fedvsr.federation.run.prepare import prepare_run
from fedvsr.strategies.base import LocalTerm
from fedvsr.training.local import train_locally
from fedvsr.training.objective import Objective
from fedvsr.training.schedule import RoundSchedule, factor_at
from tests.unit.training.toys import CPU, Stack, make_batches


def schedule(**fields) -> ScheduleConfig:
    return ScheduleConfig.parse(fields, "training.schedule.")


schedules = st.one_of(
    st.builds(ScheduleConfig, warmup_share=st.floats(0, 0.9)),
    st.builds(
        ScheduleConfig,
        name=st.sampled_from(["linear", "cosine"]),
        warmup_share=st.floats(0, 0.9),
        final_factor=st.floats(0, 1),
    ),
    st.builds(
        ScheduleConfig,
        name=st.just("cosine-restarts"),
        warmup_share=st.floats(0, 0.9),
        final_factor=st.floats(0, 1),
        restarts=st.integers(1, 5),
    ),
)


@pytest.mark.parametrize(
    ("fields", "progress", "factor"),
    [
        ({}, 0.9, 1.0),
        ({"name": "linear", "final_factor": 0.2}, 0.25, 0.8),
        ({"name": "cosine"}, 0.0, 1.0),
        ({"name": "cosine"}, 0.5, 0.505),
        ({"name": "cosine", "final_factor": 0}, 1 / 3, 0.75),
        ({"name": "cosine", "final_factor": 0, "warmup_share": 0.4}, 0.7, 0.5),
        ({"warmup_share": 0.4}, 0.1, 0.25),
        ({"warmup_share": 0.4}, 0.0, 0.0),
        ({"name": "cosine-restarts", "final_factor": 0, "restarts": 2}, 1 / 6, 0.5),
        ({"name": "cosine-restarts", "final_factor": 0, "restarts": 2}, 1 / 3 + 1e-12, 1.0),
        ({"name": "cosine-restarts", "final_factor": 0, "restarts": 2}, 5 / 6, 0.5),
    ],
)
def test_a_factor_is_that_of_the_formula(fields, progress, factor):
    assert factor_at(schedule(**fields), progress) == pytest.approx(factor, abs=1e-9)


@given(config=schedules, progress=st.floats(0, 1, exclude_max=True))
def test_a_factor_is_between_nothing_and_the_whole_learning_rate(config, progress):
    factor = factor_at(config, progress)
    assert -1e-12 <= factor <= 1 + 1e-12
    if progress >= config.warmup_share and config.name != "constant":
        assert factor >= config.final_factor - 1e-12


@given(config=schedules, rounds=st.integers(1, 6), steps=st.integers(1, 6))
def test_one_long_round_has_the_factors_of_many_short_ones(config, rounds, steps):
    whole = [
        RoundSchedule(config, 1, 1, rounds * steps).factor(step) for step in range(1, rounds * steps + 1)
    ]
    parts = [
        RoundSchedule(config, number, rounds, steps).factor(step)
        for number in range(1, rounds + 1)
        for step in range(1, steps + 1)
    ]
    # A restart is a jump, which the last bit of the progress may move by one step.
    near = [math.isclose(first, second, abs_tol=1e-9) for first, second in zip(whole, parts, strict=True)]
    assert near.count(False) <= (config.restarts if config.name == "cosine-restarts" else 0)


def test_the_learning_rates_of_all_groups_follow_the_schedule():
    torch.manual_seed(0)
    model = Stack()
    seen = []

    class Watching(LocalTerm):
        def correct_gradients(self) -> None:
            self.before = {name: value.detach().clone() for name, value in model.named_parameters()}

    term = Watching(model, {}, {})

    def moved(step: int, loss: float) -> None:
        after = dict(model.named_parameters())
        seen.append(
            [
                float((after[name].detach() - term.before[name]).abs().max())
                for name in ("flow.bias", "tail.bias")
            ]
        )

    training = TrainingConfig.parse(
        {
            "learning_rate": 1e-2,
            "parameters": {"^flow": {"learning_rate_multiplier": 0.5}},
            "beta1": 0,
            "beta2": 0,
        }
    )
    # With β₁ = β₂ = 0, Adam moves every parameter by its learning rate.
    factors = [1.0, 0.5, 0.0]
    train_locally(
        model,
        make_batches(3),
        Objective(lambda_hf=0.0),
        term,
        training,
        CPU,
        moved,
        learning_rate_factor=lambda step: factors[step - 1],
    )
    for factor, (flow, tail) in zip(factors, seen, strict=True):
        assert flow == pytest.approx(0.5e-2 * factor, rel=1e-3)
        assert tail == pytest.approx(1e-2 * factor, rel=1e-3)


@pytest.mark.parametrize(
    ("fields", "field", "allowed"),
    [
        ({"name": "cos"}, "name", "it must be 'constant', 'linear', 'cosine' or 'cosine-restarts'"),
        ({"warmup_share": 1}, "warmup_share", "it must be less than 1"),
        ({"final_factor": 0.5}, "final_factor", "the schedule constant has no final_factor"),
        ({"name": "cosine", "final_factor": 2}, "final_factor", "it must be less than or equal to 1"),
        ({"name": "cosine", "restarts": 2}, "restarts", "the schedule cosine has no restarts"),
        ({"name": "cosine-restarts", "restarts": 0}, "restarts", "it must be greater than or equal to 1"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(fields, field, allowed):
    with pytest.raises(ConfigError) as caught:
        RunConfig.parse({"name": "a", "training": {"schedule": fields}})
    assert (caught.value.field, caught.value.allowed) == (f"training.schedule.{field}", allowed)


def test_a_constant_schedule_leaves_no_trace_in_a_record():
    stated = RunConfig.parse({"name": "a", "training": {"schedule": {"name": "constant"}}})
    assert "schedule" not in stated.model_dump_json()
    changed = RunConfig.parse({"name": "a", "training": {"schedule": {"name": "linear"}}})
    assert RunConfig.model_validate_json(changed.model_dump_json()) == changed


@pytest.mark.parametrize("fields", [{"name": "cosine"}, {"warmup_share": 0.1}])
def test_the_rounds_of_a_run_with_a_schedule_cannot_be_raised(workspace, make_config, fields):
    store = workspace.federation()
    config = make_config(training__schedule=fields, federation__rounds=3)
    prepare_run(store, config)
    prepare_run(store, config)
    with pytest.raises(ConfigError, match=r"^federation\.rounds: 4 .* was started with 3, and its schedule"):
        prepare_run(store, make_config(training__schedule=fields, federation__rounds=4))
