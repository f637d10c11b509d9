"""How every configuration object behaves: frozen, closed, and clear about what is wrong."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from fedvsr.errors import ConfigError

# pydantic's sentences for these say less than a reader needs.
_ALLOWED = {
    "missing": "it is required",
    "string_pattern_mismatch": "lower-case letters, digits and dashes, at most 40, no dash at the ends",
}


class Section(BaseModel):
    """A frozen part of the configuration that refuses fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    @classmethod
    def parse(cls, values: object, prefix: str = "") -> Self:
        """Validates plain values, as YAML or JSON gives them.

        Args:
            values: A mapping from field names to values.
            prefix: What stands before the field's name in an error (``training.``).

        Raises:
            fedvsr.errors.ConfigError: A field is unknown, missing, or has a value that is not allowed.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise config_error(cls, error, prefix) from None


def config_error(section: type[BaseModel], error: ValidationError, prefix: str = "") -> ConfigError:
    """Turns the first of pydantic's findings into the one sentence that a person reads."""
    first: Any = error.errors(include_url=False)[0]
    inner = first.get("ctx", {}).get("error")
    if isinstance(inner, FieldError):
        return ConfigError(prefix + inner.field, inner.value, inner.allowed)
    path = [str(part) for part in first["loc"]]
    field = prefix + ".".join(path)
    if first["type"] == "extra_forbidden":
        known = _fields_at(section, path[:-1])
        return ConfigError(field, first["input"], f"no such field; known here: {', '.join(known)}")
    message = _ALLOWED.get(first["type"]) or first["msg"]
    return ConfigError(field, first["input"], message[0].lower() + message[1:])


class FieldError(ValueError):
    """Raised by a validator that looks at several fields, to name the one that is to be mended."""

    def __init__(self, field: str, value: object, allowed: str) -> None:
        super().__init__(allowed)
        self.field = field
        self.value = value
        self.allowed = allowed


def _fields_at(section: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        field = section.model_fields.get(part)
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            break
        section = inner
    return sorted(section.model_fields)
