"""Names in MLflow: registered models and experiments."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from fedvsr.errors import ConfigError

# MLflow refuses an empty name, "/", ":" and names that begin like a relative path. Its filters cannot express
# both kinds of quotes, and `models:/NAME@ALIAS` cannot express "@", "?" and "#". The database column is 256
# characters wide.
_REGISTERED_MODEL = re.compile(r"[^\W_]([\w. -]{0,254}[^\W_])?")
REGISTERED_MODEL_RULE: Final = (
    "it must have letters, digits, spaces, dots, dashes or underscores, at most 256 in all, "
    "with a letter or digit at both ends"
)
_MAX_EXPERIMENT_LENGTH = 256
_EXPERIMENT_RULE = "it must have 1 to 256 printable characters, with no space at the ends"


def check_registered_model(name: str, field: str) -> str:
    """Returns a registered model's name if MLflow and a `models:/NAME@ALIAS` accept it.

    Args:
        name: The name.
        field: The field or option that sets it, for the error.

    Raises:
        fedvsr.errors.ConfigError: It is not allowed.
    """
    if not _REGISTERED_MODEL.fullmatch(name):
        raise ConfigError(field, name, REGISTERED_MODEL_RULE)
    return name


def _validate_registered_model(name: str) -> str:
    if not _REGISTERED_MODEL.fullmatch(name):
        raise PydanticCustomError("registered_model", REGISTERED_MODEL_RULE)
    return name


def _validate_experiment(name: str) -> str:
    if not 0 < len(name) <= _MAX_EXPERIMENT_LENGTH or not name.isprintable() or name != name.strip():
        raise PydanticCustomError("mlflow_experiment", _EXPERIMENT_RULE)
    return name


RegisteredModelName = Annotated[str, AfterValidator(_validate_registered_model)]
ExperimentName = Annotated[str, AfterValidator(_validate_experiment)]
