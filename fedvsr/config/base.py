"""The base class of configuration sections: frozen, without unknown fields, and with clear errors."""

from types import UnionType
from typing import Any, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from fedvsr.errors import ConfigError

# Replacements for pydantic's messages that are not clear enough.
_ALLOWED = {
    "missing": "it is required",
    "model_type": "it must be a mapping of fields",
    "tuple_type": "it must be a list",
    "byte_size": "it must be a number of bytes, with a unit if you like: 16GiB",
    "string_pattern_mismatch": "lower-case letters, digits and dashes, at most 40, no dash at the ends",
}


class Section(BaseModel):
    """A frozen part of the configuration that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _accept_empty_section(cls, values: object) -> object:
        """Accepts null for a section: YAML reads a section with only comments as null."""
        if not isinstance(values, dict):
            return values
        return {
            name: value for name, value in values.items() if value is not None or name not in _sections(cls)
        }

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_boolean_as_number(cls, value: object, info: ValidationInfo) -> object:
        """Refuses true for a number: YAML reads yes and on as true, which pydantic would accept as 1."""
        if isinstance(value, bool) and _is_number(cls.model_fields[info.field_name or ""].annotation):
            raise PydanticCustomError("truth_as_number", "it must be a number")
        return value

    def all_values(self) -> dict[str, Any]:
        """Returns all fields as plain values, also those that a record leaves out at their defaults."""
        return {name: _plain(getattr(self, name)) for name in type(self).model_fields}

    @classmethod
    def parse(cls, values: object, prefix: str = "") -> Self:
        """Validates plain values from YAML or JSON.

        Args:
            values: A mapping from field names to values.
            prefix: The text before the field's name in an error (``training.``).

        Raises:
            fedvsr.errors.ConfigError: A field is unknown, missing, or has a value that is not allowed.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise config_error(cls, values, error, prefix) from None


def _plain(value: Any) -> Any:
    if isinstance(value, Section):
        return value.all_values()
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return value


class PathSection(Section):
    """A section with a path, for which the plain path may stand."""

    @model_validator(mode="before")
    @classmethod
    def _path_alone(cls, value: object) -> object:
        return {"path": value} if isinstance(value, str) else value


class NoOptions(Section):
    """The options of a model or strategy without options."""


def config_error(
    section: type[BaseModel], values: object, error: ValidationError, prefix: str = ""
) -> ConfigError:
    """Converts the first of pydantic's problems to a ConfigError with one clear sentence."""
    problems: list[Any] = error.errors(include_url=False)
    # A misspelt required field is reported as both unknown and missing. The unknown one is the cause.
    first = next((problem for problem in problems if problem["type"] == "extra_forbidden"), problems[0])
    inner = first.get("ctx", {}).get("error")
    if isinstance(inner, FieldError):
        return ConfigError(prefix + inner.field, inner.value, inner.allowed)
    if first["type"] == "missing":
        return ConfigError(prefix + ".".join(map(str, first["loc"])), None, _ALLOWED["missing"])
    path = _path_in(values, first["loc"])
    field = prefix + ".".join(path) or "CONFIG"
    if first["type"] == "extra_forbidden":
        known = _fields_at(section, path[:-1])
        return ConfigError(field, first["input"], f"no such field; known here: {', '.join(known) or 'none'}")
    message = _ALLOWED.get(first["type"]) or first["msg"].removeprefix("Value error, ")
    message = message.replace("Input should be", "it must be", 1)
    return ConfigError(field, first["input"], message[0].lower() + message[1:])


class FieldError(ValueError):
    """Raised by a validator of several fields, to name the field to correct."""

    def __init__(self, field: str, value: object, allowed: str) -> None:
        super().__init__(allowed)
        self.field = field
        self.value = value
        self.allowed = allowed


def _path_in(values: Any, location: tuple[int | str, ...]) -> list[str]:
    """Returns pydantic's location without the type names that pydantic adds to it."""
    path = []
    for part in location:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            break
        path.append(str(part))
    return path


def _sections(section: type[BaseModel]) -> list[str]:
    """Returns the names of the fields that are sections."""
    return [name for name, field in section.model_fields.items() if _is_model(field.annotation)]


def _fields_at(section: type[BaseModel], path: list[str]) -> list[str]:
    """Returns the names of the fields that a mapping may have at a path."""
    annotation: Any = section
    for part in path:
        field = annotation.model_fields.get(part) if _is_model(annotation) else None
        annotation = field.annotation if field else annotation
        # The section inside an optional type, or inside a mapping from names to sections.
        annotation = next((inner for inner in get_args(annotation) if _is_model(inner)), annotation)
    return sorted(field.alias or name for name, field in annotation.model_fields.items())


def _is_number(annotation: Any) -> bool:
    types = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return (int in types or float in types) and bool not in types


def _is_model(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
