"""What a federated strategy is: a term at the client, and an aggregation at the server.

Everything a strategy may differ in has a default here that is FedAvg's, so that a strategy's file
holds what is its own. A strategy keeps nothing in memory between rounds: what it carries travels
as tensors, at the server (`Aggregate.state`) and at the client (`LocalTerm.finish`).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from fedvsr.strategies.averaging import weighted_mean
from fedvsr.strategies.updates import Updates
from fedvsr.weights import Array, TensorSpec

if TYPE_CHECKING:
    # Aggregation runs where PyTorch is not installed.
    from torch import Tensor, nn


@dataclass(frozen=True)
class Contribution:
    """What the server knows of a client's update besides its tensors.

    Attributes:
        client: The client's name.
        loss: Mean of the training loss over its local steps.
        clips: Number of clips in its shards.
        steps: Number of local steps it took.
    """

    client: str
    loss: float
    clips: int
    steps: int


@dataclass(frozen=True)
class RoundContext:
    """Which round is aggregated: round 1 to ``rounds``, of ``clients`` clients in all."""

    round_number: int
    rounds: int
    clients: int


@dataclass(frozen=True)
class RoundUpdates:
    """All that an aggregation is a function of.

    Attributes:
        base: The global weights that the clients started from.
        updates: The clients' weights; reading them verifies them.
        strategy_tensors: The strategy tensors of the clients that sent some.
        contributions: What else is known of each update, in the same order.
        context: The round.
        strategy_state: The strategy's state after the previous round.
    """

    base: Mapping[str, Array]
    updates: Updates
    strategy_tensors: Updates
    contributions: tuple[Contribution, ...]
    context: RoundContext
    strategy_state: Mapping[str, Array]


@dataclass(frozen=True)
class Aggregate:
    """The outcome of an aggregation.

    Attributes:
        tensors: The new global weights, with the base's names, shapes and dtypes.
        weights: Each client's share, where the strategy gives one number to a client.
        diagnostics: Numbers about the aggregation, for the round's record and MLflow.
        strategy_state: What the strategy keeps at the server for the next round.
    """

    tensors: dict[str, Array]
    weights: dict[str, float] = field(default_factory=dict)
    diagnostics: dict[str, float] = field(default_factory=dict)
    strategy_state: dict[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class LocalResult:
    """What a local term has at the end of training.

    Attributes:
        strategy_tensors: Tensors that go to the server beside the weights.
        client_state: Tensors that stay in the client's own store until its next round.
    """

    strategy_tensors: dict[str, Array] = field(default_factory=dict)
    client_state: dict[str, Array] = field(default_factory=dict)


class LocalTerm:
    """What a strategy does during one client's local training; this one does nothing.

    Args:
        model: The model, with the global weights loaded.
        global_state: The strategy's state at the server after the previous round.
        client_state: What the strategy kept at this client after its last round.
    """

    def __init__(
        self, model: "nn.Module", global_state: Mapping[str, Array], client_state: Mapping[str, Array]
    ) -> None:
        self.model = model

    def penalty(self, degraded: "Tensor") -> "Tensor | None":
        """Returns a scalar to add to the loss of a batch (N, T, 3, h, w), or None."""
        return None

    def correct_gradients(self) -> None:
        """Changes the gradients, after the backward pass and before the optimiser's step."""

    def finish(self) -> LocalResult:
        """Returns what goes to the server and what stays here."""
        return LocalResult()


class Strategy(ABC):
    """A federated strategy; a subclass's constructor takes its options as keywords."""

    name: ClassVar[str]
    description: ClassVar[str]
    high_frequency_loss: ClassVar[bool] = False
    """Whether clients train with FedVSR's high-frequency loss."""
    local_term: ClassVar[type[LocalTerm]] = LocalTerm
    stateful: ClassVar[bool] = False
    """Whether a client keeps tensors between rounds."""

    def make_local_term(
        self, model: "nn.Module", global_state: Mapping[str, Array], client_state: Mapping[str, Array]
    ) -> LocalTerm:
        """Returns the strategy's part in one client's training."""
        return self.local_term(model, global_state, client_state)

    def check_strategy_tensors(
        self, specs: Mapping[str, TensorSpec], base_specs: Mapping[str, TensorSpec]
    ) -> str | None:
        """Returns what is wrong with a client's strategy tensors, or None.

        Args:
            specs: Shape and dtype of each strategy tensor.
            base_specs: Shape and dtype of each tensor of the global weights.
        """
        for name in sorted(specs):
            return f"strategy tensor {name!r}: {self.name} sends none"
        return None

    @abstractmethod
    def weigh(
        self, contributions: Iterable[Contribution], context: RoundContext
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Returns each client's share of the aggregate (sum 1) and diagnostics."""

    def aggregate(self, updates: RoundUpdates) -> Aggregate:
        """Aggregates a round's updates into new global weights.

        Raises:
            fedvsr.errors.UpdateError: An update is damaged, or has values that are not finite.
        """
        weights, diagnostics = self.weigh(updates.contributions, updates.context)
        return Aggregate(weighted_mean(updates.base, updates.updates, weights), weights, diagnostics)
