"""Checks which code a run may import at a client's site. The client decides, not the federation."""

import os
from collections.abc import Sequence

from fedvsr.config.run import RunConfig
from fedvsr.errors import ConfigError
from fedvsr.registry import is_reference

ALLOW_VARIABLE = "FEDVSR_ALLOW_MODELS"


def check_code_allowed(config: RunConfig, packages: Sequence[str] | None = None) -> None:
    """Refuses a run that names code which this client has not allowed to be imported.

    A plain name is fedvsr's own, or an entry point of a package in the client's image. A reference
    ``package.module:name`` could import any module, so the client lists the packages that it trusts.

    Args:
        config: The run. Nothing that it names has been imported yet.
        packages: The packages; None for those in FEDVSR_ALLOW_MODELS, separated by commas. Despite its name,
            the variable also applies to strategies, degradations and codecs.

    Raises:
        fedvsr.errors.ConfigError: The model, the strategy, the degradation or a codec is a reference outside
            these packages.
    """
    source = "policy.allow_models" if packages is not None else ALLOW_VARIABLE
    if packages is None:
        listed = os.environ.get(ALLOW_VARIABLE, "").split(",")
        packages = [part.strip() for part in listed if part.strip()]
    for field, name in (
        ("model.name", config.model.name),
        ("strategy.name", config.strategy.name),
        ("data.degradation", config.data.degradation),
        ("communication.upload", config.communication.upload),
        ("communication.download", config.communication.download),
    ):
        _check_reference(field, name, packages, source)


def _check_reference(field: str, name: str, packages: Sequence[str], source: str) -> None:
    if not is_reference(name):
        return
    module = name.partition(":")[0]
    if not any(module == package or module.startswith(f"{package}.") for package in packages):
        raise ConfigError(
            field,
            name,
            f"this client imports code by reference only from the packages in {source} "
            f"({', '.join(packages) or 'none'}); set it at the client, or use a registered name",
        )
