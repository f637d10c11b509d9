"""What local training needs, and what it results in."""

from dataclasses import dataclass

from fedvsr.federation.records import PlanRecord, RunRecord
from fedvsr.strategies.base import LocalResult
from fedvsr.training.local import TrainingSummary
from fedvsr.weights import Tensors


@dataclass(frozen=True)
class TrainingTask:
    """One client's training in a round, without its clips and the weights that it starts from.

    Attributes:
        record: The run's record.
        plan: The round's plan.
        client: The client's name.
        strategy_state: The strategy state, if clients need it.
        client_state: The client state after the last earlier round that the client took part in.
    """

    record: RunRecord
    plan: PlanRecord
    client: str
    strategy_state: Tensors
    client_state: Tensors

    @property
    def title(self) -> str:
        """The client and the round, to begin an error's message with."""
        return f"client {self.client!r}, round {self.plan.round}"


@dataclass(frozen=True)
class LocalTraining:
    """The result of local training.

    Attributes:
        weights: The client's weights.
        local: The strategy tensors and the client state.
        summary: The numbers of the training.
        clips: The number of the client's clips.
        device: The device, in words.
    """

    weights: Tensors
    local: LocalResult
    summary: TrainingSummary
    clips: int
    device: str
