"""How many rounds a run has, with differential privacy and a budget: as many as the budget allows.

ε after a number of rounds follows from the configuration alone. So everyone who has the configuration knows
in advance which round is the last.
"""

from fedvsr.config.run import RunConfig
from fedvsr.privacy.accounting import Accounting


def accounting(config: RunConfig) -> Accounting:
    """Returns what ε depends on in a run with differential privacy."""
    clients = len(config.federation.clients)
    privacy = config.privacy
    return Accounting(
        clients, config.federation.clients_per_round or clients, privacy.noise_multiplier, privacy.delta
    )


def planned_rounds(config: RunConfig) -> int:
    """Returns the number of rounds of a run: ``federation.rounds``, or fewer if the budget ends it before."""
    rounds, budget = config.federation.rounds, config.privacy.epsilon
    if not budget:
        return rounds
    return accounting(config).rounds_within(budget, rounds)


def describe_budget(config: RunConfig) -> str | None:
    """Returns a sentence if the budget ends a run before ``federation.rounds``, else None."""
    planned, rounds = planned_rounds(config), config.federation.rounds
    if planned == rounds:
        return None
    spent = accounting(config)
    return (
        f"the budget privacy.epsilon {config.privacy.epsilon:g} allows {planned} of {rounds} rounds: ε is "
        f"{spent.epsilon(planned):.3g} after {planned}, and {spent.epsilon(planned + 1):.3g} after "
        f"{planned + 1} (δ {config.privacy.delta:g})"
    )
