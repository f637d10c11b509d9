"""The step that validates a run and says which rounds are left."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def prepare(
    run_name: str,
    model: str,
    strategy: str,
    rounds: int,
    clients: list,
    clients_per_round: int,
    quorum: int,
    deadline_seconds: int,
    local_steps: int,
    scale: int,
    degradation: str,
    learning_rate: float,
    seed: int,
    evaluate_every: int,
    lambda_hf: float,
    warm_start: str,
    settings: dict,
) -> list:
    """Validates the parameters, writes the run's record and initial weights, or finds the run."""
    from fedvsr.steps.prepare import prepare

    return prepare(
        {
            "name": run_name,
            "seed": seed,
            "warm_start": warm_start,
            "data.scale": scale,
            "data.degradation": degradation,
            "model.name": model,
            "strategy.name": strategy,
            "training.local_steps": local_steps,
            "training.learning_rate": learning_rate,
            "training.lambda_hf": lambda_hf,
            "federation.rounds": rounds,
            "federation.clients": clients,
            "federation.clients_per_round": clients_per_round,
            "federation.quorum": quorum,
            "federation.deadline_seconds": deadline_seconds,
            "evaluation.every": evaluate_every,
            **settings,
        }
    )
