"""Finds a model by its name and builds it.

A name is looked up in three places, in this order:

1. the table below;
2. the Python entry points of group ``fedvsr.models``, for packages that bring models;
3. the name itself, where it is a reference ``package.module:callable``.

What is found is called with the scale and the options as keyword arguments and must return a
`torch.nn.Module`; `fedvsr.models.base` says what that module does. Only what is asked for is imported:
listing the models needs no PyTorch.
"""

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from fedvsr.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    from torch import nn

ENTRY_POINT_GROUP = "fedvsr.models"

_NAME_FIELD = "model.name"
_OPTIONS_FIELD = "model.options"


@dataclass(frozen=True)
class ModelInfo:
    """What is known about a model without building it.

    Attributes:
        name: The name that `build_model` takes.
        description: One line.
        source: The paper, or the package that brings the model.
        parameters: The number of parameters at scale 4 with the default options, None if unknown.
    """

    name: str
    description: str
    source: str
    parameters: int | None = None


_TABLE: dict[str, tuple[str, ModelInfo]] = {
    info.name: (reference, info)
    for reference, info in (
        (
            "fedvsr.models.basicvsr:BasicVSR",
            ModelInfo("basicvsr", "bidirectional recurrent network", "Chan et al., CVPR 2021", 6_291_311),
        ),
        (
            "fedvsr.models.basicvsr_plus_plus:BasicVSRPlusPlus",
            ModelInfo(
                "basicvsr++", "four passes with deformable alignment", "Chan et al., CVPR 2022", 7_322_927
            ),
        ),
        (
            "fedvsr.models.bicubic:Bicubic",
            ModelInfo("bicubic", "bicubic interpolation, the floor every model must beat", "Keys 1981", 0),
        ),
        (
            "fedvsr.models.fastvsr:FastVSR",
            ModelInfo("fastvsr", "small sliding-window network that learns fast on a CPU", "fedvsr", 99_472),
        ),
        (
            "fedvsr.models.iart:IART",
            ModelInfo("iart", "four passes with alignment by attention", "Xu et al., CVPR 2024", 13_410_503),
        ),
        (
            "fedvsr.models.vrt:VRT",
            ModelInfo("vrt", "transformer over all frames at four scales", "Liang et al., 2022", 30_676_435),
        ),
        (
            "fedvsr.models.rvrt:RVRT",
            ModelInfo(
                "rvrt",
                "recurrent transformer over clips of two frames",
                "Liang et al., NeurIPS 2022",
                10_782_295,
            ),
        ),
    )
}


def model_names() -> list[str]:
    """Returns the names of the models in the table and of the installed entry points, in order."""
    return sorted({*_TABLE, *_entry_points()})


def model_info(name: str) -> ModelInfo:
    """Returns what is known about a model.

    Args:
        name: A name of `model_names` or a reference ``package.module:callable``, which is imported.

    Raises:
        fedvsr.errors.UnknownNameError: No model has that name.
        fedvsr.errors.ConfigError: The reference cannot be imported.
    """
    if name in _TABLE:
        return _TABLE[name][1]
    factory = _load(name)
    description = (inspect.getdoc(factory) or "").partition("\n")[0]
    point = _entry_points().get(name)
    source = point.dist.name if point is not None and point.dist is not None else factory.__module__
    return ModelInfo(name, description, source)


def build_model(name: str, scale: int, options: Mapping[str, object] | None = None) -> "nn.Module":
    """Builds a model with freshly initialised weights.

    The weights come from torch's global random generator: seed it first to get the same ones again.

    Args:
        name: A name of `model_names` or a reference ``package.module:callable``.
        scale: How many times larger the output's sides are than the input's.
        options: The model's own options.

    Returns:
        A module as `fedvsr.models.base` describes it, in training mode, float32, on the CPU.

    Raises:
        fedvsr.errors.UnknownNameError: No model has that name.
        fedvsr.errors.ConfigError: The reference cannot be imported, the model does not upscale by
            that scale, or an option is unknown, missing or out of range.
    """
    from torch import nn

    factory = _load(name)
    options = dict(options or {})
    _check_options(name, factory, options)
    try:
        model = factory(scale=scale, **options)
    except (TypeError, ValueError) as error:
        refused = f"{name} refused them at scale {scale} ({error})"
        raise ConfigError(_OPTIONS_FIELD, options, refused) from error
    if not isinstance(model, nn.Module):
        raise ConfigError(_NAME_FIELD, name, f"it returned a {type(model).__name__}, not a torch.nn.Module")
    return model


def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def _load(name: str) -> Callable[..., Any]:
    if name in _TABLE:
        return _import(name, _TABLE[name][0])
    point = _entry_points().get(name)
    if point is not None:
        return _import(name, point.value)
    if ":" in name:
        return _import(name, name)
    raise UnknownNameError("model", name, model_names())


def _import(name: str, reference: str) -> Callable[..., Any]:
    module_name, _, attribute = reference.partition(":")
    try:
        found: object = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(_NAME_FIELD, name, f"{reference} cannot be imported ({error})") from error
    if not callable(found):
        raise ConfigError(_NAME_FIELD, name, f"{reference} is a {type(found).__name__}, not a callable")
    return found


def _check_options(name: str, factory: Callable[..., Any], options: Mapping[str, object]) -> None:
    parameters = inspect.signature(factory).parameters.values()
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    named = {
        parameter.name: parameter
        for parameter in parameters
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        and parameter.name != "scale"
    }
    known = f"the options of {name} are: {', '.join(named) or 'none'}"
    for option, value in options.items():
        if option == "scale" or not (takes_any or option in named):
            raise ConfigError(f"{_OPTIONS_FIELD}.{option}", value, known)
    for option, parameter in named.items():
        if parameter.default is parameter.empty and option not in options:
            raise ConfigError(f"{_OPTIONS_FIELD}.{option}", None, f"{name} has no default for it")
