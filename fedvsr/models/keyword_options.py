"""Options of a model that declares no ``Options``: the keywords that its constructor takes."""

import inspect
from collections.abc import Callable, Iterator
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import ConfigDict, Field, create_model

from fedvsr.config.base import Section

_SCALE = "scale"
_JSON_TYPES = (bool, int, float, str, list, dict, NoneType)
_JSON_CONTAINERS = (list, dict, Union, UnionType)


class _KeywordOptions(Section):
    # The defaults of another package may not match their annotations. They are not passed on.
    model_config = ConfigDict(validate_default=False)


class _AnyKeywordOptions(_KeywordOptions):
    model_config = ConfigDict(extra="allow")


def keyword_options(model: Callable[..., Any]) -> type[Section]:
    """Returns a section with a field for each keyword that a callable takes, other than ``scale``.

    A keyword without a default is required. Its value is checked against the annotation if JSON has that
    type. A callable with ``**kwargs`` takes any other keyword too.
    """
    parameters = _parameters(model)
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    # Aliases let an option have a name that pydantic uses itself, such as schema or copy.
    fields: dict[str, Any] = {
        f"option_{index}": (
            parameter.annotation if _is_json(parameter.annotation) else Any,
            Field(... if parameter.default is parameter.empty else parameter.default, alias=parameter.name),
        )
        for index, parameter in enumerate(_keywords(parameters))
    }
    base = _AnyKeywordOptions if takes_any else _KeywordOptions
    return create_model("Options", __base__=base, **fields)


def to_keywords(options: Section) -> dict[str, Any]:
    """Returns the keywords that were set; the callable uses its own defaults for the others."""
    return options.model_dump(by_alias=True, exclude_unset=True)


def _parameters(model: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(model, eval_str=True).parameters.values())
    except NameError:
        # Annotations may use names that are imported only for type checkers.
        return list(inspect.signature(model).parameters.values())


def _keywords(parameters: list[inspect.Parameter]) -> Iterator[inspect.Parameter]:
    for parameter in parameters:
        named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        if named and parameter.name != _SCALE:
            yield parameter


def _is_json(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin is Literal:
        return True
    if origin in _JSON_CONTAINERS:
        return all(map(_is_json, get_args(annotation)))
    return annotation in _JSON_TYPES
