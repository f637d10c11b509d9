"""The registry of strategies. A built-in strategy is one file in this folder, and one line here."""

from collections.abc import Mapping

from fedvsr.registry import registry_of_subclasses
from fedvsr.strategies.base import Strategy

_BUILT_INS = {
    "bulyan": "fedvsr.strategies.bulyan:Bulyan",
    "fedadagrad": "fedvsr.strategies.fedadagrad:FedAdagrad",
    "fedadam": "fedvsr.strategies.fedadam:FedAdam",
    "fedavg": "fedvsr.strategies.fedavg:FedAvg",
    "fedavgm": "fedvsr.strategies.fedavgm:FedAvgM",
    "feddyn": "fedvsr.strategies.feddyn:FedDyn",
    "fedmedian": "fedvsr.strategies.fedmedian:FedMedian",
    "fednova": "fedvsr.strategies.fednova:FedNova",
    "fedprox": "fedvsr.strategies.fedprox:FedProx",
    "fedsr": "fedvsr.strategies.fedsr:FedSR",
    "fedtrimmedavg": "fedvsr.strategies.fedtrimmedavg:FedTrimmedAvg",
    "fedvsr": "fedvsr.strategies.fedvsr:FedVSR",
    "fedvsr-ala": "fedvsr.strategies.fedvsr_ala:FedVSRLossAware",
    "fedvsr-annealed": "fedvsr.strategies.fedvsr_annealed:FedVSRAnnealed",
    "fedvsr-hf": "fedvsr.strategies.fedvsr_hf:FedVSRHighFrequency",
    "fedyogi": "fedvsr.strategies.fedyogi:FedYogi",
    "geometric-median": "fedvsr.strategies.geometric_median:GeometricMedian",
    "krum": "fedvsr.strategies.krum:Krum",
    "moon": "fedvsr.strategies.moon:Moon",
    "multikrum": "fedvsr.strategies.multikrum:MultiKrum",
    "qfedavg": "fedvsr.strategies.qfedavg:QFedAvg",
    "scaffold": "fedvsr.strategies.scaffold:Scaffold",
}


STRATEGIES = registry_of_subclasses(
    Strategy,
    kind="strategy",
    field="strategy.name",
    group="fedvsr.strategies",
    built_ins=_BUILT_INS,
)


def strategy_names() -> tuple[str, ...]:
    """Returns the names of the built-in strategies and of the installed entry points, sorted."""
    return STRATEGIES.names()


def strategy_class(name: str) -> type[Strategy]:
    """Returns a strategy's class.

    Args:
        name: One of `strategy_names`, or a reference ``package.module:name``.

    Raises:
        fedvsr.errors.UnknownNameError: No strategy has that name.
        fedvsr.errors.ConfigError: The reference cannot be imported, or is not a strategy.
    """
    return STRATEGIES.load(name)


def build_strategy(name: str, options: Mapping[str, object] | None = None) -> Strategy:
    """Builds a strategy with its options.

    Args:
        name: One of `strategy_names`, or a reference ``package.module:name``.
        options: Values of the strategy's ``Options``; missing options get their defaults.

    Raises:
        fedvsr.errors.UnknownNameError: No strategy has that name.
        fedvsr.errors.ConfigError: The reference cannot be imported or is not a strategy, or an option is
            unknown or has a value that is not allowed.
    """
    strategy_type = strategy_class(name)
    return strategy_type(strategy_type.Options.parse(dict(options or {}), "strategy.options."))
