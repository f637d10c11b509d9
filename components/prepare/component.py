"""The step that validates a run and returns the rounds that are left."""

from kfp import dsl

from components.image import TRAINER_IMAGE


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def prepare(
    run_name: str,
    model: str,
    strategy: str,
    rounds: int,
    clients: list,
    virtual_clients: int,
    clients_per_round: int,
    quorum: int,
    wait_for: str,
    deadline_seconds: int,
    gpus_per_client: int,
    local_steps: int,
    scale: int,
    degradation: str,
    upload: str,
    download: str,
    secure_aggregation: bool,
    differential_privacy: bool,
    clipping_norm: float,
    noise_multiplier: float,
    epsilon: float,
    server_optimiser: str,
    averaging: str,
    learning_rate: float,
    schedule: str,
    seed: int,
    evaluate_every: int,
    lambda_hf: float,
    warm_start: str,
    registered_model: str,
    settings: dict,
) -> list:
    """Validates the parameters, writes the run's record and initial weights, or finds the run."""
    parameters = dict(locals())
    del parameters["registered_model"]

    from fedvsr.config.parameters import to_fields
    from fedvsr.steps.ending import sentence_on_error
    from fedvsr.steps.prepare import prepare

    with sentence_on_error():
        return prepare(to_fields(parameters), registered_model)
