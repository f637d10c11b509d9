"""FedNova: updates are divided by their numbers of local steps before they are averaged.

Wang, Liu, Liang, Joshi and Poor, "Tackling the Objective Inconsistency Problem in Heterogeneous Federated
Optimization", NeurIPS 2020, https://arxiv.org/abs/2007.07481.

With the clients' shares p_i (by number of clips), their weights w_i and τ_i = ‖a_i‖₁, the global weights w
become

    w + τ_eff·Σ p_i·(w_i − w)/τ_i,  τ_eff = Σ p_i·τ_i.

a_i holds how much each local gradient counts in w_i − w. Here τ_i is the number of local steps. That is the
paper's value for plain gradient descent. It is also that of Adam, if its second moment is taken as constant
in a round: a first moment with bias correction is a mean of gradients, so each step adds 1 to ‖a_i‖₁,
whatever β1.

With the aggregation weights v_i ∝ p_i/τ_i, this is a step of s = τ_eff·Σ p_i/τ_i ≥ 1 from w towards the
clients' mean: w + s·(Σ v_i·w_i − w).
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from fedvsr.strategies.averaging import weighted_mean
from fedvsr.strategies.base import Aggregate, Contribution, LocalTerm, RoundContext, RoundUpdates
from fedvsr.strategies.fedavg import FedAvg
from fedvsr.strategies.local_tensors import refuse_running_statistics
from fedvsr.strategies.share_bound import bound_claims
from fedvsr.weights import Array

if TYPE_CHECKING:
    from torch import nn

_STEP = "server_step"


class FedNova(FedAvg):
    """Averages the clients' changes per local step, and multiplies the mean with the mean number of steps.

    A number of steps counts as at least 1/k and at most k times the median, with the bound k on shares
    (`robustness.max_share`); otherwise one client that claims many steps would blow up the others' updates.
    The bound on shares itself applies to v_i.

    A step larger than 1 could make the running variances of batch normalisation negative, so models with
    running statistics are refused.
    """

    name = "fednova"
    description = "mean of the clients' changes per local step"
    source = (
        "Wang, Liu, Liang, Joshi and Poor, Tackling the Objective Inconsistency Problem in Heterogeneous "
        "Federated Optimization, NeurIPS 2020, https://arxiv.org/abs/2007.07481"
    )

    def make_local_term(
        self, model: "nn.Module", strategy_state: Mapping[str, Array], client_state: Mapping[str, Array]
    ) -> LocalTerm:
        refuse_running_statistics(model, self.name)
        return super().make_local_term(model, strategy_state, client_state)

    def weigh(
        self, contributions: Iterable[Contribution], context: RoundContext
    ) -> tuple[dict[str, float], dict[str, float]]:
        contributions = tuple(contributions)
        shares, _ = super().weigh(contributions, context)
        claims = {contribution.client: float(contribution.steps) for contribution in contributions}
        steps = bound_claims(claims, context.max_share)
        per_step = {client: share / steps[client] for client, share in shares.items()}
        total = sum(per_step.values())
        effective = sum(share * steps[client] for client, share in shares.items())
        weights = {client: value / total for client, value in per_step.items()}
        return weights, {
            "effective_steps": effective,
            _STEP: effective * total,
            "bounded_claims": float(sum(steps[client] != claim for client, claim in claims.items())),
        }

    def aggregate(self, updates: RoundUpdates) -> Aggregate:
        shares = self.share_out(updates.contributions, updates.context)
        tensors = weighted_mean(
            updates.base, updates.updates, shares.weights, server_learning_rate=shares.diagnostics[_STEP]
        )
        return Aggregate(
            tensors,
            shares.weights,
            shares.diagnostics,
            weights_before_bound=shares.weights_before_bound,
        )
