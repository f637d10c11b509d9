"""Which code a client's site lets a run name: the federation's configuration must not choose it."""

import os

from fedvsr.errors import ConfigError

ALLOW_VARIABLE = "FEDVSR_ALLOW_MODELS"


def check_model_allowed(name: str) -> None:
    """Refuses a model ``package.module:callable`` that this client has not allowed to be imported.

    A model by a plain name is fedvsr's own, or an entry point that the client's image brings. A
    reference would import whatever module the federation names, so the client lists the packages it
    trusts: FEDVSR_ALLOW_MODELS, separated by commas.

    Args:
        name: The run's ``model.name``.

    Raises:
        fedvsr.errors.ConfigError: It is a reference into none of these packages.
    """
    module, colon, _ = name.partition(":")
    allowed = [each.strip() for each in os.environ.get(ALLOW_VARIABLE, "").split(",") if each.strip()]
    if colon and not any(module == each or module.startswith(f"{each}.") for each in allowed):
        raise ConfigError(
            "model.name",
            name,
            f"this client imports a model by reference only from the packages in {ALLOW_VARIABLE} "
            f"({', '.join(allowed) or 'none'}); set it at the client, or name a registered model",
        )
