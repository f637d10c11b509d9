"""What a federated strategy is: a term at the client, and an aggregation at the server.

The base class is FedAvg in everything that a strategy may change, so a strategy's file holds only what
is its own. A strategy keeps nothing in memory between rounds: its state travels as tensors, at the
server (`Aggregate.state`) and at the client (`LocalTerm.finish`).

A strategy declares its options as a `fedvsr.config.base.Section` and names it in ``Options``; its
instances have the values in ``options``::

    class FedProxOptions(Section):
        mu: float = Field(1e-3, ge=0, description="weight of the proximal term; 0 is FedAvg")


    class FedProx(Strategy):
        Options = FedProxOptions
        options: FedProxOptions

A built-in strategy is one file and one line in `fedvsr.strategies.registry`. A package brings its own by
an entry point of group ``fedvsr.strategies``, or a run names it ``package.module:name``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from fedvsr.config.base import NoOptions, Section
from fedvsr.strategies.averaging import weighted_mean
from fedvsr.strategies.updates import Updates
from fedvsr.weights import Array, TensorSpec

if TYPE_CHECKING:
    # Aggregation runs where PyTorch is not installed.
    from torch import Tensor, nn


@dataclass(frozen=True)
class Contribution:
    """What the server knows of a client's update beside its tensors.

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
        """Returns the tensors that go to the server and those that stay at the client."""
        return LocalResult()


class Strategy:
    """A federated strategy; as it is, FedAvg.

    Args:
        options: An instance of ``Options``; its defaults if None.

    Attributes:
        name: Its name in the registry.
        description: What it is, in one line.
        source: The paper: authors, title, venue and link; empty if there is none.
        Options: The fields that its options have.
        options: The values of its options.
        high_frequency_loss: Whether clients train with FedVSR's high-frequency loss.
        local_term: The strategy's part in local training.
        stateful: Whether a client keeps tensors between rounds.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    source: ClassVar[str] = ""
    Options: ClassVar[type[Section]] = NoOptions
    high_frequency_loss: ClassVar[bool] = False
    local_term: ClassVar[type[LocalTerm]] = LocalTerm
    stateful: ClassVar[bool] = False

    options: Section

    def __init__(self, options: Section | None = None) -> None:
        self.options = self.Options() if options is None else options

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

    def weigh(
        self, contributions: Iterable[Contribution], context: RoundContext
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Returns each client's share of the aggregate, which sum to 1, and diagnostics.

        Here the shares are by number of clips.
        """
        clips = {contribution.client: contribution.clips for contribution in contributions}
        total = sum(clips.values())
        return {client: count / total for client, count in clips.items()}, {}

    def aggregate(self, updates: RoundUpdates) -> Aggregate:
        """Aggregates a round's updates into new global weights.

        Raises:
            fedvsr.errors.UpdateError: An update is damaged, or has values that are not finite.
        """
        weights, diagnostics = self.weigh(updates.contributions, updates.context)
        return Aggregate(weighted_mean(updates.base, updates.updates, weights), weights, diagnostics)
