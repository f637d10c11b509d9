"""Every degradation by its name."""

from importlib import import_module

from fedvsr.errors import UnknownNameError
from fedvsr.video.degradations.base import Degradation

_DEGRADATIONS = {
    "bi": "fedvsr.video.degradations.bi:BicubicInterpolation",
    "bd": "fedvsr.video.degradations.bd:BlurDownsampling",
    "matlab-bd": "fedvsr.video.degradations.matlab_bd:MatlabBlurDownsampling",
}


def degradation_names() -> tuple[str, ...]:
    """Returns the names of all degradations, sorted."""
    return tuple(sorted(_DEGRADATIONS))


def get_degradation(name: str) -> Degradation:
    """Returns the degradation of that name; its module is imported on first use.

    Raises:
        fedvsr.errors.UnknownNameError: No degradation has that name.
    """
    if name not in _DEGRADATIONS:
        raise UnknownNameError("degradation", name, _DEGRADATIONS)
    module, _, attribute = _DEGRADATIONS[name].partition(":")
    degradation = getattr(import_module(module), attribute)()
    assert isinstance(degradation, Degradation)
    return degradation
