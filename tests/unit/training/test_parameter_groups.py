"""Parameters with their own learning rates, and parameters that are frozen at first."""

import copy

import pytest
import torch
from torch import nn

from fedvsr.config.run import TrainingConfig
from fedvsr.errors import ConfigError
from fedvsr.strategies.base import LocalTerm
from fedvsr.training.local import train_locally
from fedvsr.training.objective import Objective
from fedvsr.training.parameter_groups import ParameterGroups
from tests.unit.training.toys import CPU, Stack, make_batches


def train(model, rules, *, steps=4, first_step=0, rate=1e-2):
    training = TrainingConfig.parse({"learning_rate": rate, "parameters": rules})
    train_locally(
        model,
        make_batches(steps),
        Objective(lambda_hf=0.0),
        LocalTerm(model, {}, {}),
        training,
        CPU,
        first_step=first_step,
    )
    return {name: value.detach().clone() for name, value in model.named_parameters()}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Stack()


def test_a_frozen_parameter_stays_and_the_others_move(model):
    before = copy.deepcopy(dict(model.named_parameters()))
    after = train(model, {"^flow": {"frozen_steps": 4}})
    assert torch.equal(after["flow.weight"], before["flow.weight"])
    assert not torch.equal(after["tail.weight"], before["tail.weight"])
    assert all(value.requires_grad for value in model.parameters())


def test_freezing_ends_at_the_configured_step_of_the_run(model):
    start = copy.deepcopy(model)
    rules = {"^flow": {"frozen_steps": 6}}
    assert torch.equal(train(model, rules, first_step=2)["flow.weight"], start.flow.weight)
    other = copy.deepcopy(start)
    assert not torch.equal(train(other, rules, first_step=3)["flow.weight"], start.flow.weight)


def test_adams_first_step_is_the_learning_rate_times_the_multiplier(model):
    # Without history Adam moves every parameter by its learning rate, whatever the gradient.
    before = copy.deepcopy(dict(model.named_parameters()))
    after = train(model, {"^flow": {"learning_rate_multiplier": 0.25}}, steps=1)
    flow = (after["flow.weight"] - before["flow.weight"]).abs()
    tail = (after["tail.weight"] - before["tail.weight"]).abs()
    torch.testing.assert_close(flow, torch.full_like(flow, 0.25e-2), rtol=1e-2, atol=0)
    torch.testing.assert_close(tail, torch.full_like(tail, 1e-2), rtol=1e-2, atol=0)


def test_the_first_matching_rule_applies(model):
    training = TrainingConfig.parse(
        {"parameters": {"weight": {"learning_rate_multiplier": 0.5}, "tail": {"learning_rate_multiplier": 2}}}
    )
    groups = ParameterGroups(model, training, 0).optimizer_groups
    rates = {id(value): group["lr"] for group in groups for value in group["params"]}
    assert rates[id(model.tail.weight)] == 0.5 * training.learning_rate
    assert rates[id(model.tail.bias)] == 2 * training.learning_rate


def test_without_rules_all_parameters_are_one_group(model):
    (group,) = ParameterGroups(model, TrainingConfig(), 0).optimizer_groups
    assert list(group["params"]) == list(model.parameters())


def test_a_pattern_that_matches_nothing_is_refused(model):
    with pytest.raises(ConfigError, match=r"training.parameters.spynet.*must be found in a parameter's name"):
        ParameterGroups(model, TrainingConfig.parse({"parameters": {"spynet": {}}}), 0)


def test_freezing_everything_is_refused():
    rules = {"": {"frozen_steps": 10}}
    with pytest.raises(ConfigError, match="some parameters must be trained"):
        ParameterGroups(nn.Linear(1, 1), TrainingConfig.parse({"parameters": rules}), 0)
