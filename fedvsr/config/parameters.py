"""The pipeline's parameters, and the configuration fields that they set."""

from collections.abc import Mapping
from typing import Any

from fedvsr.errors import ConfigError

# If it is 0, the clients are not virtual, and no field is set.
VIRTUAL_CLIENTS = "virtual_clients"
# The dotted field name of each parameter in `fedvsr.config.run.RunConfig`, or for virtual clients in
# `fedvsr.config.experiment.Experiment`.
FIELDS = {
    "run_name": "name",
    "model": "model.name",
    "strategy": "strategy.name",
    "rounds": "federation.rounds",
    "clients": "federation.clients",
    VIRTUAL_CLIENTS: "clients.split.count",
    "clients_per_round": "federation.clients_per_round",
    "quorum": "federation.quorum",
    "wait_for": "federation.wait_for",
    "deadline_seconds": "federation.deadline_seconds",
    "gpus_per_client": "jobs.gpus",
    "local_steps": "training.local_steps",
    "scale": "data.scale",
    "degradation": "data.degradation",
    "upload": "communication.upload",
    "download": "communication.download",
    "secure_aggregation": "privacy.secure_aggregation",
    "differential_privacy": "privacy.differential_privacy",
    "clipping_norm": "privacy.clipping_norm",
    "noise_multiplier": "privacy.noise_multiplier",
    "epsilon": "privacy.epsilon",
    "server_optimiser": "server.optimiser",
    "averaging": "server.averaging",
    "learning_rate": "training.learning_rate",
    "schedule": "training.schedule.name",
    "seed": "seed",
    "evaluate_every": "evaluation.every",
    "lambda_hf": "training.lambda_hf",
    "warm_start": "warm_start",
}
# The parameter with all other fields, by dotted name.
OTHERS = "settings"


def to_fields(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Converts pipeline parameters to configuration values by dotted field name.

    Raises:
        fedvsr.errors.ConfigError: ``settings`` contains a field that has a separate parameter, or a whole
            section with such a field.
    """
    fields = {
        FIELDS[name]: value
        for name, value in parameters.items()
        if name != OTHERS and (name != VIRTUAL_CLIENTS or value)
    }
    others = parameters.get(OTHERS, {})
    for name, field in FIELDS.items():
        for other in others:
            if other == field or other.startswith(f"{field}.") or field.startswith(f"{other}."):
                raise ConfigError(
                    f"{OTHERS}.{other}", others[other], f"{field} is set by the parameter {name}"
                )
    return {**fields, **others}


def to_parameters(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Converts configuration values by dotted field name to pipeline parameters."""
    names = {field: name for name, field in FIELDS.items()}
    parameters = {names[field]: value for field, value in fields.items() if field in names}
    others = {field: value for field, value in fields.items() if field not in names}
    return {**parameters, OTHERS: others} if others else parameters
