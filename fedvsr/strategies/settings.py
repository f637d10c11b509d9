"""Settings of a run that some strategies bring along: the learning-rate schedule and the averaging."""

from fedvsr.config.run import RunConfig
from fedvsr.config.schedule import ScheduleConfig
from fedvsr.config.server import ServerConfig
from fedvsr.errors import ConfigError
from fedvsr.strategies.base import Strategy


def schedule_of(config: RunConfig, strategy: Strategy) -> ScheduleConfig:
    """Returns the strategy's own learning-rate schedule, or else the run's.

    Raises:
        fedvsr.errors.ConfigError: Both have one.
    """
    schedule = config.training.schedule
    if strategy.schedule is None:
        return schedule
    if schedule != ScheduleConfig():
        raise _conflict("training.schedule.name", schedule.name, strategy, "a learning-rate schedule")
    return strategy.schedule


def averaging_of(config: RunConfig, strategy: Strategy) -> ServerConfig:
    """Returns the strategy's own averaging of weights, or else the run's.

    Raises:
        fedvsr.errors.ConfigError: Both have one.
    """
    server = config.server
    if strategy.averaging is None:
        return server
    if server.averaging != "none":
        raise _conflict("server.averaging", server.averaging, strategy, "averaged weights")
    return strategy.averaging


def _conflict(field: str, value: str, strategy: Strategy, what: str) -> ConfigError:
    return ConfigError(
        field, value, f"the strategy {strategy.name} has {what} of its own: set strategy.options instead"
    )
