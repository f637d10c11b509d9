"""The registry of degradations. A built-in one is one file in this folder, and one line here."""

from fedvsr.registry import registry_of_subclasses
from fedvsr.video.degradations.base import Degradation

_BUILT_INS = {
    "bd": "fedvsr.video.degradations.bd:BlurDownsampling",
    "bi": "fedvsr.video.degradations.bi:BicubicDegradation",
    "matlab-bd": "fedvsr.video.degradations.matlab_bd:MatlabBlurDownsampling",
}


DEGRADATIONS = registry_of_subclasses(
    Degradation,  # type: ignore[type-abstract]
    kind="degradation",
    field="data.degradation",
    group="fedvsr.degradations",
    built_ins=_BUILT_INS,
)


def degradation_names() -> tuple[str, ...]:
    """Returns the names of the built-in degradations and of the installed entry points, sorted."""
    return DEGRADATIONS.names()


def get_degradation(name: str) -> Degradation:
    """Returns a degradation.

    Args:
        name: One of `degradation_names`, or a reference ``package.module:name``.

    Raises:
        fedvsr.errors.UnknownNameError: No degradation has that name.
        fedvsr.errors.ConfigError: The reference cannot be imported, or is not a degradation.
    """
    return DEGRADATIONS.load(name)()
