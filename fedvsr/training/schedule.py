"""Learning-rate schedules as functions of the run's progress.

A run may be stopped and continued, and clients take part in some rounds only, so a schedule counts no steps.
The progress of local step s of S in round r of R is p = (r − 1 + (s − 1)/S)/R, in [0, 1). Training in one
long round has the same schedule as in many short ones.

- warm-up: p/w for p < w, the share of the run for it; the rest of the run is q = (p − w)/(1 − w)
- constant: 1
- linear: 1 for q ≤ h, then 1 − (1 − f)·(q − h)/(1 − h), where f is the final factor and h the share to hold
- cosine: f + (1 − f)·(1 + cos(π·q))/2
- cosine-restarts: cosine over each of n + 1 equal parts of the rest

Source: Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017,
https://arxiv.org/abs/1608.03983.
"""

import math
from dataclasses import dataclass

from fedvsr.config.schedule import ScheduleConfig


@dataclass(frozen=True)
class RoundSchedule:
    """The learning rates of a client's local steps in one round.

    Attributes:
        config: The schedule.
        round_number: The round, from 1.
        rounds: Number of rounds of the run.
        steps: Number of local steps in the round.
    """

    config: ScheduleConfig
    round_number: int
    rounds: int
    steps: int

    def factor(self, step: int) -> float:
        """Returns the factor of the learning rate in a local step, counted from 1; in [0, 1]."""
        return factor_at(self.config, (self.round_number - 1 + (step - 1) / self.steps) / self.rounds)


def factor_at(config: ScheduleConfig, progress: float) -> float:
    """Returns the factor of the learning rate, in [0, 1].

    Args:
        config: The schedule.
        progress: The share of the run that is over, in [0, 1).
    """
    warmup = config.warmup_share
    if progress < warmup:
        return progress / warmup
    rest = (progress - warmup) / (1 - warmup)
    span = 1 - config.final_factor
    match config.name:
        case "constant":
            return 1.0
        case "linear":
            return 1 - span * max(0.0, rest - config.hold_share) / (1 - config.hold_share)
        case "cosine-restarts":
            rest = rest * (config.restarts + 1) % 1
    return config.final_factor + span * (1 + math.cos(math.pi * rest)) / 2
