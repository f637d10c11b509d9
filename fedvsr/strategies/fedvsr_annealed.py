"""FedVSR, and what makes the steps across rounds smaller: momentum, annealing and averaged weights.

A round trains on the videos of a few clients, so the global weights move with who took part. Three things
smooth this, and none of them needs a memory at the clients:

- Momentum at the server carries on what several rounds agree about (Hsu et al. 2019). The fewer of a round's
  clients deliver, the smaller it is.
- The learning rate holds, and falls linearly in the last part of the run. It is a function of the run's
  progress, like the exponent of FedVSR's loss-aware weights.
- The weights of the last rounds are averaged beside the training (Polyak and Juditsky 1992).
"""

from pydantic import Field

from fedvsr.config.schedule import ScheduleConfig
from fedvsr.config.server import ServerConfig
from fedvsr.server_optimisers.momentum import Momentum, MomentumOptions
from fedvsr.strategies.fedvsr import FedVSR, FedVSROptions


class FedVSRAnnealedOptions(FedVSROptions, MomentumOptions):
    """The options of FedVSR with annealing."""

    beta: float = Field(0.5, ge=0, lt=1, description="share of the server's momentum that is kept (β)")
    by_participation: bool = Field(
        True, description="whether β is multiplied by the share of the round's clients that delivered"
    )
    hold_share: float = Field(
        0.6, ge=0, lt=1, description="share of the run before the learning rate begins to fall"
    )
    final_factor: float = Field(
        0.01, ge=0, le=1, description="share of the learning rate that is left at the end"
    )
    averaging_decay: float = Field(
        0.7, gt=0, lt=1, description="how much less the round before counts in the averaged weights"
    )


class FedVSRAnnealed(FedVSR):
    """FedVSR with server momentum, a learning rate that falls at the end, and averaged weights."""

    name = "fedvsr-annealed"
    description = "fedvsr with server momentum, falling learning rates at the end, and averaged weights"
    source = "fedvsr, docs/methods.md"
    Options = FedVSRAnnealedOptions
    server_optimiser = Momentum

    options: FedVSRAnnealedOptions

    @property
    def schedule(self) -> ScheduleConfig:
        options = self.options
        return ScheduleConfig(name="linear", hold_share=options.hold_share, final_factor=options.final_factor)

    @property
    def averaging(self) -> ServerConfig:
        return ServerConfig(averaging="exponential", averaging_decay=self.options.averaging_decay)
