"""The base class of federated strategies: a term at the client, and an aggregation at the server.

The base class implements FedAvg, so a strategy's file contains only what differs from it. A strategy keeps
nothing in memory between rounds. Its state is stored as tensors: at the server the strategy state
(`Aggregate.strategy_state`), at the client the client state (`LocalResult.client_state`).

A strategy declares its options as a `fedvsr.config.base.Section` and names it in ``Options``; its
instances hold the values in ``options``::

    class FedProxOptions(Section):
        mu: float = Field(1e-3, ge=0, description="weight of the proximal term; 0 is FedAvg")


    class FedProx(Strategy):
        Options = FedProxOptions
        options: FedProxOptions

A built-in strategy is one file and one line in `fedvsr.strategies.registry`. A package provides another one
through an entry point of the group ``fedvsr.strategies``, or a run names it ``package.module:name``.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from fedvsr.config.base import NoOptions, Section
from fedvsr.config.schedule import ScheduleConfig
from fedvsr.config.server import ServerConfig
from fedvsr.errors import QuorumError
from fedvsr.server_optimisers.base import ServerOptimiser
from fedvsr.strategies.averaging import weighted_mean
from fedvsr.strategies.share_bound import bound_shares
from fedvsr.strategies.updates import Updates
from fedvsr.weights import Array, TensorSpec

if TYPE_CHECKING:
    # Aggregation runs where PyTorch is not installed.
    from torch import Tensor, nn
    from torch.optim import Adam


@dataclass(frozen=True)
class Contribution:
    """What the server knows about a client's update besides its tensors.

    Attributes:
        client: The client's name.
        loss: Mean of the training loss over its local steps.
        clips: Number of clips in its shards.
        steps: Number of local steps.
        samples: Number of patches that it trained on.
    """

    client: str
    loss: float
    clips: int
    steps: int
    samples: int = 1


@dataclass(frozen=True)
class RoundContext:
    """The round that is aggregated.

    Attributes:
        round_number: The round, from 1 to ``rounds``.
        rounds: Number of rounds of the run.
        clients: Number of clients of the run, also those that do not take part in this round.
        max_share: How many times the mean of the others' aggregation weights a client's may be.
    """

    round_number: int
    rounds: int
    clients: int
    max_share: float = math.inf


@dataclass(frozen=True)
class RoundUpdates:
    """The input of an aggregation, which depends on nothing else.

    Attributes:
        base: The base weights, from which the clients started.
        updates: The clients' weights; reading them verifies them.
        strategy_tensors: The strategy tensors, of the clients that sent any.
        contributions: What else is known about each update, in the same order.
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
class Shares:
    """The clients' shares of the aggregate.

    Attributes:
        weights: Each client's aggregation weight; they sum to 1.
        weights_before_bound: What the strategy gave to each client whose share was cut to the bound.
        diagnostics: Numbers about the aggregation, for the round's record and MLflow.
    """

    weights: dict[str, float]
    weights_before_bound: dict[str, float]
    diagnostics: dict[str, float]


@dataclass(frozen=True)
class Aggregate:
    """The result of an aggregation.

    Attributes:
        tensors: The new global weights, with the names, shapes and dtypes of the base weights.
        weights: Each client's aggregation weight; empty if the strategy has no single number per client.
        diagnostics: Numbers about the aggregation, for the round's record and MLflow.
        strategy_state: What the strategy keeps at the server for the next round.
        weights_before_bound: See `Shares`.
    """

    tensors: dict[str, Array]
    weights: dict[str, float] = field(default_factory=dict)
    diagnostics: dict[str, float] = field(default_factory=dict)
    strategy_state: dict[str, Array] = field(default_factory=dict)
    weights_before_bound: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class LocalResult:
    """The tensors that a local term returns at the end of training.

    Attributes:
        strategy_tensors: Tensors that are sent to the server besides the weights.
        client_state: Tensors that stay in the client's own store until its next round.
    """

    strategy_tensors: dict[str, Array] = field(default_factory=dict)
    client_state: dict[str, Array] = field(default_factory=dict)


class LocalTerm:
    """A strategy's part in one client's local training; the base class does nothing.

    Args:
        model: The model, with the base weights loaded.
        strategy_state: The strategy's state at the server after the previous round.
        client_state: The strategy's state at this client after the last round in which it trained.
    """

    def __init__(
        self, model: "nn.Module", strategy_state: Mapping[str, Array], client_state: Mapping[str, Array]
    ) -> None:
        self.model = model

    def begin(self, optimizer: "Adam") -> None:
        """Called once before the first step, with the optimiser of the local training.

        A strategy may set the optimiser's state here, and keep the optimiser to read its state in `finish`,
        which may also be called without `begin`: a run is checked without training. The state of a parameter
        has the keys ``step``, ``exp_avg`` and ``exp_avg_sq``. The learning rates are set before every step.
        """

    def penalty(self, low_resolution: "Tensor") -> "Tensor | None":
        """Returns a scalar to add to a batch's loss, or None; called after the forward pass.

        Args:
            low_resolution: The batch's low-resolution frames, (N, T, 3, h, w).
        """
        return None

    def correct_gradients(self) -> None:
        """Changes the gradients between the backward pass and the optimiser's step."""

    def finish(self) -> LocalResult:
        """Returns the tensors to send to the server and those to keep at the client.

        The model has its weights at the end of the training: with ``training.ema_decay``, the average.
        """
        return LocalResult()


class Strategy:
    """A federated strategy; the base class is FedAvg.

    Args:
        options: An instance of ``Options``; None stands for the defaults.

    Attributes:
        name: Its name in the registry.
        description: What it is, in one line.
        source: The paper (authors, title, venue and link); empty if there is none.
        Options: The section that declares its options.
        options: The values of its options.
        high_frequency_loss: Whether clients train with FedVSR's high-frequency loss.
        local_term: The class of its part in local training.
        stateful: Whether it keeps a client state.
        sends_state: Whether clients need the strategy state; if not, they do not download it.
        needs_updates: Why it needs every client's own update; empty if the weighted sum of them is enough.
        max_share: How many times the mean of the others' aggregation weights a client's may be, unless the
            run sets ``robustness.max_share``. Honest clients should not exceed it.
        server_optimiser: The server optimiser that is a part of it, built with the strategy's options; None
            if the run chooses one.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    source: ClassVar[str] = ""
    Options: ClassVar[type[Section]] = NoOptions
    high_frequency_loss: ClassVar[bool] = False
    local_term: ClassVar[type[LocalTerm]] = LocalTerm
    stateful: ClassVar[bool] = False
    sends_state: ClassVar[bool] = True
    needs_updates: ClassVar[str] = ""
    max_share: ClassVar[float] = 5.0
    server_optimiser: ClassVar[type[ServerOptimiser] | None] = None

    options: Section

    def __init__(self, options: Section | None = None) -> None:
        self.options = self.Options() if options is None else options

    @property
    def schedule(self) -> ScheduleConfig | None:
        """The learning-rate schedule that is a part of the strategy; None if the run chooses one."""
        return None

    @property
    def averaging(self) -> ServerConfig | None:
        """The averaging of weights that is a part of the strategy; None if the run chooses it."""
        return None

    @property
    def min_updates(self) -> int:
        """Number of updates that the aggregation needs; a run's quorum must be at least as large."""
        return 1

    def check_count(self, updates: RoundUpdates) -> None:
        """Checks that a round has enough updates.

        Raises:
            fedvsr.errors.QuorumError: It has fewer than `min_updates`.
        """
        count = len(updates.updates.clients)
        if count < self.min_updates:
            raise QuorumError(
                f"round {updates.context.round_number}: {count} clients delivered; strategy {self.name!r} "
                f"with its options needs {self.min_updates}; raise federation.quorum to that number"
            )

    def make_local_term(
        self, model: "nn.Module", strategy_state: Mapping[str, Array], client_state: Mapping[str, Array]
    ) -> LocalTerm:
        """Returns the strategy's part in one client's training.

        Raises:
            fedvsr.errors.ConfigError: The strategy cannot train this model.
        """
        return self.local_term(model, strategy_state, client_state)

    def find_strategy_tensor_problem(
        self, specs: Mapping[str, TensorSpec], base_specs: Mapping[str, TensorSpec]
    ) -> str | None:
        """Describes what is wrong with a client's strategy tensors; None if they are valid.

        Args:
            specs: Shape and dtype of each strategy tensor.
            base_specs: Shape and dtype of each tensor of the base weights.
        """
        for name in sorted(specs):
            return f"strategy tensor {name!r}: {self.name} sends none"
        return None

    def weigh(
        self, contributions: Iterable[Contribution], context: RoundContext
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Returns each client's aggregation weight, and diagnostics to log.

        The aggregation weights sum to 1. The base class weighs the clients by their numbers of clips. Call
        `share_out` rather than this, which does not bound the weights.
        """
        clips = {contribution.client: contribution.clips for contribution in contributions}
        total = sum(clips.values())
        return {client: count / total for client, count in clips.items()}, {}

    def share_out(self, contributions: Iterable[Contribution], context: RoundContext) -> Shares:
        """Returns the aggregation weights of `weigh`, none above the bound of `bound_shares`."""
        claimed, diagnostics = self.weigh(contributions, context)
        weights = bound_shares(claimed, context.max_share)
        cut = {client: share for client, share in claimed.items() if weights[client] < share}
        return Shares(weights, cut, diagnostics)

    def aggregate(self, updates: RoundUpdates) -> Aggregate:
        """Aggregates a round's updates into new global weights.

        It is called again, with other updates, if one of these proves to be damaged or too large.

        Raises:
            fedvsr.errors.UpdateError: An update is damaged, or has a value that is not finite.
            fedvsr.errors.QuorumError: There are fewer updates than `min_updates`.
        """
        shares = self.share_out(updates.contributions, updates.context)
        return Aggregate(
            weighted_mean(updates.base, updates.updates, shares.weights),
            shares.weights,
            shares.diagnostics,
            weights_before_bound=shares.weights_before_bound,
        )
