"""Learning rates and freezing by parameter name, which published training recipes use for flow networks."""

import re
from collections.abc import Mapping

from torch import nn
from torch.optim import Optimizer

from fedvsr.config.run import ParameterRule, TrainingConfig
from fedvsr.errors import ConfigError

_FIELD = "training.parameters"


class ParameterGroups:
    """The trainable parameters of a model, grouped by their rules.

    A parameter's rule is the first one whose pattern is found in its name. A frozen parameter gets no
    gradient, and the optimiser does not update its moments. Steps are counted from the run's first round, as
    if the client had trained in every round, because clients store no step count between rounds.

    Args:
        model: The model.
        training: The rules and the learning rate.
        first_step: Number of local steps in earlier rounds.

    Raises:
        fedvsr.errors.ConfigError: A pattern matches no parameter, or every parameter is frozen.
    """

    def __init__(self, model: nn.Module, training: TrainingConfig, first_step: int) -> None:
        self._first_step = first_step
        named = {name: value for name, value in model.named_parameters() if value.requires_grad}
        self._groups = _by_rule(named, training.parameters)
        with_rule = {id(value) for _, values in self._groups for value in values}
        without_rule = [value for value in named.values() if id(value) not in with_rule]
        multipliers = [1.0] if without_rule else []
        multipliers += [rule.learning_rate_multiplier for rule, _ in self._groups]
        members = [without_rule] if without_rule else []
        members += [values for _, values in self._groups]
        self._learning_rates = [training.learning_rate * multiplier for multiplier in multipliers]
        self.optimizer_groups = [
            {"params": values, "lr": rate} for values, rate in zip(members, self._learning_rates, strict=True)
        ]
        self.freeze(1)
        if not without_rule and not any(value.requires_grad for value in named.values()):
            frozen_steps = min(rule.frozen_steps for rule, _ in self._groups)
            raise ConfigError(
                _FIELD, f"frozen for {frozen_steps} steps", "some parameters must be trained from the start"
            )

    def freeze(self, step: int) -> None:
        """Freezes and unfreezes the parameters for a local step, counted from 1."""
        for rule, values in self._groups:
            trained = self._first_step + step > rule.frozen_steps
            for value in values:
                value.requires_grad_(trained)

    def set_learning_rates(self, optimizer: Optimizer, factor: float) -> None:
        """Sets the learning rate of each group to its own one times a factor."""
        for group, rate in zip(optimizer.param_groups, self._learning_rates, strict=True):
            group["lr"] = rate * factor

    def release(self) -> None:
        """Makes every parameter trainable again."""
        for _, values in self._groups:
            for value in values:
                value.requires_grad_(True)


def _by_rule(
    named: Mapping[str, nn.Parameter], rules: Mapping[str, ParameterRule]
) -> list[tuple[ParameterRule, list[nn.Parameter]]]:
    groups = []
    assigned: set[str] = set()
    for pattern, rule in rules.items():
        names = [name for name in named if name not in assigned and re.search(pattern, name)]
        if not names:
            raise ConfigError(f"{_FIELD}.{pattern}", pattern, "it must be found in a parameter's name")
        assigned.update(names)
        groups.append((rule, [named[name] for name in names]))
    return groups
