"""q-FedAvg: clients with larger losses count more, so that the losses become more alike.

Li, Sanjabi, Beirami and Smith, "Fair Resource Allocation in Federated Learning", ICLR 2020,
https://arxiv.org/abs/1905.10497.

The paper's update from the clients' weights w_k, with a client's loss F_k of the global weights w, is

    w ← w − Σ Δ_k / Σ h_k,  Δ_k = F_k^q·L·(w − w_k),  h_k = q·F_k^(q−1)·‖L·(w − w_k)‖² + L·F_k^q.

With the aggregation weights v_k = F_k^q / Σ F_j^q this is a step from w towards the clients' mean:

    w ← w + s·(Σ v_k·w_k − w),  s = 1 / (1 + q·L·Σ v_k·‖w − w_k‖²/F_k).

F_k here is the loss that a client reports: its mean over the local steps, on the batches that it trained on.
The loss before the first step would cost another pass over the clips, and the two differ by what one round
improves.

L is the Lipschitz constant of the loss's gradient. The paper takes 1/η, with the learning rate η of plain
gradient descent. For Adam that does not hold, as its steps do not depend on the size of the gradient: see the
option ``lipschitz``.
"""

from collections.abc import Iterable

from pydantic import Field

from fedvsr.config.base import Section
from fedvsr.strategies.averaging import weighted_mean
from fedvsr.strategies.base import Aggregate, Contribution, RoundContext, RoundUpdates
from fedvsr.strategies.fedavg import FedAvg
from fedvsr.strategies.norm_clipping import MeasuredFile
from fedvsr.strategies.share_bound import bound_claims

# A smaller loss counts as this one, so that nothing is divided by 0.
_MIN_LOSS = 1e-12


class QFedAvgOptions(Section):
    """The options of q-FedAvg."""

    q: float = Field(
        0.1, ge=0, description="how much clients with larger losses count (q); 0: all count the same"
    )
    lipschitz: float = Field(
        1e-3,
        gt=0,
        description="Lipschitz constant of the loss's gradient (L): about twice the improvement of the loss "
        "in a round, divided by ‖w − w_k‖²; lower it if the diagnostic server_step is far below 1",
    )


class QFedAvg(FedAvg):
    """Weighs the clients by their losses to the power q, and shortens the step if these are steep.

    Every client counts as one, whatever its number of clips: the method is about fairness between clients. A
    loss counts as at least 1/k and at most k times the median loss, with the bound k on shares
    (`robustness.max_share`); otherwise one client that reports a loss of almost 0 would stop the training.
    """

    name = "qfedavg"
    description = "clients with larger losses count more"
    source = (
        "Li, Sanjabi, Beirami and Smith, Fair Resource Allocation in Federated Learning, ICLR 2020, "
        "https://arxiv.org/abs/1905.10497"
    )
    Options = QFedAvgOptions
    needs_updates = "its step depends on the norm of every update"

    options: QFedAvgOptions

    def weigh(
        self, contributions: Iterable[Contribution], context: RoundContext
    ) -> tuple[dict[str, float], dict[str, float]]:
        contributions = tuple(contributions)
        losses = _losses(contributions, context)
        largest = max(losses.values())
        # Powers of ratios neither overflow nor, all of them, underflow.
        powers = {client: (loss / largest) ** self.options.q for client, loss in losses.items()}
        total = sum(powers.values())
        bounded = sum(losses[each.client] != max(_MIN_LOSS, each.loss) for each in contributions)
        return (
            {client: power / total for client, power in powers.items()},
            {"bounded_claims": float(bounded)},
        )

    def aggregate(self, updates: RoundUpdates) -> Aggregate:
        shares = self.share_out(updates.contributions, updates.context)
        losses = _losses(updates.contributions, updates.context)
        steepness = sum(
            shares.weights[client] * MeasuredFile(file, updates.base).norm ** 2 / losses[client]
            for client, file in updates.updates.files.items()
        )
        step = 1 / (1 + self.options.q * self.options.lipschitz * steepness)
        tensors = weighted_mean(updates.base, updates.updates, shares.weights, server_learning_rate=step)
        return Aggregate(
            tensors,
            shares.weights,
            shares.diagnostics | {"server_step": step},
            weights_before_bound=shares.weights_before_bound,
        )


def _losses(contributions: Iterable[Contribution], context: RoundContext) -> dict[str, float]:
    """Returns the clients' losses, positive and bounded by their ratio to the median."""
    claims = {contribution.client: contribution.loss for contribution in contributions}
    return {client: max(_MIN_LOSS, loss) for client, loss in bound_claims(claims, context.max_share).items()}
