"""Finds a strategy by its name."""

import importlib
import inspect
import math
from collections.abc import Mapping

from fedvsr.errors import ConfigError, UnknownNameError
from fedvsr.strategies.base import Strategy

_STRATEGIES = {
    "fedavg": "fedvsr.strategies.fedavg:FedAvg",
    "fedmedian": "fedvsr.strategies.fedmedian:FedMedian",
    "fedprox": "fedvsr.strategies.fedprox:FedProx",
    "fedsr": "fedvsr.strategies.fedsr:FedSR",
    "fedvsr": "fedvsr.strategies.fedvsr:FedVSR",
    "fedvsr-ala": "fedvsr.strategies.fedvsr_ala:FedVSRLossAware",
    "fedvsr-hf": "fedvsr.strategies.fedvsr_hf:FedVSRHighFrequency",
    "scaffold": "fedvsr.strategies.scaffold:Scaffold",
}

# The types that a strategy's options have, in words.
_KINDS = {float: "a number", str: "a string"}


def strategy_names() -> tuple[str, ...]:
    """Returns the names that `build_strategy` knows."""
    return tuple(_STRATEGIES)


def strategy_class(name: str) -> type[Strategy]:
    """Returns a strategy's class; raises `fedvsr.errors.UnknownNameError`."""
    if name not in _STRATEGIES:
        raise UnknownNameError("strategy", name, _STRATEGIES)
    module, _, attribute = _STRATEGIES[name].partition(":")
    found: type[Strategy] = getattr(importlib.import_module(module), attribute)
    return found


def build_strategy(name: str, options: Mapping[str, object] | None = None) -> Strategy:
    """Builds a strategy with its options.

    Raises:
        fedvsr.errors.UnknownNameError: No strategy has that name.
        fedvsr.errors.ConfigError: An option is unknown or has a value that is not allowed.
    """
    cls = strategy_class(name)
    known = inspect.signature(cls).parameters
    values = dict(options or {})
    for option, value in values.items():
        if option not in known:
            raise ConfigError(
                f"strategy.options.{option}",
                value,
                f"no such option of {name}; known: {', '.join(known) or 'none'}",
            )
        expected = known[option].annotation
        if expected is float and isinstance(value, int) and not isinstance(value, bool):
            values[option] = float(value)
        elif not isinstance(value, expected) or isinstance(value, bool):
            raise ConfigError(f"strategy.options.{option}", value, f"it must be {_KINDS[expected]}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"strategy.options.{option}", value, "it must be finite")
    return cls(**values)
