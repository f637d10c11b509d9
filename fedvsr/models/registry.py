"""The registry of models. A built-in model is one file in this folder, and one line here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

from fedvsr.config.base import Section
from fedvsr.errors import ConfigError
from fedvsr.models.keyword_options import keyword_options, to_keywords
from fedvsr.registry import Registry, RegistryEntry

if TYPE_CHECKING:
    from torch import nn

_BUILT_INS = {
    "basicvsr": "fedvsr.models.basicvsr:BasicVSR",
    "basicvsr++": "fedvsr.models.basicvsr_plus_plus:BasicVSRPlusPlus",
    "bicubic": "fedvsr.models.bicubic:Bicubic",
    "fastvsr": "fedvsr.models.fastvsr:FastVSR",
    "iart": "fedvsr.models.iart:IART",
    "rrn": "fedvsr.models.rrn:RRN",
    "rvrt": "fedvsr.models.rvrt:RVRT",
    "vrt": "fedvsr.models.vrt:VRT",
}

_OPTIONS_FIELD = "model.options"


def _is_callable(value: object) -> TypeGuard[Callable[..., Any]]:
    return callable(value)


MODELS = Registry(
    kind="model",
    field="model.name",
    group="fedvsr.models",
    built_ins=_BUILT_INS,
    accepts=_is_callable,
    expected="a callable",
)


@dataclass(frozen=True)
class ModelInfo(RegistryEntry):
    """Describes a model without building it.

    Attributes:
        parameters: Number of parameters at scale 4 with the default options; None if unknown.
    """

    parameters: int | None = None


def model_names() -> tuple[str, ...]:
    """Returns the names of the built-in models and of the installed entry points, sorted."""
    return MODELS.names()


def check_model_name(name: str) -> None:
    """Checks a model's name without importing the model.

    Raises:
        fedvsr.errors.UnknownNameError: The name is neither registered nor a reference.
    """
    MODELS.check_name(name)


def model_info(name: str) -> ModelInfo:
    """Imports a model and describes it.

    Args:
        name: One of `model_names`, or a reference ``package.module:name``.

    Raises:
        fedvsr.errors.UnknownNameError: No model has that name.
        fedvsr.errors.ConfigError: The reference cannot be imported, or is not callable.
    """
    info = MODELS.info(name)
    parameters = getattr(MODELS.load(name), "parameter_count", None)
    return ModelInfo(info.name, info.description, info.source, parameters)


def model_options(name: str) -> type[Section]:
    """Returns the section that a model's options are parsed with.

    It is the model's ``Options``, or else a section with the keywords that the callable takes besides the
    scale.

    Args:
        name: One of `model_names`, or a reference ``package.module:name``.

    Raises:
        fedvsr.errors.UnknownNameError: No model has that name.
        fedvsr.errors.ConfigError: The reference cannot be imported, or is not callable.
    """
    model = MODELS.load(name)
    return _declared_options(model) or keyword_options(model)


def build_model(name: str, scale: int, options: Mapping[str, object] | None = None) -> "nn.Module":
    """Builds a model with newly initialised weights.

    The weights come from torch's global random generator: seed it first to get the same ones again.

    Args:
        name: One of `model_names`, or a reference ``package.module:name``.
        scale: How many times larger the output's sides are than the input's.
        options: Values of the model's options; missing options get their defaults.

    Returns:
        A module as `fedvsr.models.base` describes it, in training mode, float32, on the CPU.

    Raises:
        fedvsr.errors.UnknownNameError: No model has that name.
        fedvsr.errors.ConfigError: The reference cannot be imported, the model does not upscale by
            that scale, or an option is unknown, missing or out of range.
    """
    from torch import nn

    model = MODELS.load(name)
    values = dict(options or {})
    declared = _declared_options(model)
    if declared is None and "scale" in values:
        raise ConfigError(f"{_OPTIONS_FIELD}.scale", values["scale"], "it is not an option: set data.scale")
    parsed = (declared or keyword_options(model)).parse(values, f"{_OPTIONS_FIELD}.")
    try:
        network = model(scale, parsed) if declared else model(scale=scale, **to_keywords(parsed))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            _OPTIONS_FIELD, values, f"{name} refused them at scale {scale} ({error})"
        ) from error
    if not isinstance(network, nn.Module):
        raise ConfigError(
            MODELS.field, name, f"it returned a {type(network).__name__}, not a torch.nn.Module"
        )
    return network


def _declared_options(model: Callable[..., Any]) -> type[Section] | None:
    options = getattr(model, "Options", None)
    return options if isinstance(options, type) and issubclass(options, Section) else None
