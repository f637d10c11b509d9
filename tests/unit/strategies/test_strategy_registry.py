"""The registry of strategies, and the errors for wrong options."""

import math
import subprocess
import sys

import pytest

from fedvsr.errors import ConfigError, UnknownNameError
from fedvsr.strategies.base import Contribution, RoundContext, Strategy
from fedvsr.strategies.fedprox import FedProx
from fedvsr.strategies.registry import build_strategy, strategy_class, strategy_names


@pytest.mark.parametrize("name", strategy_names())
def test_a_strategy_has_its_registered_name_and_a_description(name):
    strategy = build_strategy(name)
    assert strategy.name == name
    assert strategy_class(name) is type(strategy)
    assert strategy.description
    assert "https://" in strategy.source or strategy.source.startswith("fedvsr")
    assert all(field.description for field in strategy.Options.model_fields.values())


def test_the_papers_strategies_the_ablations_and_those_of_other_systems_are_registered():
    assert set(strategy_names()) == {
        *("fedavg", "fedprox", "scaffold", "fedmedian", "fedsr"),
        *("fedvsr", "fedvsr-ala", "fedvsr-hf", "fedvsr-annealed"),
        *("fedavgm", "fedadam", "fedyogi", "fedadagrad"),
        *("fedtrimmedavg", "krum", "multikrum", "bulyan", "geometric-median"),
        *("qfedavg", "fednova", "feddyn", "moon"),
    }


def test_only_fedvsr_its_successor_and_its_loss_ablation_train_with_the_high_frequency_loss():
    assert {name for name in strategy_names() if build_strategy(name).high_frequency_loss} == {
        "fedvsr",
        "fedvsr-annealed",
        "fedvsr-hf",
    }


def test_the_error_for_an_unknown_name_lists_the_known_ones():
    with pytest.raises(
        UnknownNameError, match=r"^unknown strategy 'fedvrs'; known: bulyan, fedadagrad, fedadam, "
    ):
        build_strategy("fedvrs")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "fedprox",
            {"nu": 1.0},
            "strategy.options.nu: 1.0 is not allowed; no such field; known here: mu",
        ),
        (
            "fedavg",
            {"mu": 1.0},
            "strategy.options.mu: 1.0 is not allowed; no such field; known here: weigh_by",
        ),
        ("fedprox", {"mu": "much"}, "strategy.options.mu: 'much' is not allowed; it must be a valid number"),
        ("fedprox", {"mu": True}, "strategy.options.mu: True is not allowed; it must be a number"),
        ("fedprox", {"mu": None}, "strategy.options.mu: None is not allowed; it must be a valid number"),
        (
            "fedprox",
            {"mu": -1},
            "strategy.options.mu: -1 is not allowed; it must be greater than or equal to 0",
        ),
        ("fedprox", {"mu": math.inf}, "strategy.options.mu: inf is not allowed; it must be a finite number"),
        ("fedprox", {"mu": math.nan}, "strategy.options.mu: nan is not allowed; it must be a finite number"),
        ("scaffold", {"global_learning_rate": 0}, "it must be greater than 0"),
        ("fedsr", {"layer": 3}, "strategy.options.layer: 3 is not allowed; it must be a valid string"),
        ("fedsr", {"temperature": 0.0}, "strategy.options.temperature: 0.0 is not allowed"),
        (
            "fedsr",
            {"weight": -0.1},
            "strategy.options.weight: -0.1 is not allowed; it must be greater than or equal to 0",
        ),
        ("fedvsr", {"threshold": 1}, "it must be less than 1"),
        (
            "fedtrimmedavg",
            {"beta": 0.5},
            "strategy.options.beta: 0.5 is not allowed; it must be less than 0.5",
        ),
    ],
)
def test_the_error_names_a_wrong_option(name, options, message):
    with pytest.raises(ConfigError) as caught:
        build_strategy(name, options)
    assert message in str(caught.value)


def test_the_base_class_is_fedavg():
    contributions = [Contribution("ann", 1.0, clips=1, steps=1), Contribution("bob", 2.0, clips=3, steps=1)]
    assert Strategy().weigh(contributions, RoundContext(1, 2, 2)) == ({"ann": 0.25, "bob": 0.75}, {})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_package:Strategy", "cannot be imported"),
        ("fedvsr.strategies.fedavg:Nothing", "cannot be imported"),
        ("fedvsr.strategies.base:LocalTerm", "LocalTerm, not a subclass of fedvsr.strategies.base.Strategy"),
        ("fedvsr.strategies.loss_aware:DEFAULT_THRESHOLD", "is a float, not a subclass"),
    ],
)
def test_a_reference_to_something_else_is_refused(name, message):
    with pytest.raises(ConfigError, match=message) as caught:
        build_strategy(name)
    assert (caught.value.field, caught.value.value) == ("strategy.name", name)


def test_a_strategy_by_reference():
    assert isinstance(build_strategy("fedvsr.strategies.fedprox:FedProx", {"mu": 2}), FedProx)


def test_an_integer_is_accepted_as_a_number():
    assert build_strategy("fedprox", {"mu": 1}).options.mu == 1.0


def test_aggregation_needs_no_pytorch():
    # None in sys.modules makes every import of it fail.
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from fedvsr.strategies.registry import build_strategy, strategy_names\n"
        "import fedvsr.federation.server.aggregate\n"
        "print(*[build_strategy(name).name for name in strategy_names()])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert tuple(done.stdout.split()) == strategy_names()


@pytest.mark.parametrize("name", ["fedavg", "fedprox", "fedvsr-hf"])
@pytest.mark.parametrize(
    ("options", "share"), [({}, 0.25), ({"weigh_by": "clips"}, 0.25), ({"weigh_by": "samples"}, 0.9)]
)
def test_averaging_strategies_count_clips_or_samples(name, options, share):
    contributions = [
        Contribution("ann", 1.0, clips=1, steps=3, samples=18),
        Contribution("bob", 2.0, clips=3, steps=2, samples=2),
    ]
    weights, diagnostics = build_strategy(name, options).weigh(contributions, RoundContext(1, 2, 2))
    assert weights == pytest.approx({"ann": share, "bob": 1 - share})
    assert diagnostics == {}
