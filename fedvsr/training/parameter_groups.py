"""Learning rates and freezing by parameter name, as published recipes have for flow networks."""

import re
from collections.abc import Mapping

from torch import nn

from fedvsr.config.run import ParameterRule, TrainingConfig
from fedvsr.errors import ConfigError

_FIELD = "training.parameters"


class ParameterGroups:
    """The parameters that are trained, by the rule that fits each.

    A parameter's rule is the first whose pattern is found in its name. A frozen parameter takes no part in
    the backward pass, and the optimiser keeps no moments of it until it is thawed. Steps count from the
    run's first round, as if the client had been in every one of them: nothing is kept between rounds.

    Args:
        model: The model.
        training: Its rules and learning rate.
        first_step: How many steps the run had before this round.

    Raises:
        fedvsr.errors.ConfigError: A pattern fits no parameter, or nothing is left to train.
    """

    def __init__(self, model: nn.Module, training: TrainingConfig, first_step: int) -> None:
        self._first_step = first_step
        named = {name: value for name, value in model.named_parameters() if value.requires_grad}
        self._ruled = _by_rule(named, training.parameters)
        ruled = {id(value) for _, values in self._ruled for value in values}
        free = [value for value in named.values() if id(value) not in ruled]
        rate = training.learning_rate
        self.optimizer_groups = [{"params": free, "lr": rate}] if free else []
        self.optimizer_groups += [
            {"params": values, "lr": rate * rule.learning_rate_multiplier} for rule, values in self._ruled
        ]
        self.freeze(1)
        if not free and not any(value.requires_grad for value in named.values()):
            longest = min(rule.frozen_steps for rule, _ in self._ruled)
            raise ConfigError(
                f"{_FIELD}", f"frozen for {longest} steps", "some parameters must be trained from the start"
            )

    def freeze(self, step: int) -> None:
        """Freezes or thaws what is to be frozen or thawed in a local step, counted from 1."""
        for rule, values in self._ruled:
            trained = self._first_step + step > rule.frozen_steps
            for value in values:
                value.requires_grad_(trained)

    def release(self) -> None:
        """Leaves the model as it came, with every parameter trainable."""
        for _, values in self._ruled:
            for value in values:
                value.requires_grad_(True)


def _by_rule(
    named: Mapping[str, nn.Parameter], rules: Mapping[str, ParameterRule]
) -> list[tuple[ParameterRule, list[nn.Parameter]]]:
    found = []
    taken: set[str] = set()
    for pattern, rule in rules.items():
        names = [name for name in named if name not in taken and re.search(pattern, name)]
        if not names:
            raise ConfigError(f"{_FIELD}.{pattern}", pattern, "it must be found in a parameter's name")
        taken.update(names)
        found.append((rule, [named[name] for name in names]))
    return found
